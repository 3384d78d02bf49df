package replay

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/sluice-mesh/sluice/analysis"
)

func istio() *Foreign {
	f := Presets["istio"].By("shop", "cart", "", "cart", "cart-primary")
	return &f
}

func foreignHeader() Header {
	return Header{From: noon.Add(time.Minute), Namespace: "shop", Service: "cart", Foreign: istio()}
}

func TestLevels(t *testing.T) {
	base := trace{seed: 3, istio: true, rate: 20, sources: 2, scrape: 15 * time.Second, length: 30 * time.Minute}
	for name, test := range map[string]struct {
		change  func(*trace)
		weights []Weight
		until   time.Duration
	}{
		"promoted":     {func(tr *trace) { tr.weights = steps(5, 10, 10, 25, 15, 50, 25, 0) }, steps(5, 10, 10, 25, 15, 50), 25 * time.Minute},
		"a single one": {func(tr *trace) { tr.weights = steps(10, 20) }, steps(10, 20), 30 * time.Minute},
		"minute by minute": {func(tr *trace) {
			tr.rate, tr.weights = 60, steps(5, 10, 6, 20, 7, 30, 8, 40, 9, 50, 12, 0)
		}, steps(5, 10, 6, 20, 7, 30, 8, 40, 9, 50), 12 * time.Minute},
		"little traffic": {func(tr *trace) { tr.rate, tr.weights = 1, steps(5, 10, 15, 50) }, steps(5, 10, 15, 50), 30 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			tr := base
			test.change(&tr)
			c, err := levelsOf(t.Context(), record(t, foreignHeader(), pieces(tr.matrix(), 5*time.Minute)), 0)
			if err != nil {
				t.Fatal(err)
			}
			got := c.release
			if len(got.Weights) != len(test.weights) {
				t.Fatalf("got %+v", got.Weights)
			}
			slack := 2*tr.scrape + time.Second
			if tr.rate <= 1 {
				slack = 90 * time.Second // it takes requests to see a change
			}
			for i, w := range got.Weights {
				want := test.weights[i]
				// Two thousand requests at 10 % give the share to within 2 points.
				if off := int(w.Percent) - int(want.Percent); off > 6 || off < -6 || (tr.rate > 1 && (off > 3 || off < -3)) || w.At.Sub(want.At).Abs() > slack {
					t.Errorf("weight %d %% at %v, want %d %% at %v", w.Percent, w.At, want.Percent, want.At)
				}
			}
			if end := noon.Add(test.until); got.Until.Sub(end).Abs() > slack {
				t.Errorf("until %v, want %v", got.Until, end)
			}
		})
	}
}

func TestLevelsRefuse(t *testing.T) {
	base := trace{seed: 3, istio: true, rate: 20, sources: 2, scrape: 15 * time.Second, length: 30 * time.Minute}
	for name, test := range map[string]struct {
		change func(*trace)
		part   string
	}{
		"no canary":   {func(*trace) {}, "never had half a percent"},
		"no requests": {func(tr *trace) { tr.rate = 0 }, "no requests were seen"},
		"twice":       {func(tr *trace) { tr.weights = steps(5, 10, 10, 0, 15, 10, 25, 0) }, "2 releases were seen"},
	} {
		t.Run(name, func(t *testing.T) {
			tr := base
			test.change(&tr)
			c, err := levelsOf(t.Context(), record(t, foreignHeader(), pieces(tr.matrix(), 5*time.Minute)), 0)
			if err == nil || !strings.Contains(err.Error(), test.part) {
				t.Errorf("got %+v, %v", c.release, err)
			}
		})
	}
}

