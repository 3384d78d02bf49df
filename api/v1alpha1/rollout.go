package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Rollout releases new versions of one Deployment behind one Service, step by step.
//
// When the Deployment's pod template changes, Sluice holds the change, starts the new version (the
// canary) beside the old one (stable), moves traffic to it through the mesh in the steps given here,
// judges every weight against Prometheus metrics, and promotes or rolls back.
//
// The Deployment carries the label sluice.dev/rollout with this Rollout's name: the hold needs it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=ro,categories=sluice
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Step",type=string,JSONPath=`.status.step.display`
// +kubebuilder:printcolumn:name="Desired",type=integer,JSONPath=`.status.weight.desired`
// +kubebuilder:printcolumn:name="Live",type=integer,JSONPath=`.status.weight.live`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="metadata.name: at most 63 characters, because it is also a label's value; choose a shorter name"
type Rollout struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what is released and how.
	Spec RolloutSpec `json:"spec"`
	// Status says where the release is. It is written by the operator only.
	// +optional
	Status RolloutStatus `json:"status,omitempty"`
}

// RolloutList is a list of Rollouts.
//
// +kubebuilder:object:root=true
type RolloutList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Rollout `json:"items"`
}

// RolloutSpec says what is released and how.
//
// +kubebuilder:validation:XValidation:rule="!has(self.analysis.background) || !has(self.analysis.background.startingStep) || self.analysis.background.startingStep < size(self.canary.steps)",message="spec.analysis.background.startingStep: there is no such step; it is an index in spec.canary.steps, from 0"
// +kubebuilder:validation:XValidation:rule="!has(self.service.narrow) || !self.service.narrow || !has(self.analysis.compare) || !has(self.analysis.compare.against) || self.analysis.compare.against != 'Baseline'",message="spec.service.narrow: a narrowed Service would not select the baseline's pods; turn narrow off, or set spec.analysis.compare.against to Stable"
type RolloutSpec struct {
	// WorkloadRef names the Deployment, in the Rollout's namespace. It cannot be changed.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="spec.workloadRef: cannot be changed; delete this Rollout and create one for the other workload"
	WorkloadRef WorkloadRef `json:"workloadRef"`
	// Service names the Service whose requests are split, in the Rollout's namespace.
	Service ServiceRef `json:"service"`
	// Canary says in which steps traffic moves.
	Canary CanaryStrategy `json:"canary"`
	// Analysis says what the judge demands of the canary.
	// +kubebuilder:default={}
	// +optional
	Analysis AnalysisSpec `json:"analysis,omitempty"`
	// BakeTime is how long the old pods stay after the canary has all traffic, so that going back is
	// instant. Zero promotes as soon as 100 % is live.
	// +kubebuilder:default="1m"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s')",message="spec.bakeTime: a duration such as 90s or 5m, not negative"
	// +optional
	BakeTime *metav1.Duration `json:"bakeTime,omitempty"`
	// Deadlines bound every phase of a release.
	// +kubebuilder:default={}
	// +optional
	Deadlines Deadlines `json:"deadlines,omitempty"`
	// Notifications says who is told, and who may approve in chat.
	// +optional
	Notifications *Notifications `json:"notifications,omitempty"`
}

