package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AnalysisSpec says what the judge demands of the canary. By default it compares the canary's errors and
// latency with those of stable at the same time; thresholds hold besides.
//
// +kubebuilder:validation:XValidation:rule="!has(self.compare) || !has(self.compare.enabled) || self.compare.enabled || has(self.successRate) || has(self.latencyP99)",message="spec.analysis: with compare.enabled false nothing is judged; set successRate or latencyP99"
type AnalysisSpec struct {
	// Duration for which the judge looks at each weight, where no analysis step says otherwise. It counts
	// from when the weight is live and the canary has warmed up.
	// +kubebuilder:default="1m"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s')",message="spec.analysis.duration: a duration such as 90s or 5m, not negative"
	// +optional
	Duration *metav1.Duration `json:"duration,omitempty"`
	// Interval between two looks. A failing canary is rolled back at the first look that shows it.
	// +kubebuilder:default="1s"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('100ms')",message="spec.analysis.interval: at least 100ms"
	// +optional
	Interval *metav1.Duration `json:"interval,omitempty"`
	// SuccessRate is the least share of the canary's requests that must succeed, in percent, such as
	// "99" or "99.5". A request fails with a status of 500 or above, a gRPC status that blames the
	// server, or when it never got an answer. Absent: there is no such threshold, and the canary's errors
	// are only compared with stable's.
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="self.matches('^(100|[0-9]{1,2}(\\\\.[0-9]{1,4})?)$')",message="spec.analysis.successRate: a percentage such as 99 or 99.5, without a percent sign"
	// +optional
	SuccessRate string `json:"successRate,omitempty"`
	// LatencyP99 is the longest that 99 of 100 of the canary's requests may take. Absent: there is no such
	// threshold, and the canary's latency is only compared with stable's.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms') && duration(self) <= duration('1m')",message="spec.analysis.latencyP99: between 1ms and 1m"
	// +optional
	LatencyP99 *metav1.Duration `json:"latencyP99,omitempty"`
	// MinRequests is how many requests the canary must have answered at a weight before it can pass.
	// Fewer is inconclusive, never a pass, unless the comparison shows sooner that it is safe.
	// +kubebuilder:default=50
	// +kubebuilder:validation:Minimum=1
	// +optional
	MinRequests *int32 `json:"minRequests,omitempty"`
	// Compare says how the canary is compared with stable.
	// +kubebuilder:default={}
	// +optional
	Compare CompareSpec `json:"compare,omitempty"`
	// LowTraffic says what happens when the judge could not decide by spec.deadlines.analysis for nothing
	// but lack of requests: Hold waits for a person, Fail rolls back, Pass goes on. Any other doubt, such
	// as a Prometheus that is away, always holds.
	// +kubebuilder:default=Hold
	// +kubebuilder:validation:Enum=Hold;Fail;Pass
	// +optional
	LowTraffic LowTrafficPolicy `json:"lowTraffic,omitempty"`
	// Background runs analysis templates beside the steps, until the release ends. When the run fails, the
	// release is rolled back; when it is inconclusive or in error, the release holds where it is.
	// +optional
	Background *BackgroundAnalysis `json:"background,omitempty"`
	// BeforePromotion runs analysis templates once the canary has all traffic. It must succeed before the
	// version is promoted; when it fails, the release is rolled back.
	// +kubebuilder:validation:XValidation:rule="has(self.templates)",message="spec.analysis.beforePromotion.templates: name at least one template"
	// +optional
	BeforePromotion *AnalysisRef `json:"beforePromotion,omitempty"`
	// AfterPromotion runs analysis templates after the release has ended well. What comes of it is
	// reported; nothing is rolled back.
	// +kubebuilder:validation:XValidation:rule="has(self.templates)",message="spec.analysis.afterPromotion.templates: name at least one template"
	// +optional
	AfterPromotion *AnalysisRef `json:"afterPromotion,omitempty"`
}

// BackgroundAnalysis runs beside the steps.
//
// +kubebuilder:validation:XValidation:rule="has(self.templates)",message="spec.analysis.background.templates: name at least one template"
type BackgroundAnalysis struct {
	AnalysisRef `json:",inline"`
	// StartingStep is the index in spec.canary.steps, from 0, of the step with which it begins.
	// +kubebuilder:validation:Minimum=0
	// +optional
	StartingStep int32 `json:"startingStep,omitempty"`
}

// LowTrafficPolicy is what happens when there are too few requests to judge.
type LowTrafficPolicy string

// What happens when there are too few requests to judge.
const (
	LowTrafficHold LowTrafficPolicy = "Hold"
	LowTrafficFail LowTrafficPolicy = "Fail"
	LowTrafficPass LowTrafficPolicy = "Pass"
)

