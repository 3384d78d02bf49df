package prometheus

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/sluice-mesh/sluice/analysis"
)

// window is one from and until so many milliseconds after since.
func window(from, until int) analysis.Window {
	return analysis.Window{From: since.Add(time.Duration(from) * time.Millisecond), Until: since.Add(time.Duration(until) * time.Millisecond)}
}

// An interval between two scrapes, without the first, that has any moment in a warm-up is not tested.
func TestWarmUps(t *testing.T) {
	// A scrape a second, each of which brings its own number of requests: 1, 2, 4, ...
	matrix := model.Matrix{line("is=started revision=new", 0, 0, 1, 3, 7, 15, 31), line("is=started revision=old", 0, 0, 1, 3, 7, 15, 31)}
	for name, test := range map[string]struct {
		windows []analysis.Window
		tested  uint64
	}{
		"none":                          {nil, 31},
		"all":                           {[]analysis.Window{window(-1000, 6000)}, 0},
		"before and after":              {[]analysis.Window{window(-2000, -1000), window(5001, 9000)}, 31},
		"inside an interval":            {[]analysis.Window{window(2100, 2200)}, 31 - 4},
		"begins at a scrape":            {[]analysis.Window{window(2000, 2100)}, 31 - 2 - 4},
		"begins just after a scrape":    {[]analysis.Window{window(2001, 2100)}, 31 - 4},
		"ends at a scrape":              {[]analysis.Window{window(2500, 3000)}, 31 - 4},
		"ends just after a scrape":      {[]analysis.Window{window(2500, 3001)}, 31 - 4 - 8},
		"two, in no order, overlapping": {[]analysis.Window{window(3500, 4500), window(1500, 1600), window(3400, 3600)}, 31 - 2 - 8 - 16},
		"of no length":                  {[]analysis.Window{window(2500, 2500), window(3000, 2000)}, 31},
	} {
		t.Run(name, func(t *testing.T) {
			warm := release
			warm.WarmUps = test.windows
			l := newLedger(warm, scale{}, 0)
			if err := feed(l, newDecoder(), matrix); err != nil {
				t.Fatal(err)
			}
			got := at(l.evidence(), 10)
			if got.Seen.Canary.Started != 31 || got.Tested.Canary.Started != test.tested || got.Tested.Control.Started != test.tested {
				t.Errorf("seen %d, tested %d and %d, want 31 and %d", got.Seen.Canary.Started, got.Tested.Canary.Started, got.Tested.Control.Started, test.tested)
			}
		})
	}
}

// What was under way when a warm-up ended is not tested, hanging or not.
func TestRequestsUnderWayInAWarmUp(t *testing.T) {
	warm := release
	warm.WarmUps = []analysis.Window{window(0, 2500)}
	l := newLedger(warm, scale{}, 0)
	values := []float64{0, 5, 5, 5, 8}
	for range 10 {
		values = append(values, 8)
	}
	ended := make([]float64, len(values))
	if err := feed(l, newDecoder(), model.Matrix{line("is=started revision=new", 0, values...), line("is=total revision=new code=200", 0, ended...)}); err != nil {
		t.Fatal(err)
	}
	got := at(l.evidence(), 10)
	want := [2][3]uint64{{8, 8, 8}, {3, 3, 3}}
	if diff := cmp.Diff(want, [2][3]uint64{
		{got.Seen.Canary.Started, got.Seen.Canary.Unfinished, got.Seen.Canary.Hanging},
		{got.Tested.Canary.Started, got.Tested.Canary.Unfinished, got.Tested.Canary.Hanging},
	}); diff != "" {
		t.Errorf("started, unfinished and hanging, seen and tested (-want +got):\n%s", diff)
	}
}

