package stats

import (
	"math"
	"slices"
)

// Stratum is what was counted while one share of the requests went to the canary: sums over any number of
// sources and intervals. The counts may be expectations, so they need not be whole.
type Stratum struct {
	// Bad of the canary's requests, and Total of both sides' together.
	Bad, Total float64
	// Requests of the canary. They matter only where there is slack.
	Requests float64
	// Share of the requests that is drawn for the canary; inside (0, 1).
	Share float64
}

// Test is an E-process: a number E that is expected to be at most 1, whenever one looks, if the hypothesis
// holds, so that E >= 1/alpha is ever seen with a chance of at most alpha (Ville 1939). E is the mean over
// a grid of alternatives, each a likelihood ratio of how errors fall on canary and control, given that they
// happen (Lindon and Malek, arXiv 2011.03567, for Bernoulli draws). With x bad requests of the canary and e
// of both, n of the canary's requests, and pi its share:
//
//	ln E(r) = sum over strata [ x ln a + e ln b - n Slack (a b - 1) ],
//	a = r / Ratio,  b = (1 + pi (Ratio - 1)) / (1 + pi (r - 1))
//
// The hypothesis is p_canary <= Ratio p_control + Slack for alternatives above Ratio, and the same with >=
// for those below it.
type Test struct {
	// Grid are the alternatives, as multiples of Ratio: all above 1 for harm, all below 1 for safety, on
	// both sides (without slack) for a split. It scales with Ratio, since an alternative below a tolerated
	// ratio above 1 would call that harm too.
	Grid []float64
	// Ratio and Slack are the hypothesis; Ratio above 0, Slack from 0 to 1.
	Ratio, Slack float64
	// Dispersion is E[k^2]/E[k] of the bad requests k that come together, from one client say. Each
	// alternative's E is raised to 1/Dispersion before the mean is taken. Zero means 1: they come alone.
	Dispersion float64
}

// HarmGrid are the alternatives for a canary that is worse than its hypothesis says.
func HarmGrid() []float64 { return []float64{1.25, 1.5, 2, 3, 5, 10, 20} }

// SafeGrid are the alternatives for a canary that is better than its hypothesis says.
func SafeGrid() []float64 { return []float64{.05, .1, .2, .35, .5, .75} }

// GuardGrid are the alternatives for a catastrophe.
func GuardGrid() []float64 { return []float64{2, 5, 10} }

// SplitGrid are the alternatives for a share that is not as asked, where all requests are counted instead
// of the bad ones.
func SplitGrid() []float64 { return []float64{.5, .8, .9, 1 / .9, 1.25, 2} }

// LogE is ln E of all the strata together: 0 without any. NaN if a stratum or the test is nonsense.
func (t Test) LogE(strata []Stratum) float64 {
	return t.LogEFrom(strata, nil)
}

// LogEFrom is ln E where harm may begin late: half of E counts all strata, the other half is spread evenly
// over later starts, so that a clean beginning cannot mask what follows it. Starts are indices of strata
// from which on one such part counts, one a step of the release after the first; an index of len(strata) or
// above is a step yet to come, which counts 1. Without starts it is LogE.
func (t Test) LogEFrom(strata []Stratum, starts []int) float64 {
	if !t.valid() {
		return math.NaN()
	}
	var room [2][24]float64 // enough for any release, without a heap
	nulls, suffixes := append(room[0][:0], make([]float64, len(strata))...), append(room[1][:0], make([]float64, len(strata)+1)...)
	for i, s := range strata {
		if !s.valid() {
			return math.NaN()
		}
		nulls[i] = math.Log(s.odds(t.Ratio))
	}
	whole, parts := newLogSum(), newLogSum()
	scale := 1 / max(t.Dispersion, 1)
	for _, g := range t.Grid {
		logG := math.Log(g)
		for i, s := range slices.Backward(strata) {
			odds := s.odds(t.Ratio * g)
			suffixes[i] = suffixes[i+1] + s.Bad*logG + s.Total*(nulls[i]-math.Log(odds))
			if t.Slack > 0 {
				suffixes[i] -= s.Requests * t.Slack * (g*s.odds(t.Ratio)/odds - 1)
			}
		}
		whole.add(scale*suffixes[0], 1)
		for _, start := range starts {
			parts.add(scale*suffixes[min(max(start, 0), len(strata))], 1)
		}
	}
	if len(starts) == 0 {
		return whole.log(float64(len(t.Grid)))
	}
	both := newLogSum()
	both.add(whole.log(float64(len(t.Grid))), .5)
	both.add(parts.log(float64(len(t.Grid)*len(starts))), .5)
	return both.log(1)
}

func (t Test) valid() bool {
	if !(t.Ratio > 0 && t.Ratio <= math.MaxFloat64 && t.Slack >= 0 && t.Slack <= 1) || len(t.Grid) == 0 ||
		t.Dispersion != 0 && !(t.Dispersion >= 1 && t.Dispersion <= math.MaxFloat64) {
		return false
	}
	for _, g := range t.Grid {
		if !(g > 0 && g <= math.MaxFloat64) {
			return false
		}
	}
	return true
}

func (s Stratum) valid() bool {
	return s.Share > 0 && s.Share < 1 && s.Bad >= 0 && s.Bad <= s.Total && s.Total <= math.MaxFloat64 &&
		s.Requests >= 0 && s.Requests <= math.MaxFloat64
}

// odds is how likely a bad request is, were the canary's that many times as likely as the control's, compared
// with equal ones: 1 + pi (ratio - 1).
func (s Stratum) odds(ratio float64) float64 { return 1 - s.Share + s.Share*ratio }

// MeanLogE is the logarithm of the weighted mean of some E, given their logarithms: again an E-process of
// what they have in common. It may reach a limit without any E doing so by its weight alone. Weights are
// relative to their sum; those of zero are left out. NaN if there is no weight, or one is negative or not finite.
func MeanLogE(logs, weights []float64) float64 {
	if len(logs) != len(weights) {
		return math.NaN()
	}
	mean, total := newLogSum(), 0.0
	for i, weight := range weights {
		if !(weight >= 0 && weight <= math.MaxFloat64) {
			return math.NaN()
		}
		if weight > 0 {
			mean.add(logs[i], weight)
			total += weight
		}
	}
	if total == 0 {
		return math.NaN()
	}
	return mean.log(total)
}

// logSum adds up numbers that are known by their logarithms, without ever leaving the range of a float64: it
// is exp(top) * rest.
type logSum struct{ top, rest float64 }

func newLogSum() logSum { return logSum{top: math.Inf(-1)} }

// add adds weight * exp(log); the weight is above 0.
func (s *logSum) add(log, weight float64) {
	switch {
	case math.IsInf(log, -1):
	case log > s.top:
		s.rest = s.rest*math.Exp(s.top-log) + weight
		s.top = log
	case log == s.top: // so that infinities are not subtracted
		s.rest += weight
	case log < s.top-50: // it would not change a digit
	default: // NaN too, which stays
		s.rest += weight * math.Exp(log-s.top)
	}
}

// log is the logarithm of the sum divided by a number above 0.
func (s *logSum) log(divisor float64) float64 {
	return s.top + math.Log(s.rest/divisor)
}
