// Package analysis judges a canary from counts of its requests. It is pure: no clients, no clock.
// Package prometheus below it turns a real Prometheus into the counts; package stats holds the tests
// over plain numbers. It knows neither Kubernetes nor the release's steps.
//
// Assess is the rule, from the Evidence about a Release, and the Settings, to a Verdict. An EvidenceSource
// supplies the evidence.
package analysis

// Outcome is what the judge says.
type Outcome string

// What the judge says.
const (
	Pass         Outcome = "Pass"
	Fail         Outcome = "Fail"
	Inconclusive Outcome = "Inconclusive"
)

// Verdict is the judge's word at one moment.
type Verdict struct {
	Outcome Outcome
	// Reason is one sentence for people, with the numbers.
	Reason string
	// Requests that the canary answered at its present weight, and how many of them were bad.
	Requests, Bad uint64

	// Score is how well the canary does, 0 to 100: the weighted mean of the metrics' scores, or 0 when the
	// canary fails or a critical metric is at 0. Nil: there is no evidence to score.
	Score *float64
	// Metrics are the metrics that were compared and have evidence: success rate first.
	Metrics []MetricVerdict
	// SafeReached says that the canary is known to be below Comparison.Ceiling in every metric, by what was
	// seen at its present weight.
	SafeReached bool
	// LowTraffic says that an inconclusive verdict lacks nothing but requests: the evidence is fresh and in
	// no doubt, and waiting for traffic, or sending some, is all that there is to do.
	LowTraffic bool
	// Detectable says what the comparison could see at the present rate of requests, and by when, for
	// people: a clause without a full stop. Empty: nothing is compared or nothing is known.
	Detectable string
}

// The names of the metrics that are compared.
const (
	// SuccessRate counts requests that failed.
	SuccessRate = "success-rate"
	// Latency counts requests that failed or took longer than a boundary.
	Latency = "latency"
)

// MetricVerdict is what one metric says, over all weights of the release and without warm-ups.
type MetricVerdict struct {
	// Name is SuccessRate or Latency.
	Name string
	// Canary and Control are the bad requests of each. For latency they are those of the boundary that
	// speaks most against the canary, or of the lowest if none does.
	Canary, Control Rate
	// Ratio of the canary's share of bad requests to the control's, weight by weight (Mantel and Haenszel's
	// estimate). +Inf: the control has none; NaN: neither has.
	Ratio float64
	// Low and High are the confidence sequence for the ratio: at any time and however often one looks,
	// each side is wrong with a chance of at most alpha, both together 2 alpha. High may be +Inf. For
	// latency Low holds for the worst of the boundaries and High for the one shown. Both are for a ratio
	// that is the same at all weights, and have no tolerance or slack in them.
	Low, High float64
	// P is the anytime-valid p-value against "not worse than tolerated": 1/E, at most 1.
	P float64
	// LogE is ln E of the same.
	LogE float64
	// Score is 100 without evidence against the canary, falling with LogE to 0 at ln(1/alpha).
	Score float64
	// Weight is the metric's share in the whole, 0 to 1, and Critical as it was set.
	Weight   float64
	Critical bool
	// Reason is a clause for people, with the numbers.
	Reason string
}

// Rate is how many requests were bad out of how many.
type Rate struct{ Bad, Of uint64 }

// Share of the requests that were bad, 0 to 1; NaN without requests.
func (r Rate) Share() float64 { return float64(r.Bad) / float64(r.Of) }
