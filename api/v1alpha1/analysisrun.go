package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AnalysisRun is one use of analysis templates: what is measured, and what came of it. The operator makes
// one for each analysis of a release, and keeps the newest ten of a Rollout that have ended. One made by
// hand, with metrics of its own, is run in the same way.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=ar,categories=sluice
// +kubebuilder:printcolumn:name="Rollout",type=string,JSONPath=`.spec.rollout`
// +kubebuilder:printcolumn:name="Stage",type=string,JSONPath=`.spec.stage`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Score",type=integer,JSONPath=`.status.score`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="metadata.name: at most 63 characters, because it is also a label's value; choose a shorter name"
type AnalysisRun struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what is measured. Only terminate can be changed.
	Spec AnalysisRunSpec `json:"spec"`
	// Status says what came of it. It is written by the operator only.
	// +optional
	Status AnalysisRunStatus `json:"status,omitempty"`
}

// AnalysisRunList is a list of AnalysisRuns.
//
// +kubebuilder:object:root=true
type AnalysisRunList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AnalysisRun `json:"items"`
}

// AnalysisRunSpec says what is measured.
//
// +kubebuilder:validation:XValidation:rule="has(self.rollout) == has(oldSelf.rollout) && (!has(self.rollout) || self.rollout == oldSelf.rollout) && has(self.release) == has(oldSelf.release) && (!has(self.release) || self.release == oldSelf.release) && has(self.stage) == has(oldSelf.stage) && (!has(self.stage) || self.stage == oldSelf.stage) && has(self.revisions) == has(oldSelf.revisions) && (!has(self.revisions) || self.revisions == oldSelf.revisions) && has(self.since) == has(oldSelf.since) && (!has(self.since) || self.since == oldSelf.since)",message="spec: nothing but terminate can be changed; create another run"
// +kubebuilder:validation:XValidation:rule="has(self.args) == has(oldSelf.args)",message="spec.args: cannot be changed; create another run"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.terminate) || !oldSelf.terminate || (has(self.terminate) && self.terminate)",message="spec.terminate: a run that was terminated does not go on; create another"
type AnalysisRunSpec struct {
	// Rollout that the run belongs to. Empty: made by hand.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Rollout string `json:"rollout,omitempty"`
	// Release is the Rollout's status.release.id.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Release string `json:"release,omitempty"`
	// Stage of the release, as in the Rollout's status.analyses.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Stage string `json:"stage,omitempty"`
	// Revisions are the versions of the release, for metrics that compare.
	// +kubebuilder:default={}
	// +optional
	Revisions RunRevisions `json:"revisions,omitempty"`
	// Since is when the canary got its first weight: range queries do not go further back, where there was
	// no canary to compare.
	// +optional
	Since *metav1.MicroTime `json:"since,omitempty"`
	// Args are the arguments' values. Those from Secrets are read for each measurement.
	// +kubebuilder:validation:MaxItems=60
	// +kubebuilder:validation:XValidation:rule="self.all(a, has(a.value) || (has(a.valueFrom) && has(a.valueFrom.secretKeyRef)))",message="spec.args: an argument of a run has value or valueFrom.secretKeyRef"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="spec.args: cannot be changed; create another run"
	// +listType=map
	// +listMapKey=name
	// +optional
	Args []Argument `json:"args,omitempty"`
	// Metrics are measured side by side. The run succeeds when all of them do.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=40
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="spec.metrics: cannot be changed; create another run"
	// +listType=map
	// +listMapKey=name
	Metrics []Metric `json:"metrics"`
	// Terminate ends the run before all is measured.
	// +optional
	Terminate bool `json:"terminate,omitempty"`
}

// RunRevisions are the versions of a release, by pod-template-hash.
type RunRevisions struct {
	// Canary is the version being released.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Canary string `json:"canary,omitempty"`
	// Stable is the version that it is compared with.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Stable string `json:"stable,omitempty"`
	// Baseline is stable's version, started together with the canary, where there is one.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Baseline string `json:"baseline,omitempty"`
}

