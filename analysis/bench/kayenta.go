package bench

import (
	"math"
	"slices"
)

// The Mann-Whitney judge decides as Kayenta does (kayenta-judge, NetflixACAJudge with its defaults; head of
// 2025-04): at the end of every step each metric's points since the beginning, canary against stable, are
// put through Mann and Whitney's test; a metric whose shift is above zero beyond a tolerance, by its 98 %
// confidence interval, is High; the score is the share of metrics that are not; below the marginal 75 the
// release fails at once, below the passing 95 at its end. Kayenta says nothing about how long the points
// are: here 15 s, which gives 20 a step.
//
// Metrics: the share of failures in percent, and where durations are judged their 99th percentile in
// milliseconds; only a rise counts. Points without requests are zero (its nanStrategy by default).
const (
	pointLength   = 15. // seconds
	kayentaLevel  = .98
	tolerance     = .25 // of the estimated shift
	marginalScore = 75.
	passingScore  = 95.
)

// MannWhitney is the judge with Kayenta's semantics.
var MannWhitney = Contender{
	Name: "mann-whitney", Label: "Mann-Whitney (Kayenta)",
	New: func(cell Cell, _ uint64) Judge {
		return &mannWhitney{cell: cell, seen: newRates(cell)}
	},
	Bounds: func(cell Cell) []int {
		if !cell.Latency {
			return nil
		}
		all := make([]int, len(Bounds))
		for i := range all {
			all[i] = i
		}
		return all
	},
}

type mannWhitney struct {
	cell Cell
	seen *rates
}

func (m *mannWhitney) Begin(Moment) {}

func (m *mannWhitney) Observe(scrape Scrape) { m.seen.observe(scrape) }

func (m *mannWhitney) Look(moment Moment) Decision {
	m.seen.round()
	if moment.InStep() < seconds(m.cell.Plan.Step) {
		return Wait
	}
	score := m.score()
	if score < marginalScore || moment.Step == len(m.cell.Plan.Weights)-1 && score < passingScore {
		return RollBack
	}
	return Advance
}

// score is the share of metrics that are not High, in percent.
func (m *mannWhitney) score() float64 {
	points := m.seen.points(pointLength)
	metrics := []func(Count) float64{failureRate}
	if m.cell.Latency {
		metrics = append(metrics, p99)
	}
	good := 0
	for _, metric := range metrics {
		var values [2][]float64
		for _, point := range points {
			for revision, count := range point {
				values[revision] = append(values[revision], metric(count))
			}
		}
		if !high(values[Canary], values[Stable]) {
			good++
		}
	}
	return 100 * float64(good) / float64(len(metrics))
}

func failureRate(c Count) float64 {
	if c.All == 0 {
		return 0
	}
	return 100 * float64(c.Failed) / float64(c.All)
}

// p99 in milliseconds, as histogram_quantile has it over all Bounds; failures are taken to be quick.
func p99(c Count) float64 {
	if c.All == 0 {
		return 0
	}
	rank, under, low := .99*float64(c.All), 0., 0.
	for i, bound := range Bounds {
		upTo := float64(c.All - c.Slow[i])
		if upTo >= rank {
			return 1000 * (low + (bound-low)*(rank-under)/max(upTo-under, 1))
		}
		under, low = upTo, bound
	}
	return 1000 * Bounds[len(Bounds)-1]
}

// high says whether Kayenta's classifier would call a metric High.
func high(experiment, control []float64) bool {
	if len(experiment) == 0 || len(control) == 0 {
		return false // Nodata or Pass: its group scores 100 either way
	}
	// The lower end of the interval must be above zero. Spare the search where zero is inside: not where the
	// samples do not overlap, since the interval then ends above zero though they may be too small to tell.
	overlap := slices.Min(experiment) <= slices.Max(control)
	if z := shifted(experiment, control, 0); overlap && !(z > normalQuantile((1+kayentaLevel)/2)) {
		return false
	}
	low, estimate := shiftInterval(experiment, control)
	ratio := mean(experiment) / mean(control) // the effect size, whose limit is 1 by default
	if mean(experiment) == 0 || mean(control) == 0 {
		ratio = math.NaN() // which switches its check off
	}
	return low > tolerance*math.Abs(estimate) && !(ratio < 1)
}
