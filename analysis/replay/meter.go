package replay

import (
	"math"
	"slices"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sluice-mesh/sluice/analysis"
)

// meter makes evidence of foreign series. Requests are counted when they have ended, for both revisions,
// and the canary's share at a weight is the one that was seen: given how many requests each revision
// ended, errors that do not depend on the revision fall on the canary like draws without replacement, for
// which the judge's test is right as well (Hoeffding 1963). Intervals of a target that touch a change of
// the weight are left out, and so are those with a restart.
type meter struct {
	course  course
	whole   analysis.Release
	follow  follower[counts]
	ahead   []interval[counts]
	bounds  []float64
	strata  map[uint32]*foreignStratum
	targets map[string]bool
	newest  int64
	resets  int
}

type foreignStratum struct{ seen, tested [2]tally }

// tally is what ended at one revision; slow has one number a bound.
type tally struct {
	answered, failed, cancelled float64
	durations                   float64
	quick                       []float64
}

// newMeter makes the meter for a course.
func newMeter(f *Foreign, c course, whole analysis.Release, begin time.Time) (*meter, error) {
	r, err := f.parse()
	if err != nil {
		return nil, err
	}
	m := &meter{course: c, whole: whole, bounds: c.release.BoundarySeconds, strata: map[uint32]*foreignStratum{}, targets: map[string]bool{}}
	m.follow = follower[counts]{kindOf: r.kindOf}
	if !begin.IsZero() {
		m.follow.begin = begin.UnixMilli()
	}
	return m, nil
}

// Add takes the next piece of samples.
func (m *meter) Add(matrix model.Matrix) error {
	if begin, _, some := extent(matrix); some && m.follow.begin == 0 {
		m.follow.begin = begin + lookback.Milliseconds()
	}
	return m.follow.add(matrix, func(i interval[counts]) error {
		m.ahead = append(m.ahead, i)
		return nil
	})
}

// Evidence is what was seen up to a time, which must not go back.
func (m *meter) Evidence(now time.Time) analysis.Evidence {
	used := 0
	for _, i := range m.ahead {
		if i.at > now.UnixMilli() {
			break
		}
		m.book(i)
		used++
	}
	m.ahead = slices.Delete(m.ahead, 0, used)
	e := analysis.Evidence{
		Boundaries: m.whole.Boundaries, Patience: analysis.Patience,
		Interval: time.Duration(m.follow.scrapeInterval()) * time.Millisecond,
		Sources:  len(m.targets), Dropped: m.resets,
	}
	if m.newest > 0 {
		e.Newest = time.UnixMilli(m.newest)
	}
	for _, w := range m.course.release.Weights {
		if s := m.strata[w.Percent]; s != nil {
			e.Strata = append(e.Strata, analysis.Stratum{
				Weight: w.Percent, Share: shareOf(s.tested), Seen: m.pair(s.seen), Tested: m.pair(s.tested),
			})
		}
	}
	return e
}

// shareOf is the canary's share of what ended, inside (0, 1); 0 where one of both has nothing.
func shareOf(tallies [2]tally) float64 {
	canary, control := tallies[0].answered+tallies[0].cancelled, tallies[1].answered+tallies[1].cancelled
	if !(canary > 0 && control > 0) {
		return 0
	}
	return canary / (canary + control)
}

// book adds an interval to its weight.
func (m *meter) book(i interval[counts]) {
	m.newest = max(m.newest, i.at)
	m.targets[i.target] = true
	from, at := time.UnixMilli(max(i.from, 1)), time.UnixMilli(i.at)
	if i.from == 0 {
		from = at
	}
	if i.reset {
		m.resets++
		return
	}
	if touches(m.course.changes, from, at) || at.After(m.course.release.Until) {
		return
	}
	var weight uint32
	for _, w := range m.course.release.Weights {
		if !w.At.After(from) {
			weight = w.Percent
		}
	}
	if weight == 0 {
		return
	}
	s := m.strata[weight]
	if s == nil {
		s = &foreignStratum{}
		m.strata[weight] = s
	}
	tested := !touches(m.whole.WarmUps, from, at)
	for what, more := range i.more {
		revision := 1
		if what.canary {
			revision = 0
		}
		s.seen[revision].book(what, more, m.bounds)
		if tested {
			s.tested[revision].book(what, more, m.bounds)
		}
	}
}

// touches reports whether some of (from, at] is in a window.
func touches(windows []analysis.Window, from, at time.Time) bool {
	return slices.ContainsFunc(windows, func(w analysis.Window) bool { return from.Before(w.Until) && at.After(w.From) })
}

func (t *tally) book(what counts, more float64, bounds []float64) {
	switch what.kind {
	case answered:
		t.answered += more
	case failed:
		t.answered += more
		t.failed += more
	case cancelled:
		t.cancelled += more
	case quick:
		if math.IsInf(what.bound, 1) {
			t.durations += more
			return
		}
		if i, found := slices.BinarySearch(bounds, what.bound); found {
			if t.quick == nil {
				t.quick = make([]float64, len(bounds))
			}
			t.quick[i] += more
		}
	}
}

func (m *meter) pair(tallies [2]tally) analysis.Pair {
	return analysis.Pair{Canary: m.requests(tallies[0]), Control: m.requests(tallies[1])}
}

// requests are what a tally comes to. Durations are not counted in the same instant as ends, so no more
// are slow than ended well.
func (m *meter) requests(t tally) analysis.Requests {
	r := analysis.Requests{
		Started: count(t.answered + t.cancelled), Answered: count(t.answered),
		Failed: count(t.failed), Cancelled: count(t.cancelled),
		Slow: make([]uint64, len(m.bounds)), Overdue: make([]uint64, len(m.bounds)),
	}
	for i := range m.bounds {
		quick := 0.0
		if t.quick != nil {
			quick = t.quick[i]
		}
		r.Slow[i] = min(count(t.durations-quick), r.Answered-min(r.Failed, r.Answered))
	}
	return r
}

// count is a whole number of requests.
func count(value float64) uint64 {
	if !(value > 0) {
		return 0
	}
	return uint64(math.Round(min(value, 1<<53)))
}