// Warm-ups that change what is booked make it read everything again; others do not.
func TestWarmUpsThatChange(t *testing.T) {
	s := &Sampler{Client: &Client{}}
	for name, test := range map[string]struct {
		before, after []analysis.Window
		anew          bool
	}{
		"nothing":                    {nil, nil, false},
		"one in the past":            {nil, []analysis.Window{window(1000, 2000)}, true},
		"one to come":                {nil, []analysis.Window{window(6000, 7000)}, false},
		"one that lasts gets longer": {[]analysis.Window{window(1000, 6000)}, []analysis.Window{window(1000, 9000)}, false},
		"one that is over":           {[]analysis.Window{window(1000, 2000)}, []analysis.Window{window(1000, 3000)}, true},
		"one that ends early":        {[]analysis.Window{window(1000, 9000)}, []analysis.Window{window(1000, 3000)}, true},
		"told in other words":        {[]analysis.Window{window(1000, 3000)}, []analysis.Window{window(2000, 3000), window(1000, 2000)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			warm := release
			warm.WarmUps = test.before
			r := s.newReading(warm)
			if err := feed(r.ledger, newDecoder(), model.Matrix{line("is=started revision=new", 0, 0, 1, 2, 3, 4, 5)}); err != nil {
				t.Fatal(err)
			}
			ledger := r.ledger
			r.heed(test.after)
			if anew := r.ledger != ledger; anew != test.anew {
				t.Errorf("reads anew: %v, want %v", anew, test.anew)
			}
			if !slices.Equal(r.ledger.windows, windowsOf(test.after)) {
				t.Errorf("warm-ups are %v", r.ledger.windows)
			}
		})
	}
}

// A source that is silent for an hour is forgotten; its first interval after a return is left out, and so is
// that of a source that comes so late: nobody knows when it began.
func TestSilence(t *testing.T) {
	l, d := newLedger(release, scale{}, time.Minute), newDecoder()
	started := func(instance string, minute int, value float64) *model.SampleStream {
		s := line("is=started revision=new instance="+instance, 60*minute, value)
		return s
	}
	add := func(streams ...*model.SampleStream) {
		t.Helper()
		if err := feed(l, d, streams); err != nil {
			t.Fatal(err)
		}
	}
	add(started("a", 0, 0), started("b", 0, 0))
	add(started("a", 1, 10), started("b", 1, 100))
	for minute := 2; minute <= 70; minute++ {
		add(started("a", minute, float64(10*minute)))
	}
	if len(l.sources) != 1 || len(l.entries) != 1 || l.evidence().Sources != 1 {
		t.Errorf("%d sources and %d series are remembered, want one of each", len(l.sources), len(l.entries))
	}
	add(started("a", 71, 710), started("b", 71, 5000), started("c", 71, 700)) // one returns, one is new
	add(started("a", 72, 720), started("b", 72, 5001), started("c", 72, 702))
	if got := at(l.evidence(), 10).Seen.Canary.Started; got != 720+100+1+2 {
		t.Errorf("%d requests, want 823", got)
	}
	// One that was silent for less than an hour has been counting all the while.
	add(started("a", 73, 730), started("b", 132, 5101))
	if got := at(l.evidence(), 10).Seen.Canary.Started; got != 730+100+1+2+100 {
		t.Errorf("%d requests, want 933", got)
	}
}

// A source that comes back after an hour with less than it had is no restart in between two scrapes.
func TestSilenceAndRestart(t *testing.T) {
	l, d := newLedger(release, scale{}, time.Minute), newDecoder()
	for _, part := range []*model.SampleStream{line("is=started revision=new", 0, 0, 10), line("is=started revision=new", 7200, 3, 5)} {
		if err := feed(l, d, model.Matrix{part}); err != nil {
			t.Fatal(err)
		}
	}
	if got := l.evidence(); got.Dropped != 0 || at(got, 10).Seen.Canary.Started != 12 {
		t.Errorf("%d dropped, %d requests, want 0 and 12", got.Dropped, at(got, 10).Seen.Canary.Started)
	}
}

