package stats

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// RatioInterval is the confidence sequence for the ratio of the canary's to the control's error rate: from
// where harm stops to reject to where safe does. Each side is ever wrong, whenever and however often one
// looks, with a chance of at most alpha, so both together with at most 2 alpha. Harm and safe give ln E
// for a hypothetical ratio; as the ratio rises the first must not rise and the second not fall, which
// Test.LogEFrom keeps where there is no slack. No upper limit is +Inf. NaN if alpha is not inside (0, 1) or
// a function gives NaN.
func RatioInterval(alpha float64, harm, safe func(ratio float64) float64) (low, high float64) {
	if !(alpha > 0 && alpha < 1) {
		return math.NaN(), math.NaN()
	}
	limit := -math.Log(alpha)
	low = crossing(func(ratio float64) float64 { return harm(ratio) - limit })
	high = crossing(func(ratio float64) float64 { return limit - safe(ratio) })
	return low, high
}

// The ratios that are looked at; beyond them it might as well be 0 or infinite.
const (
	leastRatio = 1e-9
	mostRatio  = 1e9
)

// crossing is the ratio at which a function that does not rise turns from at least 0 to below 0: 0 if it is
// below from the beginning, +Inf if it stays above. It works on the ratio's logarithm by the regula falsi in
// its Illinois form (Dowell and Jarratt 1971), which needs a dozen steps where bisection needs fifty, and
// falls back to bisection.
func crossing(f func(ratio float64) float64) float64 {
	left, right := math.Log(leastRatio), math.Log(mostRatio)
	atLeft, atRight := f(leastRatio), f(mostRatio)
	switch {
	case math.IsNaN(atLeft) || math.IsNaN(atRight):
		return math.NaN()
	case atLeft < 0:
		return 0
	case atRight >= 0:
		return math.Inf(1)
	}
	// Most ratios are near 1: start with a narrower bracket.
	for _, guess := range []float64{-1, 0, 1, 2} {
		if at := f(math.Exp(guess)); at >= 0 {
			left, atLeft = guess, at
		} else {
			right, atRight = guess, at
			break
		}
	}
	var last int // the side that moved last: when one moves twice, the other's value is halved
	for step := 0; right-left > 1e-9 && step < 200; step++ {
		middle := left + (right-left)*atLeft/(atLeft-atRight)
		if step%4 == 3 || !(middle > left && middle < right) {
			middle = left + (right-left)/2
		}
		at := f(math.Exp(middle))
		switch {
		case math.IsNaN(at):
			return math.NaN()
		case at == 0:
			return math.Exp(middle)
		case at > 0:
			if left, atLeft = middle, at; last == -1 {
				atRight /= 2
			}
			last = -1
		default:
			if right, atRight = middle, at; last == 1 {
				atLeft /= 2
			}
			last = 1
		}
	}
	return math.Exp(left)
}

// PodRatio widens a tolerated ratio by what identical pods differ: to at least
//
//	exp(t spread sqrt(1/canary + 1/control)),
//
// t being the 95 % quantile of Student's distribution with control - 1 degrees of freedom. A random split of
// requests says nothing about pods that differ by chance, and spread, the standard deviation of the
// logarithm of their error rates, is known only as well as control pods tell. Below one canary pod or two
// control pods nothing is known, and the ratio stays. NaN if the ratio or the spread is negative or NaN.
func PodRatio(ratio, spread float64, canary, control int) float64 {
	if !(ratio >= 0 && spread >= 0) {
		return math.NaN()
	}
	if spread == 0 || canary < 1 || control < 2 {
		return ratio
	}
	t := distuv.StudentsT{Sigma: 1, Nu: float64(control - 1)}.Quantile(.95)
	return max(ratio, math.Exp(t*spread*math.Sqrt(1/float64(canary)+1/float64(control))))
}
