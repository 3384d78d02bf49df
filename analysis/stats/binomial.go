// Package stats holds tests and intervals over plain numbers. It knows no requests, canaries or
// thresholds: those who call it say what a trial and a success are, and what error they can bear.
//
// Nothing here changes its inputs, keeps state or reads a clock. Every function is total: arguments
// outside the domain give NaN, which compares false with everything, so a rule of the form "p <= limit"
// never fires on nonsense.
package stats

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// BinomialTail is the chance of x or more successes in n independent trials that succeed with
// probability p: the exact one-sided p-value against "the probability is at most p". It is the
// regularised incomplete beta function I_p(x, n-x+1) (Abramowitz and Stegun 26.5.24), with a relative
// error of about 1e-12 at a thousand trials and below 1e-8 at ten million; a chance too small for a float64 is 0. NaN if p is
// not in [0, 1].
func BinomialTail(x, n uint64, p float64) float64 {
	switch {
	case math.IsNaN(p) || p < 0 || p > 1:
		return math.NaN()
	case x == 0:
		return 1
	case x > n || p == 0:
		return 0
	case p == 1:
		return 1
	}
	return min(max(mathext.RegIncBeta(float64(x), float64(n-x)+1, p), 0), 1)
}

// BinomialHead is the chance of x or fewer successes in n independent trials that succeed with
// probability p: the p-value against "the probability is at least p". NaN if p is not in [0, 1].
func BinomialHead(x, n uint64, p float64) float64 {
	if x >= n {
		return BinomialTail(0, n, p)
	}
	return BinomialTail(n-x, n, 1-p)
}

// BinomialInterval is the interval of Clopper and Pearson (Biometrika 26, 1934) for the probability of
// success after x successes in n trials: it covers the truth at least with the given confidence,
// (1-confidence)/2 to either side. Without trials it is [0, 1]. NaN if x is above n or the confidence is
// not inside (0, 1).
func BinomialInterval(x, n uint64, confidence float64) (low, high float64) {
	if x > n || !(confidence > 0 && confidence < 1) {
		return math.NaN(), math.NaN()
	}
	side := (1 - confidence) / 2
	low, high = 0, 1
	if x > 0 {
		low = bisect(func(p float64) bool { return BinomialTail(x, n, p) < side })
	}
	if x < n {
		high = bisect(func(p float64) bool { return BinomialHead(x, n, p) > side })
	}
	return low, high
}

// bisect finds where below, which is true at 0 and false at 1, turns. The library's inverse of the beta
// function is not used: it loses digits in the far tails, and these intervals are not in a hot path.
func bisect(below func(float64) bool) float64 {
	low, high := 0.0, 1.0
	for {
		middle := low + (high-low)/2
		if middle <= low || middle >= high {
			return middle
		}
		if below(middle) {
			low = middle
		} else {
			high = middle
		}
		if high-low <= 1e-12*high {
			return low + (high-low)/2
		}
	}
}
