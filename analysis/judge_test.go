package analysis_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/analysis"
)

var (
	since    = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	subject  = analysis.Subject{Namespace: "shop", Service: "cart", Stable: "a", Canary: "b", Weight: 10, Since: since}
	criteria = analysis.Criteria{SuccessRate: .99, LatencyP99: 250 * time.Millisecond, MinRequests: 50, Duration: time.Minute}
)

// good are counts that pass at the end of the minute.
func good(now time.Time) analysis.Counts {
	return analysis.Counts{
		Canary:   analysis.Tally{Started: 1003, Answered: 1000, Failed: 4, Slow: 3, Unfinished: 2, Cancelled: 1},
		Stable:   analysis.Tally{Started: 9010, Answered: 9000, Failed: 36, Slow: 20, Unfinished: 6, Cancelled: 4},
		Boundary: 250 * time.Millisecond, Patience: 250 * time.Millisecond,
		Newest: now.Add(-800 * time.Millisecond), Interval: time.Second, Sources: 2,
	}
}

func TestJudge(t *testing.T) {
	type world struct {
		subject  *analysis.Subject
		criteria *analysis.Criteria
		counts   *analysis.Counts
	}
	tests := map[string]struct {
		after   time.Duration
		change  func(w world)
		outcome analysis.Outcome
		reason  string // the whole sentence, or with … at its end the beginning
	}{
		"passes at the end": {
			after: time.Minute, outcome: analysis.Pass,
			reason: "canary success rate 99.6 % (4 bad of 1000 requests) and latency p99 within 250ms (7 bad of 1000 requests: 4 failed, 3 slower than 250ms, 0 unfinished after it) after 1m",
		},
		"not before the end": {
			after: 12 * time.Second, outcome: analysis.Inconclusive,
			reason: "still looking: canary success rate 99.6 % (4 bad of 1000 requests), 12 s of 1m",
		},
		"half of the requests fail": {
			after: 1200 * time.Millisecond, outcome: analysis.Fail,
			change: func(w world) { w.counts.Canary = analysis.Tally{Started: 103, Answered: 100, Failed: 48} },
			reason: "canary success rate 52.0 % (48 bad of 100 requests) is below 99 % (p < 0.0001 after 1.2 s; stable 99.6 %)",
		},
		"five of ten are enough": {
			after: time.Second, outcome: analysis.Fail,
			change: func(w world) {
				w.counts.Canary, w.counts.Stable = analysis.Tally{Started: 10, Answered: 10, Failed: 5}, analysis.Tally{}
			},
			reason: "canary success rate 50.0 % (5 bad of 10 requests) is below 99 % (p < 0.0001 after 1.0 s)",
		},
		"four of ten are enough": {
			after: time.Second, outcome: analysis.Fail,
			change: func(w world) { w.counts.Canary = analysis.Tally{Started: 10, Answered: 10, Failed: 4} },
			reason: "canary success rate 60.0 %…",
		},
		"three of the first three are enough": {
			after: time.Second, outcome: analysis.Fail,
			change: func(w world) { w.counts.Canary = analysis.Tally{Started: 3, Answered: 3, Failed: 3} },
			reason: "canary success rate 0.0 % (3 bad of 3 requests)…",
		},
		"two of ten may be luck": {
			after: time.Second, outcome: analysis.Inconclusive,
			change: func(w world) { w.counts.Canary = analysis.Tally{Started: 10, Answered: 10, Failed: 2} },
			reason: "still looking: canary success rate 80.0 % (2 bad of 10 requests), 1.0 s of 1m",
		},
		"harm seen in old counts is harm": {
			after: time.Minute, outcome: analysis.Fail,
			change: func(w world) {
				w.counts.Canary.Failed, w.counts.Newest = 500, since.Add(time.Second)
			},
			reason: "canary success rate 50.0 % (500 bad of 1000 requests) is below 99 %…",
		},
		"slow": {
			after: 30 * time.Second, outcome: analysis.Fail,
			change: func(w world) { w.counts.Canary.Slow, w.counts.Canary.Overdue = 60, 5 },
			reason: "canary latency p99 is above 250ms: 69 bad of 1005 requests (4 failed, 60 slower than 250ms, 5 unfinished after it), where 1 % may be (p < 0.0001 after 30 s; stable 0.6 % bad)",
		},
		"failing fast does not look quick": {
			after: 30 * time.Second, outcome: analysis.Fail,
			change: func(w world) {
				w.criteria.SuccessRate = .9
				w.counts.Canary.Failed, w.counts.Canary.Slow = 60, 0
			},
			reason: "canary latency p99 is above 250ms: 60 bad of 1000 requests (60 failed…",
		},
		"hangs": {
			after: 3 * time.Second, outcome: analysis.Fail,
			change: func(w world) { w.counts.Canary = analysis.Tally{Started: 60, Unfinished: 60, Overdue: 55} },
			reason: "canary latency p99 is above 250ms: 55 bad of 55 requests (0 failed, 0 slower than 250ms, 55 unfinished after it), where 1 % may be…",
		},
		"hangs, and latency is not judged": {
			after: 13 * time.Second, outcome: analysis.Fail,
			change: func(w world) {
				w.criteria.LatencyP99 = 0
				w.counts.Boundary, w.counts.Patience = 0, analysis.Patience
				w.counts.Canary = analysis.Tally{Started: 260, Unfinished: 260, Overdue: 60}
			},
			reason: "canary success rate 0.0 % (60 bad of 60 requests, 60 of them unanswered for 10s) is below 99 %…",
		},
		"long requests, as at stable, are no failures": {
			after: 13 * time.Second, outcome: analysis.Inconclusive,
			change: func(w world) {
				w.criteria.LatencyP99 = 0
				w.counts.Boundary, w.counts.Patience = 0, analysis.Patience
				w.counts.Canary = analysis.Tally{Started: 260, Unfinished: 260, Overdue: 60}
				w.counts.Stable = analysis.Tally{Started: 2340, Unfinished: 2340, Overdue: 540}
			},
			reason: "still looking: no request to the canary has been answered…",
		},
		"long requests with nothing to compare neither fail nor pass": {
			after: time.Minute, outcome: analysis.Inconclusive,
			change: func(w world) {
				w.subject.Weight, w.criteria.LatencyP99 = 100, 0
				w.counts.Boundary, w.counts.Patience = 0, analysis.Patience
				w.counts.Canary = analysis.Tally{Started: 1000, Answered: 900, Unfinished: 100, Overdue: 80}
				w.counts.Stable = analysis.Tally{}
			},
			reason: "100 requests to the canary are under way and 0 were given up by their clients, out of 1000…",
		},
		"completes nothing": {
			after: time.Minute, outcome: analysis.Inconclusive,
			change: func(w world) { w.counts.Canary = analysis.Tally{Started: 1000, Unfinished: 1000} },
			reason: "the canary answered 0 requests of the 50 that a pass needs (1000 begun, 1000 under way)",
		},
		"hangs in part, and latency is not judged": {
			after: time.Minute, outcome: analysis.Inconclusive,
			change: func(w world) {
				w.criteria.LatencyP99 = 0
				w.counts.Canary = analysis.Tally{Started: 1200, Answered: 1170, Unfinished: 30}
			},
			reason: "30 requests to the canary are under way and 0 were given up by their clients, out of 1200 (stable: 6 and 4 of 9010)",
		},
		"clients give the canary up": {
			after: time.Minute, outcome: analysis.Inconclusive,
			change: func(w world) { w.counts.Canary = analysis.Tally{Started: 1100, Answered: 1000, Cancelled: 100} },
			reason: "0 requests to the canary are under way and 100 were given up by their clients, out of 1100…",
		},
		"clients give both up": {
			after: time.Minute, outcome: analysis.Pass,
			change: func(w world) {
				w.counts.Canary = analysis.Tally{Started: 1100, Answered: 1000, Cancelled: 100}
				w.counts.Stable = analysis.Tally{Started: 9900, Answered: 9000, Cancelled: 900}
			},
			reason: "canary success rate 100.0 % (0 bad of 1000 requests)…",
		},
		"too few": {
			after: time.Minute, outcome: analysis.Inconclusive,
			change: func(w world) { w.counts.Canary = analysis.Tally{Started: 49, Answered: 49} },
			reason: "the canary answered 49 requests of the 50 that a pass needs (49 begun, 0 under way)",
		},
		"none, although none are demanded": {
			after: time.Minute, outcome: analysis.Inconclusive,
			change: func(w world) { w.criteria.MinRequests, w.counts.Canary = 0, analysis.Tally{} },
			reason: "the canary answered 0 requests of the 1 that a pass needs…",
		},
		"a little worse may be chance": {
			after: time.Minute, outcome: analysis.Inconclusive,
			change: func(w world) {
				w.counts.Canary = analysis.Tally{Started: 1000, Answered: 1000, Failed: 12}
			},
			reason: "canary success rate 98.8 % (12 bad of 1000 requests) is below 99 %, which may be chance (p = 0.30 after 1m)",
		},
		"clearly worse at the end": {
			after: time.Minute, outcome: analysis.Fail,
			change: func(w world) {
				w.counts.Canary = analysis.Tally{Started: 1000, Answered: 1000, Failed: 25}
			},
			reason: "canary success rate 97.5 % (25 bad of 1000 requests) is below 99 % (p < 0.0001 after 1m; stable 99.6 %)",
		},
		"the same before the end": {
			after: 59 * time.Second, outcome: analysis.Inconclusive,
			change: func(w world) {
				w.counts.Canary = analysis.Tally{Started: 1000, Answered: 1000, Failed: 25}
			},
			reason: "still looking…",
		},
		"exactly at the threshold is met": {
			after: time.Minute, outcome: analysis.Pass,
			change: func(w world) { w.counts.Canary = analysis.Tally{Started: 1000, Answered: 1000, Failed: 10} },
			reason: "canary success rate 99.0 % (10 bad of 1000 requests)…",
		},
		"no failure is allowed": {
			after: time.Second, outcome: analysis.Fail,
			change: func(w world) {
				w.criteria.SuccessRate = 1
				w.counts.Canary = analysis.Tally{Started: 100000, Answered: 100000, Failed: 1}
			},
			reason: "canary success rate 99.999 % (1 bad of 100000 requests) is below 100 % (p < 0.0001…",
		},
		"stale": {
			after: time.Minute, outcome: analysis.Inconclusive,
			change: func(w world) { w.counts.Newest = since.Add(56900 * time.Millisecond) },
			reason: "the newest counts are 3.1 s old, more than three scrapes of 1.0 s",
		},
		"from the future": {
			after: time.Minute, outcome: analysis.Inconclusive,
			change: func(w world) { w.counts.Newest = since.Add(70 * time.Second) },
			reason: "the newest counts are 10 s ahead of the clock here",
		},
		"no scrape": {
			after: time.Minute, outcome: analysis.Inconclusive,
			change: func(w world) { *w.counts = analysis.Counts{} },
			reason: "no source reports requests of the service at this weight",
		},
		"one scrape": {
			after: time.Minute, outcome: analysis.Inconclusive,
			change: func(w world) { w.counts.Interval = 0 },
			reason: "only one scrape has been made…",
		},
		"a source is out of sight": {
			after: time.Minute, outcome: analysis.Inconclusive,
			change: func(w world) { w.counts.Unscraped = 1 },
			reason: "1 of 2 sources of requests cannot be scraped",
		},
		"doubt stops a failure too": {
			after: time.Minute, outcome: analysis.Inconclusive,
			change: func(w world) { w.counts.Canary.Failed, w.counts.Doubt = 900, "series are there twice" },
			reason: "the counts cannot be trusted: series are there twice",
		},
		"no histogram": {
			after: time.Minute, outcome: analysis.Inconclusive,
			change: func(w world) { w.counts.Boundary, w.counts.Canary.Slow = 0, 0 },
			reason: "durations are not counted in a histogram with a bound at or above 250ms…",
		},
		"no histogram does not hide failures": {
			after: time.Second, outcome: analysis.Fail,
			change: func(w world) {
				w.counts.Boundary = 0
				w.counts.Canary = analysis.Tally{Started: 10, Answered: 10, Failed: 5}
			},
			reason: "canary success rate 50.0 %…",
		},
		"counted for another bound": {
			after: time.Minute, outcome: analysis.Inconclusive,
			change: func(w world) { w.counts.Boundary = 200 * time.Millisecond },
			reason: "slow requests were counted from 200ms, below the 250ms to meet",
		},
		"a starved canary": {
			after: time.Minute, outcome: analysis.Inconclusive,
			change: func(w world) { w.counts.Canary = analysis.Tally{Started: 60, Answered: 60} },
			reason: "the canary got 0.7 % of 9070 requests where its weight is 10 %, so the split is not as asked",
		},
		"a flooded canary": {
			after: time.Minute, outcome: analysis.Inconclusive,
			change: func(w world) { w.counts.Canary = analysis.Tally{Started: 5000, Answered: 5000} },
			reason: "the canary got 35.7 % of 14010 requests where its weight is 10 %…",
		},
		"all traffic": {
			after: time.Minute, outcome: analysis.Pass,
			change: func(w world) { w.subject.Weight, w.counts.Stable = 100, analysis.Tally{} },
			reason: "canary success rate 99.6 %…",
		},
		"no weight": {
			after: time.Minute, outcome: analysis.Inconclusive,
			change: func(w world) { w.subject.Weight = 0 },
			reason: "the canary has a weight of 0 %, so there is nothing to judge",
		},
		"a success rate that is none": {
			after: time.Minute, outcome: analysis.Inconclusive,
			change: func(w world) { w.criteria.SuccessRate = math.NaN() },
			reason: "the success rate to meet, NaN, is not between 0 and 1",
		},
		"more bad than answered": {
			after: time.Minute, outcome: analysis.Inconclusive,
			change: func(w world) { w.counts.Canary.Slow = 997 },
			reason: "the counts cannot be trusted: more requests were bad than were answered",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			now := since.Add(test.after)
			subject, criteria, counts := subject, criteria, good(now)
			if test.change != nil {
				test.change(world{&subject, &criteria, &counts})
			}
			got := analysis.Judge(subject, criteria, counts, now)
			start, open := strings.CutSuffix(test.reason, "…")
			if got.Outcome != test.outcome || open && !strings.HasPrefix(got.Reason, start) || !open && got.Reason != test.reason {
				t.Errorf("got  %s: %s\nwant %s: %s", got.Outcome, got.Reason, test.outcome, test.reason)
			}
			if got.Requests != counts.Canary.Answered {
				t.Errorf("%d requests, want %d", got.Requests, counts.Canary.Answered)
			}
		})
	}
}

