package prometheus

import "math"

// collectHistograms sorts a native histogram's samples under its source: as one counter for all durations
// and one for each bound, as a classic histogram has them.
//
// The buckets of a native histogram grow wider in mid-life. So a bound is exact only while it lies inside
// no bucket that holds anything; where it does it is raised to the bucket's upper limit. A bucket's limits
// at one resolution are limits at all finer ones, so this ends at the coarsest that was seen.
func (l *ledger) collectHistograms(a *answer, st *stream, e *entry) error {
	histograms := a.histograms[st.histogramFrom:st.histogramTo]
	if len(histograms) == 0 {
		return nil
	}
	e.seen = histograms[len(histograms)-1].at
	start := l.start()
	for i, c := range e.counters {
		l.scratch = l.scratch[:0]
		for _, h := range histograms {
			switch {
			case i == 0:
				l.scratch = append(l.scratch, sample{h.at, h.count})
			case h.at <= start:
				l.scratch = append(l.scratch, sample{h.at, 0}) // not booked
			default:
				under, raised, ok := upTo(a.buckets[h.from:h.to], l.scale.bounds[i-1].seconds)
				if !ok {
					return doubtf("a histogram of %s has a bucket that is none", c.source.name)
				}
				l.raised[i-1] = max(l.raised[i-1], raised)
				l.scratch = append(l.scratch, sample{h.at, under})
			}
		}
		if err := l.collectCounter(c, l.scratch); err != nil {
			return err
		}
	}
	return nil
}

// upTo counts the durations up to a bound. Where a bucket holds durations on both sides of it, raised is
// the bucket's upper limit. Limits that a duration in nanoseconds cannot tell from the bound are the bound.
func upTo(buckets []bucket, bound float64) (under, raised float64, ok bool) {
	for _, b := range buckets {
		switch {
		case !(b.lower <= b.upper) || !(b.count >= 0) || math.IsInf(b.count, 1): // NaN too
			return 0, 0, false
		case b.upper <= bound+1e-9:
			under += b.count
		case b.lower < bound-1e-9 && b.count > 0:
			raised = max(raised, b.upper)
		}
	}
	return under, raised, true
}
