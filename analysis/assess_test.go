package analysis_test

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/analysis"
)

var since = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world is what is assessed, for a case to change.
type world struct {
	release  analysis.Release
	settings analysis.Settings
	compare  analysis.Comparison
	evidence analysis.Evidence
	// pair is the only stratum's, seen and tested alike; warmUp keeps it from being tested.
	pair   analysis.Pair
	warmUp bool
	// before are strata of lower weights.
	before []analysis.Stratum
}

// fine is a canary at 10 % that passes after a minute.
func fine(now time.Time) *world {
	return &world{
		release: analysis.Release{
			Namespace: "shop", Service: "cart", Stable: "a", Canary: "b", Since: since,
			Weight: 10, WeightSince: since, Planned: []uint32{10, 50, 100},
		},
		settings: analysis.Settings{MinRequests: 50, Duration: time.Minute},
		compare:  analysis.DefaultComparison(),
		evidence: analysis.Evidence{
			Boundaries: []time.Duration{100 * time.Millisecond, 250 * time.Millisecond}, Patience: 10 * time.Second,
			Newest: now.Add(-800 * time.Millisecond), Interval: time.Second, Sources: 2,
		},
		pair: analysis.Pair{Canary: answered(1000, 4, 50, 10), Control: answered(9000, 36, 450, 90)},
	}
}

// answered requests of which some failed and some were slow, by each boundary.
func answered(n, failed uint64, slow ...uint64) analysis.Requests {
	if len(slow) == 0 {
		slow = []uint64{0, 0}
	}
	return analysis.Requests{Started: n, Answered: n, Failed: failed, Slow: slow}
}

// hanging requests, all of them older than both boundaries and the patience.
func hanging(n uint64) analysis.Requests {
	return analysis.Requests{Started: n, Unfinished: n, Hanging: n, Slow: []uint64{0, 0}, Overdue: []uint64{n, n}}
}

func (w *world) assess(now time.Time) analysis.Verdict {
	w.settings.Compare = &w.compare
	if w.compare == (analysis.Comparison{}) {
		w.settings.Compare = nil
	}
	s := analysis.Stratum{Weight: w.release.Weight, Seen: w.pair, Tested: w.pair}
	if w.warmUp {
		s.Tested = analysis.Pair{}
	}
	w.evidence.Strata = slices.Concat(w.before, []analysis.Stratum{s})
	return analysis.Assess(w.release, w.settings, w.evidence, now)
}

