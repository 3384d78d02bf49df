package prometheus

import (
	"errors"
	"time"

	"github.com/sluice-mesh/sluice/analysis"
)

const (
	// lookback is how far before Release.Since a source's last scrape is looked for.
	lookback = 2 * time.Minute
	// silence is how long a source is remembered that is silent.
	silence = time.Hour
)

// errLate says that samples have appeared behind newer ones that are booked, so that the ledger must be
// made anew from all samples.
var errLate = errors.New("samples appeared behind newer ones")

// errRaised says that a bound lies inside a bucket, so that the ledger must be made anew with the bounds
// of ledger.raised.
var errRaised = errors.New("a bound lies inside a bucket")

// ledger adds up a release's samples, each once. It is plain arithmetic: it asks nobody and knows no
// clock. Times are milliseconds, as Prometheus has them. After an error of add it stands as before.
//
// How much it holds depends on the sources that reported within the last hour and on what they report,
// not on for how long.
type ledger struct {
	namespace, service string
	revisions          [2]string
	since              int64
	interval           time.Duration // as configured; zero: from gaps
	scale              scale
	windows            windows

	entries map[*metric]*entry
	order   []*entry // of the streams of the last answer, since most come again in the same order
	sources map[string]*source
	strata  []*stratum
	newest  int64 // of all scrapes; 0: none
	read    int64 // up to where a whole answer held nothing
	gaps    gaps
	dropped int
	natives bool // histograms were seen

	// itsTurn is the cold weight that is asked for until turnEnds.
	itsTurn  uint32
	turnEnds time.Time

	// While an answer is added.
	turn    int
	touched []*source
	spans   map[*counter][]span
	found   int64 // newest scrape
	raised  [maxBounds]float64
	late    bool
	scratch []sample
}

func newLedger(release analysis.Release, s scale, interval time.Duration) *ledger {
	return &ledger{
		namespace: release.Namespace, service: release.Service,
		revisions: [2]string{canary: release.Canary, control: controlOf(release)},
		since:     release.Since.UnixMilli(), interval: interval, scale: s,
		windows: windowsOf(release.WarmUps),
		entries: map[*metric]*entry{}, sources: map[string]*source{},
	}
}

// controlOf is the revision that the canary is compared with.
func controlOf(release analysis.Release) string {
	if release.Control != "" {
		return release.Control
	}
	return release.Stable
}

// start is the time after which samples matter.
func (l *ledger) start() int64 { return l.since - lookback.Milliseconds() }

// add books what an answer holds beyond what is booked. Answers must follow each other in time, overlapping
// or not. An answer says nothing of the weights that it was not asked for.
func (l *ledger) add(a *answer) error {
	l.turn++
	l.touched, l.found, l.late, l.raised = l.touched[:0], l.newest, false, [maxBounds]float64{}
	clear(l.spans)
	defer l.drop()
	for service, streams := range a.of {
		if service.name != l.service || service.namespace != l.namespace {
			continue
		}
		for n, i := range streams {
			if err := l.collect(a, &a.streams[i], n); err != nil {
				return err
			}
		}
	}
	switch {
	case l.raised != [maxBounds]float64{}:
		return errRaised
	case l.late:
		return errLate
	}
	for _, s := range l.touched {
		err := s.scrapes(func(at int64, found []fresh) error {
			l.found = max(l.found, at)
			return s.consistent(at, found, len(l.scale.bounds))
		})
		if err != nil {
			return err
		}
	}
	l.newest = l.found
	for _, s := range l.touched {
		_ = s.scrapes(func(at int64, found []fresh) error {
			l.step(s, at, found, a.cold)
			return nil
		})
	}
	l.gaps.settle()
	l.forget()
	return nil
}

// drop lets go of samples that are booked or were refused.
func (l *ledger) drop() {
	for _, s := range l.touched {
		s.fresh = s.fresh[:0]
	}
}

// collect sorts the n-th stream's samples under its source, without those that are booked already.
func (l *ledger) collect(a *answer, st *stream, n int) error {
	if n >= len(l.order) {
		l.order = append(l.order, nil)
	}
	e := l.order[n]
	if e == nil || e.metric != st.metric {
		var err error
		if e, err = l.entryOf(st.metric); err != nil {
			return err
		}
		l.order[n] = e
	}
	if len(e.counters) == 0 {
		return nil
	}
	if st.metric.kind == native {
		l.natives = l.natives || st.histogramTo > st.histogramFrom
		return l.collectHistograms(a, st, e)
	}
	samples := a.samples[st.from:st.to]
	if len(samples) == 0 {
		return nil
	}
	e.seen = samples[len(samples)-1].at
	return l.collectCounter(e.counters[0], samples)
}

