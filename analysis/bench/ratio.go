package bench

import "math"

// The ratio test is Wald's test of probability ratios (Annals of Mathematical Statistics 16, 1945) of the
// same null against the truth, which it knows: that the canary fails r times as often, and since when. It
// looks at the canary's part of the bad requests, x of e at a share pi, and at the same traffic as our
// judge:
//
//	ln LR = sum x ln(q / q0) + (e - x) ln((1 - q) / (1 - q0)),  q = pi r / (1 + pi (r - 1))
//
// with q0 the same for the largest ratio that is tolerated. It rolls back at 1/alpha, which by Ville's
// inequality is wrong in at most alpha of the releases. No test of the null from these counts grows faster
// (Gibbs' inequality: the mean of ln LR is D, see information), so it is the bound that nobody beats.
// Where durations differ it counts what is slower than the boundary that tells the most. Where the truth is
// tolerated, as in every null, it looks for twice what is.

// Ratio is the ratio test that knows the truth.
var Ratio = Contender{
	Name: "ratio", Label: "ratio test that knows r",
	New: func(cell Cell, _ uint64) Judge { return newRatio(cell) },
	Bounds: func(cell Cell) []int {
		if b, _ := tell(cell); b >= 0 {
			return []int{b}
		}
		return nil
	},
}

type ratio struct {
	cell   Cell
	direct *direct
	slow   bool
	odds   []odds
	onset  []stratum // what had been seen before the onset
	begun  bool
}

// odds are the summands of ln LR for a bad request of the canary and of stable at one weight.
type odds struct{ canary, stable float64 }

func newRatio(cell Cell) *ratio {
	bound, truth := tell(cell)
	if truth.ratio <= truth.tolerated {
		truth.ratio = 2 * truth.tolerated
	}
	r := &ratio{cell: cell, direct: newDirect(cell), slow: bound >= 0}
	for _, weight := range cell.Plan.Weights {
		pi := float64(weight) / 100
		q, q0 := part(pi, truth.ratio), part(pi, truth.tolerated)
		r.odds = append(r.odds, odds{math.Log(q / q0), math.Log((1 - q) / (1 - q0))})
	}
	return r
}

func (r *ratio) Begin(moment Moment) { r.direct.leaveOut(r.cell.Plan.warmUps(moment)) }

func (r *ratio) Observe(scrape Scrape) { r.direct.observe(scrape) }

func (r *ratio) Look(moment Moment) Decision {
	if !r.begun && moment.Now >= seconds(r.cell.Onset) {
		r.begun = true
		if r.cell.Onset > 0 {
			r.onset = append(r.onset, r.direct.strata...)
		}
	}
	if r.begun && r.logRatio() >= -math.Log(Alpha) {
		return RollBack
	}
	if moment.InStep() >= seconds(r.cell.Plan.Step) {
		return Advance
	}
	return Wait
}

func (r *ratio) logRatio() float64 {
	sum := 0.
	for w, s := range r.direct.strata {
		canary, stable := r.bad(s.tested[Canary]), r.bad(s.tested[Stable])
		if r.onset != nil {
			canary -= r.bad(r.onset[w].tested[Canary])
			stable -= r.bad(r.onset[w].tested[Stable])
		}
		sum += canary*r.odds[w].canary + stable*r.odds[w].stable
	}
	return sum
}

func (r *ratio) bad(c Count) float64 {
	if r.slow {
		return float64(c.Failed + c.Slow[0])
	}
	return float64(c.Failed)
}

// truth is the canary's share of bad requests in relation to stable's, and what our judge tolerates.
type truth struct{ base, ratio, tolerated float64 }

// part is the canary's part of the bad requests where its share of all requests is pi.
func part(pi, ratio float64) float64 { return pi * ratio / (1 + pi*(ratio-1)) }

// tell finds what tells the canary from stable best: -1 for failures, else the bound of durations.
func tell(cell Cell) (bound int, best truth) {
	bound, best = -1, truthOf(cell, -1)
	if !cell.Latency {
		return bound, best
	}
	most := information(cell, best, best.tolerated)
	for _, b := range Boundaries {
		t := truthOf(cell, b)
		if d := information(cell, t, t.tolerated); d > most {
			bound, best, most = b, t, d
		}
	}
	return bound, best
}

// truthOf is the truth about failures, or about requests that fail or are slower than a bound.
func truthOf(cell Cell, bound int) truth {
	base, worse := cell.Base, min(cell.Base*cell.Ratio, 1)
	if bound >= 0 {
		base += (1 - base) * slower(Bounds[bound], 1, 0)
		worse += (1 - worse) * slower(Bounds[bound], cell.Slower, cell.Stall)
	}
	compare := cell.comparison()
	return truth{base: base, ratio: worse / base, tolerated: compare.Tolerated + compare.Slack/base}
}

// information is how far the truth can be told from a ratio that is tolerated: the mean of ln LR, in nats,
// over the traffic that is tested after the onset, if the release goes as planned. It is the sum of
// e KL(q || q0), 0 where the truth is tolerated. With 1 tolerated it is D of the design.
func information(cell Cell, t truth, tolerated float64) float64 {
	if t.ratio <= tolerated {
		return 0
	}
	sum := 0.
	for step, weight := range cell.Plan.Weights {
		pi := float64(weight) / 100
		bad := cell.Rate * cell.tested(step) * t.base * (1 + pi*(t.ratio-1))
		q, q0 := part(pi, t.ratio), part(pi, tolerated)
		sum += bad * (q*math.Log(q/q0) + (1-q)*math.Log((1-q)/(1-q0)))
	}
	return sum
}

// D says what a cell can show at all: by the design below 12 no test at alpha 5 % has a power of 95 %.
// Beyond is the same against what our judge tolerates, which is what it and the ratio test can show.
func (c Cell) D() (d, beyond float64) {
	_, best := tell(c)
	return information(c, best, 1), information(c, best, best.tolerated)
}

// tested is how many seconds of a step are tested after the onset, if all goes as planned. The interval
// between two scrapes that a warm-up ends in is lost with it.
func (c Cell) tested(step int) float64 {
	length := seconds(c.Plan.Step)
	from, to := float64(step)*length, float64(step+1)*length
	if c.Plan.adds(step) {
		from += seconds(c.Plan.WarmUp + c.Scraped.Every)
	}
	return max(to-max(from, seconds(c.Onset)), 0)
}
