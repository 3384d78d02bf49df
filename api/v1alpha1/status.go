package v1alpha1

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Phase is where a Rollout is. A reader that meets a phase it does not know must change nothing.
type Phase string

// The phases, in the order of a release.
const (
	// PhasePending: no version is known to be good yet, or the spec cannot be acted on (see Stalled).
	PhasePending Phase = "Pending"
	// PhaseHealthy: no release is on; all traffic goes to stable.
	PhaseHealthy Phase = "Healthy"
	// PhaseStarting: a new template is held and its canary pods are starting, at weight 0.
	PhaseStarting Phase = "Starting"
	// PhaseProgressing: the canary has weight and its steps are being taken.
	PhaseProgressing Phase = "Progressing"
	// PhaseBaking: the canary has all traffic; the old pods are still there.
	PhaseBaking Phase = "Baking"
	// PhasePromoting: the canary is being handed to the Deployment.
	PhasePromoting Phase = "Promoting"
	// PhaseRollingBack: weight is going to 0, then the canary drains and goes.
	PhaseRollingBack Phase = "RollingBack"
	// PhaseRolledBack: stable has all traffic; the rejected template is held in the Deployment.
	PhaseRolledBack Phase = "RolledBack"
)

// Condition types, as kstatus reads them.
const (
	// ConditionReady is True when no release is on and the newest template is what runs.
	ConditionReady = "Ready"
	// ConditionReconciling is True while a release is on.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True when a person must act: the message names the field and the remedy.
	ConditionStalled = "Stalled"
)

// Condition reasons.
const (
	ReasonHealthy         = "Healthy"
	ReasonReleasing       = "Releasing"
	ReasonRolledBack      = "RolledBack"
	ReasonInvalid         = "Invalid"
	ReasonWorkloadMissing = "WorkloadMissing"
	ReasonServiceMissing  = "ServiceMissing"
	ReasonServiceMismatch = "ServiceMismatch"
	ReasonConflict        = "Conflict"
	ReasonNotLabelled     = "NotLabelled"
	ReasonInconclusive    = "Inconclusive"
	ReasonWaiting         = "Waiting"
	ReasonDegraded        = "Degraded"
)

