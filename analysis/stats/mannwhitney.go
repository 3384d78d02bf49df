package stats

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"
)

// exactBelow is the sample size below which, without ties, the exact distribution is used, as R does.
const exactBelow = 50

// MannWhitneyResult is what MannWhitney found.
type MannWhitneyResult struct {
	// U is the number of pairs of an x and a y in which the x is larger, ties counted half: R's W.
	U float64
	// N and M are the sizes of x and y.
	N, M int
	// Exact says that the p-values come from the exact distribution, not from the normal approximation.
	Exact bool
	// P is the two-sided p-value against "x and y come from one distribution". Less and Greater are those
	// against the alternatives that x is shifted below, or above, y.
	P, Less, Greater float64
	// Shift is Hodges and Lehmann's estimate of how far x lies above y: the median of all differences.
	Shift float64
}

// MannWhitney is the rank sum test of Mann and Whitney (Ann. Math. Statist. 18, 1947) on two independent
// samples, with the choices of R's wilcox.test: the exact distribution when both samples have fewer than 50
// values and none is tied, else the normal approximation with correction for ties and for continuity.
// Unlike there, values that are all the same give p-values of 1. It takes memory for all N*M differences.
// All numbers are NaN when a sample is empty or holds a value that is not finite.
func MannWhitney(x, y []float64) MannWhitneyResult {
	nan := math.NaN()
	result := MannWhitneyResult{U: nan, N: len(x), M: len(y), P: nan, Less: nan, Greater: nan, Shift: nan}
	if !sampled(x) || !sampled(y) {
		return result
	}
	differences := differencesOf(x, y)
	result.Shift = median(differences)
	u := 0.0
	for _, d := range differences {
		if d > 0 {
			u++
		} else if d == 0 {
			u += .5
		}
	}
	result.U = u
	if result.Exact = exactly(x, y); result.Exact {
		lower := cumulate(uDistribution(len(x), len(y)))
		result.Less = lower[int(u)]
		result.Greater = lower[len(lower)-1-int(u)] // the distribution is symmetric
		result.P = min(1, 2*min(result.Less, result.Greater))
		return result
	}
	result.P, result.Less, result.Greater = approximately(u-float64(len(differences))/2, deviation(len(x), len(y), tied(slices.Concat(x, y))))
	return result
}

// approximately gives the p-values for a U that is off its mean by so much.
func approximately(off, deviation float64) (both, less, greater float64) {
	if deviation == 0 {
		return 1, 1, 1
	}
	tail := func(distance float64) float64 { return distuv.UnitNormal.Survival(distance / deviation) }
	return min(1, 2*tail(math.Abs(off)-.5)), tail(-off - .5), tail(off - .5)
}

// ShiftInterval is the confidence interval for how far x lies above y, if that is all they differ in: the
// shifts that MannWhitney, two-sided, does not reject, as R's wilcox.test has it. NaN where MannWhitney is,
// or when the confidence is not inside (0, 1).
func ShiftInterval(x, y []float64, confidence float64) (low, high float64) {
	if !sampled(x) || !sampled(y) || !(confidence > 0 && confidence < 1) {
		return math.NaN(), math.NaN()
	}
	differences, side := differencesOf(x, y), (1-confidence)/2
	pairs := len(differences)
	var k int // the limits are the differences number k from below and from above, the first being 0
	if exactly(x, y) {
		for _, p := range cumulate(uDistribution(len(x), len(y))) {
			if p >= side {
				break
			}
			k++
		}
		k--
	} else {
		// At a shift between two differences no x is tied with a y, so only ties within a sample count.
		spread := deviation(len(x), len(y), tied(x)+tied(y))
		reach := float64(pairs)/2 - .5 - distuv.UnitNormal.Quantile(1-side)*spread
		k = int(math.Ceil(reach)) - 1
	}
	k = min(max(k, 0), (pairs-1)/2)
	return differences[k], differences[pairs-1-k]
}

func sampled(values []float64) bool {
	return len(values) > 0 && !slices.ContainsFunc(values, func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
}

// exactly says whether the exact distribution is to be used.
func exactly(x, y []float64) bool {
	if len(x) >= exactBelow || len(y) >= exactBelow {
		return false
	}
	all := slices.Concat(x, y)
	slices.Sort(all)
	return len(slices.Compact(all)) == len(x)+len(y)
}

// differencesOf gives all x - y, rising.
func differencesOf(x, y []float64) []float64 {
	differences := make([]float64, 0, len(x)*len(y))
	for _, a := range x {
		for _, b := range y {
			differences = append(differences, a-b)
		}
	}
	slices.Sort(differences)
	return differences
}

// median of sorted values.
func median(sorted []float64) float64 {
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return sorted[middle-1]/2 + sorted[middle]/2
}

// deviation is the standard deviation of U when the tied sums to ties.
func deviation(n, m int, ties float64) float64 {
	a, b := float64(n), float64(m)
	return math.Sqrt(max(0, a*b/12*((a+b+1)-ties/((a+b)*(a+b-1)))))
}

// tied is the sum of t^3 - t over the groups of t values that are the same.
func tied(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	sum, run := 0.0, 0
	for i, v := range sorted {
		if i > 0 && v != sorted[i-1] {
			run = 0
		}
		run++ // t^3 - t is the sum of 3 k (k - 1) over k up to t
		sum += 3 * float64(run) * float64(run-1)
	}
	return sum
}

// uDistribution gives the chance of each U from 0 to n*m when x and y, without ties, come from one
// distribution. The largest of all values is one of x's with chance n/(n+m), and then it is above all of y.
func uDistribution(n, m int) []float64 {
	row := make([][]float64, m+1) // for the present n and each m
	for j := range row {
		row[j] = []float64{1}
	}
	for i := 1; i <= n; i++ {
		next := make([][]float64, m+1)
		next[0] = []float64{1}
		for j := 1; j <= m; j++ {
			next[j] = make([]float64, i*j+1)
			largest := float64(i) / float64(i+j)
			for u, p := range row[j] {
				next[j][u+j] += largest * p
			}
			for u, p := range next[j-1] {
				next[j][u] += (1 - largest) * p
			}
		}
		row = next
	}
	return row[m]
}

func cumulate(chances []float64) []float64 {
	sum := 0.0
	for i, p := range chances {
		sum += p
		chances[i] = min(sum, 1)
	}
	return chances
}