func (l *ledger) collectCounter(c *counter, samples []sample) error {
	s := c.source
	if s.turn != l.turn {
		s.turn = l.turn
		l.touched = append(l.touched, s)
	}
	before, start := int64(0), l.start()
	for _, x := range samples {
		switch {
		case !(x.value >= 0 && x.value < 1<<53): // NaN too
			return doubtf("a counter of %s has the value %v", s.name, x.value)
		case x.at <= before:
			return doubtf("samples of %s are not in order of time", s.name)
		case x.at <= start:
		case x.at > s.last:
			s.fresh = append(s.fresh, fresh{x.at, c, x.value})
		case c.late(x.at):
			l.late = true
		}
		before = x.at
	}
	return l.alone(c, span{samples[0].at, before})
}

// alone checks that no other stream of the same counter has samples at the same time.
func (l *ledger) alone(c *counter, mine span) error {
	if c.turn != l.turn {
		c.turn, c.span = l.turn, mine
		return nil
	}
	if l.spans == nil {
		l.spans = map[*counter][]span{}
	}
	for _, other := range append(l.spans[c], c.span) {
		if mine.first <= other.last && other.first <= mine.last {
			return doubtf("%s is there twice, so it is scraped twice or two servers answer", c.source.name)
		}
	}
	l.spans[c] = append(l.spans[c], mine)
	return nil
}

// step books one scrape of a source. Intervals that do not count are those up to Release.Since, those in
// which a counter fell, and those that began more than an hour ago or nobody knows when. A weight that was
// not asked for lately has a longer interval.
func (l *ledger) step(s *source, at int64, found []fresh, cold weights) {
	fell, after := s.fell(at, found, cold), s.last
	if after == 0 {
		after = l.start()
	}
	back := at-after > silence.Milliseconds()
	counts := at > l.since && !fell && !back
	tested := counts && !l.windows.touch(s.last, at)
	if s.last > 0 && !back {
		l.gaps.note(at - s.last)
	}
	if fell && !back && at > l.since {
		l.dropped++
	}
	for _, lane := range s.lanes {
		lane.counts = counts && !lane.restarted
		rested := 0 < lane.asked && lane.asked < s.last
		lane.tested = tested && lane.counts && (!rested || !l.windows.touch(lane.asked, s.last))
	}
	for _, c := range s.counters {
		more := c.found - c.value
		if more > 0 || c.last == 0 && c.at == at {
			c.lane.stratum.changed = max(c.lane.stratum.changed, at)
		}
		if c.lane.counts && more > 0 {
			c.lane.stratum.seen[c.id.revision].book(c.id, more)
			if c.lane.tested {
				c.lane.stratum.tested[c.id.revision].book(c.id, more)
			}
		}
		if c.value = c.found; c.at == at {
			c.last = at
		}
	}
	for _, lane := range s.lanes {
		asked := !cold.has(lane.stratum.weight)
		if fell || asked && lane.restarted {
			lane.levels = nil
		}
		// Where it was not asked for, what the restart did to it is found out later.
		lane.restarted = !asked && (fell || lane.restarted)
	}
	s.note(at, at-l.horizon(), cold)
	for _, lane := range s.lanes {
		for r := range 2 {
			if !lane.counts {
				lane.seenPending[r] = max(lane.underWay(revision(r), 0), 0)
			}
			if !lane.tested {
				lane.testedPending[r] = max(lane.underWay(revision(r), 0), 0)
			}
		}
	}
}

// horizon is the longest time, in milliseconds, for which it is told how many requests hang.
func (l *ledger) horizon() int64 {
	longest := analysis.Patience
	if n := len(l.scale.bounds); n > 0 {
		longest = max(longest, l.scale.bounds[n-1].duration())
	}
	return longest.Milliseconds()
}

// forget drops sources that have been silent for an hour, and series that have not been seen for one.
func (l *ledger) forget() {
	horizon, gone := l.newest-silence.Milliseconds(), false
	for name, s := range l.sources {
		if s.last > 0 && s.last < horizon {
			delete(l.sources, name)
			gone = true
		}
	}
	if gone || l.turn%1000 == 0 {
		for m, e := range l.entries {
			if e.seen < horizon || len(e.counters) > 0 && l.sources[e.counters[0].source.name] != e.counters[0].source {
				delete(l.entries, m)
			}
		}
		l.order = nil
	}
}