// CompareSpec says how the canary is compared with stable, or a baseline: by a sequential test of requests, which may be
// looked at as often as one likes.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.success) && has(self.success.weight) && self.success.weight == 0 && has(self.latency) && has(self.latency.weight) && self.latency.weight == 0)",message="spec.analysis.compare: success and latency cannot both have weight 0; set enabled to false instead"
type CompareSpec struct {
	// Enabled compares. When false, only the thresholds and a sudden collapse are judged.
	// +kubebuilder:default=true
	// +optional
	Enabled *bool `json:"enabled,omitempty"`
	// Against is what the canary is compared with. Stable: the pods that serve already, and may be warmer or
	// busier for it. Baseline: pods of stable's version that are started together with the canary, as many, and
	// get as many requests, or half of what the canary leaves if that is less; above a weight of 98 nothing is
	// compared. They are removed when the canary has all requests, or is rolled back. A change counts from the
	// next release on.
	// +kubebuilder:default=Stable
	// +kubebuilder:validation:Enum=Stable;Baseline
	// +optional
	Against RevisionName `json:"against,omitempty"`
	// Alpha is the chance, at most, that a canary which is no worse than tolerated is ever rolled back by
	// the comparison in a release, over all metrics, weights and looks. Smaller takes longer to see harm.
	// +kubebuilder:default="0.01"
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="self.matches('^0\\\\.[0-9]{1,6}$') && double(self) >= 0.0001 && double(self) <= 0.2",message="spec.analysis.compare.alpha: a chance such as 0.01, between 0.0001 and 0.2"
	// +optional
	Alpha string `json:"alpha,omitempty"`
	// Tolerance is how many times as many errors, or slow answers, as stable the canary may have.
	// +kubebuilder:default="1.05"
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9]{1,2}(\\\\.[0-9]{1,4})?$') && double(self) >= 1.0 && double(self) <= 10.0",message="spec.analysis.compare.tolerance: a ratio such as 1.05, between 1 and 10"
	// +optional
	Tolerance string `json:"tolerance,omitempty"`
	// Slack is the share of the canary's requests that may be bad beyond the tolerance, such as "0.0001"
	// for 1 of 10,000: where stable has almost no errors, a ratio alone would be too strict.
	// +kubebuilder:default="0.0001"
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="self.matches('^0(\\\\.[0-9]{1,6})?$') && double(self) <= 0.1",message="spec.analysis.compare.slack: a share such as 0.0001, between 0 and 0.1"
	// +optional
	Slack string `json:"slack,omitempty"`
	// WarmUp is how long new canary pods have traffic before it counts: at the first weight, and whenever
	// pods are added. It leaves out stable's requests of that time too. A collapse is seen nevertheless.
	// +kubebuilder:default="60s"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('1h')",message="spec.analysis.compare.warmUp: a duration such as 60s, at most 1h, not negative"
	// +optional
	WarmUp *metav1.Duration `json:"warmUp,omitempty"`
	// LatencyBoundaries are durations beyond which a request is slow, rising, at most five. Absent: chosen
	// from stable's latencies in the hour before the release.
	// +kubebuilder:validation:MaxItems=5
	// +kubebuilder:validation:XValidation:rule="self.all(b, duration(b) >= duration('1ms') && duration(b) <= duration('1m')) && self.map(b, duration(b)).isSorted()",message="spec.analysis.compare.latencyBoundaries: durations between 1ms and 1m in rising order"
	// +listType=atomic
	// +optional
	LatencyBoundaries []metav1.Duration `json:"latencyBoundaries,omitempty"`
	// OverDispersion is how many errors come together when one comes, such as "3" where a client's failed
	// call makes three requests. Larger needs more evidence.
	// +kubebuilder:default="1"
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9]{1,3}(\\\\.[0-9]{1,4})?$') && double(self) >= 1.0 && double(self) <= 100.0",message="spec.analysis.compare.overDispersion: a number such as 1 or 2.5, between 1 and 100"
	// +optional
	OverDispersion string `json:"overDispersion,omitempty"`
	// Success is how errors count among what is compared.
	// +kubebuilder:default={}
	// +optional
	Success MetricWeight `json:"success,omitempty"`
	// Latency is how slow answers count among what is compared. A request that fails counts as slow too.
	// +kubebuilder:default={}
	// +optional
	Latency MetricWeight `json:"latency,omitempty"`
}

// MetricWeight is how one metric counts among several.
type MetricWeight struct {
	// Weight relative to the other metrics; 0 leaves the metric out. Absent: 1 for success, 2 for latency,
	// which sees errors too.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	// +optional
	Weight *int32 `json:"weight,omitempty"`
	// Critical makes the whole score 0 when this metric's is.
	// +optional
	Critical bool `json:"critical,omitempty"`
}
