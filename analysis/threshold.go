package analysis

import (
	"math"
	"time"

	"github.com/sluice-mesh/sluice/analysis/stats"
)

// The errors that the judge accepts. They are chosen so that a canary exactly at its threshold, looked at
// after every single request for as long as a release lasts, is failed by one criterion at one weight in
// fewer than 1 in 1,000 cases (exactly computed in TestFailAtOnceIsRarelyWrong: 0.02 to 0.05 % for 1 to
// 100 bad requests of 1,000 and up to 72,000 requests), and by all that is at the end in about 1 in 800
// (simulated in TestCanariesAtTheThresholdAreRarelyFailed). The theory asks for independent requests;
// failures that come in bursts make it optimistic.
const (
	// LookError is the chance, at each look, that so many bad requests are luck, below which the canary
	// fails at once.
	LookError = 1e-5
	// EndError is the same once the duration is over and the canary has its requests.
	EndError = 1e-4
	// checkError is the chance below which a check of the data says that something is wrong with them.
	checkError = 1e-3
	// slowShare of the requests may be slower than the 99th percentile.
	slowShare = .01
)

// trial is one criterion with what was seen of it.
type trial struct {
	// bad requests of so many, and the share that may be.
	bad, of uint64
	allowed float64
	// stable's, for people to compare; not tested.
	stableBad, stableOf uint64
	// latency and its parts, where that is the criterion.
	latency, boundary     time.Duration
	failed, slow, overdue uint64
}

// chance that a canary just at its threshold has at least as many bad requests.
func (t trial) chance() float64 {
	return stats.BinomialTail(t.bad, t.of, min(max(t.allowed, 0), 1))
}

// met says whether what was seen meets the criterion. A hair is granted to the arithmetic of shares.
func (t trial) met() bool {
	return float64(t.bad) <= t.allowed*float64(t.of)+1e-9*math.Max(1, float64(t.of))
}

// trialsAt makes the trials of the thresholds that are set, from what was seen at the present weight: the
// success rate first. Requests that hang count as failed where the control's, of which there must be some,
// do not hang likewise: else they may simply be long.
func trialsAt(settings Settings, evidence Evidence, present Pair) []trial {
	canary, control := present.Canary, present.Control
	var trials []trial
	if settings.SuccessRate > 0 {
		t := trial{
			bad: canary.Failed, of: canary.Answered, allowed: 1 - settings.SuccessRate,
			stableBad: control.Failed, stableOf: control.Answered,
		}
		if control.Started > 0 && exceeds(canary.Hanging, control.Hanging, canary.Started, control.Started, LookError) {
			t.overdue, t.boundary = canary.Hanging, evidence.Patience
			t.bad += canary.Hanging
			t.of += canary.Hanging
		}
		trials = append(trials, t)
	}
	if i, found := boundaryOf(settings, evidence); found {
		of, control := canary.rate(i), control.rate(i)
		trials = append(trials, trial{
			bad: of.Bad, of: of.Of, allowed: slowShare, stableBad: control.Bad, stableOf: control.Of,
			latency: settings.LatencyP99, boundary: evidence.Boundaries[i],
			failed: canary.Failed, slow: at(canary.Slow, int(i)), overdue: at(canary.Overdue, int(i)),
		})
	}
	return trials
}

// boundaryOf is the boundary by which the latency threshold is judged: the lowest at or above it, if there
// is a threshold and such a boundary.
func boundaryOf(settings Settings, evidence Evidence) (read, bool) {
	if settings.LatencyP99 > 0 {
		for i, boundary := range evidence.Boundaries {
			if boundary >= settings.LatencyP99 {
				return read(i), true
			}
		}
	}
	return 0, false
}

// exceeds says whether the canary has more of something than its share of the begun requests explains.
// With nothing begun at the control there is no explanation.
func exceeds(canary, control, canaryBegun, controlBegun uint64, err float64) bool {
	if controlBegun == 0 {
		return canary > 0
	}
	share := float64(canaryBegun) / float64(canaryBegun+controlBegun)
	return stats.BinomialTail(canary, canary+control, share) <= err
}
