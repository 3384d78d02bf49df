package analysis

import "time"

// Settings are what the judge demands of a canary.
type Settings struct {
	// Compare says how the canary is compared with its control. Nil: it is not.
	Compare *Comparison
	// SuccessRate is the least share of requests that must succeed, 0 to 1. Zero: no such threshold.
	SuccessRate float64
	// LatencyP99 is the longest that 99 of 100 requests may take. Zero: no such threshold. A boundary of
	// the evidence must be at or just above it, so Release.Threshold must say the same.
	LatencyP99 time.Duration
	// MinRequests is how many requests the canary must have answered at its weight before it can pass,
	// unless it is known to be safe before.
	MinRequests int
	// Duration for which the judge must have looked, warm-ups not counted, before it may pass the canary.
	Duration time.Duration
}

// Comparison is the sequential test of the canary's requests against the control's.
type Comparison struct {
	// Alpha is the chance, over a whole release and all metrics, that a canary is ever failed that is not
	// worse than tolerated: p_canary <= Tolerated p_control + Slack. Inside (0, 1).
	Alpha float64
	// Tolerated is the ratio of bad requests, canary to control, that is borne (r0 of the design); above 0.
	Tolerated float64
	// Slack is the share of requests that may be bad on top (delta), 0 to 1.
	Slack float64

	// Ceiling and SafeSlack are what safe means: p_canary < Ceiling p_control + SafeSlack.
	Ceiling, SafeSlack float64
	// Beta is the chance that a canary at or above the ceiling is ever called safe. Inside (0, 1).
	Beta float64

	// GuardAlpha is the same as Alpha for the guard against catastrophes, on top of it. Inside (0, 1).
	GuardAlpha float64

	// Dispersion is E[k^2]/E[k] of the bad requests k of one client (phi); at least 1, which is right when
	// clients fail independently of what happened to them before.
	Dispersion float64
	// PodSpread is the standard deviation of the logarithm of the error rates of identical pods (tau).
	// Zero: not known or none.
	PodSpread float64
	// CanaryPods and ControlPods are how many pods served. Zero: not known.
	CanaryPods, ControlPods int

	// Success and Latency say how much each metric counts. A weight of zero leaves it out.
	Success, Latency MetricWeight
}

// MetricWeight says how much a metric counts.
type MetricWeight struct {
	// Weight in relation to the other metrics' weights; not negative.
	Weight float64
	// Critical makes the whole score 0 when the metric's is.
	Critical bool
}

// With is the metric as somebody wants it. No weight leaves that as it is.
func (m MetricWeight) With(weight *int32, critical bool) MetricWeight {
	if weight != nil {
		m.Weight = float64(*weight)
	}
	m.Critical = critical
	return m
}

// DefaultComparison is what is demanded where nothing is said.
func DefaultComparison() Comparison {
	return Comparison{
		Alpha: .01, Tolerated: 1.05, Slack: .0001,
		Ceiling: 2, SafeSlack: .005, Beta: .05,
		GuardAlpha: .001,
		Dispersion: 1,
		Success:    MetricWeight{Weight: 1}, Latency: MetricWeight{Weight: 2},
	}
}
