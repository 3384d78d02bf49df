package analysis_test

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/analysis"
)

// anything is a world of any kind, most of them sensible, at some time of its release.
func anything(random *rand.Rand) (*world, time.Time) {
	now := since.Add(time.Duration(random.IntN(240)) * time.Second)
	w := fine(now)
	w.release.Planned = []uint32{5, 10, 50, 100}
	w.release.Weight = w.release.Planned[random.IntN(4)]
	w.release.WeightSince = since.Add(time.Duration(random.IntN(60)) * time.Second)
	if random.IntN(4) == 0 {
		w.settings.SuccessRate, w.settings.LatencyP99 = .95, 250*time.Millisecond
	}
	if random.IntN(4) == 0 {
		w.compare = analysis.Comparison{}
	}
	base, ratio := math.Pow(10, -3*random.Float64()), math.Pow(30, random.Float64()*float64(random.IntN(2)))
	size := uint64(1) << random.IntN(15)
	for _, weight := range w.release.Planned {
		if weight > w.release.Weight {
			break
		}
		n := size * uint64(weight) / 100
		pair := analysis.Pair{Canary: drawn(random, n, min(base*ratio, 1)), Control: drawn(random, size-n, base)}
		if weight == w.release.Weight {
			w.pair = pair
		} else {
			w.before = append(w.before, analysis.Stratum{Weight: weight, Seen: pair, Tested: pair})
		}
	}
	return w, now
}

// drawn are requests of which a share is bad in every way.
func drawn(random *rand.Rand, n uint64, bad float64) analysis.Requests {
	r := analysis.Requests{Slow: []uint64{0, 0}, Overdue: []uint64{0, 0}}
	for range n {
		r.Started++
		switch is := random.Float64() / max(bad, 1e-9); {
		case is < .5:
			r.Answered++
			r.Failed++
		case is < .55:
			r.Unfinished++
			r.Hanging++
			r.Overdue[0]++
			r.Overdue[1]++
		case is < .6:
			r.Cancelled++
		case is < 1:
			r.Answered++
			r.Slow[0]++
			r.Slow[1] += uint64(random.IntN(2))
		default:
			r.Answered++
		}
	}
	return r
}

// worse makes one of the answered requests that did not fail, and was not slow, fail.
func worse(r analysis.Requests) (analysis.Requests, bool) {
	r.Failed++
	return r, r.Failed+r.Slow[0] <= r.Answered
}

func TestAssessBehaves(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 9)) //nolint:gosec // a simulation
	outcomes := map[analysis.Outcome]int{}
	for range 3000 {
		w, now := anything(random)
		got := w.assess(now)
		outcomes[got.Outcome]++
		sound(t, w, got, now)
		if changed, possible := worse(w.pair.Canary); possible {
			kept := w.pair
			w.pair.Canary = changed
			then := w.assess(now)
			if got.Outcome == analysis.Fail && then.Outcome != analysis.Fail || got.Outcome != analysis.Pass && then.Outcome == analysis.Pass {
				t.Fatalf("one more failure turns %s (%s) into %s (%s)", got.Outcome, got.Reason, then.Outcome, then.Reason)
			}
			w.pair = kept
		}
		if changed, possible := worse(w.pair.Control); possible && got.Outcome != analysis.Fail {
			kept := w.pair
			w.pair.Control = changed
			if then := w.assess(now); then.Outcome == analysis.Fail {
				t.Fatalf("one more failure of stable turns %s (%s) into %s (%s)", got.Outcome, got.Reason, then.Outcome, then.Reason)
			}
			w.pair = kept
		}
		if then := shuffled(random, w, now); !reflect.DeepEqual(comparable(then), comparable(got)) {
			t.Fatalf("another order of weights turns %+v into %+v", got, then)
		}
		if got.Outcome == analysis.Fail && w.settings.SuccessRate == 0 {
			if then := scaled(w, 3, now); then.Outcome != analysis.Fail {
				t.Fatalf("three times as much of the same turns %s (%s) into %s (%s)", got.Outcome, got.Reason, then.Outcome, then.Reason)
			}
		}
	}
	t.Logf("%v", outcomes)
	for _, outcome := range []analysis.Outcome{analysis.Pass, analysis.Fail, analysis.Inconclusive} {
		if outcomes[outcome] < 100 {
			t.Errorf("only %d of 3000 are %s: the worlds are too much alike", outcomes[outcome], outcome)
		}
	}
}

