package bench

import (
	"math"
	"testing"
)

// feed plays rounds of 5 s to a judge at weight 10, each with so many requests and failures of each
// revision, and returns its decisions by the second at which it took any but Wait.
func feed(judge Judge, seconds int, counts func(now float64) Pair) map[float64]Decision {
	decisions, counters := map[float64]Decision{}, make([]Pair, 5)
	moment := Moment{Decided: []float64{0}}
	judge.Begin(moment)
	for now := 5.; now <= float64(seconds); now += 5 {
		counters[0].add(counts(now))
		judge.Observe(Scrape{At: now, Counters: counters, Known: 1})
		moment.Now = now
		if decision := judge.Look(moment); decision != Wait {
			decisions[now] = decision
		}
	}
	return decisions
}

func canaryFails(all, failed uint64) Pair {
	return Pair{Canary: {All: all, Failed: failed}, Stable: {All: 10 * all}}
}

func TestThresholdIsFlaggers(t *testing.T) {
	for name, test := range map[string]struct {
		counts func(now float64) Pair
		want   map[float64]Decision
	}{
		"five checks that hold are a step of five minutes": {
			func(float64) Pair { return canaryFails(100, 0) }, map[float64]Decision{300: Advance, 600: Advance},
		},
		"99 % of successes hold": {
			func(float64) Pair { return canaryFails(100, 1) }, map[float64]Decision{300: Advance, 600: Advance},
		},
		"below 99 % five checks fail, and the next tick rolls back": {
			func(float64) Pair { return canaryFails(99, 1) }, map[float64]Decision{360: RollBack, 420: RollBack, 480: RollBack, 540: RollBack, 600: RollBack},
		},
		"a check that fails halts the weight for one interval": {
			func(now float64) Pair { return canaryFails(100, map[bool]uint64{now > 60 && now <= 120: 50}[true]) },
			map[float64]Decision{360: Advance},
		},
		"failed checks are not taken back by those that hold": {
			func(now float64) Pair {
				return canaryFails(100, map[bool]uint64{int(math.Ceil(now/60))%2 == 1: 50}[true])
			},
			// fails at 60, 180, 300, 420, 540, holds between; found at 600
			map[float64]Decision{600: RollBack},
		},
		"no requests are a failed check": {
			func(float64) Pair { return Pair{} }, map[float64]Decision{360: RollBack, 420: RollBack, 480: RollBack, 540: RollBack, 600: RollBack},
		},
		"only the last minute counts": {
			func(now float64) Pair { return canaryFails(100, map[bool]uint64{now <= 60: 100}[true]) },
			map[float64]Decision{360: Advance},
		},
		"stable's failures are not looked at": {
			func(float64) Pair { return Pair{Canary: {All: 100}, Stable: {All: 100, Failed: 100}} },
			map[float64]Decision{300: Advance, 600: Advance},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := feed(Threshold.New(same(50, .009), 0), 600, test.counts); !equal(got, test.want) {
				t.Errorf("decided %v, want %v", got, test.want)
			}
		})
	}
	slow := func(share uint64) func(float64) Pair {
		return func(float64) Pair { return Pair{Canary: {All: 1000, Slow: [maxBounds]uint64{share}}} }
	}
	cell := durations("", "")
	if Bounds[Threshold.Bounds(cell)[0]] != .5 {
		t.Errorf("the 99th percentile is compared with %v", Bounds[Threshold.Bounds(cell)[0]])
	}
	if got := feed(Threshold.New(cell, 0), 300, slow(10)); !equal(got, map[float64]Decision{300: Advance}) {
		t.Errorf("1 %% slower than the bound: %v", got)
	}
	if got := feed(Threshold.New(cell, 0), 360, slow(11)); !equal(got, map[float64]Decision{360: RollBack}) {
		t.Errorf("1.1 %% slower than the bound: %v", got)
	}
}

func equal(a, b map[float64]Decision) bool {
	if len(a) != len(b) {
		return false
	}
	for at, decision := range a {
		if b[at] != decision {
			return false
		}
	}
	return true
}

// The traps of Kayenta's method, which the rival must have, and what it
// gets right.
func TestMannWhitneyIsKayentas(t *testing.T) {
	for name, test := range map[string]struct {
		experiment, control []float64
		want                bool
	}{
		"two points against two are High":            {[]float64{3, 4}, []float64{1, 2}, true},
		"and so is one against one":                  {[]float64{2}, []float64{1}, true},
		"two that overlap are not":                   {[]float64{2, 4}, []float64{1, 3}, false},
		"no data is not":                             {nil, []float64{1, 2}, false},
		"equal data are not":                         {[]float64{1, 2, 3}, []float64{3, 2, 1}, false},
		"constants that differ are":                  {[]float64{5, 5, 5}, []float64{0, 0, 0}, true},
		"constants that are lower are not":           {[]float64{0, 0, 0}, []float64{5, 5, 5}, false},
		"twice as much, 20 against 20, is":           {spread(20, 2), spread(20, 1), true},
		"a fall is not":                              {spread(20, 1), spread(20, 2), false},
		"a change of variance alone is not":          {spread(40, 1), append(spread(20, .5), spread(20, 1.5)...), false},
		"sparse errors pass, though 4 times as many": {sparse(40, 8), sparse(40, 2), false},
		// The medians say that the canary is above; stable's outlier makes its mean larger, which the limit
		// on the ratio of means takes for no effect.
		"a mean below stable's is not": {spread(20, 2), append(spread(19, 1), 1000), false},
		"a mean of zero disables that": {spread(20, 2), append(spread(19, -1), 19), true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := high(test.experiment, test.control); got != test.want {
				t.Errorf("high is %v", got)
			}
		})
	}
}