// What was under way before a restart says nothing about what is after it.
func TestNothingHangsAfterARestart(t *testing.T) {
	l := newLedger(release, scale{}, 0)
	var begun, ended []float64
	for second := range 30 {
		n := float64(10 * second)
		if second >= 20 {
			n = float64(10 * (second - 20))
		}
		begun, ended = append(begun, n+3), append(ended, n) // three are always under way
	}
	if err := feed(l, newDecoder(), model.Matrix{line("is=started revision=new", 0, begun...), line("is=total revision=new code=200", 0, ended...)}); err != nil {
		t.Fatal(err)
	}
	if got := l.evidence(); got.Dropped != 1 || at(got, 10).Seen.Canary.Hanging != 0 {
		t.Errorf("%d dropped, %d hang, want 1 and 0", got.Dropped, at(got, 10).Seen.Canary.Hanging)
	}
}

// Sources that come and go do not pile up.
func TestChurnDoesNotPileUp(t *testing.T) {
	l, d := newLedger(release, quarter, 15*time.Second), newDecoder()
	most, series := 0, 0
	for n := range 2000 {
		second := 15 * n
		matrix := model.Matrix{}
		for pod := range 3 { // each lives for 5 scrapes
			name := fmt.Sprintf("pod=load-%d-%d", pod, n/5)
			matrix = append(matrix,
				line("is=started revision=new "+name, second, float64(n%5)),
				line("is=total revision=new code=200 "+name, second, float64(n%5)),
				line("is=bucket revision=new code=2xx le=0.25 "+name, second, float64(n%5)),
				line("is=bucket revision=new code=2xx le=+Inf "+name, second, float64(n%5)))
		}
		if err := feed(l, d, matrix); err != nil {
			t.Fatal(err)
		}
		if n == 500 {
			most, series = len(l.sources), len(l.entries)
		}
	}
	if len(l.sources) > most+3 || len(l.entries) > series+12 || most == 0 {
		t.Errorf("%d sources and %d series, after a quarter of the time %d and %d", len(l.sources), len(l.entries), most, series)
	}
	if e := l.evidence(); e.Dropped > 0 || e.Doubt != "" {
		t.Errorf("%+v", e)
	}
}

// All weights are kept apart, and a source that restarts loses the interval at each.
func TestWeightsAreKeptApart(t *testing.T) {
	baseline := release
	baseline.Control = "young"
	l := newLedger(baseline, scale{}, 0)
	if err := feed(l, newDecoder(), model.Matrix{
		line("is=started revision=new weight=5", 0, 0, 1, 2, 2, 2, 0, 0),
		line("is=started revision=young weight=5", 0, 0, 10, 20, 20, 21, 0, 0),
		line("is=started revision=old weight=5", 0, 0, 1000, 1000, 1000, 2000, 2001, 2002),
		line("is=started revision=new weight=20", 0, 0, 0, 0, 7, 14, 100, 101),
		line("is=started revision=young weight=20", 0, 0, 0, 0, 80, 160, 1, 2),
	}); err != nil {
		t.Fatal(err)
	}
	got := l.evidence()
	if len(got.Strata) != 2 || got.Strata[0].Weight != 5 || got.Strata[1].Weight != 20 || got.Dropped != 1 {
		t.Fatalf("%+v", got)
	}
	for i, want := range [][2]uint64{{2, 21}, {15, 161}} {
		if seen := got.Strata[i].Seen; seen.Canary.Started != want[0] || seen.Control.Started != want[1] {
			t.Errorf("at %d %%: %d and %d, want %v", got.Strata[i].Weight, seen.Canary.Started, seen.Control.Started, want)
		}
	}
}

func TestASourceWithoutDurations(t *testing.T) {
	l := newLedger(release, quarter, 0)
	if err := feed(l, newDecoder(), model.Matrix{
		line("is=total revision=new code=200", 0, 0, 1, 2),
		line("is=bucket revision=new code=2xx le=0.25", 0, 0, 1, 2),
		line("is=bucket revision=new code=2xx le=+Inf", 0, 0, 1, 2),
		line("is=total revision=new code=200 instance=b", 0, 0, 1, 2),
	}); err != nil {
		t.Fatal(err)
	}
	if got := l.evidence(); got.Doubt != "b reports requests but not how long they took, as others do" || len(got.Strata) > 0 {
		t.Errorf("%+v", got)
	}
}

