package prometheus

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
)

// maxBounds is how many bounds a release is judged by at most.
const maxBounds = 8

// bound is an upper bound of a bucket.
type bound struct {
	seconds float64
	// labels are the values of the label le that mean it, in classic histograms.
	labels []string
}

// duration is the bound, rounded to a nanosecond: bounds are written in decimal seconds.
func (b bound) duration() time.Duration { return time.Duration(math.Round(b.seconds * 1e9)) }

func (b bound) compare(other bound) int { return cmp.Compare(b.seconds, other.seconds) }

// scale is how the durations of a service are counted.
type scale struct {
	// native says that they are in native histograms, else in classic ones.
	native bool
	// bounds that are looked at, rising, at most maxBounds.
	bounds []bound
}

// labels are the values of the label le that the scale needs.
func (s scale) labels() []string {
	var labels []string
	if !s.native {
		for _, b := range s.bounds {
			labels = append(labels, b.labels...)
		}
	}
	return labels
}

// index finds the bound with a value.
func (s scale) index(seconds float64) (int, bool) {
	for i, b := range s.bounds {
		if math.Abs(b.seconds-seconds) <= 1e-9 {
			return i, true
		}
	}
	return 0, false
}

// raise replaces bounds by higher ones. A bound that was raised beyond all is dropped.
func (s scale) raise(to [maxBounds]float64) scale {
	var raised []bound
	for i, b := range s.bounds {
		if to[i] > b.seconds {
			b = bound{seconds: to[i]}
		}
		if b.seconds <= longest {
			raised = append(raised, b)
		}
	}
	return scale{s.native, compact(raised)}
}

// longest is the longest bound, in seconds, that means anything.
const longest = 1e6

// parseBounds reads the values of the label le: the finite bounds, rising.
func parseBounds(values model.LabelValues) []bound {
	var bounds []bound
	for _, value := range values {
		seconds, err := strconv.ParseFloat(string(value), 64)
		if err == nil && seconds > 0 && seconds <= longest {
			bounds = append(bounds, bound{seconds, []string{string(value)}})
		}
	}
	return compact(bounds)
}

// compact sorts bounds and joins those that are the same.
func compact(bounds []bound) []bound {
	slices.SortStableFunc(bounds, bound.compare)
	joined := bounds[:0]
	for _, b := range bounds {
		if n := len(joined); n > 0 && b.seconds-joined[n-1].seconds <= 1e-9 {
			joined[n-1].labels = append(slices.Clip(joined[n-1].labels), b.labels...)
			continue
		}
		joined = append(joined, b)
	}
	return joined
}

// pick picks of the bounds that there are the lowest at or above each that is asked for.
func pick(there []bound, asked []time.Duration) []bound {
	var picked []bound
	for _, a := range asked {
		for _, b := range there {
			if b.seconds > a.Seconds()-.5e-9 {
				picked = append(picked, bound{b.seconds, slices.Clone(b.labels)})
				break
			}
		}
	}
	return cut(distinct(picked))
}

// distinct sorts bounds and drops those that are there already.
func distinct(bounds []bound) []bound {
	slices.SortStableFunc(bounds, bound.compare)
	return slices.CompactFunc(bounds, func(a, b bound) bool { return math.Abs(b.seconds-a.seconds) <= 1e-9 })
}

// cut keeps as many bounds as can be looked at: the lowest ones.
func cut(bounds []bound) []bound { return bounds[:min(len(bounds), maxBounds)] }

// exact makes bounds of durations, for histograms whose buckets are not known beforehand.
func exact(asked []time.Duration) []bound {
	var bounds []bound
	for _, a := range asked {
		if a > 0 && a.Seconds() <= longest {
			bounds = append(bounds, bound{seconds: a.Seconds()})
		}
	}
	return cut(distinct(bounds))
}
