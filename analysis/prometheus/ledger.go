package prometheus

import (
	"math"
	"slices"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sluice-mesh/sluice/analysis"
)

// ledger adds up a subject's samples, each once. It is plain arithmetic: it asks nobody and knows no
// clock. Times are milliseconds, as Prometheus has them. After an error of add it stands as before.
type ledger struct {
	subject  analysis.Subject
	boundary time.Duration
	interval time.Duration // as configured; zero: from gaps

	sources map[string]*source
	totals  [2]total
	newest  int64   // of all scrapes; 0: none
	read    int64   // up to where a whole answer held nothing
	gaps    []int64 // between the newest scrapes of sources, at most 64
	dropped int
}

// source is one proxy.
type source struct {
	instance string
	last     int64
	values   map[series]float64 // at last
	// levels since the last reset, no further back than overdue requests are looked for
	levels []level
}

// level is how many requests had begun and ended, by a source's counters.
type level struct {
	at             int64
	started, ended [2]float64
}

// total is what was added up for one revision.
type total struct {
	started, ended, failed, cancelled float64
	// slow requests that did not fail; of the class 4xx apart
	slow, slowRefused float64
}

func newLedger(subject analysis.Subject, boundary, interval time.Duration) *ledger {
	return &ledger{subject: subject, boundary: boundary, interval: interval, sources: map[string]*source{}}
}

// scrapes are the samples of one source by the time of the scrape.
type scrapes struct {
	instance string
	at       map[int64]map[series]float64
	spans    map[series][]span
}

// span is the time over which one stream has samples.
type span struct{ first, last int64 }

// add books what a matrix holds beyond what is booked. The matrices must follow each other in time,
// overlapping or not.
func (l *ledger) add(matrix model.Matrix) error {
	fresh := map[string]*scrapes{}
	for _, stream := range matrix {
		if err := l.collect(fresh, stream); err != nil {
			return err
		}
	}
	newest := l.newest
	for _, found := range fresh {
		for at, values := range found.at {
			if err := consistent(values); err != nil {
				return err
			}
			newest = max(newest, at)
		}
	}
	l.newest = newest
	for name, found := range fresh {
		s := l.sources[name]
		if s == nil {
			s = &source{}
			l.sources[name] = s
		}
		s.instance = found.instance
		times := make([]int64, 0, len(found.at))
		for at := range found.at {
			times = append(times, at)
		}
		slices.Sort(times)
		for _, at := range times {
			l.step(s, at, found.at[at])
		}
	}
	return nil
}

// collect sorts a stream's samples under its source, without those that are booked already.
func (l *ledger) collect(fresh map[string]*scrapes, stream *model.SampleStream) error {
	if stream == nil {
		return doubtf("a series is null")
	}
	name, instance, id, err := parse(stream.Metric, l.subject)
	if err != nil || len(stream.Values) == 0 {
		return err
	}
	found := fresh[name]
	if found == nil {
		found = &scrapes{at: map[int64]map[series]float64{}, spans: map[series][]span{}}
		fresh[name] = found
	}
	found.instance = instance
	var last int64
	if s := l.sources[name]; s != nil {
		last = s.last
	}
	mine := span{math.MaxInt64, math.MinInt64}
	for _, sample := range stream.Values {
		at, value := int64(sample.Timestamp), float64(sample.Value)
		if !(value >= 0 && value < 1<<53) { // NaN too
			return doubtf("a counter of %s has the value %v", name, value)
		}
		if at <= 0 || at <= mine.last {
			return doubtf("samples of %s are not in order of time", name)
		}
		mine = span{min(mine.first, at), at}
		if at <= last {
			continue
		}
		if found.at[at] == nil {
			found.at[at] = map[series]float64{}
		}
		found.at[at][id] = value
	}
	for _, other := range found.spans[id] {
		if mine.first <= other.last && other.first <= mine.last {
			return doubtf("%s is there twice, so it is scraped twice or two servers answer", name)
		}
	}
	found.spans[id] = append(found.spans[id], mine)
	return nil
}

// consistent checks that the durations of one scrape can be told at the bound.
func consistent(values map[series]float64) error {
	for id, count := range values {
		if id.kind != all {
			continue
		}
		id.kind = quick
		under, found := values[id]
		if !found {
			return doubtf("a source does not count durations at the bound that others have")
		}
		if under > count {
			return doubtf("more durations are under a bound than there are")
		}
	}
	return nil
}

// step books one scrape of a source.
func (l *ledger) step(s *source, at int64, values map[series]float64) {
	if s.last > 0 {
		if l.gaps = append(l.gaps, at-s.last); len(l.gaps) > 64 {
			l.gaps = slices.Delete(l.gaps, 0, 1)
		}
	}
	switch {
	case s.fell(values):
		s.levels = nil
		if at > l.subject.Since.UnixMilli() {
			l.dropped++
		}
	case at > l.subject.Since.UnixMilli():
		for id, value := range values {
			l.totals[id.revision].book(id, value-s.values[id])
		}
	}
	s.last, s.values = at, values
	s.note(at, at-l.patience().Milliseconds())
}

