package replay

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
)

// boundsOf chooses where requests count as slow: the exact bounds at or just above what was asked for, or,
// where nothing was, such that about 10, 5, 1 and 0.1 % of stable's requests before the release took
// longer, and in any case the one at or just above the threshold.
func boundsOf(windows []window, before int, asked []float64, threshold time.Duration) []float64 {
	quick := sumQuick(windows[:min(max(before, 0), len(windows))])
	if quick[math.Inf(1)] < 100 {
		quick = sumQuick(windows)
	}
	bounds := slices.Sorted(maps.Keys(quick))
	bounds = slices.DeleteFunc(bounds, func(b float64) bool { return math.IsInf(b, 1) })
	var chosen []float64
	atLeast := func(least float64) {
		if i, _ := slices.BinarySearch(bounds, least-1e-9); i < len(bounds) {
			chosen = append(chosen, bounds[i])
		}
	}
	all := quick[math.Inf(1)]
	switch {
	case len(asked) > 0:
		for _, b := range asked {
			atLeast(b)
		}
	case all >= 100:
		for _, share := range []float64{.1, .05, .01, .001} {
			best, least := -1, math.Inf(1)
			for i, b := range bounds {
				above := max(1-quick[b]/all, .5/all)
				if distance := math.Abs(math.Log(above / share)); above <= .5 && distance < least {
					best, least = i, distance
				}
			}
			if best >= 0 {
				chosen = append(chosen, bounds[best])
			}
		}
	default:
		for _, b := range []float64{.05, .25, 1, 5} {
			atLeast(b)
		}
	}
	if threshold > 0 {
		atLeast(threshold.Seconds())
	}
	slices.Sort(chosen)
	return slices.Compact(chosen)
}

func sumQuick(windows []window) map[float64]float64 {
	sum := map[float64]float64{}
	for _, w := range windows {
		for bound, n := range w.quick {
			sum[bound] += n
		}
	}
	return sum
}

// boundOf reads the upper bound of a bucket, in seconds.
func boundOf(metric model.Metric, unit float64) (float64, error) {
	bound, err := strconv.ParseFloat(string(metric[model.BucketLabel]), 64)
	if err != nil || math.IsNaN(bound) || bound < 0 {
		return 0, fmt.Errorf("a bucket has the bound %q: %s", clip(string(metric[model.BucketLabel])), clip(metric.String()))
	}
	// A whole number of nanoseconds: durations of the same bound must be the same number.
	if seconds := bound * unit; seconds < 1e6 {
		return math.Round(seconds*1e9) / 1e9, nil
	}
	return math.Inf(1), nil
}
