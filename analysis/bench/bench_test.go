package bench

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

// The bounds are the proxies': the judge could not count at others.
func TestBoundsAreTheProxies(t *testing.T) {
	if diff := cmp.Diff(telemetry.Buckets, Bounds); diff != "" {
		t.Error(diff)
	}
}

func TestCellsAreSound(t *testing.T) {
	byName := map[string]Cell{}
	for _, cell := range Cells() {
		if _, twice := byName[cell.Name]; twice {
			t.Errorf("%s is there twice", cell.Name)
		}
		byName[cell.Name] = cell
	}
	for _, cell := range byName {
		if cell.IsNull() {
			if _, truth := tell(cell); cell.Ratio > truth.tolerated || cell.Slower != 1 || cell.Stall != 0 {
				t.Errorf("%s is a null in which the canary is worse than tolerated", cell.Name)
			}
			continue
		}
		null, there := byName[cell.Null]
		if !there || !null.IsNull() || null.Base != cell.Base || null.Rate != cell.Rate || null.Latency != cell.Latency ||
			!cmp.Equal(null.Plan, cell.Plan) || !cmp.Equal(null.Scraped, cell.Scraped) {
			t.Errorf("%s is not compared with a null of the same base: %q", cell.Name, cell.Null)
		}
	}
	if _, there := byName[quietCell]; !there {
		t.Errorf("the cell %s, which has a bar of its own, is gone", quietCell)
	}
}

// The number of requests of each kind in an interval has the mean and the variance of a Poisson number, and
// canary and stable are independent. Each of the 19 statistics is off by more than 5 standard errors with a
// chance of 6e-7, if the law is right; the seed is fixed.
func TestCountsFollowTheLaw(t *testing.T) {
	const draws, length = 20_000, 5.
	cell := worse(50, .009, 2)
	cell.Slower, cell.Stall = 1.5, .01
	traffic := newTraffic(cell, 1, []int{8, 12, 14})
	kinds := map[string]struct {
		mean float64
		of   func(Pair) uint64
	}{}
	for revision, want := range map[int]struct{ share, bad, times, stall float64 }{Canary: {.2, .018, 1.5, .01}, Stable: {.8, .009, 1, 0}} {
		name := []string{"canary", "stable"}[revision]
		mean := 50 * length * want.share
		kinds[name] = struct {
			mean float64
			of   func(Pair) uint64
		}{mean, func(p Pair) uint64 { return p[revision].All }}
		kinds[name+" failed"] = struct {
			mean float64
			of   func(Pair) uint64
		}{mean * want.bad, func(p Pair) uint64 { return p[revision].Failed }}
		for i, bound := range []float64{.15, .4, .75} {
			kinds[name+" slower than "+number(bound)] = struct {
				mean float64
				of   func(Pair) uint64
			}{mean * (1 - want.bad) * dumbSlower(bound, want.times, want.stall), func(p Pair) uint64 { return p[revision].Slow[i] }}
		}
	}
	sums, squares, product := map[string]float64{}, map[string]float64{}, 0.
	for range draws {
		var pair Pair
		traffic.draw(&pair, 10, length, 10, 1, 20)
		for name, kind := range kinds {
			x := float64(kind.of(pair)) - kind.mean
			sums[name] += x
			squares[name] += x * x
		}
		product += (float64(pair[Canary].All) - 50) * (float64(pair[Stable].All) - 200)
	}
	for name, kind := range kinds {
		if z := sums[name] / math.Sqrt(draws*kind.mean); math.Abs(z) > 5 {
			t.Errorf("mean of %s is off by %.1f standard errors", name, z)
		}
		// The fourth central moment of a Poisson number is m + 3 m^2.
		deviation := math.Sqrt(draws * (kind.mean + 2*kind.mean*kind.mean))
		if z := (squares[name] - draws*kind.mean) / deviation; math.Abs(z) > 5 {
			t.Errorf("variance of %s is off by %.1f standard errors", name, z)
		}
	}
	if z := product / math.Sqrt(draws*50*200); math.Abs(z) > 5 {
		t.Errorf("canary and stable go together: %.1f standard errors", z)
	}
}

// dumbSlower integrates the density of the durations by rectangles.
func dumbSlower(bound, times, stall float64) float64 {
	mu, sigma := math.Log(.06*times), math.Log(.4/.06)/2.3263478740408408
	share := 0.
	const step = 1e-4
	for x := math.Log(bound); x < mu+12*sigma; x += step {
		z := (x + step/2 - mu) / sigma
		share += step * math.Exp(-z*z/2) / (sigma * math.Sqrt(2*math.Pi))
	}
	if bound < 2 {
		return stall + (1-stall)*share
	}
	return (1 - stall) * share
}