// fell says whether a counter is lower than it was: one that is absent from a scrape is at zero.
func (s *source) fell(values map[series]float64) bool {
	for id, before := range s.values {
		if values[id] < before {
			return true
		}
	}
	return false
}

// note keeps the level at a scrape, and of the older ones those after horizon and the newest up to it.
func (s *source) note(at, horizon int64) {
	now := level{at: at}
	for id, value := range s.values {
		switch {
		case id.stays: // a connection is not a request that waits for its answer
		case id.kind == started:
			now.started[id.revision] += value
		case id.kind == ended:
			now.ended[id.revision] += value
		}
	}
	s.levels = append(s.levels, now)
	for len(s.levels) > 1 && s.levels[1].at <= horizon {
		s.levels = slices.Delete(s.levels, 0, 1)
	}
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
	case all, quick:
		if id.kind == quick {
			more = -more
		}
		switch id.outcome {
		case served:
			t.slow += more
		case refused:
			t.slowRefused += more
		}
	}
}

// patience is the age at which a request that is not answered is overdue.
func (l *ledger) patience() time.Duration {
	if l.boundary > 0 {
		return l.boundary
	}
	return analysis.Patience
}

// scrapeInterval is as configured, else the median of what was seen; zero: not known.
func (l *ledger) scrapeInterval() time.Duration {
	if l.interval > 0 || len(l.gaps) == 0 {
		return l.interval
	}
	sorted := slices.Sorted(slices.Values(l.gaps))
	return time.Duration(sorted[len(sorted)/2]) * time.Millisecond
}

// from is the time after which samples are wanted: so far before the newest one that no scrape of a
// slower source is missed.
func (l *ledger) from() time.Time {
	start := l.subject.Since.Add(-lookback)
	known := time.UnixMilli(l.read).Add(-lookback)
	if l.newest > 0 {
		known = time.UnixMilli(l.newest).Add(-max(3*l.scrapeInterval(), 2*time.Second))
	}
	if known.After(start) {
		return known
	}
	return start
}

// readUntil notes that all answers up to a time were booked.
func (l *ledger) readUntil(now time.Time) { l.read = now.UnixMilli() }

// quiet says whether a source has missed three scrapes.
func (l *ledger) quiet(s *source) bool {
	interval := l.scrapeInterval()
	return interval > 0 && l.newest-s.last > 3*interval.Milliseconds()
}

// silent are the addresses of the sources that are quiet, at most 200.
func (l *ledger) silent() []string {
	var instances []string
	for _, s := range l.sources {
		if s.instance != "" && l.quiet(s) && len(instances) < 200 {
			instances = append(instances, s.instance)
		}
	}
	slices.Sort(instances)
	return instances
}

// counts are what has been added up.
func (l *ledger) counts() analysis.Counts {
	counts := analysis.Counts{
		Canary: l.totals[canary].tally(), Stable: l.totals[stable].tally(),
		Boundary: l.boundary, Patience: l.patience(), Interval: l.scrapeInterval(),
		Sources: len(l.sources), Dropped: l.dropped,
	}
	if l.newest > 0 {
		counts.Newest = time.UnixMilli(l.newest)
	}
	for r, tally := range []*analysis.Tally{&counts.Canary, &counts.Stable} {
		unfinished, overdue := l.underWay(revision(r)) //nolint:gosec // 0 and 1
		tally.Unfinished = min(unfinished, tally.Started)
		tally.Overdue = min(overdue, tally.Unfinished)
	}
	return counts
}

// underWay is how many requests have no answer yet at the sources that still report, and how many of them
// at least are older than the patience: those begun so long ago, less all that ended.
func (l *ledger) underWay(r revision) (unfinished, overdue uint64) {
	for _, s := range l.sources {
		if len(s.levels) == 0 || l.quiet(s) {
			continue
		}
		old, now := s.levels[0], s.levels[len(s.levels)-1]
		unfinished += count(now.started[r] - now.ended[r])
		if old.at <= now.at-l.patience().Milliseconds() {
			overdue += count(old.started[r] - now.ended[r])
		}
	}
	return unfinished, overdue
}

// tally turns sums into a tally. Durations and ends are not counted in the same instant, so that a scrape
// between the two is off by one or two: no more requests are slow than were answered. Requests that the
// client gave up are among the durations of the class 4xx; slow ones of that class are taken to be those.
func (t total) tally() analysis.Tally {
	late := min(max(t.slowRefused, 0), t.cancelled)
	answered := max(t.ended-t.cancelled+late, 0)
	return analysis.Tally{
		Started: count(t.started), Answered: count(answered), Failed: count(min(t.failed, answered)),
		Slow:      count(min(max(t.slow, 0)+max(t.slowRefused, 0), max(answered-t.failed, 0))),
		Cancelled: count(t.cancelled - late),
	}
}

// count is a whole number of requests.
func count(value float64) uint64 {
	if !(value > 0) {
		return 0
	}
	return uint64(math.Round(min(value, 1<<53)))
}