// histograms make a stream of native histograms, one a second from since on.
func histograms(states ...model.SampleHistogram) *model.SampleStream {
	s := line("__name__=sluice_request_duration_seconds revision=new code=2xx", 0)
	for i, h := range states {
		s.Histograms = append(s.Histograms, model.SampleHistogramPair{Timestamp: model.Time(since.Add(time.Duration(i) * time.Second).UnixMilli()), Histogram: &h})
	}
	return s
}

func TestNativeHistograms(t *testing.T) {
	type buckets = model.HistogramBuckets
	for name, test := range map[string]struct {
		states        []model.SampleHistogram
		slow          uint64
		bound         float64
		raised, doubt bool
	}{
		"exact": {
			states: []model.SampleHistogram{{}, {Count: 9, Buckets: buckets{{Lower: .2, Upper: .25, Count: 5}, {Lower: .25, Upper: .3, Count: 4}}}},
			slow:   4, bound: .25,
		},
		"the zero bucket is below": {
			states: []model.SampleHistogram{{}, {Count: 9, Buckets: buckets{{Boundaries: 3, Lower: -1e-128, Upper: 1e-128, Count: 9}}}},
			bound:  .25,
		},
		"inside a bucket": {
			states: []model.SampleHistogram{{}, {Count: 9, Buckets: buckets{{Lower: .2, Upper: .26, Count: 5}, {Lower: .26, Upper: .3, Count: 4}}}},
			slow:   4, bound: .26, raised: true,
		},
		"buckets that join": {
			states: []model.SampleHistogram{
				{}, {Count: 9, Buckets: buckets{{Lower: .2, Upper: .25, Count: 5}, {Lower: .25, Upper: .3, Count: 4}}},
				{Count: 12, Buckets: buckets{{Lower: .2, Upper: .3, Count: 10}, {Lower: .3, Upper: .5, Count: 2}}},
			},
			slow: 2, bound: .3, raised: true,
		},
		"what fits a duration in nanoseconds": {
			states: []model.SampleHistogram{{}, {Count: 9, Buckets: buckets{{Lower: .2, Upper: .2500000004, Count: 5}, {Lower: .2500000004, Upper: .3, Count: 4}}}},
			slow:   4, bound: .25,
		},
		"no end above":          {states: []model.SampleHistogram{{}, {Count: 9, Buckets: buckets{{Lower: .2, Upper: 1e7, Count: 9}}}}, raised: true},
		"upside down":           {states: []model.SampleHistogram{{Count: 1, Buckets: buckets{{Lower: 2, Upper: 1, Count: 1}}}}, doubt: true},
		"less than nothing":     {states: []model.SampleHistogram{{Count: 1, Buckets: buckets{{Lower: 1, Upper: 2, Count: -1}}}}, doubt: true},
		"more than all of them": {states: []model.SampleHistogram{{Count: 1, Buckets: buckets{{Lower: .1, Upper: .2, Count: 2}}}}, doubt: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := scale{native: true, bounds: []bound{{seconds: .25}}}
			l := newLedger(release, s, 0)
			matrix := model.Matrix{histograms(test.states...), line("is=total revision=new code=200", 0)}
			for i, h := range test.states {
				matrix[1].Values = append(matrix[1].Values, model.SamplePair{Timestamp: matrix[0].Histograms[i].Timestamp, Value: model.SampleValue(h.Count)})
			}
			err := feed(l, newDecoder(), matrix)
			if test.raised != errors.Is(err, errRaised) {
				t.Fatalf("got %v", err)
			}
			for errors.Is(err, errRaised) {
				l = newLedger(release, l.scale.raise(l.raised), 0)
				err = feed(l, newDecoder(), matrix)
			}
			var doubt doubtError
			if errors.As(err, &doubt) != test.doubt || err != nil && !test.doubt {
				t.Fatalf("got %v", err)
			}
			if err != nil {
				return
			}
			got, want := l.evidence(), []time.Duration{time.Duration(test.bound * 1e9)}
			if test.bound == 0 {
				want = nil
			}
			if !slices.Equal(got.Boundaries, want) {
				t.Errorf("boundaries %v, want %v", got.Boundaries, want)
			}
			if test.bound > 0 && at(got, 10).Seen.Canary.Slow[0] != test.slow {
				t.Errorf("%d slow, want %d", at(got, 10).Seen.Canary.Slow[0], test.slow)
			}
		})
	}
}