// A hundred requests drawn one by one, with a weight and a chance to fail each, have the same law as the
// counts that are drawn at once: the share of intervals with no failure of the canary, among others.
func TestCountsAreThoseOfRequests(t *testing.T) {
	const draws = 20_000
	cell := worse(20, .05, 2)
	traffic, random := newTraffic(cell, 1, nil), stream("requests", 1, 0)
	var atOnce, oneByOne [6]float64
	for range draws {
		var pair Pair
		traffic.draw(&pair, 10, 5, 10, 1, 10)
		atOnce[min(pair[Canary].Failed, 5)]++
		failed := 0
		for at := random.ExpFloat64() / 20; at < 5; at += random.ExpFloat64() / 20 {
			if drawn, fails := random.Float64() < .1, random.Float64() < .1; drawn && fails {
				failed++
			}
		}
		oneByOne[min(failed, 5)]++
	}
	// The statistic is chi-square with 5 degrees of freedom: above 30 with a chance of 1.5e-5.
	statistic := 0.
	for i := range atOnce {
		if sum := atOnce[i] + oneByOne[i]; sum > 0 {
			statistic += (atOnce[i] - oneByOne[i]) * (atOnce[i] - oneByOne[i]) / sum
		}
	}
	if statistic > 30 {
		t.Errorf("%v at once against %v one by one", atOnce, oneByOne)
	}
}

// recorder is a judge that keeps what it sees and does what it is told.
type recorder struct {
	scrapes []Scrape
	begun   []float64
	decide  func(Moment) Decision
}

func (r *recorder) Begin(moment Moment) { r.begun = append(r.begun, moment.Now) }
func (r *recorder) Observe(scrape Scrape) {
	scrape.Counters = append([]Pair(nil), scrape.Counters...)
	r.scrapes = append(r.scrapes, scrape)
}
func (r *recorder) Look(moment Moment) Decision { return r.decide(moment) }

func record(cell Cell, trace uint64, decide func(Moment) Decision) (*recorder, Run) {
	r := &recorder{decide: decide}
	run := Play(cell, Contender{
		Name: "recorder", New: func(Cell, uint64) Judge { return r }, Bounds: func(Cell) []int { return nil },
	}, trace)
	return r, run
}

func always(decision Decision) func(Moment) Decision {
	return func(Moment) Decision { return decision }
}

func TestPlay(t *testing.T) {
	cell := worse(50, .009, 2)
	for name, test := range map[string]struct {
		decide func(Moment) Decision
		ending Ending
		at     float64
		begun  []float64
	}{
		"waits":       {always(Wait), Inconclusive, 900, []float64{0}},
		"advances":    {always(Advance), Promoted, 1500, []float64{0, 300, 600, 900, 1200}},
		"rolls back":  {always(RollBack), RolledBack, 5, []float64{0}},
		"holds once":  {func(m Moment) Decision { return map[bool]Decision{m.Now > 400: Advance}[true] }, Promoted, 1605, []float64{0, 405, 705, 1005, 1305}},
		"is too late": {func(m Moment) Decision { return map[bool]Decision{m.Step == 0: Advance}[true] }, Inconclusive, 1200, []float64{0, 300}},
	} {
		t.Run(name, func(t *testing.T) {
			r, run := record(cell, 1, test.decide)
			if run.Ending != test.ending || run.At != test.at {
				t.Errorf("ended as %v at %v, want %v at %v", run.Ending, run.At, test.ending, test.at)
			}
			if diff := cmp.Diff(test.begun, r.begun); diff != "" {
				t.Error(diff)
			}
		})
	}
	_, run := record(cell, 1, always(Advance))
	// 300 s at 50 rps and .009 more, at 115 % in all.
	if want := 300 * 50 * .009 * 1.15; math.Abs(run.Excess-want) > 1e-5*want {
		t.Errorf("excess %v, want %v", run.Excess, want)
	}
	late := cell
	late.Onset = 20 * time.Minute
	if _, run := record(late, 1, always(RollBack)); !math.IsInf(run.Detected(late), 1) {
		t.Error("a rollback before the onset has found it")
	}
	if _, run := record(late, 1, always(Advance)); math.Abs(run.Excess-67.5) > 1e-3 {
		t.Errorf("excess after the onset is %v", run.Excess)
	}
}