// RunPhase is where an AnalysisRun, a metric of it, or a measurement is.
type RunPhase string

// The phases of a run. The last four are its end.
const (
	// RunPending: nothing has been measured yet.
	RunPending RunPhase = "Pending"
	// RunRunning: there is more to measure.
	RunRunning RunPhase = "Running"
	// RunSuccessful: everything was measured and is as it should be.
	RunSuccessful RunPhase = "Successful"
	// RunFailed: more failed than may.
	RunFailed RunPhase = "Failed"
	// RunInconclusive: it is neither good nor bad, or was ended before enough was measured.
	RunInconclusive RunPhase = "Inconclusive"
	// RunError: it could not be measured.
	RunError RunPhase = "Error"
)

// Ended tells whether a run, metric or measurement in this phase is over.
func (p RunPhase) Ended() bool {
	return p == RunSuccessful || p == RunFailed || p == RunInconclusive || p == RunError
}

// AnalysisRunStatus says what came of a run. It is also the operator's whole memory of it.
type AnalysisRunStatus struct {
	// Phase is where the run is.
	// +optional
	Phase RunPhase `json:"phase,omitempty"`
	// Message is one sentence for people: what decided the phase, with field and remedy where there is one.
	// +optional
	Message string `json:"message,omitempty"`
	// Score from 0 to 100 over the metrics that have a result, by their weights; 0 when a critical one
	// failed. Absent: no metric has a result yet.
	// +optional
	Score *int32 `json:"score,omitempty"`
	// StartedAt is when the run began.
	// +optional
	StartedAt *metav1.MicroTime `json:"startedAt,omitempty"`
	// CompletedAt is when it ended.
	// +optional
	CompletedAt *metav1.MicroTime `json:"completedAt,omitempty"`
	// Metrics are the results, in the order of the spec.
	// +listType=map
	// +listMapKey=name
	// +optional
	Metrics []MetricStatus `json:"metrics,omitempty"`
}

// MetricStatus is what came of one metric.
type MetricStatus struct {
	// Name of the metric.
	Name string `json:"name"`
	// Phase is where the metric is.
	Phase RunPhase `json:"phase"`
	// Message says why, where there is something to say.
	// +optional
	Message string `json:"message,omitempty"`
	// DryRun metrics have no say in the outcome.
	// +optional
	DryRun bool `json:"dryRun,omitempty"`
	// Count is how many measurements have ended, those in error left out.
	// +optional
	Count int32 `json:"count,omitempty"`
	// Successful is how many measurements succeeded.
	// +optional
	Successful int32 `json:"successful,omitempty"`
	// Failed is how many measurements failed.
	// +optional
	Failed int32 `json:"failed,omitempty"`
	// Inconclusive is how many measurements were inconclusive.
	// +optional
	Inconclusive int32 `json:"inconclusive,omitempty"`
	// Error is how many measurements ended in an error.
	// +optional
	Error int32 `json:"error,omitempty"`
	// ConsecutiveError is how many of the last measurements ended in an error, in a row.
	// +optional
	ConsecutiveError int32 `json:"consecutiveError,omitempty"`
	// Measurements are the last ones, newest last, at most ten.
	// +kubebuilder:validation:MaxItems=10
	// +listType=atomic
	// +optional
	Measurements []Measurement `json:"measurements,omitempty"`
}

// Measurement is one result, judged.
type Measurement struct {
	// Phase is Successful, Failed, Inconclusive or Error; Running while a Job has not ended.
	Phase RunPhase `json:"phase"`
	// Value that was measured, shortened.
	// +optional
	Value string `json:"value,omitempty"`
	// Message says why, where there is something to say.
	// +optional
	Message string `json:"message,omitempty"`
	// StartedAt is when it was begun.
	StartedAt metav1.MicroTime `json:"startedAt"`
	// FinishedAt is when it ended.
	// +optional
	FinishedAt *metav1.MicroTime `json:"finishedAt,omitempty"`
	// Job is the name of the Job that measured.
	// +optional
	Job string `json:"job,omitempty"`
}