// Golden: by hand from the formula in spreadOf.
func TestSpreadOf(t *testing.T) {
	for name, test := range map[string]struct {
		pods []podCount
		want float64
	}{
		"nobody":           {nil, 0},
		"one":              {[]podCount{{requests: 100, failed: 5}}, 0},
		"no errors":        {[]podCount{{requests: 100}, {requests: 100}}, 0},
		"less than chance": {[]podCount{{requests: 100, failed: 5}, {requests: 100, failed: 5}}, 0},
		// mu 350/3 each; excess 11666.67 - 233.33, scale 2 mu^2: c = .42; sqrt(ln 1.42).
		"three": {[]podCount{{requests: 10_000, failed: 50}, {requests: 10_000, failed: 100}, {requests: 10_000, failed: 200}}, .592163},
	} {
		if got := spreadOf(test.pods); got < test.want-1e-6 || got > test.want+1e-6 {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestDiffer(t *testing.T) {
	for name, test := range map[string]struct {
		pods []podCount
		want bool
	}{
		"nobody":                   {nil, false},
		"one":                      {[]podCount{{requests: 1000, failed: 50}}, false},
		"no errors":                {[]podCount{{requests: 100}, {requests: 100}}, false},
		"two, by chance":           {[]podCount{{requests: 1000, failed: 8}, {requests: 1000, failed: 20}}, false},
		"two that differ":          {[]podCount{{requests: 1000, failed: 10}, {requests: 1000, failed: 40}}, true},
		"too few to tell":          {[]podCount{{requests: 100, failed: 0}, {requests: 100, failed: 9}}, false},
		"in proportion to load":    {[]podCount{{requests: 1000, failed: 10}, {requests: 9000, failed: 90}}, false},
		"one of three":             {[]podCount{{requests: 9000, failed: 90}, {requests: 9000, failed: 95}, {requests: 9000, failed: 180}}, true},
		"nearly all of them fail":  {[]podCount{{requests: 1000, failed: 990}, {requests: 1000, failed: 1000}}, false},
		"half of them, and differ": {[]podCount{{requests: 1000, failed: 400}, {requests: 1000, failed: 600}}, true},
	} {
		if got := differ(test.pods); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// Seeded. Identical pods are rarely taken to differ, however few there are.
func TestIdenticalPodsDoNotDiffer(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // a simulation
	const runs = 20_000
	for _, count := range []int{2, 3, 9} {
		wrong := 0
		for range runs {
			pods := make([]podCount, count)
			for i := range pods {
				pods[i].requests = 1000
				for range 1000 {
					if random.IntN(100) == 0 {
						pods[i].failed++
					}
				}
			}
			if differ(pods) {
				wrong++
			}
		}
		if limit := runs * 3 / 1000; wrong > limit {
			t.Errorf("%d pods: %d of %d times, want at most %d", count, wrong, runs, limit)
		}
	}
}

// Seeded. Pods of uneven load that differ by a log-normal factor, or not at all: the mean square of the
// estimate over many is near the truth.
func TestSpreadOfSimulatedPods(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a simulation
	for _, tau := range []float64{0, .3, .6} {
		squares := 0.
		const runs = 2000
		for range runs {
			pods := make([]podCount, 9)
			for i := range pods {
				pods[i].requests = 20_000 * (1 + random.Float64())
				mean := .01 * pods[i].requests * math.Exp(tau*random.NormFloat64()-tau*tau/2)
				pods[i].failed = math.Round(mean + math.Sqrt(mean)*random.NormFloat64())
			}
			squares += spreadOf(pods) * spreadOf(pods)
		}
		got := math.Sqrt(squares / runs)
		t.Logf("true %v, estimated %.3f", tau, got)
		if math.Abs(got-tau) > .03+tau/10 {
			t.Errorf("estimated %v, true %v", got, tau)
		}
	}
}
