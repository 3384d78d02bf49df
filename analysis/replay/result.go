package replay

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"time"

	"github.com/sluice-mesh/sluice/analysis"
)

// The names of the judges.
const (
	// JudgeAll is the judge with all that was asked for.
	JudgeAll = "sluice"
	// JudgeComparison compares canary and stable, and JudgeThresholds knows the thresholds only.
	JudgeComparison = "comparison"
	JudgeThresholds = "thresholds"
)

// Outcome is what would have been decided.
type Outcome string

// Outcomes.
const (
	// Promote: the canary passes at each weight before the weight was left.
	Promote Outcome = "Promote"
	// RollBack: the canary fails.
	RollBack Outcome = "RollBack"
	// Hold: the judge could not decide, and the release would have stayed where it was.
	Hold Outcome = "Hold"
)

// Result is what the judge would have said. Its JSON is part of the command line's interface: fields are
// added to it, and none changes its meaning.
type Result struct {
	Namespace string  `json:"namespace,omitempty"`
	Service   string  `json:"service,omitempty"`
	Release   Release `json:"release"`
	// Foreign: the requests were not split by Sluice; see the notes.
	Foreign bool `json:"foreign"`
	// Decisions of the judge as it was asked for, first, and of its parts.
	Decisions []Decision `json:"decisions"`
	// Timeline has a line wherever something changed.
	Timeline []Line `json:"timeline"`
	// Notes are what to know about the data.
	Notes []string `json:"notes,omitempty"`
}

// Decision is what one judge would have decided.
type Decision struct {
	Judge   string  `json:"judge"`
	Outcome Outcome `json:"outcome"`
	// At is when: of a promotion, when the last weight had passed. Null: it holds.
	At *time.Time `json:"at"`
	// AfterSeconds is the same from the first weight on.
	AfterSeconds float64 `json:"afterSeconds,omitempty"`
	// Weight at which it was decided, or at which it holds.
	Weight uint32 `json:"weight"`
	Reason string `json:"reason"`
	// Requests and Bad are the canary's in the whole release up to the decision; those of After, from then
	// until the release ended in fact.
	Requests      uint64 `json:"requests"`
	Bad           uint64 `json:"bad"`
	AfterRequests uint64 `json:"afterRequests"`
	AfterBad      uint64 `json:"afterBad"`
}

// Line is how the judge stood from a time on.
type Line struct {
	Time     time.Time        `json:"time"`
	Weight   uint32           `json:"weight"`
	WarmUp   bool             `json:"warmUp,omitempty"`
	Outcome  analysis.Outcome `json:"outcome"`
	Reason   string           `json:"reason"`
	Safe     bool             `json:"safe,omitempty"`
	Requests Requests         `json:"requests"`
	Score    *float64         `json:"score"`
	Metrics  []Metric         `json:"metrics,omitempty"`

	key string
}

// Requests are what was answered at all weights so far, and how many of these failed.
type Requests struct {
	Canary        uint64 `json:"canary"`
	CanaryFailed  uint64 `json:"canaryFailed"`
	Control       uint64 `json:"control"`
	ControlFailed uint64 `json:"controlFailed"`
}

// Metric is what one metric says; null: it cannot be said. High is null where nothing limits the ratio.
type Metric struct {
	Name       string   `json:"name"`
	CanaryBad  uint64   `json:"canaryBad"`
	CanaryOf   uint64   `json:"canaryOf"`
	ControlBad uint64   `json:"controlBad"`
	ControlOf  uint64   `json:"controlOf"`
	Ratio      *float64 `json:"ratio"`
	Low        *float64 `json:"low"`
	High       *float64 `json:"high"`
	P          *float64 `json:"p"`
	Score      *float64 `json:"score"`
}

// finite is a number that JSON has, else null.
func finite(value float64) *float64 {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return nil
	}
	return &value
}

func metricsOf(verdicts []analysis.MetricVerdict) []Metric {
	var all []Metric
	for _, v := range verdicts {
		all = append(all, Metric{
			Name: v.Name, CanaryBad: v.Canary.Bad, CanaryOf: v.Canary.Of, ControlBad: v.Control.Bad, ControlOf: v.Control.Of,
			Ratio: finite(v.Ratio), Low: finite(v.Low), High: finite(v.High), P: finite(v.P), Score: finite(v.Score),
		})
	}
	return all
}

// requestsOf adds up all weights.
func requestsOf(evidence analysis.Evidence) Requests {
	var sum Requests
	for _, s := range evidence.Strata {
		sum.Canary += s.Seen.Canary.Answered
		sum.CanaryFailed += s.Seen.Canary.Failed
		sum.Control += s.Seen.Control.Answered
		sum.ControlFailed += s.Seen.Control.Failed
	}
	return sum
}

