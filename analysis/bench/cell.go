package bench

import (
	"math/rand/v2"
	"time"

	"github.com/sluice-mesh/sluice/analysis"
)

// Cell is one setting of the benchmark: the traffic, how the canary differs, and how it is measured.
type Cell struct {
	// Name identifies the cell and seeds its traces; About is for people.
	Name, About string
	// Null names the cell with the same traffic in which the canary is as good as stable. Empty: this is one.
	Null string

	// Rate is requests a second, over all sources; Base the share of stable's that fail.
	Rate, Base float64
	// Ratio of the canary's share of failures to stable's.
	Ratio float64
	// Slower is how many times as long the canary's requests take, and Stall the share of them that take
	// StallTime instead.
	Slower, Stall float64
	// Onset is when Ratio, Slower and Stall begin to hold.
	Onset time.Duration
	// Latency makes the rivals judge durations too.
	Latency bool

	Plan    Plan
	Scraped Scraped
	// Climate, when set, makes the conditions of a trace.
	Climate func(random *rand.Rand) Climate
	// Pods, when above zero, makes the pods of both revisions differ: that many of the canary, StablePods of
	// stable, their failures spread by the factor exp(N(0, PodSpread^2)).
	Pods int
	// Compare, when set, changes what our judge demands.
	Compare func(*analysis.Comparison)
}

// StallTime is how long a stalled request takes, in seconds.
const StallTime = 2.0

// Plan is the plan of a release. It is the same for all judges.
type Plan struct {
	Weights []uint32
	// Step is how long each weight lasts at least.
	Step time.Duration
	// WarmUp begins with every step that adds canary pods.
	WarmUp time.Duration
	// AllPods says that all canary pods are there from the first step on. Else they are as many as are a
	// step's weight of StablePods, rounded up, as the operator has it.
	AllPods bool
	// MinRequests is how many requests the canary must have answered for our judge to pass a step.
	MinRequests int
}

// Scraped says how the counters are read.
type Scraped struct {
	Every   time.Duration
	Sources int
	// Offsets makes the sources be scraped at times of their own within Every, with jitter.
	Offsets bool
	// Missing is the chance that a scrape does not happen.
	Missing float64
	// Restart is the mean time between two restarts of a source. Zero: none.
	Restart time.Duration
	// Late is up to how long after the decision a source goes on with the old weight.
	Late time.Duration
	// Ledger leads our judge's evidence through the real ledger of analysis/prometheus.
	Ledger bool
}

// Conditions are factors on the rate of requests and on the share of failures of each revision.
type Conditions struct{ Traffic, Canary, Stable float64 }

// Climate is the conditions at a time of the release, in seconds, when the youngest canary pods have had
// traffic for so many.
type Climate func(now, age float64) Conditions

// adds says whether a step adds canary pods.
func (p Plan) adds(step int) bool {
	pods := func(step int) uint32 { return (p.Weights[step]*StablePods + 99) / 100 }
	return step == 0 || !p.AllPods && pods(step) > pods(step-1)
}

// youngest is when the youngest canary pods of a step got traffic, by when each step's weight was decided.
func (p Plan) youngest(step int, decided []float64) float64 {
	for !p.adds(step) {
		step--
	}
	return decided[step]
}

// IsNull says that a rollback in this cell is a false one.
func (c Cell) IsNull() bool { return c.Null == "" }

// The plans. The second is for a service with little traffic: steps long enough that the canary gets
// its MinRequests at the least weight, on pods that are all there from the start.
var (
	fiveSteps = Plan{
		Weights: []uint32{5, 10, 20, 30, 50}, Step: 5 * time.Minute, WarmUp: time.Minute, MinRequests: 50,
	}
	slowSteps = Plan{
		Weights: []uint32{10, 20, 30, 40, 50}, Step: 10 * time.Minute, WarmUp: time.Minute, AllPods: true, MinRequests: 50,
	}
	plainly = Scraped{Every: 5 * time.Second, Sources: 1}
)

// strict is the comparison of the cell with little traffic: no tolerance and no slack.
func strict(c *analysis.Comparison) { c.Tolerated, c.Slack = 1, 0 }

// Cells are all cells of the benchmark.
func Cells() []Cell {
	cells := nulls()
	for _, base := range []float64{.001, .005, .009} {
		for _, ratio := range []float64{1.25, 1.5, 2, 5, 50} {
			cells = append(cells, worse(50, base, ratio))
		}
	}
	for _, rate := range []float64{1, 10, 1000} {
		for _, ratio := range []float64{1.25, 1.5, 2, 5, 50} {
			cells = append(cells, worse(rate, .009, ratio))
		}
	}
	late := worse(50, .009, 2)
	late.Name, late.About, late.Onset = "late-r2", "from minute 20 on twice the errors", 20*time.Minute
	later := worse(50, .009, 5)
	later.Name, later.About, later.Onset = "late-r5", "from minute 20 on five times the errors", 20*time.Minute
	low := quiet()
	low.Name, low.About, low.Null, low.Ratio = "quiet-r10", "1 rps, errors 0.5 -> 5 %, r0 = 1, delta = 0, warm-up once", "quiet-null", 10
	cells = append(cells, late, later, low)
	for _, slow := range []struct {
		name, about   string
		slower, stall float64
	}{
		{"p99+20", "every request takes 1.2 times as long", 1.2, 0},
		{"p99+50", "every request takes 1.5 times as long", 1.5, 0},
		{"bimodal", "1 % of the requests take 2 s", 1, .01},
	} {
		c := durations(slow.name, slow.about)
		c.Null, c.Slower, c.Stall = "latency-null", slow.slower, slow.stall
		cells = append(cells, c)
	}
	return cells
}

