package bench

import (
	"cmp"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"
)

func normalQuantile(p float64) float64 { return distuv.UnitNormal.Quantile(p) }

// shifted is the standardised statistic of Mann and Whitney's test of x - shift against y: midranks, the
// variance corrected for ties, the difference for continuity (as R's wilcox.test without exact, which
// Kayenta follows for samples of every size). NaN if all values are tied.
func shifted(x, y []float64, shift float64) float64 {
	type value struct {
		v     float64
		fromX bool
	}
	all := make([]value, 0, len(x)+len(y))
	for _, v := range x {
		all = append(all, value{v - shift, true})
	}
	for _, v := range y {
		all = append(all, value{v, false})
	}
	slices.SortFunc(all, func(a, b value) int { return cmp.Compare(a.v, b.v) })
	m, n := float64(len(x)), float64(len(y))
	ranks, ties := 0., 0.
	for from := 0; from < len(all); {
		to, mine := from, 0
		for ; to < len(all) && all[to].v == all[from].v; to++ {
			if all[to].fromX {
				mine++
			}
		}
		tied := float64(to - from)
		ranks += float64(mine) * (float64(from+to+1) / 2)
		ties += tied*tied*tied - tied
		from = to
	}
	difference := ranks - m*(m+1)/2 - m*n/2
	correction := 0.
	if difference != 0 {
		correction = math.Copysign(.5, difference)
	}
	sigma := math.Sqrt(m * n / 12 * (m + n + 1 - ties/((m+n)*(m+n-1))))
	if sigma == 0 {
		return math.NaN()
	}
	return (difference - correction) / sigma
}

// shiftInterval is the lower end of the confidence interval at kayentaLevel for the shift from y to x, and the
// estimate: where the statistic crosses the normal quantile, and zero. Samples too small to ever reach the
// quantile have the whole range of differences as their interval, as in R: if they do not overlap, that is
// above zero.
func shiftInterval(x, y []float64) (low, estimate float64) {
	from, to := slices.Min(x)-slices.Max(y), slices.Max(x)-slices.Min(y)
	root := func(quantile float64) float64 {
		below := func(shift float64) bool { return !(shifted(x, y, shift) > quantile) }
		switch {
		case below(from):
			return from
		case !below(to):
			return to
		}
		a, b := from, to
		for range 60 {
			if middle := a + (b-a)/2; below(middle) {
				b = middle
			} else {
				a = middle
			}
		}
		return a + (b-a)/2
	}
	return root(normalQuantile((1 + kayentaLevel) / 2)), root(0)
}
