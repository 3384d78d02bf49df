package replay

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/common/model"

	"github.com/sluice-mesh/sluice/analysis"
)

// defaults are a Rollout's.
func defaults() Options {
	compare := analysis.DefaultComparison()
	return Options{
		Settings: analysis.Settings{Compare: &compare, MinRequests: 50, Duration: time.Minute},
		WarmUp:   time.Minute, Interval: time.Second,
	}
}

func ownHeader() Header {
	return Header{From: noon.Add(time.Minute), Namespace: "shop", Service: "cart"}
}

func judged(t *testing.T, header Header, tr trace, o Options) Result {
	t.Helper()
	result, err := Judge(t.Context(), record(t, header, pieces(tr.matrix(), 5*time.Minute)), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range result.Timeline {
		t.Logf("%s %3d %% %-12s %s", line.Time.Format("15:04:05"), line.Weight, line.Outcome, line.Reason)
	}
	t.Logf("%+v", result.Decisions)
	return result
}

// A trace's requests are independent, so that the judge's guarantee holds: a good canary is rolled back in
// at most 1 % of releases, and the seeds are fixed.
func TestReplayDecides(t *testing.T) {
	base := trace{seed: 11, rate: 50, sources: 3, scrape: 5 * time.Second, length: 20 * time.Minute, weights: steps(3, 10, 8, 25, 13, 50, 18, 0), stableFails: .009, canaryFails: .009, pods: 2}
	for name, test := range map[string]struct {
		change  func(*trace)
		options func(*Options)
		outcome Outcome
		weight  uint32
		// by is when it must have been decided, after noon
		by     time.Duration
		reason string
	}{
		"a good one":              {func(*trace) {}, func(*Options) {}, Promote, 50, 16 * time.Minute, "errors"},
		"a bad one":               {func(tr *trace) { tr.canaryFails = .05 }, func(*Options) {}, RollBack, 10, 6 * time.Minute, "errors"},
		"a collapse in warm-up":   {func(tr *trace) { tr.canaryFails = .9 }, func(*Options) {}, RollBack, 10, 3*time.Minute + 20*time.Second, "catastrophe"},
		"a slow one":              {func(tr *trace) { tr.stableSlow, tr.canarySlow = .01, .1 }, func(*Options) {}, RollBack, 10, 6 * time.Minute, "slower"},
		"by threshold":            {func(tr *trace) { tr.stableFails, tr.canaryFails = .05, .05 }, func(o *Options) { o.Settings.SuccessRate = .99 }, RollBack, 10, 8 * time.Minute, "below 99 %"},
		"too short steps":         {func(*trace) {}, func(o *Options) { o.Settings.Duration = 10 * time.Minute }, Hold, 10, 0, "still looking"},
		"with too little traffic": {func(tr *trace) { tr.rate = .5 }, func(*Options) {}, Hold, 10, 0, "answered"},
	} {
		t.Run(name, func(t *testing.T) {
			tr, o := base, defaults()
			test.change(&tr)
			test.options(&o)
			d := judged(t, ownHeader(), tr, o).Decisions[0]
			if d.Judge != JudgeAll || d.Outcome != test.outcome || d.Weight != test.weight || !strings.Contains(d.Reason, test.reason) {
				t.Fatalf("got %s at %d %%: %s", d.Outcome, d.Weight, d.Reason)
			}
			switch {
			case test.by == 0 && d.At != nil:
				t.Errorf("decided at %v", d.At)
			case test.by > 0 && (d.At == nil || d.At.After(noon.Add(test.by))):
				t.Errorf("decided at %v, want by %v", d.At, test.by)
			}
		})
	}
}

// The parts of the judge stand beside it, and what happened after its decision is told.
func TestReplayTellsTheParts(t *testing.T) {
	tr := trace{seed: 12, rate: 50, sources: 2, scrape: 5 * time.Second, length: 15 * time.Minute, weights: steps(3, 10, 13, 0), stableFails: .001, canaryFails: .03}
	o := defaults()
	o.Settings.SuccessRate = .9
	r := judged(t, ownHeader(), tr, o)
	var names []string
	for _, d := range r.Decisions {
		names = append(names, d.Judge)
	}
	if diff := cmp.Diff([]string{JudgeAll, JudgeComparison, JudgeThresholds}, names); diff != "" {
		t.Fatal(diff)
	}
	if all, comparison, thresholds := r.Decisions[0], r.Decisions[1], r.Decisions[2]; all.Outcome != RollBack || comparison.Outcome != RollBack || thresholds.Outcome != Promote {
		t.Errorf("got %+v", r.Decisions)
	}
	d := r.Decisions[0]
	if d.Bad == 0 || d.Requests <= d.Bad || d.AfterRequests <= d.AfterBad || d.AfterBad < 20 || d.AfterSeconds <= 0 {
		t.Errorf("got %+v", d)
	}
	last := r.Timeline[len(r.Timeline)-1]
	if last.Outcome != analysis.Fail || !last.Time.Equal(*d.At) || len(last.Metrics) == 0 || last.Metrics[0].P == nil || *last.Metrics[0].P > .01 {
		t.Errorf("last line %+v", last)
	}
	if first := r.Timeline[0]; !first.WarmUp {
		t.Errorf("first line %+v", first)
	}
}

func TestReplayOfForeignSeries(t *testing.T) {
	base := trace{
		seed: 21, istio: true, rate: 50, sources: 3, scrape: 15 * time.Second, length: 25 * time.Minute,
		weights: steps(4, 10, 10, 30, 15, 50, 20, 0), stableFails: .01, canaryFails: .01, stableSlow: .02, canarySlow: .02,
	}
	for name, test := range map[string]struct {
		change  func(*trace)
		outcome Outcome
	}{
		"a good one": {func(*trace) {}, Promote},
		"a bad one":  {func(tr *trace) { tr.canaryFails = .04 }, RollBack},
		"a slow one": {func(tr *trace) { tr.canarySlow = .2 }, RollBack},
	} {
		t.Run(name, func(t *testing.T) {
			tr := base
			test.change(&tr)
			r := judged(t, foreignHeader(), tr, defaults())
			if r.Decisions[0].Outcome != test.outcome || !r.Foreign || len(r.Notes) < 2 || !strings.Contains(r.Notes[0], "did not draw this split") {
				t.Errorf("got %+v %v", r.Decisions[0], r.Notes)
			}
		})
	}
}

// Good releases of an Istio whose shares are only seen: at alpha .05, 7 or more of 40 would be rolled back
// in 1 of 300 cases if the chance were 5 % (binomial); the seeds are fixed.
func TestForeignReplayIsRarelyWrong(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	wrong := 0
	for seed := range uint64(40) {
		tr := trace{
			seed: 1000 + seed, istio: true, rate: 10, sources: 2, scrape: 15 * time.Second, length: 13 * time.Minute,
			weights: steps(3, 10, 7, 30, 12, 0), stableFails: .02, canaryFails: .02,
		}
		o := defaults()
		compare := *o.Settings.Compare
		compare.Alpha, compare.Tolerated, compare.Slack = .05, 1, 0
		o.Settings.Compare, o.Interval = &compare, 15*time.Second
		result, err := Judge(t.Context(), record(t, foreignHeader(), pieces(tr.matrix(), 5*time.Minute)), o)
		if err != nil {
			t.Fatal(err)
		}
		if result.Decisions[0].Outcome == RollBack {
			wrong++
		}
	}
	t.Logf("%d of 40 good releases would have been rolled back", wrong)
	if wrong >= 7 {
		t.Errorf("%d of 40 good releases would have been rolled back", wrong)
	}
}

// However the samples are cut into pieces, the decisions are the same.
func TestReplayDoesNotDependOnThePieces(t *testing.T) {
	tr := trace{seed: 31, rate: 30, sources: 2, scrape: 5 * time.Second, length: 12 * time.Minute, weights: steps(3, 10, 7, 25), stableFails: .01, canaryFails: .03, pods: 2}
	var results []Result
	for _, length := range []time.Duration{time.Minute, 7 * time.Minute, time.Hour} {
		result, err := Judge(t.Context(), record(t, ownHeader(), pieces(tr.matrix(), length)), defaults())
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, result)
	}
	for _, other := range results[1:] {
		if diff := cmp.Diff(results[0], other, cmpopts.IgnoreUnexported(Line{})); diff != "" {
			t.Error(diff)
		}
	}
}

