// Package analysis judges a canary from counts of its requests. It is pure: no clients, no clock.
// Package prometheus below it turns a real Prometheus into the counts; package stats holds the tests
// over plain numbers. It knows neither Kubernetes nor the release's steps.
//
// Judge is the rule, from Counts to a Verdict. A Looker takes the counts from a Sampler and applies it.
package analysis

import (
	"time"
)

// Subject is what is judged: one canary at one weight, since that weight was live.
type Subject struct {
	Namespace, Service string
	// Stable and Canary are the revisions (pod-template-hash).
	Stable, Canary string
	// Weight is the canary's share in percent, as the metrics' label has it.
	Weight uint32
	// Since is when the weight became live; nothing before it counts.
	Since time.Time
	// Slow, when above zero, asks for requests that took longer to be counted apart. A Looker sets it
	// from the criteria.
	Slow time.Duration
}

// Criteria are what the canary must meet.
type Criteria struct {
	// SuccessRate is the least share of requests that must succeed, 0 to 1.
	SuccessRate float64
	// LatencyP99 is the longest that 99 of 100 requests may take; zero: not judged.
	LatencyP99 time.Duration
	// MinRequests is how many requests the canary must have answered before it can pass.
	MinRequests int
	// Duration for which the judge must have looked before it may pass the canary.
	Duration time.Duration
}

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
	// Requests that the canary answered, and how many of them were bad.
	Requests, Bad uint64
}