// digits are what changes in a reason without its meaning.
var digits = regexp.MustCompile(`[0-9][0-9.,]*( ms| s|m[0-9.]*s?|h)?`)

// note adds a line where something changed: the weight, the outcome, what a reason says but for its
// numbers, whether the canary is safe or warming up, or the order of magnitude of a p-value.
func (w *walk) note(at time.Time, release analysis.Release, evidence analysis.Evidence, verdict analysis.Verdict) {
	line := Line{
		Time: at.UTC(), Weight: release.Weight, Outcome: verdict.Outcome, Reason: verdict.Reason, Safe: verdict.SafeReached,
		WarmUp: slices.ContainsFunc(release.WarmUps, func(w analysis.Window) bool {
			return !at.Before(w.From) && at.Before(w.Until)
		}),
		Requests: requestsOf(evidence), Score: verdict.Score, Metrics: metricsOf(verdict.Metrics),
	}
	line.key = fmt.Sprint(line.Weight, line.WarmUp, line.Outcome, line.Safe, digits.ReplaceAllString(line.Reason, "#"))
	for _, m := range line.Metrics {
		if m.P != nil {
			line.key += fmt.Sprintf(" %d", int(-math.Log10(max(*m.P, 1e-9))))
		}
	}
	if n := len(w.lines); n > 0 && w.lines[n-1].key == line.key {
		return
	}
	w.lines = append(w.lines, line)
}

// decisionOf is a decision at a time.
func decisionOf(j *judge, outcome Outcome, release analysis.Release, evidence analysis.Evidence, at time.Time) Decision {
	sum := requestsOf(evidence)
	at = at.UTC()
	return Decision{
		Judge: j.name, Outcome: outcome, At: &at, AfterSeconds: at.Sub(release.Since).Seconds(),
		Weight: release.Weight, Reason: j.last.Reason, Requests: sum.Canary, Bad: sum.CanaryFailed,
	}
}

// result puts together what came of the walk.
func (w *walk) result(h Header, c course) Result {
	r := Result{Namespace: h.Namespace, Service: h.Service, Release: c.release, Foreign: h.Foreign != nil, Timeline: w.lines}
	if len(r.Release.BoundarySeconds) == 0 {
		r.Release.BoundarySeconds = seconds(w.seen.Boundaries)
	}
	end := requestsOf(w.seen)
	for _, j := range w.judges {
		if j.decision.Outcome == "" {
			j.decision = w.undecided(j)
		}
		d := j.decision
		d.AfterRequests, d.AfterBad = end.Canary-min(d.Requests, end.Canary), end.CanaryFailed-min(d.Bad, end.CanaryFailed)
		r.Decisions = append(r.Decisions, d)
	}
	r.Notes = w.notes(h, c)
	return r
}

// undecided is the decision of a judge that did not fail the canary: it promotes when the canary passed at
// each weight while that weight was on.
func (w *walk) undecided(j *judge) Decision {
	sum := requestsOf(w.seen)
	d := Decision{Judge: j.name, Outcome: Promote, Requests: sum.Canary, Bad: sum.CanaryFailed}
	for _, weight := range w.release.Weights {
		at, passed := j.passed[weight.Percent]
		d.Weight, d.Reason = weight.Percent, j.words[weight.Percent]
		if !passed {
			d.Outcome, d.At, d.AfterSeconds = Hold, nil, 0
			return d
		}
		at = at.UTC()
		d.At, d.AfterSeconds = &at, at.Sub(w.whole.Since).Seconds()
	}
	return d
}

// notes are what a reader must know.
func (w *walk) notes(h Header, c course) []string {
	var notes []string
	if h.Foreign != nil {
		notes = append(notes,
			"Sluice did not draw this split. Requests are counted when they have ended and the canary's share is the one that was seen, so requests that hang are not seen, and the chance of a wrong rollback holds only as far as the requests were sent to canary and stable at random.")
		if len(h.Foreign.Weights) == 0 {
			notes = append(notes, "The weights are guessed from the shares; what ended within a scrape of a change was left out.")
		}
	}
	if begin := w.whole.Since.Sub(h.From); h.Foreign == nil && !h.From.IsZero() && begin < time.Minute {
		notes = append(notes, "The release may have begun before the time that was asked for, and what was before it is not judged: take an earlier time.")
	}
	if len(w.seen.Boundaries) == 0 {
		notes = append(notes, "Durations are not in the data, so latency was not compared.")
	}
	if n := len(c.release.Pods); n == 1 {
		notes = append(notes, "One pod of the canary got requests: what is wrong with that pod and what is wrong with the version cannot be told apart.")
	}
	if w.seen.Doubt != "" {
		notes = append(notes, "The data cannot be trusted: "+w.seen.Doubt+".")
	}
	return notes
}