// WorkloadRef names a workload in the Rollout's namespace.
type WorkloadRef struct {
	// APIVersion of the workload.
	// +kubebuilder:default="apps/v1"
	// +kubebuilder:validation:XValidation:rule="self == 'apps/v1'",message="spec.workloadRef.apiVersion: only apps/v1 is supported"
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`
	// Kind of the workload.
	// +kubebuilder:default="Deployment"
	// +kubebuilder:validation:XValidation:rule="self == 'Deployment'",message="spec.workloadRef.kind: only Deployment is supported"
	// +optional
	Kind string `json:"kind,omitempty"`
	// Name of the workload.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// ServiceRef names a Service in the Rollout's namespace.
type ServiceRef struct {
	// Name of the Service; 56 characters at most, because the canary's own Service has it with -canary.
	// It cannot be changed.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=56
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="spec.service.name: cannot be changed; delete this Rollout and create one for the other Service"
	Name string `json:"name"`
	// Narrow keeps clients outside the mesh on stable during a release, by adding stable's
	// pod-template-hash to the Service's selector until the release is over. Turn it on only where
	// nothing else applies the Service's selector during a release (a GitOps tool with server-side
	// apply would fight it). When off, clients outside the mesh reach canary pods in proportion to
	// their number, whatever the weight.
	// +optional
	Narrow bool `json:"narrow,omitempty"`
}

// CanaryStrategy is a list of steps.
type CanaryStrategy struct {
	// Steps are taken in order. Weights rise from step to step; after the last step the canary gets
	// all traffic, the old version stays for the bake time, and the release is promoted.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=50
	// +listType=atomic
	// +kubebuilder:validation:XValidation:rule="has(self[0].setWeight)",message="spec.canary.steps[0]: the first step must be setWeight, because a canary without traffic cannot be judged"
	// +kubebuilder:validation:XValidation:rule="self.filter(s, has(s.setWeight)).map(s, s.setWeight).isSorted()",message="spec.canary.steps: setWeight must rise from step to step; put the steps in rising order"
	// +kubebuilder:validation:XValidation:rule="[self.filter(s, has(s.setWeight)).map(s, s.setWeight)].all(weights, weights.all(w, weights.indexOf(w) == weights.lastIndexOf(w)))",message="spec.canary.steps: each setWeight must differ from the others; remove the one that repeats a weight"
	Steps []Step `json:"steps"`
}

// Step is one step of a canary: exactly one of its fields is set.
//
// +kubebuilder:validation:XValidation:rule="(has(self.setWeight) ? 1 : 0) + (has(self.pause) ? 1 : 0) + (has(self.analysis) ? 1 : 0) + (has(self.approval) ? 1 : 0) == 1",message="spec.canary.steps: a step has exactly one of setWeight, pause, analysis, approval; split it into several steps"
type Step struct {
	// SetWeight is the share of requests, in percent, that the canary gets from this step on. The
	// step's clock starts when every proxy has the weight in force. Where no analysis step follows
	// before the next setWeight, the judge looks for spec.analysis.duration and must pass before the
	// release goes on.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	SetWeight *int32 `json:"setWeight,omitempty"`
	// Pause waits: for a duration, or without one until somebody resumes. The judge goes on looking
	// and a failing canary is rolled back.
	// +optional
	Pause *PauseStep `json:"pause,omitempty"`
	// Analysis waits until the judge has looked for a duration and passes the canary, and until the
	// analysis templates that it names have been run with success.
	// +optional
	Analysis *AnalysisStep `json:"analysis,omitempty"`
	// Approval waits until a person approves, in chat or on the command line.
	// +optional
	Approval *ApprovalStep `json:"approval,omitempty"`
}

// PauseStep waits.
type PauseStep struct {
	// Duration of the pause. Absent: until somebody resumes, at most spec.deadlines.release.
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s')",message="spec.canary.steps: pause.duration is a duration such as 90s or 5m, above 0; leave it out to wait until somebody resumes"
	// +optional
	Duration *metav1.Duration `json:"duration,omitempty"`
}

// AnalysisStep judges for a while.
//
// +kubebuilder:validation:XValidation:rule="!has(self.args) || has(self.templates)",message="spec.canary.steps: analysis.args are for templates; name at least one in analysis.templates"
type AnalysisStep struct {
	// Duration for which the judge looks before it may pass the canary. Absent: spec.analysis.duration.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s')",message="spec.canary.steps: analysis.duration is a duration such as 90s or 5m, not negative"
	// +optional
	Duration *metav1.Duration `json:"duration,omitempty"`
	// Templates and their arguments: the step is over when their run has succeeded, too. When it fails, the
	// release is rolled back; when it is inconclusive or in error, the release holds.
	AnalysisRef `json:",inline"`
}

// ApprovalStep waits for a person.
type ApprovalStep struct {
	// Message tells the person what to look at.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Message string `json:"message,omitempty"`
	// Timeout after which the release is rolled back. Absent: spec.deadlines.release.
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s')",message="spec.canary.steps: approval.timeout is a duration such as 30m or 8h, above 0"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
}

// Deadlines bound every phase of a release.
type Deadlines struct {
	// Progress is how long the canary's pods may take to become ready before the release is rolled
	// back.
	// +kubebuilder:default="10m"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="spec.deadlines.progress: at least 1s"
	// +optional
	Progress *metav1.Duration `json:"progress,omitempty"`
	// Acknowledge is how long a proxy may take to have a weight in force. One that does not is named
	// in status and left out.
	// +kubebuilder:default="30s"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="spec.deadlines.acknowledge: at least 1s"
	// +optional
	Acknowledge *metav1.Duration `json:"acknowledge,omitempty"`
	// Analysis is how long the judge may stay inconclusive at one weight, after the duration of the
	// analysis. Then the release holds where it is, marked as inconclusive, until a person decides or
	// the release's own deadline ends it.
	// +kubebuilder:default="5m"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="spec.deadlines.analysis: at least 1s"
	// +optional
	Analysis *metav1.Duration `json:"analysis,omitempty"`
	// Drain is how long requests in flight to a revision without weight may take before its pods go.
	// +kubebuilder:default="10s"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s')",message="spec.deadlines.drain: a duration such as 10s, not negative"
	// +optional
	Drain *metav1.Duration `json:"drain,omitempty"`
	// Release is how long the whole release may take before it is rolled back, waiting for people
	// included.
	// +kubebuilder:default="24h"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="spec.deadlines.release: at least 1s"
	// +optional
	Release *metav1.Duration `json:"release,omitempty"`
}

// Notifications says who is told.
type Notifications struct {
	// Slack posts one message a release, updated as it goes, with a thread for what happens. It needs
	// the installation's Slack token (chart value slack.existingSecret).
	// +optional
	Slack *SlackNotification `json:"slack,omitempty"`
	// Webhooks get every event as JSON by HTTP POST.
	// +kubebuilder:validation:MaxItems=10
	// +listType=map
	// +listMapKey=name
	// +optional
	Webhooks []WebhookNotification `json:"webhooks,omitempty"`
}

// SlackNotification names a channel and the people who may press Approve and Reject in it.
type SlackNotification struct {
	// Channel is a channel's ID (C0123456789) or name (#releases).
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=100
	Channel string `json:"channel"`
	// Approvers are the Slack user IDs (U0123456789) that may approve, besides the installation's.
	// +kubebuilder:validation:MaxItems=100
	// +listType=set
	// +optional
	Approvers []string `json:"approvers,omitempty"`
}

// WebhookNotification is an HTTP endpoint.
type WebhookNotification struct {
	// Name tells webhooks apart in status and logs.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// SecretRef names a Secret in the Rollout's namespace with the key url, and optionally the key
	// token, which is sent as a bearer token.
	SecretRef LocalSecretRef `json:"secretRef"`
}

// LocalSecretRef names a Secret in the Rollout's namespace.
type LocalSecretRef struct {
	// Name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}
