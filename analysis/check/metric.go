package check

import "time"

// Metric is one rule. Its fields mean what those of the same names mean in Argo Rollouts, where it has
// them; the provider and its question are the caller's.
type Metric struct {
	Name string `json:"name"`
	// Interval between two measurements. Zero: one measurement only.
	Interval time.Duration `json:"interval,omitempty"`
	// InitialDelay from the start of the run to the first measurement.
	InitialDelay time.Duration `json:"initialDelay,omitempty"`
	// Count is how many measurements are made, errors not counted. Zero: one without an Interval, else
	// until the run is stopped.
	Count int `json:"count,omitempty"`
	// SuccessCondition and FailureCondition are CEL expressions; see Compile. Failure wins over success;
	// only one given is the other's opposite; neither true is inconclusive.
	SuccessCondition string `json:"successCondition,omitempty"`
	FailureCondition string `json:"failureCondition,omitempty"`
	// FailureLimit and InconclusiveLimit are how many measurements may fail, or say nothing, in all.
	FailureLimit      int `json:"failureLimit,omitempty"`
	InconclusiveLimit int `json:"inconclusiveLimit,omitempty"`
	// ConsecutiveErrorLimit is how many errors may follow one another. Nil: 4.
	ConsecutiveErrorLimit *int `json:"consecutiveErrorLimit,omitempty"`
	// DryRun measures and shows, but decides nothing.
	DryRun bool `json:"dryRun,omitempty"`
	// Weight beside the other metrics in the score. Zero: 1.
	Weight float64 `json:"weight,omitempty"`
	// Critical makes the score of the run 0 when the metric fails.
	Critical bool `json:"critical,omitempty"`
	// Compare, when set, asks the same question about another revision too. Its answer is the second
	// Result of Program.Judge, and the variable stable or baseline of the conditions.
	Compare Compare `json:"compare,omitempty"`
	// MannWhitney, instead of conditions, compares two ranges by their ranks. It needs Compare.
	MannWhitney *MannWhitney `json:"mannWhitney,omitempty"`
}

// Compare is the revision that a metric compares the canary with.
type Compare string

// Revisions to compare with.
const (
	CompareNone     Compare = ""
	CompareStable   Compare = "Stable"
	CompareBaseline Compare = "Baseline"
)

// Direction is which deviation of the canary is harm.
type Direction string

// Directions of harm.
const (
	Increase Direction = "Increase"
	Decrease Direction = "Decrease"
	Either   Direction = "Either"
)

// MannWhitney compares the canary's points with the control's by their ranks, for those who come from
// Kayenta, without its traps: see the comment of mannwhitney.go.
type MannWhitney struct {
	// Direction of harm. Empty: Increase.
	Direction Direction `json:"direction,omitempty"`
	// Tolerance is the shift that is borne, as a share of the control's median. Nil: 0.1.
	Tolerance *float64 `json:"tolerance,omitempty"`
	// Difference is the shift that is borne in the metric's own unit, where that is more. It is what
	// counts when the control's median is zero.
	Difference float64 `json:"difference,omitempty"`
	// Alpha is the chance over all measurements of failing a canary that is within the tolerance. Zero: 0.01.
	Alpha float64 `json:"alpha,omitempty"`
	// MinPoints is how many points each side must have before the canary can pass. Zero: 50.
	MinPoints int `json:"minPoints,omitempty"`
}

// Phase is how a measurement, a metric or a run stands.
type Phase string

// Phases. Pending has no measurement yet.
const (
	Pending      Phase = "Pending"
	Running      Phase = "Running"
	Successful   Phase = "Successful"
	Failed       Phase = "Failed"
	Inconclusive Phase = "Inconclusive"
	Error        Phase = "Error"
)

// Completed reports whether a phase is final.
func (p Phase) Completed() bool {
	return p == Successful || p == Failed || p == Inconclusive || p == Error
}

// Measurement is one answer, judged. Running, it is one that a provider is still at work on, such as a Job.
type Measurement struct {
	Phase Phase `json:"phase"`
	// Value is what was measured, shortened for people.
	Value string `json:"value,omitempty"`
	// Message says in one sentence why the phase is what it is.
	Message string `json:"message,omitempty"`
	// StartedAt is when the provider was asked; FinishedAt, when the answer was judged.
	StartedAt  time.Time `json:"startedAt,omitzero"`
	FinishedAt time.Time `json:"finishedAt,omitzero"`
	// ResumeAt is when a Running measurement is worth another look. Zero: when its provider says so.
	ResumeAt time.Time `json:"resumeAt,omitzero"`
	// Metadata are the provider's notes to itself, such as the name of a Job.
	Metadata map[string]string `json:"metadata,omitempty"`
}

// MetricStatus is how a metric of a run stands: what Step makes of its measurements.
type MetricStatus struct {
	Name    string `json:"name"`
	Phase   Phase  `json:"phase"`
	Message string `json:"message,omitempty"`
	DryRun  bool   `json:"dryRun,omitempty"`
	// Count is Successful + Failed + Inconclusive.
	Count        int `json:"count,omitempty"`
	Successful   int `json:"successful,omitempty"`
	Failed       int `json:"failed,omitempty"`
	Inconclusive int `json:"inconclusive,omitempty"`
	Error        int `json:"error,omitempty"`
	// ConsecutiveError is how many errors followed the last measurement that counted.
	ConsecutiveError int `json:"consecutiveError,omitempty"`
	// Measurements are the newest 10, newest last.
	Measurements []Measurement `json:"measurements,omitempty"`
}

// Times is how many measurements are made before a metric is complete; zero: it goes on until the run
// is stopped.
func (m Metric) Times() int {
	if m.Count == 0 && m.Interval == 0 {
		return 1
	}
	return m.Count
}

// Endless reports whether a metric goes on until the run is stopped. Only a run in the background can
// have such a metric.
func (m Metric) Endless() bool { return m.Times() == 0 }
