package replay

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sluice-mesh/sluice/analysis"
)

// course is what was found out about a release in foreign series.
type course struct {
	release Release
	// changes are the times in which the weight changed, so that what ended in them is left out.
	changes []analysis.Window
}

// window is what ended in a stretch of time of one scrape's length.
type window struct {
	canary, all float64
	// stable's durations up to each bound, in seconds
	quick map[float64]float64
}

// levelsOf finds the weights of a foreign release: the canary's share of the requests, where it stays the
// same for a while.
func levelsOf(ctx context.Context, recording *Recording, threshold time.Duration) (course, error) {
	f := recording.Header.Foreign
	r, err := f.parse()
	if err != nil {
		return course{}, err
	}
	follow := follower[counts]{kindOf: r.kindOf}
	if !recording.Header.From.IsZero() {
		follow.begin = recording.Header.From.UnixMilli()
	}
	var ends []interval[counts]
	first, last := int64(math.MaxInt64), int64(0)
	err = recording.Each(ctx, func(matrix model.Matrix) error {
		if begin, _, some := extent(matrix); some && follow.begin == 0 {
			follow.begin = begin + lookback.Milliseconds()
		}
		return follow.add(matrix, func(i interval[counts]) error {
			if len(ends) > 5_000_000 {
				return fmt.Errorf("%w: more than 5,000,000 scrapes; take a shorter time", ErrTooMuch)
			}
			ends = append(ends, i)
			first, last = min(first, i.at), max(last, i.at)
			return nil
		})
	})
	if err != nil {
		return course{}, err
	}
	if len(ends) == 0 {
		return course{}, errors.New("no requests were seen in that time: check the selectors and the time")
	}
	width := max(follow.scrapeInterval(), 1000)
	if (last-first)/width > 1_000_000 {
		return course{}, fmt.Errorf("%w: the time is more than 1,000,000 scrapes long; take a shorter one", ErrTooMuch)
	}
	windows := make([]window, (last-first)/width+1)
	for _, i := range ends {
		windows[(i.at-first)/width].book(i)
	}
	at := func(n int) time.Time { return time.UnixMilli(first + int64(n)*width).UTC() }
	var c course
	if len(f.Weights) > 0 {
		c = c.known(f.Weights, time.Duration(width)*time.Millisecond, at(len(windows)))
	} else if c, err = c.guess(windows, at); err != nil {
		return course{}, err
	}
	c.release.Canary, c.release.Stable = f.Canary, f.Stable
	c.release.BoundarySeconds = f.BoundarySeconds
	before := int(c.release.Weights[0].At.Sub(at(0)) / (time.Duration(width) * time.Millisecond))
	c.release.BoundarySeconds = boundsOf(windows, before, f.BoundarySeconds, threshold)
	return c, c.release.refuse()
}

// book adds what ended.
func (w *window) book(i interval[counts]) {
	for what, more := range i.more {
		switch {
		case what.kind != quick:
			w.all += more
			if what.canary {
				w.canary += more
			}
		case !what.canary:
			if w.quick == nil {
				w.quick = map[float64]float64{}
			}
			w.quick[what.bound] += more
		}
	}
}

// known takes the weights as they were given. What ended within one scrape of a change is left out.
func (c course) known(weights []Weight, width time.Duration, until time.Time) course {
	c.release.Weights, c.release.Until = weights, until
	for _, w := range weights {
		c.changes = append(c.changes, analysis.Window{From: w.At.Add(-width), Until: w.At.Add(width)})
	}
	return c
}

// segment is windows from one to another, that one not included, with the same share.
type segment struct {
	first, end  int
	canary, all float64
}

// percent is the weight that the share comes closest to.
func (s segment) percent() uint32 {
	return uint32(math.Round(100 * s.canary / max(s.all, 1))) //nolint:gosec // 0 to 100
}

