package prometheus

import (
	"math"
	"slices"
	"time"

	"github.com/sluice-mesh/sluice/analysis"
)

// stratum is what was added up at one weight.
type stratum struct {
	weight       uint32
	seen, tested [2]total
	changed      int64 // the newest scrape in which a counter was new or had risen, in milliseconds; 0: none
}

// total is what was added up for one revision.
type total struct {
	started, ended, failed, cancelled float64
	// durations of requests that did not fail, all and those up to each bound; of the class 4xx apart
	all, allRefused     float64
	quick, quickRefused [maxBounds]float64
}

func (l *ledger) stratumOf(weight uint32) *stratum {
	for _, s := range l.strata {
		if s.weight == weight {
			return s
		}
	}
	s := &stratum{weight: weight}
	l.strata = append(l.strata, s)
	slices.SortFunc(l.strata, func(a, b *stratum) int { return int(a.weight) - int(b.weight) })
	return s
}

// book adds what a series has counted more.
func (t *total) book(id series, more float64) {
	switch id.kind {
	case started:
		t.started += more
	case ended:
		t.ended += more
		switch id.outcome {
		case failed:
			t.failed += more
		case cancelled:
			t.cancelled += more
		}
	case all:
		if id.outcome == refused {
			t.allRefused += more
		} else {
			t.all += more
		}
	case quick:
		if id.outcome == refused {
			t.quickRefused[id.bound] += more
		} else {
			t.quick[id.bound] += more
		}
	}
}

// requests turns sums into whole requests. Durations and ends are not counted in the same instant, so that
// a scrape between the two is off by one or two: no more requests are slow than were answered. Requests
// that the client gave up are among the durations of the class 4xx; slow ones of that class are taken to
// be those.
func (t *total) requests(slow []uint64) analysis.Requests {
	late := 0.
	if len(slow) > 0 {
		late = min(max(t.allRefused-t.quickRefused[0], 0), t.cancelled)
	}
	r := analysis.Requests{
		Started: count(t.started), Answered: count(t.ended - t.cancelled + late),
		Cancelled: count(t.cancelled - late), Slow: slow,
	}
	r.Failed = min(count(t.failed), r.Answered)
	for i := range slow {
		over := max(t.all-t.quick[i], 0) + max(t.allRefused-t.quickRefused[i], 0)
		slow[i] = min(count(over), r.Answered-r.Failed)
	}
	return r
}

// evidence is what has been added up.
func (l *ledger) evidence() analysis.Evidence {
	timed, bare := l.timed()
	if timed && bare != "" {
		return analysis.Evidence{Doubt: bare + " reports requests but not how long they took, as others do"}
	}
	e := analysis.Evidence{Patience: analysis.Patience, Interval: l.scrapeInterval(), Dropped: l.dropped}
	if l.newest > 0 {
		e.Newest = time.UnixMilli(l.newest)
	}
	for _, s := range l.sources {
		if s.last > 0 {
			e.Sources++
		}
	}
	n := 0
	if timed {
		n = len(l.scale.bounds)
	}
	for _, b := range l.scale.bounds[:n] {
		e.Boundaries = append(e.Boundaries, b.duration())
	}
	e.Strata = make([]analysis.Stratum, 0, len(l.strata))
	cells := make([]uint64, 8*n*len(l.strata))
	cut := func() []uint64 {
		part := cells[:n:n]
		cells = cells[n:]
		return part
	}
	for _, s := range l.strata {
		if s.seen[canary].none() && s.seen[control].none() {
			continue
		}
		out := analysis.Stratum{Weight: s.weight}
		for _, side := range []struct {
			pair   *analysis.Pair
			totals *[2]total
			tested bool
		}{{&out.Seen, &s.seen, false}, {&out.Tested, &s.tested, true}} {
			for r, requests := range []*analysis.Requests{&side.pair.Canary, &side.pair.Control} {
				*requests = side.totals[r].requests(cut())
				requests.Overdue = cut()
				l.underWay(s, revision(r), side.tested, requests) //nolint:gosec // 0 and 1
			}
		}
		e.Strata = append(e.Strata, out)
	}
	return e
}

func (t *total) none() bool { return t.started == 0 && t.ended == 0 }

// underWay tells how many requests have no answer yet at the sources that still report, and how many of
// them at least are so old.
func (l *ledger) underWay(at *stratum, r revision, tested bool, into *analysis.Requests) {
	for _, s := range l.sources {
		if l.quiet(s) {
			continue
		}
		for _, lane := range s.lanes {
			if lane.stratum != at || len(lane.levels) == 0 {
				continue
			}
			pending := lane.seenPending[r]
			if tested {
				pending = lane.testedPending[r]
			}
			into.Unfinished += count(lane.underWay(r, pending))
			into.Hanging += count(lane.older(r, analysis.Patience.Milliseconds(), pending))
			for i := range into.Overdue {
				into.Overdue[i] += count(lane.older(r, l.scale.bounds[i].duration().Milliseconds(), pending))
			}
		}
	}
	into.Unfinished = min(into.Unfinished, into.Started)
	into.Hanging = min(into.Hanging, into.Unfinished)
	for i := range into.Overdue {
		into.Overdue[i] = min(into.Overdue[i], into.Unfinished)
	}
}

// timed says whether durations are counted, and if so names a source that reports requests and not how
// long they took.
func (l *ledger) timed() (timed bool, bare string) {
	for _, s := range l.sources {
		ends := func(c *counter) bool { return c.id.kind == ended }
		switch {
		case len(s.durations) > 0:
			timed = true
		case s.booked > 1 && slices.ContainsFunc(s.counters, ends): // in its first scrape it may be between the two
			bare = s.name
		}
	}
	return timed, bare
}

// quiet says whether a source has missed three scrapes.
func (l *ledger) quiet(s *source) bool {
	interval := l.scrapeInterval()
	return interval > 0 && l.newest-s.last > 3*interval.Milliseconds()
}

// silent are the addresses of the sources that are quiet, at most 200.
func (l *ledger) silent() []string {
	var instances []string
	for _, s := range l.sources {
		if s.instance != "" && s.last > 0 && l.quiet(s) && len(instances) < 200 {
			instances = append(instances, s.instance)
		}
	}
	slices.Sort(instances)
	return instances
}

// scrapeInterval is as configured, else the median of what was seen; zero: not known.
func (l *ledger) scrapeInterval() time.Duration {
	if l.interval > 0 {
		return l.interval
	}
	return time.Duration(l.gaps.median) * time.Millisecond
}

// from is the time after which samples are wanted: so far before the newest one that no scrape of a
// slower source is missed, but not so far as a whole answer has long settled.
func (l *ledger) from() time.Time {
	known := l.read - lookback.Milliseconds()
	if l.newest > 0 {
		known = max(known, l.newest-max(3*l.scrapeInterval(), 2*time.Second).Milliseconds())
	}
	return time.UnixMilli(max(known, l.start()))
}

// gaps are the newest times between two scrapes of one source, in milliseconds.
type gaps struct {
	ring   [64]int64
	noted  int
	median int64
}

func (g *gaps) note(gap int64) {
	g.ring[g.noted%len(g.ring)] = gap
	g.noted++
}

// settle finds the median.
func (g *gaps) settle() {
	sorted := g.ring
	if n := min(g.noted, len(sorted)); n > 0 {
		slices.Sort(sorted[:n])
		g.median = sorted[n/2]
	}
}

// count is a whole number of requests.
func count(value float64) uint64 {
	if !(value > 0) {
		return 0
	}
	return uint64(math.Round(min(value, 1<<53)))
}