// spread are n points about a level, from 75 to 125 % of it.
func spread(n int, level float64) []float64 {
	points := make([]float64, n)
	for i := range points {
		points[i] = level * (.75 + .5*float64(i)/float64(max(n-1, 1)))
	}
	return points
}

// sparse are n points of which some are 1.
func sparse(n, some int) []float64 {
	points := make([]float64, n)
	for i := range some {
		points[i] = 1
	}
	return points
}

func TestMannWhitneyDecidesAtStepEnds(t *testing.T) {
	worse := func(now float64) Pair { // the canary fails 5 % and stable 1 %, with some variation
		more := uint64(now/15) % 3
		return Pair{Canary: {All: 1000, Failed: 50 + more}, Stable: {All: 1000, Failed: 10 + more}}
	}
	got := feed(MannWhitney.New(same(50, .009), 0), 400, worse)
	if len(got) != 21 || got[300] != RollBack {
		t.Errorf("worse: %v", got)
	}
	// The step does not change in feed: it decides at 300 and whenever it is asked afterwards.
	got = feed(MannWhitney.New(same(50, .009), 0), 300, func(now float64) Pair {
		more := uint64(now/15) % 3
		return Pair{Canary: {All: 1000, Failed: 10 + more}, Stable: {All: 1000, Failed: 10 + more}}
	})
	if !equal(got, map[float64]Decision{300: Advance}) {
		t.Errorf("equal: %v", got)
	}
	// One of two metrics High scores 50, below the marginal 75.
	got = feed(MannWhitney.New(durations("", ""), 0), 300, func(now float64) Pair {
		pair := Pair{Canary: {All: 1000}, Stable: {All: 1000}}
		for i := range 14 {
			pair[Canary].Slow[i], pair[Stable].Slow[i] = 200+uint64(now), 10+uint64(now/50)
		}
		return pair
	})
	if !equal(got, map[float64]Decision{300: RollBack}) {
		t.Errorf("slower: %v", got)
	}
}

// The statistic agrees with a count of pairs, and the interval with the differences between them.
func TestShifted(t *testing.T) {
	random := stream("wilcoxon", 1, 0)
	for range 300 {
		x, y := make([]float64, 1+random.IntN(12)), make([]float64, 1+random.IntN(12))
		for i := range x {
			x[i] = float64(random.IntN(9))
		}
		for i := range y {
			y[i] = float64(random.IntN(9))
		}
		pairs, tied := 0., map[float64]float64{}
		for _, a := range x {
			tied[a]++
			for _, b := range y {
				switch {
				case a > b:
					pairs++
				case a == b:
					pairs += .5
				}
			}
		}
		for _, b := range y {
			tied[b]++
		}
		m, n := float64(len(x)), float64(len(y))
		variance := m * n * (m + n + 1) / 12
		for _, k := range tied {
			variance -= m * n * (k*k*k - k) / (12 * (m + n) * (m + n - 1))
		}
		difference := pairs - m*n/2
		want := (difference - math.Copysign(min(.5, math.Abs(difference)), difference)) / math.Sqrt(variance)
		got := shifted(x, y, 0)
		if len(tied) == 1 {
			if !math.IsNaN(got) {
				t.Errorf("all tied: %v", got)
			}
			continue
		}
		if math.Abs(got-want) > 1e-9 {
			t.Fatalf("%v against %v: %v, want %v", x, y, got, want)
		}
	}
	// Eight above eight: all 64 pairs, against 32 with a variance of 8 * 8 * 17 / 12: (64 - 32 - .5) / 9.5219.
	if z := shifted([]float64{1.1, 2.2, 3.3, 4.4, 5.5, 6.6, 7.7, 8.8}, []float64{.15, .25, .35, .45, .5, .65, .75, .85}, 0); math.Abs(z-3.3081617) > 1e-6 {
		t.Errorf("z = %v", z)
	}
	low, estimate := shiftInterval(spread(20, 2), spread(20, 1))
	if !(low > .6 && low < estimate && math.Abs(estimate-1) < .03) {
		t.Errorf("from %v, estimate %v", low, estimate)
	}
}

func TestP99(t *testing.T) {
	// 1,000 requests: 980 up to 300 ms, 15 between 300 and 400, 5 above 750: the 990th is 10 of 15 into the
	// bucket.
	c := Count{All: 1000}
	for i, bound := range Bounds {
		switch {
		case bound < .3:
			c.Slow[i] = 1000
		case bound == .3:
			c.Slow[i] = 20
		case bound <= .75:
			c.Slow[i] = 5
		}
	}
	if got, want := p99(c), 1000*(.3+.1*10/15); math.Abs(got-want) > 1e-9 {
		t.Errorf("p99 %v, want %v", got, want)
	}
	if p99(Count{}) != 0 || failureRate(Count{}) != 0 {
		t.Error("a point without requests is not zero")
	}
}

func TestRatesCountAsPrometheus(t *testing.T) {
	r := newRates(same(50, .009))
	step := func(all uint64) {
		counters := make([]Pair, 5)
		counters[0][Canary].All = all
		r.observe(Scrape{Counters: counters, Known: 1})
		r.round()
	}
	for _, all := range []uint64{10, 30, 5, 25} { // a restart after 30
		step(all)
	}
	for length, want := range map[float64]uint64{5: 20, 10: 25, 15: 45, 60: 55} {
		if got := r.last(length)[Canary].All; got != want {
			t.Errorf("%d in the last %v s, want %d", got, length, want)
		}
	}
	points := r.points(10)
	if len(points) != 2 || points[0][Canary].All != 30 || points[1][Canary].All != 25 {
		t.Errorf("points %v", points)
	}
}