// guess takes the weights from where the canary's share changes.
func (c course) guess(windows []window, at func(int) time.Time) (course, error) {
	var releases [][]segment
	before := uint32(0)
	for _, s := range segmentsOf(windows) {
		percent := s.percent()
		switch {
		case percent == 0:
		case before == 0 || percent < before:
			releases = append(releases, []segment{s})
		default:
			releases[len(releases)-1] = append(releases[len(releases)-1], s)
		}
		before = percent
	}
	switch len(releases) {
	case 0:
		return course{}, errors.New("the canary never had half a percent of the requests or more: check which labels tell it, and the time")
	case 1:
	default:
		lines := make([]string, len(releases))
		for i, segments := range releases {
			weights := make([]string, len(segments))
			for j, s := range segments {
				weights[j] = strconv.Itoa(int(s.percent())) + " %"
			}
			lines[i] = fmt.Sprintf("  %s to %s: about %s", at(segments[0].first).Format(time.RFC3339), at(segments[len(segments)-1].end).Format(time.RFC3339), strings.Join(weights, ", "))
		}
		return course{}, fmt.Errorf("%d releases were seen; take a time with one of them only:\n%s", len(releases), strings.Join(lines, "\n"))
	}
	for i, s := range releases[0] {
		from := s.first
		if i > 0 {
			from = releases[0][i-1].end
		}
		// The window before a change and the one after it may both have some of it.
		c.changes = append(c.changes, analysis.Window{From: at(from - 1), Until: at(s.first + 1)})
		if last := len(c.release.Weights) - 1; last < 0 || c.release.Weights[last].Percent != s.percent() {
			c.release.Weights = append(c.release.Weights, Weight{s.percent(), at(s.first)})
		}
	}
	last := releases[0][len(releases[0])-1]
	c.release.Until = at(last.end)
	if last.end < len(windows) {
		c.changes = append(c.changes, analysis.Window{From: at(last.end - 1), Until: at(last.end + 1)})
	}
	return c, nil
}

const (
	// changed is the likelihood ratio statistic from which a share has changed: a chance of 1 in a million
	// at one place.
	changed = 24
	// leastOdds is by how much the odds must change for it to be a change of weight.
	leastOdds = 1.2
	// leastWindows is how short a weight may be; less is a change on its way.
	leastWindows = 3
)

// segmentsOf cuts the windows where the share changes: where it changes most first, then the two parts by
// themselves (binary segmentation by the likelihood ratio; Scott and Knott 1974).
func segmentsOf(windows []window) []segment {
	canary, all := make([]float64, len(windows)+1), make([]float64, len(windows)+1)
	for i, w := range windows {
		canary[i+1], all[i+1] = canary[i]+w.canary, all[i]+w.all
	}
	sum := func(first, end int) segment {
		return segment{first, end, canary[end] - canary[first], all[end] - all[first]}
	}
	var cuts []int
	for parts := [][2]int{{0, len(windows)}}; len(parts) > 0; {
		first, end := parts[len(parts)-1][0], parts[len(parts)-1][1]
		parts = parts[:len(parts)-1]
		best, most := 0, 0.0
		whole := fit(sum(first, end))
		for cut := first + 1; cut < end; cut++ {
			if g := 2 * (fit(sum(first, cut)) + fit(sum(cut, end)) - whole); g > most {
				best, most = cut, g
			}
		}
		if most < changed || !differs(sum(first, best), sum(best, end)) {
			continue
		}
		cuts = append(cuts, best)
		parts = append(parts, [2]int{first, best}, [2]int{best, end})
	}
	slices.Sort(cuts)
	var segments []segment
	first := 0
	for _, end := range append(cuts, len(windows)) {
		if end-first >= leastWindows {
			// What is next to a cut may have some of the change, and does not tell the share.
			inner := sum(first+min(first, 1), end-min(len(windows)-end, 1))
			segments = append(segments, segment{first, end, inner.canary, inner.all})
		}
		first = end
	}
	return segments
}

// fit is the greatest log-likelihood of a segment's draws.
func fit(s segment) float64 {
	sum := 0.0
	for _, n := range []float64{s.canary, s.all - s.canary} {
		if n > 0 {
			sum += n * math.Log(n/s.all)
		}
	}
	return sum
}

// differs reports whether the odds of two segments are far enough from each other. Half a request is added
// to each, so that none has a share of 0 or 1.
func differs(a, b segment) bool {
	odds := func(s segment) float64 { return math.Log((s.canary + .5) / (s.all - s.canary + .5)) }
	return math.Abs(odds(a)-odds(b)) >= math.Log(leastOdds)
}