// Whatever the counts: a pass has its evidence, and the same canary with more failures never does better.
func FuzzJudge(f *testing.F) {
	f.Add(uint16(1000), uint16(4), uint16(3), uint16(2), uint16(9000), uint8(10), uint8(60), uint8(1))
	f.Add(uint16(10), uint16(5), uint16(0), uint16(0), uint16(90), uint8(10), uint8(1), uint8(0))
	f.Add(uint16(0), uint16(0), uint16(0), uint16(1000), uint16(0), uint8(100), uint8(200), uint8(0))
	f.Fuzz(func(t *testing.T, answered, failed, slow, unfinished, stable uint16, weight, elapsed, age uint8) {
		subject, now := subject, since.Add(time.Duration(elapsed)*time.Second)
		subject.Weight = uint32(weight)
		counts := analysis.Counts{
			Canary: analysis.Tally{
				Started: uint64(answered) + uint64(unfinished), Answered: uint64(answered), Failed: uint64(failed),
				Slow: uint64(slow), Unfinished: uint64(unfinished), Overdue: uint64(unfinished) / 2,
			},
			Stable:   analysis.Tally{Started: uint64(stable), Answered: uint64(stable)},
			Boundary: 250 * time.Millisecond, Patience: 250 * time.Millisecond,
			Newest: now.Add(-time.Duration(age) * time.Second), Interval: time.Second, Sources: 1,
		}
		got := analysis.Judge(subject, criteria, counts, now)
		if got.Reason == "" || strings.ContainsAny(got.Reason, "\n") || strings.Contains(got.Reason, "%!") {
			t.Fatalf("reason %q", got.Reason)
		}
		if got.Outcome == analysis.Pass && (answered < 50 || elapsed < 60 || age > 3 || weight == 0 || weight > 100 ||
			100*uint64(failed) > uint64(answered) || 100*(uint64(failed)+uint64(slow)) > uint64(answered)+uint64(unfinished)/2) {
			t.Fatalf("passed without evidence: %+v: %s", counts, got.Reason)
		}
		if failed < answered && uint64(failed)+uint64(slow) < uint64(answered) {
			counts.Canary.Failed++
			worse := analysis.Judge(subject, criteria, counts, now)
			if got.Outcome == analysis.Fail && worse.Outcome != analysis.Fail || got.Outcome != analysis.Pass && worse.Outcome == analysis.Pass {
				t.Fatalf("one more failure turns %s (%s) into %s (%s)", got.Outcome, got.Reason, worse.Outcome, worse.Reason)
			}
		}
	})
}