func TestReplayOfSamplesThatCannotBeTrusted(t *testing.T) {
	tr := trace{seed: 31, rate: 30, sources: 2, scrape: 5 * time.Second, length: 12 * time.Minute, weights: steps(3, 10)}
	matrix := tr.matrix()
	header := ownHeader()
	release, err := Find(t.Context(), record(t, header, pieces(matrix, 5*time.Minute)), Want{})
	if err != nil {
		t.Fatal(err)
	}
	header.Release = &release
	for _, stream := range matrix {
		if stream.Metric["code"] == "200" && stream.Metric["revision"] == "new" {
			stream.Values[3].Value = -1
		}
	}
	result, err := Judge(t.Context(), record(t, header, pieces(matrix, 5*time.Minute)), defaults())
	if err != nil {
		t.Fatal(err)
	}
	if d := result.Decisions[0]; d.Outcome != Hold || !strings.Contains(d.Reason, "cannot be trusted") {
		t.Errorf("got %+v", d)
	}
}

func TestReplayNotesWhatIsMissing(t *testing.T) {
	tr := trace{seed: 31, rate: 30, sources: 1, scrape: 5 * time.Second, length: 8 * time.Minute, weights: steps(0, 10), pods: 1}
	var matrix model.Matrix
	for _, stream := range tr.matrix() {
		if stream.Metric["le"] == "" {
			matrix = append(matrix, stream)
		}
	}
	o := defaults()
	o.Settings.SuccessRate = .5
	result, err := Judge(t.Context(), record(t, ownHeader(), pieces(matrix, 5*time.Minute)), o)
	if err != nil {
		t.Fatal(err)
	}
	notes := strings.Join(result.Notes, "\n")
	for _, part := range []string{"begun before the time", "Durations are not in the data", "One pod of the canary"} {
		if !strings.Contains(notes, part) {
			t.Errorf("no note says %q:\n%s", part, notes)
		}
	}
	if result.Decisions[0].Outcome != Hold || result.Decisions[2].Outcome != Promote {
		t.Errorf("got %+v", result.Decisions)
	}
}

func TestReplayRefusesAnotherRelease(t *testing.T) {
	header := ownHeader()
	header.Release = &Release{Stable: "old", Canary: "new", Weights: steps(3, 10), Until: noon.Add(time.Hour)}
	o := defaults()
	o.Want.Canary = "newest"
	if _, err := Judge(t.Context(), record(t, header, nil), o); err == nil || !strings.Contains(err.Error(), "its canary is new") {
		t.Errorf("got %v", err)
	}
}