// sound checks what must hold of every verdict.
func sound(t *testing.T, w *world, got analysis.Verdict, now time.Time) {
	t.Helper()
	if got.Reason == "" || strings.ContainsAny(got.Reason, "\n") || strings.Contains(got.Reason, "%!") ||
		strings.Contains(got.Reason, "NaN") && !strings.Contains(got.Reason, "the comparison's") {
		t.Fatalf("reason %q", got.Reason)
	}
	if got.Outcome == analysis.Pass && (w.pair.Canary.Answered == 0 || now.Sub(w.release.WeightSince) < time.Minute) {
		t.Fatalf("passed without evidence: %+v", got)
	}
	if got.Score != nil && !(*got.Score >= 0 && *got.Score <= 100) {
		t.Fatalf("score %v", *got.Score)
	}
	if (got.Score != nil) != (w.settings.Compare != nil && (len(got.Metrics) > 0 || got.Outcome == analysis.Fail)) {
		t.Fatalf("score %v with %d metrics", got.Score, len(got.Metrics))
	}
	for _, m := range got.Metrics {
		if !(m.P > 0 || m.LogE > 700) || m.P > 1 || !(m.Low <= m.High) || !math.IsNaN(m.Ratio) && !(m.Low <= m.Ratio && m.Ratio <= m.High) ||
			m.Canary.Bad > m.Canary.Of || m.Control.Bad > m.Control.Of || !(m.Score >= 0 && m.Score <= 100) || !(m.Weight > 0 && m.Weight <= 1) {
			t.Fatalf("metric %+v", m)
		}
	}
}

func shuffled(random *rand.Rand, w *world, now time.Time) analysis.Verdict {
	w.assess(now) // sets the strata
	strata := slices.Clone(w.evidence.Strata)
	random.Shuffle(len(strata), func(i, j int) { strata[i], strata[j] = strata[j], strata[i] })
	evidence := w.evidence
	evidence.Strata = strata
	return analysis.Assess(w.release, w.settings, evidence, now)
}

// comparable replaces what is not equal to itself.
func comparable(v analysis.Verdict) analysis.Verdict {
	v.Metrics = slices.Clone(v.Metrics)
	for i := range v.Metrics {
		if math.IsNaN(v.Metrics[i].Ratio) {
			v.Metrics[i].Ratio = -1
		}
	}
	return v
}

func scaled(w *world, by uint64, now time.Time) analysis.Verdict {
	scale := func(r analysis.Requests) analysis.Requests {
		several := func(counts []uint64) []uint64 {
			counts = slices.Clone(counts)
			for i := range counts {
				counts[i] *= by
			}
			return counts
		}
		return analysis.Requests{
			Started: by * r.Started, Answered: by * r.Answered, Failed: by * r.Failed, Cancelled: by * r.Cancelled,
			Unfinished: by * r.Unfinished, Hanging: by * r.Hanging, Slow: several(r.Slow), Overdue: several(r.Overdue),
		}
	}
	w.assess(now)
	evidence := w.evidence
	evidence.Strata = slices.Clone(evidence.Strata)
	for i, s := range evidence.Strata {
		seen := analysis.Pair{Canary: scale(s.Seen.Canary), Control: scale(s.Seen.Control)}
		evidence.Strata[i].Seen, evidence.Strata[i].Tested = seen, seen
	}
	return analysis.Assess(w.release, w.settings, evidence, now)
}