func TestAssess(t *testing.T) {
	const minute = time.Minute
	tests := map[string]struct {
		after   time.Duration
		change  func(w *world)
		outcome analysis.Outcome
		reason  string // the whole sentence, or with … at its end the beginning
	}{
		"an equal canary passes at the end": {
			after: minute, outcome: analysis.Pass,
			reason: "canary errors 0.4 % against 0.4 %: 1.0 times as many and requests failed or slower than 100ms 5.4 % against 5.4 %: 1.0 times as many after 1m",
		},
		"not before the end": {
			after: 12 * time.Second, outcome: analysis.Inconclusive,
			reason: "still looking: canary errors 0.4 % against 0.4 %: 1.0 times as many and requests failed or slower than 100ms 5.4 % against 5.4 %: 1.0 times as many, 12 s of 1m",
		},
		"fails at once on more errors than stable": {
			after: 41 * time.Second, outcome: analysis.Fail,
			change: func(w *world) {
				w.pair = analysis.Pair{Canary: answered(3000, 63, 150, 30), Control: answered(27000, 243, 1350, 270)}
			},
			reason: "canary errors 2.1 % against 0.9 %: 2.3 times as many, p < 0.0001 after 41 s",
		},
		"the same is borne where twice as many are tolerated": {
			after: 41 * time.Second, outcome: analysis.Inconclusive,
			change: func(w *world) {
				w.compare.Tolerated = 2
				w.pair = analysis.Pair{Canary: answered(3000, 63, 150, 30), Control: answered(27000, 243, 1350, 270)}
			},
			reason: "still looking: canary errors 2.1 % against 0.9 %: 2.3 times as many…",
		},
		"or where pods differ that much": {
			after: 41 * time.Second, outcome: analysis.Inconclusive,
			change: func(w *world) {
				w.compare.PodSpread, w.compare.CanaryPods, w.compare.ControlPods = .3, 1, 9
				w.pair = analysis.Pair{Canary: answered(3000, 63, 150, 30), Control: answered(27000, 243, 1350, 270)}
			},
			reason: "still looking…",
		},
		"or where errors come in bursts": {
			after: 41 * time.Second, outcome: analysis.Inconclusive,
			change: func(w *world) {
				w.compare.Dispersion = 3
				w.pair = analysis.Pair{Canary: answered(3000, 63, 150, 30), Control: answered(27000, 243, 1350, 270)}
			},
			reason: "still looking…",
		},
		"one pod may be an odd one": {
			after: 41 * time.Second, outcome: analysis.Fail,
			change: func(w *world) {
				w.compare.CanaryPods = 1
				w.pair = analysis.Pair{Canary: answered(2000, 60, 100, 20), Control: answered(18000, 162, 900, 180)}
			},
			reason: "canary errors 3 % against 0.9 %: 3.3 times as many, p < 0.0001 after 41 s; with one canary pod, pod effects cannot be told apart",
		},
		"errors where stable has none": {
			after: 5 * time.Second, outcome: analysis.Fail,
			change: func(w *world) {
				w.pair = analysis.Pair{Canary: answered(100, 6), Control: answered(900, 0)}
			},
			reason: "canary errors 6 % against 0 % (of 900), p = 0.0001 after 5.0 s",
		},
		"a shared outage is not the canary's": {
			after: 30 * time.Second, outcome: analysis.Inconclusive,
			change: func(w *world) {
				w.pair = analysis.Pair{Canary: answered(1000, 900), Control: answered(9000, 8100)}
			},
			reason: "still looking: canary errors 90 % against 90 %: 1.0 times as many…",
		},
		"slow": {
			after: 30 * time.Second, outcome: analysis.Fail,
			change: func(w *world) { w.pair.Canary = answered(1000, 4, 120, 15) },
			reason: "canary requests failed or slower than 100ms 12.4 % against 5.4 %: 2.3 times as many, p < 0.0001 after 30 s",
		},
		"slow in the tail": {
			after: 30 * time.Second, outcome: analysis.Fail,
			change: func(w *world) { w.pair.Canary = answered(1000, 4, 80, 60) },
			reason: "canary requests failed or slower than 250ms 6.4 % against 1.4 %: 4.6 times as many, p < 0.0001 after 30 s",
		},
		"slow, and latency does not count": {
			after: minute, outcome: analysis.Pass,
			change: func(w *world) {
				w.compare.Latency.Weight = 0
				w.pair.Canary = answered(1000, 4, 120, 15)
			},
			reason: "canary errors 0.4 % against 0.4 %: 1.0 times as many after 1m",
		},
		"failing fast does not look quick": {
			after: 30 * time.Second, outcome: analysis.Fail,
			change: func(w *world) {
				w.compare.Success.Weight = 0
				w.pair.Canary = answered(1000, 40, 20, 0)
			},
			reason: "canary requests failed or slower than 250ms 4 % against 1.4 %: 2.9 times as many…",
		},
		"both errors and slow": {
			after: 30 * time.Second, outcome: analysis.Fail,
			change: func(w *world) { w.pair.Canary = answered(1000, 30, 200, 10) },
			reason: "canary errors 3 % against 0.4 %: 7.5 times as many and requests failed or slower than 100ms 23 % against 5.4 %: 4.3 times as many, p < 0.0001 after 30 s",
		},
		"neither alone, but combined": {
			after: 30 * time.Second, outcome: analysis.Fail,
			change: func(w *world) {
				w.compare.Alpha = .05
				w.pair = analysis.Pair{Canary: answered(1000, 21, 71, 11), Control: answered(9000, 70, 450, 90)}
			},
			reason: "canary errors 2.1 % against 0.78 %: 2.7 times as many and requests failed or slower than 100ms 9.2 % against 5.8 %: 1.6 times as many; combined p = 0.03 after 30 s",
		},
		"hanging requests fail": {
			after: 15 * time.Second, outcome: analysis.Fail,
			change: func(w *world) { w.pair = analysis.Pair{Canary: hanging(30), Control: answered(270, 1)} },
			reason: "canary errors 100 % of 30 requests against 0.37 %: a catastrophe, p < 0.0001 after 15 s",
		},
		"requests that are long at both are not bad": {
			after: minute, outcome: analysis.Inconclusive,
			change: func(w *world) {
				w.compare.Latency.Weight = 0
				w.pair = analysis.Pair{Canary: hanging(300), Control: hanging(2700)}
			},
			reason: "the canary answered 0 requests of the 50 that a pass needs (300 begun, 300 under way)…",
		},
		"the guard fires in the warm-up": {
			after: 3 * time.Second, outcome: analysis.Fail,
			change: func(w *world) {
				w.warmUp = true
				w.release.WarmUps = []analysis.Window{{From: since, Until: since.Add(minute)}}
				w.pair = analysis.Pair{Canary: answered(12, 12), Control: answered(100, 0)}
			},
			reason: "canary errors 100 % of 12 requests against 0 %: a catastrophe, p = 0.0009 after 3.0 s",
		},
		"eleven are too few for it": {
			after: 3 * time.Second, outcome: analysis.Inconclusive,
			change: func(w *world) {
				w.warmUp = true
				w.release.WarmUps = []analysis.Window{{From: since, Until: since.Add(minute)}}
				w.pair = analysis.Pair{Canary: answered(11, 11), Control: answered(100, 0)}
			},
			reason: "warming up for another 57 s: no request to the canary has been answered that counts",
		},
		"the warm-up does not count to the duration": {
			after: 90 * time.Second, outcome: analysis.Inconclusive,
			change: func(w *world) {
				w.release.WarmUps = []analysis.Window{{From: since, Until: since.Add(40 * time.Second)}}
			},
			reason: "still looking: canary errors 0.4 %…",
		},
		"nothing to compare with is no catastrophe": {
			after: minute, outcome: analysis.Inconclusive,
			change: func(w *world) {
				w.pair = analysis.Pair{Canary: answered(60, 60), Control: hanging(540)}
				w.pair.Control.Hanging = 0
			},
			reason: "stable answered no requests, so there is nothing to compare the canary with…",
		},
		"harm is remembered from the weights before": {
			after: 41 * time.Second, outcome: analysis.Fail,
			change: func(w *world) {
				w.release.Weight, w.release.WeightSince = 50, since.Add(40*time.Second)
				pair := analysis.Pair{Canary: answered(2000, 60, 100, 20), Control: answered(18000, 162, 900, 180)}
				w.before = []analysis.Stratum{{Weight: 10, Seen: pair, Tested: pair}}
				w.pair = analysis.Pair{Canary: answered(50, 0), Control: answered(50, 0)}
			},
			reason: "canary errors 2.9 % against 0.88 %: 3.3 times as many, p < 0.0001 after 41 s",
		},
		"a weight that is there twice": {
			after: minute, outcome: analysis.Inconclusive,
			change: func(w *world) { w.before = []analysis.Stratum{{Weight: 10}} },
			reason: "the counts cannot be trusted: the weight of 10 % is there twice",
		},
		"an error rate that changed with the weight does not mislead": {
			after: 2 * minute, outcome: analysis.Pass,
			change: func(w *world) { // an outage of both at 10 %, where most requests were stable's
				w.release.Weight, w.release.WeightSince = 50, since.Add(minute)
				pair := analysis.Pair{Canary: answered(1000, 100), Control: answered(9000, 900)}
				w.before = []analysis.Stratum{{Weight: 10, Seen: pair, Tested: pair}}
				w.pair = analysis.Pair{Canary: answered(5000, 5), Control: answered(5000, 5)}
			},
			reason: "canary errors 1.8 % against 1.8 %: 1.0 times as many…",
		},
		"a baseline is drawn as often as the canary": {
			after: 41 * time.Second, outcome: analysis.Fail,
			change: func(w *world) {
				w.release.Control = "base"
				w.pair = analysis.Pair{Canary: answered(1000, 60), Control: answered(1000, 9)}
			},
			reason: "canary errors 6 % against 0.9 %: 6.7 times as many…",
		},
		"a baseline that is starved": {
			after: minute, outcome: analysis.Inconclusive,
			change: func(w *world) {
				w.release.Control = "base"
				w.pair = analysis.Pair{Canary: answered(1000, 9), Control: answered(300, 3)}
			},
			reason: "the canary got 76.9 % of 1300 requests where its share is 50 %, so the split is not as asked",
		},

		"too few": {
			after: minute, outcome: analysis.Inconclusive,
			change: func(w *world) {
				w.pair = analysis.Pair{Canary: answered(20, 0), Control: answered(160, 2)}
			},
			reason: "the canary answered 20 requests of the 50 that a pass needs (20 begun, 0 under way); at 3 requests a second a doubling of 1.2 % shows in about 2 h, five times as many in about 11 min",
		},
		"too few, but known to be safe": {
			after: minute, outcome: analysis.Pass,
			change: func(w *world) {
				w.settings.MinRequests = 5000
				w.pair = analysis.Pair{Canary: answered(1000, 0), Control: answered(9000, 36, 450, 90)}
			},
			reason: "canary errors 0 % (of 1000) against 0.4 %…",
		},
		"safe before is not safe at this weight": {
			after: 2 * minute, outcome: analysis.Inconclusive,
			change: func(w *world) {
				w.settings.MinRequests = 5000
				w.release.Weight, w.release.WeightSince = 50, since.Add(minute)
				pair := analysis.Pair{Canary: answered(1000, 0), Control: answered(9000, 36, 450, 90)}
				w.before = []analysis.Stratum{{Weight: 10, Seen: pair, Tested: pair}}
				w.pair = analysis.Pair{Canary: answered(100, 0), Control: answered(100, 0)}
			},
			reason: "the canary answered 100 requests of the 5000 that a pass needs…",
		},
		"what was answered in the warm-up is not enough": {
			after: 2 * minute, outcome: analysis.Inconclusive,
			change: func(w *world) { w.warmUp = true },
			reason: "the canary answered 0 requests of the 50 that a pass needs…",
		},
		"none at all": {
			after: minute, outcome: analysis.Inconclusive,
			change: func(w *world) { w.settings.MinRequests, w.pair = 0, analysis.Pair{} },
			reason: "the canary answered 0 requests of the 1 that a pass needs (0 begun, 0 under way)",
		},

		"stale": {
			after: minute, outcome: analysis.Inconclusive,
			change: func(w *world) { w.evidence.Newest = since.Add(56900 * time.Millisecond) },
			reason: "the newest counts are 3.1 s old, more than three scrapes of 1.0 s",
		},
		"harm seen in old counts is harm": {
			after: minute, outcome: analysis.Fail,
			change: func(w *world) {
				w.evidence.Newest = since.Add(10 * time.Second)
				w.pair.Canary = answered(1000, 500)
			},
			reason: "canary errors 50 % of 1000 requests against 0.4 %: a catastrophe, p < 0.0001 after 1m",
		},
		"from the future": {
			after: minute, outcome: analysis.Inconclusive,
			change: func(w *world) { w.evidence.Newest = since.Add(70 * time.Second) },
			reason: "the newest counts are 10 s ahead of the clock here",
		},
		"no scrape": {
			after: minute, outcome: analysis.Inconclusive,
			change: func(w *world) { w.evidence, w.pair = analysis.Evidence{}, analysis.Pair{} },
			reason: "no source reports requests of the service",
		},
		"one scrape": {
			after: minute, outcome: analysis.Inconclusive,
			change: func(w *world) { w.evidence.Interval = 0 },
			reason: "only one scrape has been made…",
		},
		"a source is out of sight": {
			after: minute, outcome: analysis.Inconclusive,
			change: func(w *world) { w.evidence.Unscraped = 1 },
			reason: "1 of 2 sources of requests cannot be scraped",
		},
		"doubt stops a failure too": {
			after: minute, outcome: analysis.Inconclusive,
			change: func(w *world) { w.pair.Canary.Failed, w.evidence.Doubt = 900, "series are there twice" },
			reason: "the counts cannot be trusted: series are there twice",
		},
		"more bad than answered": {
			after: minute, outcome: analysis.Inconclusive,
			change: func(w *world) { w.pair.Control.Failed = 9001 },
			reason: "the counts cannot be trusted: more requests were bad than were answered",
		},
		"counts that are no counts": {
			after: minute, outcome: analysis.Inconclusive,
			change: func(w *world) { w.pair.Control.Started = math.MaxUint64 },
			reason: "the counts cannot be trusted: a count of requests is beyond belief",
		},
		"slow counts that are not there": {
			after: minute, outcome: analysis.Inconclusive,
			change: func(w *world) { w.pair.Control.Slow = nil },
			reason: "the counts cannot be trusted: slow requests are not counted for each boundary",
		},
		"no histogram": {
			after: minute, outcome: analysis.Inconclusive,
			change: func(w *world) {
				w.evidence.Boundaries = nil
				w.pair.Canary.Slow, w.pair.Control.Slow = nil, nil
			},
			reason: "durations are not counted in a histogram, so latency cannot be compared",
		},
		"no histogram does not hide errors": {
			after: minute, outcome: analysis.Fail,
			change: func(w *world) {
				w.evidence.Boundaries = nil
				w.pair.Canary.Slow, w.pair.Control.Slow = nil, nil
				w.pair.Canary.Failed = 40
			},
			reason: "canary errors 4 % against 0.4 %: 10 times as many…",
		},
		"a starved canary": {
			after: minute, outcome: analysis.Inconclusive,
			change: func(w *world) { w.pair.Canary = answered(60, 0) },
			reason: "the canary got 0.7 % of 9060 requests where its share is 10 %, so the split is not as asked",
		},
		"a flooded canary": {
			after: minute, outcome: analysis.Inconclusive,
			change: func(w *world) { w.pair.Canary = answered(5000, 0) },
			reason: "the canary got 35.7 % of 14000 requests where its share is 10 %…",
		},
		"an absent canary is not low traffic": {
			after: minute, outcome: analysis.Inconclusive,
			change: func(w *world) { w.pair.Canary = analysis.Requests{} },
			reason: "the canary got 0.0 % of 9000 requests…",
		},
		"completes nothing": {
			after: 9 * time.Second, outcome: analysis.Inconclusive,
			change: func(w *world) {
				w.settings.Duration = time.Second
				w.pair.Canary = analysis.Requests{Started: 1000, Unfinished: 1000}
			},
			reason: "1000 requests to the canary are under way and 0 were given up by their clients, out of 1000 (stable: 0 and 0 of 9000)",
		},
		"clients give the canary up": {
			after: minute, outcome: analysis.Inconclusive,
			change: func(w *world) { w.pair.Canary.Answered, w.pair.Canary.Cancelled = 900, 100 },
			reason: "0 requests to the canary are under way and 100 were given up by their clients, out of 1000…",
		},
		"clients give both up": {
			after: minute, outcome: analysis.Pass,
			change: func(w *world) {
				w.pair.Canary.Answered, w.pair.Canary.Cancelled = 900, 100
				w.pair.Control.Answered, w.pair.Control.Cancelled = 8100, 900
			},
			reason: "canary errors…",
		},
		"a few more under way are immaterial": {
			after: minute, outcome: analysis.Pass,
			change: func(w *world) { w.pair.Canary.Started, w.pair.Canary.Unfinished = 1004, 4 },
			reason: "canary errors…",
		},

		"a threshold besides": {
			after: minute, outcome: analysis.Pass,
			change: func(w *world) {
				w.settings.SuccessRate, w.settings.LatencyP99 = .99, 200*time.Millisecond
				w.pair.Canary.Slow = []uint64{50, 5}
			},
			reason: "canary errors 0.4 % against 0.4 %: 1.0 times as many and requests failed or slower than 100ms 5.4 % against 5.4 %: 1.0 times as many and " +
				"success rate 99.6 % (4 bad of 1000 requests) and latency p99 within 250ms (9 bad of 1000 requests: 4 failed, 5 slower than 250ms, 0 unfinished after it) after 1m",
		},
		"a threshold that both miss": {
			after: 2 * time.Second, outcome: analysis.Fail,
			change: func(w *world) {
				w.settings.SuccessRate = .99
				w.pair = analysis.Pair{Canary: answered(100, 48), Control: answered(900, 430)}
			},
			reason: "canary success rate 52.0 % (48 bad of 100 requests) is below 99 % (p < 0.0001 after 2.0 s; stable 52.2 %)",
		},
		"a threshold alone": {
			after: minute, outcome: analysis.Pass,
			change: func(w *world) { w.compare, w.settings.SuccessRate = analysis.Comparison{}, .99 },
			reason: "canary success rate 99.6 % (4 bad of 1000 requests) after 1m",
		},
		"a threshold alone does not compare": {
			after: minute, outcome: analysis.Pass,
			change: func(w *world) {
				w.compare, w.settings.SuccessRate = analysis.Comparison{}, .9
				w.pair.Canary = answered(1000, 60)
			},
			reason: "canary success rate 94.0 % (60 bad of 1000 requests) after 1m",
		},
		"clearly below a threshold at the end": {
			after: minute, outcome: analysis.Fail,
			change: func(w *world) {
				w.compare, w.settings.SuccessRate = analysis.Comparison{}, .99
				w.pair.Canary = answered(1000, 25)
			},
			reason: "canary success rate 97.5 % (25 bad of 1000 requests) is below 99 % (p < 0.0001 after 1m; stable 99.6 %)",
		},
		"a little below a threshold": {
			after: minute, outcome: analysis.Inconclusive,
			change: func(w *world) {
				w.compare, w.settings.SuccessRate = analysis.Comparison{}, .99
				w.pair.Canary = answered(1000, 12)
			},
			reason: "canary success rate 98.8 % (12 bad of 1000 requests) is below 99 %, which may be chance (p = 0.30 after 1m)",
		},
		"above a latency threshold": {
			after: 30 * time.Second, outcome: analysis.Fail,
			change: func(w *world) {
				w.compare, w.settings.LatencyP99 = analysis.Comparison{}, 200*time.Millisecond
				w.pair.Canary = answered(1000, 4, 90, 60)
				w.pair.Canary.Overdue, w.pair.Canary.Unfinished = []uint64{7, 5}, 10
			},
			reason: "canary latency p99 is above 200ms: 69 bad of 1005 requests (4 failed, 60 slower than 250ms, 5 unfinished after it), where 1 % may be (p < 0.0001 after 30 s; stable 1.4 % bad)",
		},
		"no boundary at a latency threshold": {
			after: minute, outcome: analysis.Inconclusive,
			change: func(w *world) { w.settings.LatencyP99 = time.Second },
			reason: "durations are not counted in a histogram with a bound at or above 1s, so latency cannot be judged",
		},
		"nothing is demanded": {
			after: minute, outcome: analysis.Pass,
			change: func(w *world) { w.compare = analysis.Comparison{}; w.pair.Canary = answered(1000, 900) },
			reason: "1000 requests answered by the canary after 1m",
		},

		"all traffic": {
			after: 2 * minute, outcome: analysis.Pass, change: func(w *world) { full(w, answered(1000, 5)) },
			reason: "canary errors 0.5 % of 1000 requests at full weight after 1m",
		},
		"a collapse under all traffic": {
			after: 70 * time.Second, outcome: analysis.Fail, change: func(w *world) { full(w, answered(1000, 400)) },
			reason: "canary errors 40 % of 1000 requests at full weight, where stable had at most 0.65 % before: a catastrophe, p < 0.0001 after 1m10s",
		},
		"worse under all traffic, but no collapse": {
			after: 2 * minute, outcome: analysis.Pass, change: func(w *world) { full(w, answered(1000, 100)) },
			reason: "canary errors 10 % of 1000 requests at full weight after 1m",
		},
		"all traffic hangs": {
			after: 70 * time.Second, outcome: analysis.Fail, change: func(w *world) { full(w, hanging(100)) },
			reason: "canary errors 100 % of 100 requests at full weight…",
		},
		"all traffic, not yet answered": {
			after: 2 * minute, outcome: analysis.Inconclusive,
			change: func(w *world) {
				full(w, analysis.Requests{Started: 400, Answered: 200, Unfinished: 200, Slow: []uint64{0, 0}})
			},
			reason: "200 requests to the canary are under way…",
		},
		"all traffic at once": {
			after: 2 * minute, outcome: analysis.Pass, change: func(w *world) { full(w, answered(1000, 5)); w.before = nil },
			reason: "canary errors 0.5 % of 1000 requests at full weight after 1m",
		},
		"too little of all traffic": {
			after: 2 * minute, outcome: analysis.Inconclusive, change: func(w *world) { full(w, answered(20, 0)) },
			reason: "the canary answered 20 requests of the 50 that a pass needs (20 begun, 0 under way)",
		},

		"no weight": {
			after: minute, outcome: analysis.Inconclusive, change: func(w *world) { w.release.Weight = 0 },
			reason: "the canary has a weight of 0 %, so there is nothing to judge",
		},
		"a success rate that is none": {
			after: minute, outcome: analysis.Inconclusive, change: func(w *world) { w.settings.SuccessRate = math.NaN() },
			reason: "the success rate to meet, NaN, is not between 0 and 1",
		},
		"an alpha that is none": {
			after: minute, outcome: analysis.Inconclusive, change: func(w *world) { w.compare.Alpha = 1 },
			reason: "the comparison's alpha, 1, is not above 0 and below 1",
		},
		"a ratio that is none": {
			after: minute, outcome: analysis.Inconclusive, change: func(w *world) { w.compare.Tolerated = math.NaN() },
			reason: "the comparison's tolerated ratio, NaN, is not above 0 and below 1e+09",
		},
		"a dispersion that is none": {
			after: minute, outcome: analysis.Inconclusive, change: func(w *world) { w.compare.Dispersion = .5 },
			reason: "the comparison's over-dispersion, 0.5, is not from 1 to 1e+09",
		},
		"no metric counts": {
			after: minute, outcome: analysis.Inconclusive,
			change: func(w *world) { w.compare.Success.Weight, w.compare.Latency.Weight = 0, 0 },
			reason: "nothing is compared: the weights of success rate and latency are both 0",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			now := since.Add(test.after)
			w := fine(now)
			if test.change != nil {
				test.change(w)
			}
			got := w.assess(now)
			start, open := strings.CutSuffix(test.reason, "…")
			if got.Outcome != test.outcome || open && !strings.HasPrefix(got.Reason, start) || !open && got.Reason != test.reason {
				t.Errorf("got  %s: %s\nwant %s: %s", got.Outcome, got.Reason, test.outcome, test.reason)
			}
			if got.Requests != w.pair.Canary.Answered {
				t.Errorf("%d requests, want %d", got.Requests, w.pair.Canary.Answered)
			}
			if few := strings.Contains(got.Reason, "that a pass needs") || strings.Contains(got.Reason, "nothing to compare"); got.LowTraffic != few {
				t.Errorf("low traffic %v: %s", got.LowTraffic, got.Reason)
			}
			if got.Outcome == analysis.Fail && w.settings.Compare != nil && (got.Score == nil || *got.Score != 0) {
				t.Errorf("a failed canary has the score %v, want 0", got.Score)
			}
		})
	}
}

// full puts the world at full weight after a minute at 10 %.
func full(w *world, canary analysis.Requests) {
	w.release.Weight, w.release.WeightSince = 100, since.Add(time.Minute)
	w.before = []analysis.Stratum{{Weight: 10, Seen: w.pair, Tested: w.pair}}
	w.pair = analysis.Pair{Canary: canary}
}