// same is an identical image at a rate and a share of failures.
func same(rate, base float64) Cell {
	return Cell{
		Name: nullName(rate, base), About: percent(base) + " errors at " + number(rate) + " rps",
		Rate: rate, Base: base, Ratio: 1, Slower: 1, Plan: fiveSteps, Scraped: plainly,
	}
}

func worse(rate, base, ratio float64) Cell {
	c := same(rate, base)
	c.Null, c.Ratio = c.Name, ratio
	c.Name = "r" + number(ratio) + "-" + number(100*base) + "%-" + number(rate) + "rps"
	c.About = "errors " + percent(base) + " -> " + percent(base*ratio) + " at " + number(rate) + " rps"
	return c
}

func nullName(rate, base float64) string {
	return "null-" + number(100*base) + "%-" + number(rate) + "rps"
}

func quiet() Cell {
	c := same(1, .005)
	c.Name, c.About = "quiet-null", "0.5 % errors at 1 rps, r0 = 1, delta = 0, warm-up once, long steps"
	c.Plan, c.Compare = slowSteps, strict
	return c
}

func durations(name, about string) Cell {
	c := same(50, .001)
	c.Name, c.About, c.Latency = name, about, true
	return c
}

// nulls are the cells in which every rollback is a false one.
func nulls() []Cell {
	cells := []Cell{
		same(50, .001), same(50, .005), same(50, .009),
		same(1, .009), same(10, .009), same(1000, .009),
		quiet(), durations("latency-null", "0.1 % errors, the same durations"),
	}
	with := func(name, about string, change func(*Cell)) {
		c := same(50, .009)
		c.Name, c.About = name, about
		change(&c)
		cells = append(cells, c)
	}
	with("edge", "the canary just as bad as is tolerated: 0.9 -> 0.96 %", func(c *Cell) {
		_, truth := tell(*c)
		c.Ratio = truth.tolerated
	})
	with("shocks", "shared outages: errors x 10 for 30 s, every 5 min on average", func(c *Cell) { c.Climate = shocks })
	with("wave", "a day's wave in the time of the release: traffic 20 to 180 %, errors 50 to 150 %", func(c *Cell) { c.Climate = wave })
	with("bursty-pod", "one of 9 stable pods fails in bursts, at the same mean", func(c *Cell) { c.Climate = burstyPod })
	with("pods-1", "pods differ (log-sd 0.3): 1 of the canary, 9 stable", func(c *Cell) { c.Pods = 1 })
	with("pods-3", "pods differ (log-sd 0.3): 3 of the canary, 9 stable", func(c *Cell) { c.Pods = 3 })
	with("cold-start", "the canary fails 10 times as often for 45 s whenever pods are added", func(c *Cell) { c.Climate = coldStart })
	five := Scraped{Every: 15 * time.Second, Sources: 5, Ledger: true}
	with("resets", "5 sources scraped every 15 s, each restarted every 4 min on average", func(c *Cell) {
		c.Scraped = five
		c.Scraped.Restart = 4 * time.Minute
	})
	with("missing", "5 sources scraped every 15 s, a third of the scrapes missing", func(c *Cell) {
		c.Scraped = five
		c.Scraped.Missing = 1. / 3
	})
	with("offsets", "5 sources scraped every 15 s, at times of their own, with jitter", func(c *Cell) {
		c.Scraped = five
		c.Scraped.Offsets = true
	})
	with("late-proxies", "5 sources scraped every 15 s, which take up to 20 s to take on a weight", func(c *Cell) {
		c.Scraped = five
		c.Scraped.Late = 20 * time.Second
	})
	with("everything", "resets, missing scrapes, offsets and late proxies together", func(c *Cell) {
		c.Scraped = five
		c.Scraped.Offsets, c.Scraped.Missing = true, 1./3
		c.Scraped.Restart, c.Scraped.Late = 4*time.Minute, 20*time.Second
	})
	with("everything-r0", "the same with r0 = 1 and delta = 0", func(c *Cell) {
		c.Scraped = five
		c.Scraped.Offsets, c.Scraped.Missing = true, 1./3
		c.Scraped.Restart, c.Scraped.Late = 4*time.Minute, 20*time.Second
		c.Compare = strict
	})
	return cells
}