// Whatever the numbers, there is an answer, and it is sound.
func FuzzAssess(f *testing.F) {
	f.Add(uint64(1000), uint64(4), uint64(50), uint64(9000), uint64(36), uint64(450), uint64(3), 1.1, .01, uint32(10), int64(60))
	f.Add(uint64(12), uint64(12), uint64(0), uint64(100), uint64(0), uint64(0), uint64(0), 1., .05, uint32(10), int64(3))
	f.Add(uint64(math.MaxUint64), uint64(1), uint64(1), uint64(1), uint64(1), uint64(1), uint64(1), math.NaN(), -1., uint32(100), int64(-1))
	f.Fuzz(func(t *testing.T, n, bad, slow, others, theirs, slower, unfinished uint64, tolerated, alpha float64, weight uint32, after int64) {
		now := since.Add(time.Duration(after))
		w := fine(now)
		w.release.Weight, w.compare.Tolerated, w.compare.Alpha = weight, tolerated, alpha
		w.pair.Canary = analysis.Requests{Started: n, Answered: n, Failed: bad, Slow: []uint64{slow, slow / 2}, Unfinished: unfinished, Hanging: unfinished / 2}
		w.pair.Control = analysis.Requests{Started: others, Answered: others, Failed: theirs, Slow: []uint64{slower, slower / 2}}
		w.before = []analysis.Stratum{{Weight: 5, Seen: w.pair, Tested: w.pair}}
		sound(t, w, w.assess(now), now)
	})
}

func TestScore(t *testing.T) {
	now := since.Add(30 * time.Second)
	score := func(change func(w *world)) *float64 {
		w := fine(now)
		change(w)
		return w.assess(now).Score
	}
	equal := score(func(*world) {})
	if equal == nil || *equal != 100 {
		t.Errorf("an equal canary has the score %v, want 100", *equal)
	}
	// Errors 2.2 against 0.8 %, and latency equal: E is about e^3.5, short of 1/.01.
	errors := func(w *world) {
		w.pair = analysis.Pair{Canary: answered(1000, 22, 40, 0), Control: answered(9000, 70, 540, 90)}
	}
	half := score(errors)
	w := fine(now)
	errors(w)
	metrics := w.assess(now).Metrics
	want := (100*(1-metrics[0].LogE/math.Log(100)) + 2*100*(1-max(metrics[1].LogE, 0)/math.Log(100))) / 3
	if half == nil || !(*half > 50 && *half < 90) || math.Abs(*half-want) > 1e-9 {
		t.Errorf("somewhat more errors: score %v, want %v", *half, want)
	}
	// With so little weight, errors that are significant by themselves do not fail the canary.
	light := func(critical bool) *float64 {
		return score(func(w *world) {
			w.compare.Success = analysis.MetricWeight{Weight: .001, Critical: critical}
			w.pair = analysis.Pair{Canary: answered(1000, 28, 40, 0), Control: answered(9000, 70, 540, 90)}
		})
	}
	if got := light(false); got == nil || !(*got > 50) {
		t.Errorf("a light metric at 0 gives %v, want above 50", got)
	}
	if got := light(true); got == nil || *got != 0 {
		t.Errorf("a critical metric at 0 gives %v, want 0", got)
	}
	if got := score(func(w *world) { w.pair = analysis.Pair{} }); got != nil {
		t.Errorf("no evidence has the score %v, want none", *got)
	}
	if got := score(func(w *world) { w.compare = analysis.Comparison{} }); got != nil {
		t.Errorf("no comparison has the score %v, want none", *got)
	}
}

// What one metric says, for those who read it: against the same numbers by hand.
func TestMetricVerdict(t *testing.T) {
	now := since.Add(30 * time.Second)
	w := fine(now)
	w.compare.Latency.Weight = 3
	w.pair = analysis.Pair{Canary: answered(3000, 63, 150, 30), Control: answered(27000, 243, 1350, 270)}
	got := w.assess(now)
	if len(got.Metrics) != 2 || got.Metrics[0].Name != analysis.SuccessRate || got.Metrics[1].Name != analysis.Latency {
		t.Fatalf("metrics %+v", got.Metrics)
	}
	success, latency := got.Metrics[0], got.Metrics[1]
	if success.Canary != (analysis.Rate{Bad: 63, Of: 3000}) || success.Control != (analysis.Rate{Bad: 243, Of: 27000}) ||
		math.Abs(success.Ratio-.021/.009) > 1e-9 || success.Weight != .25 || latency.Weight != .75 {
		t.Errorf("success rate %+v", success)
	}
	if !(success.Low > 1.1 && success.Low < success.Ratio && success.High > success.Ratio && success.High < 5) ||
		math.Abs(success.P-math.Exp(-success.LogE)) > 1e-12 {
		t.Errorf("limits of %+v", success)
	}
	if latency.Canary != (analysis.Rate{Bad: 93, Of: 3000}) { // by 250 ms: more telling than by 100 ms
		t.Errorf("latency %+v", latency)
	}
}
