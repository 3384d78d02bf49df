package bench

import (
	"hash/fnv"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/stat/distuv"
)

// Durations are log-normal, with this median and 99th percentile in seconds.
const (
	medianTime = .06
	p99Time    = .4
)

var (
	logMedian = math.Log(medianTime)
	logSpread = (math.Log(p99Time) - logMedian) / distuv.UnitNormal.Quantile(.99)
)

// slower is the share of the requests that do not fail which take longer than a bound, where all take so
// many times as long and some stall.
func slower(bound, times, stall float64) float64 {
	share := distuv.UnitNormal.Survival((math.Log(bound/times) - logMedian) / logSpread)
	if bound < StallTime {
		return stall + (1-stall)*share
	}
	return (1 - stall) * share
}

// The streams of random numbers of one trace: what the world is like, how many fail, how many do not and how
// long they take, and what happens to sources and scrapes. They are apart so that judges that need
// different things counted meet the same failures.
const (
	streamWorld = iota
	streamFailures
	streamRest
	streamScrapes
	streamBefore
)

// stream makes one of the streams of a trace.
func stream(cell string, trace uint64, which uint64) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(cell))
	return rand.New(rand.NewPCG(h.Sum64()+which, trace)) //nolint:gosec // a simulation
}

// traffic draws the requests of a trace. In an interval with constant conditions requests of each
// revision and outcome are independent Poisson numbers: a Poisson stream, split at random by the weight,
// is such streams again (Kingman, Poisson Processes, 1993, section 5.1).
type traffic struct {
	cell    Cell
	climate Climate
	pods    [2]float64 // mean factors of the revisions
	bounds  []int
	// durations are the shares above each of bounds, of stable and of the canary after the onset
	durations [2][]float64

	failures, rest *rand.Rand
	// excess is the expected number of bad answers beyond those that stable would have given.
	excess float64
}

func newTraffic(cell Cell, trace uint64, bounds []int) *traffic {
	world := stream(cell.Name, trace, streamWorld)
	t := &traffic{
		cell: cell, bounds: bounds, pods: [2]float64{1, 1},
		failures: stream(cell.Name, trace, streamFailures), rest: stream(cell.Name, trace, streamRest),
	}
	if cell.Climate != nil {
		t.climate = cell.Climate(world)
	}
	if cell.Pods > 0 {
		t.pods = [2]float64{mean(pods(world, cell.Pods)), mean(pods(world, StablePods))}
	}
	for _, b := range bounds {
		t.durations[Stable] = append(t.durations[Stable], slower(Bounds[b], 1, 0))
		t.durations[Canary] = append(t.durations[Canary], slower(Bounds[b], cell.Slower, cell.Stall))
	}
	return t
}

// share of the canary's or stable's requests that fail, under conditions.
func (t *traffic) share(revision int, now Conditions, begun bool) float64 {
	share := t.cell.Base * t.pods[revision]
	if revision == Stable {
		return min(share*now.Stable, 1)
	}
	if begun {
		share *= t.cell.Ratio
	}
	return min(share*now.Canary, 1)
}

// draw adds the requests of an interval to a source's counters: over length seconds about the middle, at a
// source with a part of all requests, at a weight in percent, when the youngest canary pods are so old.
func (t *traffic) draw(into *Pair, middle, length, age, part float64, weight uint32) {
	conditions := still
	if t.climate != nil {
		conditions = t.climate(middle, age)
	}
	begun := middle >= seconds(t.cell.Onset)
	requests := t.cell.Rate * conditions.Traffic * length * part
	split := [2]float64{Canary: float64(weight) / 100, Stable: 1 - float64(weight)/100}
	for revision := range into {
		times := Stable
		if revision == Canary && begun {
			times = Canary
		}
		bad := t.share(revision, conditions, begun)
		t.drawOne(&into[revision], requests*split[revision], bad, t.durations[times])
	}
	if begun {
		t.excess += requests * split[Canary] * t.harm(conditions)
	}
}

// drawOne adds the requests of one revision, of which so many are expected.
func (t *traffic) drawOne(into *Count, requests, bad float64, above []float64) {
	failed := poisson(requests*bad, t.failures)
	into.Failed += failed
	into.All += failed
	good, before := requests*(1-bad), 0.
	slow := uint64(0)
	for i := len(above) - 1; i >= 0; i-- { // from the slowest on
		slow += poisson(good*(above[i]-before), t.rest)
		before = above[i]
		into.Slow[i] += slow
	}
	into.All += slow + poisson(good*(1-before), t.rest)
}

// harm is how much larger the share of bad answers is than stable's: of failures, or where durations differ
// of those above stable's 99th percentile.
func (t *traffic) harm(now Conditions) float64 {
	if t.cell.Latency {
		return slower(p99Time, t.cell.Slower, t.cell.Stall) - slower(p99Time, 1, 0)
	}
	bad := t.share(Canary, now, true)
	return bad - bad/t.cell.Ratio
}

func poisson(mean float64, random *rand.Rand) uint64 {
	if !(mean > 0) {
		return 0
	}
	return uint64(distuv.Poisson{Lambda: mean, Src: random}.Rand())
}