// The meter counts what the trace did, but for what ended around changes of weight.
func TestMeterCounts(t *testing.T) {
	tr := trace{
		seed: 3, istio: true, rate: 40, sources: 3, scrape: 15 * time.Second, length: 30 * time.Minute,
		weights: steps(5, 10, 15, 50), canaryFails: .05, stableFails: .01, canarySlow: .2, restart: 20 * time.Minute,
	}
	recording := record(t, foreignHeader(), pieces(tr.matrix(), 5*time.Minute))
	c, err := levelsOf(t.Context(), recording, 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	want := []float64{.025, .25} // all of stable's take 20 ms, and the threshold is 200 ms
	if diff := cmp.Diff(want, c.release.BoundarySeconds); diff != "" {
		t.Fatalf("boundaries (-want +got):\n%s", diff)
	}
	m, err := newMeter(recording.Header.Foreign, c, c.release.whole("shop", "cart", Options{}), recording.Header.From)
	if err != nil {
		t.Fatal(err)
	}
	if err := recording.Each(t.Context(), m.Add); err != nil {
		t.Fatal(err)
	}
	e := m.Evidence(noon.Add(time.Hour))
	if len(e.Strata) != 2 || e.Sources != 3 || e.Dropped != 1 || e.Interval != 15*time.Second {
		t.Fatalf("got %+v", e)
	}
	for i, expected := range []struct{ canary, control float64 }{{40 * 600 * .1, 40 * 600 * .9}, {40 * 900 * .5, 40 * 900 * .5}} {
		pair := e.Strata[i].Seen
		near(t, "canary's", pair.Canary.Answered, expected.canary, .1)
		near(t, "control's", pair.Control.Answered, expected.control, .1)
		near(t, "canary's errors", pair.Canary.Failed, .05*expected.canary, .35)
		near(t, "control's errors", pair.Control.Failed, .01*expected.control, .35)
		near(t, "canary's slow", pair.Canary.Slow[1], .2*.95*expected.canary, .2)
		if pair.Control.Slow[0] != 0 || pair.Control.Slow[1] != 0 {
			t.Errorf("control's slow %v", pair.Control.Slow)
		}
		if diff := cmp.Diff(pair, e.Strata[i].Tested); diff != "" {
			t.Errorf("tested is something else without a warm-up:\n%s", diff)
		}
	}
}

func near(t *testing.T, what string, got uint64, want, within float64) {
	t.Helper()
	if off := float64(got)/want - 1; off > within || off < -within {
		t.Errorf("%s: got %d, want about %.0f", what, got, want)
	}
}

// A meter that is asked all the time comes to what one comes to that is asked at the end.
func TestMeterIsIncremental(t *testing.T) {
	tr := trace{seed: 5, istio: true, rate: 20, sources: 2, scrape: 15 * time.Second, length: 15 * time.Minute, weights: steps(3, 10, 8, 30), canaryFails: .05}
	recording := record(t, foreignHeader(), pieces(tr.matrix(), 5*time.Minute))
	c, err := levelsOf(t.Context(), recording, 0)
	if err != nil {
		t.Fatal(err)
	}
	var all [2]analysis.Evidence
	for i := range all {
		m, err := newMeter(recording.Header.Foreign, c, c.release.whole("shop", "cart", Options{WarmUp: time.Minute}), recording.Header.From)
		if err != nil {
			t.Fatal(err)
		}
		at := noon
		for _, piece := range pieces(tr.matrix(), 5*time.Minute) {
			if err := m.Add(piece); err != nil {
				t.Fatal(err)
			}
			_, newest, _ := extent(piece)
			for i == 0 && at.Before(time.UnixMilli(newest)) {
				at = at.Add(3 * time.Second)
				m.Evidence(at)
			}
		}
		all[i] = m.Evidence(noon.Add(time.Hour))
	}
	if diff := cmp.Diff(all[1], all[0]); diff != "" {
		t.Errorf("asked at the end (-) and all the time (+):\n%s", diff)
	}
	if s := all[0].Strata[0]; s.Tested.Canary.Answered >= s.Seen.Canary.Answered || s.Tested.Canary.Answered == 0 {
		t.Errorf("the warm-up is not left out: %+v", s)
	}
}

func TestForeignRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Foreign)
		part   string
	}{
		"no counter":        {func(f *Foreign) { f.Requests = `{a="b"}` }, "requests: name the counter"},
		"a bad selector":    {func(f *Foreign) { f.Requests = `a{b}` }, "requests: label b"},
		"no canary":         {func(f *Foreign) { f.Canary = "" }, "canary and stable: say"},
		"the same":          {func(f *Foreign) { f.Canary = f.Stable }, "are the same"},
		"no errors":         {func(f *Foreign) { f.Errors = nil }, "errors: say"},
		"every error":       {func(f *Foreign) { f.Errors = []string{""} }, "picks every series"},
		"no buckets":        {func(f *Foreign) { f.Latency = "istio_request_duration_milliseconds_sum" }, "ends in _bucket"},
		"no unit":           {func(f *Foreign) { f.LatencyUnit = 0 }, "unit is not known"},
		"a pattern is none": {func(f *Foreign) { f.Cancelled = []string{`a=~"("`} }, "cancelled: label a"},
	} {
		f := istio()
		if test.change(f); f != nil {
			if _, err := f.parse(); err == nil || !strings.Contains(err.Error(), test.part) {
				t.Errorf("%s: got %v, want an error with %q", name, err, test.part)
			}
		}
	}
	if _, err := istio().parse(); err != nil {
		t.Error(err)
	}
	for name, p := range Presets {
		f := p.By("shop", "cart", "", "cart", "cart-primary")
		if all, err := f.Selectors(); err != nil || len(all) != 4 {
			t.Errorf("%s: %v, %v", name, all, err)
		}
	}
}

func TestForeignRefusesTwoServers(t *testing.T) {
	tr := trace{seed: 5, istio: true, rate: 20, sources: 1, scrape: 15 * time.Second, length: 5 * time.Minute, weights: steps(3, 10)}
	matrix := tr.matrix()
	for i, stream := range matrix {
		stream.Metric["prometheus_replica"] = []model.LabelValue{"a", "b"}[i%2]
	}
	_, err := levelsOf(t.Context(), record(t, foreignHeader(), pieces(matrix, 5*time.Minute)), 0)
	if err == nil || !strings.Contains(err.Error(), "add prometheus_replica=") {
		t.Errorf("got %v", err)
	}
}
