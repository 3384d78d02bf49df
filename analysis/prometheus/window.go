package prometheus

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/sluice-mesh/sluice/analysis"
)

// span is the time of some samples, both ends included, in milliseconds.
type span struct{ first, last int64 }

// windows are times in milliseconds, rising and apart: [first, last).
type windows []span

// windowsOf makes windows of those of a release, whole milliseconds that cover them.
func windowsOf(warmUps []analysis.Window) windows {
	var all windows
	for _, w := range warmUps {
		if from, until := w.From.UnixMilli(), w.Until.Add(time.Millisecond-1).UnixMilli(); from < until {
			all = append(all, span{from, until})
		}
	}
	slices.SortFunc(all, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	joined := all[:0]
	for _, w := range all {
		if n := len(joined); n > 0 && w.first <= joined[n-1].last {
			joined[n-1].last = max(joined[n-1].last, w.last)
			continue
		}
		joined = append(joined, w)
	}
	return joined
}

// touch says whether an interval between two scrapes, without the first, has a moment in a window.
func (w windows) touch(after, at int64) bool {
	for _, window := range w {
		if at >= window.first && after < window.last {
			return true
		}
	}
	return false
}

// until are the windows as they matter to scrapes up to a time.
func (w windows) until(newest int64) windows {
	var cut windows
	for _, window := range w {
		if window.first > newest {
			break
		}
		if window.last > newest {
			window.last = math.MaxInt64
		}
		cut = append(cut, window)
	}
	return cut
}