// RolloutStatus says where a release is. It is also the operator's whole memory: after a restart at
// any point it goes on from here and from the objects in the cluster.
type RolloutStatus struct {
	// ObservedGeneration is the spec's generation that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Phase is where the Rollout is.
	// +optional
	Phase Phase `json:"phase,omitempty"`
	// Message is one sentence for people: what is happening and why.
	// +optional
	Message string `json:"message,omitempty"`
	// Stable is the version that gets the traffic when no release is on.
	// +optional
	Stable *Revision `json:"stable,omitempty"`
	// Canary is the version being released; after a rollback, the one that was rejected.
	// +optional
	Canary *Revision `json:"canary,omitempty"`
	// Baseline is stable's version, started together with the canary to be compared with it; only during a
	// release whose spec.analysis.compare.against is Baseline.
	// +optional
	Baseline *Revision `json:"baseline,omitempty"`
	// Release is the release that is on, or the last one.
	// +optional
	Release *Release `json:"release,omitempty"`
	// Step is the step being taken.
	// +optional
	Step *StepStatus `json:"step,omitempty"`
	// Weight is the canary's share of requests.
	// +optional
	Weight WeightStatus `json:"weight,omitempty"`
	// Verdicts are what the judge said last, newest first, at most ten.
	// +kubebuilder:validation:MaxItems=10
	// +listType=atomic
	// +optional
	Verdicts []Verdict `json:"verdicts,omitempty"`
	// Analyses are the runs of analysis templates of the release, in the order in which they began.
	// +kubebuilder:validation:MaxItems=60
	// +listType=map
	// +listMapKey=stage
	// +optional
	Analyses []AnalysisStatus `json:"analyses,omitempty"`
	// Paused is set while a person has paused the release.
	// +optional
	Paused *PausedStatus `json:"paused,omitempty"`
	// LastCommand is the last command from a person that was acted on or refused.
	// +optional
	LastCommand *CommandStatus `json:"lastCommand,omitempty"`
	// Narrowed remembers the Service's own selector while it is narrowed to stable.
	// +optional
	Narrowed *NarrowedStatus `json:"narrowed,omitempty"`
	// Conditions are Ready, Reconciling and Stalled.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Revision is one version of the workload.
type Revision struct {
	// Hash is the value of the label pod-template-hash on its pods.
	Hash string `json:"hash"`
	// TemplateHash is Sluice's own hash of the pod template as the Deployment had it, by which a
	// template is recognised when it comes again.
	// +optional
	TemplateHash string `json:"templateHash,omitempty"`
	// ReplicaSet is the name of its ReplicaSet.
	// +optional
	ReplicaSet string `json:"replicaSet,omitempty"`
	// Images are its containers' images, for people.
	// +listType=atomic
	// +optional
	Images []string `json:"images,omitempty"`
	// Replicas is how many pods it should have.
	// +optional
	Replicas int32 `json:"replicas,omitempty"`
	// Ready is how many of its pods are ready.
	// +optional
	Ready int32 `json:"ready,omitempty"`
}

// Release is one attempt to release one template.
type Release struct {
	// ID tells releases apart: the canary's template hash and a counter.
	ID string `json:"id"`
	// Attempt counts the releases of this Rollout, from 1.
	Attempt int64 `json:"attempt"`
	// StartedAt is when the new template was seen.
	StartedAt metav1.MicroTime `json:"startedAt"`
	// PhaseSince is when the phase was entered.
	PhaseSince metav1.MicroTime `json:"phaseSince"`
	// EndedAt is when it was promoted or rolled back.
	// +optional
	EndedAt *metav1.MicroTime `json:"endedAt,omitempty"`
	// Outcome is Promoted or RolledBack once it has ended.
	// +optional
	Outcome string `json:"outcome,omitempty"`
	// Reason is why it was rolled back, in one sentence.
	// +optional
	Reason string `json:"reason,omitempty"`
	// ExpeditedBy is the person who ordered the promotion without the remaining steps.
	// +optional
	ExpeditedBy string `json:"expeditedBy,omitempty"`
	// Weights are the weights above 0 that were decided, in order.
	// +kubebuilder:validation:MaxItems=100
	// +listType=atomic
	// +optional
	Weights []DecidedWeight `json:"weights,omitempty"`
	// WarmUps are when canary pods were too new to be compared, in order, apart from each other.
	// +kubebuilder:validation:MaxItems=50
	// +listType=atomic
	// +optional
	WarmUps []WarmUp `json:"warmUps,omitempty"`
}

// DecidedWeight is one decision about the weight.
type DecidedWeight struct {
	// Percent of the requests that the canary gets.
	Percent int32 `json:"percent"`
	// DecidedAt is when.
	DecidedAt metav1.MicroTime `json:"decidedAt"`
}

// WarmUp is a time whose requests do not count in the comparison.
type WarmUp struct {
	// From is its begin.
	From metav1.MicroTime `json:"from"`
	// Until is its end.
	Until metav1.MicroTime `json:"until"`
}

// Outcomes of a release.
const (
	OutcomePromoted   = "Promoted"
	OutcomeRolledBack = "RolledBack"
)

// StepStatus is the step being taken.
type StepStatus struct {
	// Index of the step in spec.canary.steps, from 0; the number of steps once all are done.
	Index int32 `json:"index"`
	// Display is the step for people, such as "2/5 analysis".
	Display string `json:"display"`
	// Since is when its clock started: for setWeight, when the weight was live everywhere.
	// +optional
	Since *metav1.MicroTime `json:"since,omitempty"`
	// ApprovedBy is who approved this step.
	// +optional
	ApprovedBy string `json:"approvedBy,omitempty"`
	// InconclusiveSince is when the judge's deadline passed without a verdict.
	// +optional
	InconclusiveSince *metav1.MicroTime `json:"inconclusiveSince,omitempty"`
}

// WeightStatus is the canary's share of requests, in percent.
type WeightStatus struct {
	// Desired is the weight that every operator replica publishes to the mesh.
	Desired int32 `json:"desired"`
	// Baseline is the baseline's share of requests in percent, decided together with Desired; the rest is
	// stable's.
	// +optional
	Baseline int32 `json:"baseline,omitempty"`
	// Live is the last weight that was in force on every proxy expected to act.
	Live int32 `json:"live"`
	// Epoch counts the decisions about the weight; it only rises. A proxy refuses an older one.
	Epoch int64 `json:"epoch"`
	// DecidedAt is when Desired was decided.
	// +optional
	DecidedAt *metav1.MicroTime `json:"decidedAt,omitempty"`
	// LiveAt is when Desired became live on every proxy expected to act.
	// +optional
	LiveAt *metav1.MicroTime `json:"liveAt,omitempty"`
	// Lagging names proxies that did not acknowledge the weight by the deadline and were left out.
	// +kubebuilder:validation:MaxItems=20
	// +listType=atomic
	// +optional
	Lagging []string `json:"lagging,omitempty"`
}

// VerdictOutcome is what the judge says.
type VerdictOutcome string

// What the judge says.
const (
	VerdictPass         VerdictOutcome = "Pass"
	VerdictFail         VerdictOutcome = "Fail"
	VerdictInconclusive VerdictOutcome = "Inconclusive"
)

// Verdict is what the judge said at one weight.
type Verdict struct {
	// Outcome is Pass, Fail or Inconclusive.
	Outcome VerdictOutcome `json:"outcome"`
	// Reason is one sentence for people, with the numbers.
	Reason string `json:"reason"`
	// Weight at which the canary was judged.
	Weight int32 `json:"weight"`
	// Epoch of the weight at which the canary was judged.
	Epoch int64 `json:"epoch"`
	// At is when the judge said so.
	At metav1.MicroTime `json:"at"`
	// LowTraffic: nothing but requests is missing for a decision.
	// +optional
	LowTraffic bool `json:"lowTraffic,omitempty"`
	// Score is from 0 (as bad as what is rolled back) to 100 (nothing speaks against the canary). Absent:
	// there is no evidence to score.
	// +optional
	Score *int32 `json:"score,omitempty"`
	// Metrics are what was compared.
	// +kubebuilder:validation:MaxItems=5
	// +listType=map
	// +listMapKey=name
	// +optional
	Metrics []MetricVerdict `json:"metrics,omitempty"`
}

// MetricVerdict is what the judge says about one metric, canary against stable. Numbers are written with
// fixed decimals.
type MetricVerdict struct {
	// Name is success-rate or latency.
	Name string `json:"name"`
	// Canary is how many of the canary's requests were bad, such as "21/1000".
	// +optional
	Canary string `json:"canary,omitempty"`
	// Control is the same of stable.
	// +optional
	Control string `json:"control,omitempty"`
	// Ratio is how many times as often as stable's the canary's requests are bad; absent where stable has
	// nothing to compare with.
	// +optional
	Ratio string `json:"ratio,omitempty"`
	// Low is the least ratio that the evidence leaves open, over all looks.
	// +optional
	Low string `json:"low,omitempty"`
	// High is the greatest such ratio; absent where there is none.
	// +optional
	High string `json:"high,omitempty"`
	// P is the chance, at most, of ever seeing so much evidence from a canary that is as good as tolerated.
	// +optional
	P string `json:"p,omitempty"`
	// Score of this metric, from 0 to 100.
	// +optional
	Score *int32 `json:"score,omitempty"`
	// Critical: the whole score is 0 when this one is.
	// +optional
	Critical bool `json:"critical,omitempty"`
}

// Stages of a release at which analysis templates are run; StageOfStep is for the one of a step.
const (
	StageBackground      = "background"
	StageBeforePromotion = "before-promotion"
	StageAfterPromotion  = "after-promotion"
)

// StageOfStep is the stage of the step with this index in spec.canary.steps.
func StageOfStep(index int32) string { return fmt.Sprintf("step-%d", index) }

// AnalysisStatus is one run of analysis templates in a release.
type AnalysisStatus struct {
	// Stage is background, step-<index>, before-promotion or after-promotion.
	Stage string `json:"stage"`
	// Run is the name of the AnalysisRun.
	// +optional
	Run string `json:"run,omitempty"`
	// Phase is where it is.
	Phase RunPhase `json:"phase"`
	// Message says why it ended as it did.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Message string `json:"message,omitempty"`
}

// PausedStatus says who paused the release and when.
type PausedStatus struct {
	// By is the person.
	By string `json:"by"`
	// Since is when.
	Since metav1.MicroTime `json:"since"`
}

// NarrowedStatus remembers what narrowing must undo.
type NarrowedStatus struct {
	// Service is the name of the Service.
	Service string `json:"service"`
	// ServiceUID tells a Service of the same name that came later.
	ServiceUID string `json:"serviceUID"`
	// WorkloadUID is the Deployment's for whose sake the Service was narrowed.
	WorkloadUID string `json:"workloadUID"`
	// Hash is stable's pod-template-hash that was added to the selector.
	Hash string `json:"hash"`
}
