package prometheus

import (
	"cmp"
	"slices"
)

// source is one proxy.
type source struct {
	name, instance string
	last           int64 // its newest booked scrape; 0: none
	// times are those of the newest booked scrapes, in a ring, cold the weights that were not asked for then,
	// and booked how many there were in all.
	times  [8]int64
	cold   [8]weights
	booked int

	counters  []*counter
	durations []*durations
	lanes     []*lane

	// fresh are the samples of an answer that are to be booked.
	fresh []fresh
	turn  int
}

// fresh is a sample that is not booked yet.
type fresh struct {
	at      int64
	counter *counter
	value   float64
}

// series identifies a counter within its source.
type series struct {
	revision revision
	weight   uint32
	kind     kind
	bound    int // of kind quick: index of the bound
	outcome  outcome
	stays    bool
	rest     string
}

// revision is an index into what is kept for both.
type revision uint8

const (
	canary revision = iota
	control
)

// counter is one counter of a source.
type counter struct {
	id     series
	source *source
	lane   *lane

	value  float64 // at the source's newest booked scrape
	last   int64   // the newest booked scrape that it was in
	missed int64   // the newest booked scrape that it was absent from, after it had been there

	// While an answer is added: in which turn, the time that its samples span, and its value at one scrape.
	turn  int
	span  span
	at    int64
	found float64
}

// durations are the counters of one histogram.
type durations struct {
	id    series // of all
	all   *counter
	quick [maxBounds]*counter
}

// lane is a source's requests at one weight.
type lane struct {
	stratum *stratum
	// asked is the newest booked scrape in which the weight was asked for, in milliseconds; 0: none.
	asked int64
	// restarted says that the source has, since then.
	restarted bool
	// counts and tested say of the scrape that is being booked whether its interval does.
	counts, tested bool
	// levels since the last reset, no further back than requests that hang are looked for.
	levels []level
	// pending are the requests that were under way when intervals that do not count ended.
	seenPending, testedPending [2]float64
}

// level is how many requests had begun and ended, by a source's counters.
type level struct {
	at             int64
	started, ended [2]float64
}

// counterOf finds the counter of a series.
func (s *source) counterOf(id series, l *ledger) *counter {
	for _, c := range s.counters {
		if c.id == id {
			return c
		}
	}
	c := &counter{id: id, source: s, lane: s.laneOf(l.stratumOf(id.weight))}
	s.counters = append(s.counters, c)
	if id.kind == all || id.kind == quick {
		s.durationsOf(id).put(c)
	}
	return c
}

// durationsOf finds the histogram of a counter.
func (s *source) durationsOf(id series) *durations {
	id.kind, id.bound = all, 0
	for _, d := range s.durations {
		if d.id == id {
			return d
		}
	}
	d := &durations{id: id}
	s.durations = append(s.durations, d)
	return d
}

func (d *durations) put(c *counter) {
	if c.id.kind == all {
		d.all = c
	} else {
		d.quick[c.id.bound] = c
	}
}

func (s *source) laneOf(at *stratum) *lane {
	for _, l := range s.lanes {
		if l.stratum == at {
			return l
		}
	}
	l := &lane{stratum: at}
	s.lanes = append(s.lanes, l)
	return l
}

// knows says whether a scrape is booked, and without which weights; one so old that it is not remembered
// counts as booked like the oldest that is.
func (s *source) knows(at int64) (cold weights, known bool) {
	n := min(s.booked, len(s.times))
	oldest := at + 1
	for i := range n {
		if s.times[i] == at {
			return s.cold[i], true
		}
		if s.times[i] < oldest {
			oldest, cold = s.times[i], s.cold[i]
		}
	}
	return cold, n == len(s.times) && at < oldest
}

// late says whether a sample, of a time up to the newest booked scrape, was not there when that was booked.
func (c *counter) late(at int64) bool {
	s := c.source
	if s.booked > 0 && at == c.last {
		return false
	}
	switch cold, known := s.knows(at); {
	case !known:
		return true
	case cold.has(c.id.weight):
		return false
	}
	return at == c.missed || at > c.last
}

// scrapes calls each for the fresh samples of every scrape, in the order of time.
func (s *source) scrapes(each func(at int64, found []fresh) error) error {
	byTime := func(a, b fresh) int { return cmp.Compare(a.at, b.at) }
	if !slices.IsSortedFunc(s.fresh, byTime) {
		slices.SortStableFunc(s.fresh, byTime)
	}
	for from := 0; from < len(s.fresh); {
		at, to := s.fresh[from].at, from+1
		for to < len(s.fresh) && s.fresh[to].at == at {
			to++
		}
		if err := each(at, s.fresh[from:to]); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// consistent checks that the durations of one scrape can be told at each bound.
func (s *source) consistent(at int64, found []fresh, bounds int) error {
	for _, f := range found {
		f.counter.at, f.counter.found = at, f.value
	}
	for _, d := range s.durations {
		if d.all == nil || d.all.at != at {
			continue
		}
		for _, q := range d.quick[:bounds] {
			switch {
			case q == nil || q.at != at:
				return doubtf("a source does not count durations at the bound that others have")
			case q.found > d.all.found:
				return doubtf("more durations are under a bound than there are")
			}
		}
	}
	return nil
}

// fell says whether a counter is lower than it was: one that is absent from a scrape is at zero, unless it
// was not asked for.
func (s *source) fell(at int64, found []fresh, cold weights) bool {
	for _, f := range found {
		f.counter.at, f.counter.found = at, f.value
	}
	fell := false
	for _, c := range s.counters {
		switch {
		case c.at == at:
		case cold.has(c.id.weight):
			c.found = c.value
		default:
			if c.found = 0; c.last > 0 {
				c.missed = at
			}
		}
		fell = fell || c.found < c.value && !c.lane.restarted
	}
	return fell
}

// note keeps the levels at a scrape, and of the older ones those after horizon and the newest up to it.
func (s *source) note(at, horizon int64, cold weights) {
	for _, l := range s.lanes {
		if !cold.has(l.stratum.weight) {
			l.asked = at
		}
		l.levels = append(l.levels, level{at: at})
		for len(l.levels) > 1 && l.levels[1].at <= horizon {
			l.levels = slices.Delete(l.levels, 0, 1)
		}
	}
	for _, c := range s.counters {
		now := &c.lane.levels[len(c.lane.levels)-1]
		switch {
		case c.id.stays: // a connection is not a request that waits for its answer
		case c.id.kind == started:
			now.started[c.id.revision] += c.value
		case c.id.kind == ended:
			now.ended[c.id.revision] += c.value
		}
	}
	s.times[s.booked%len(s.times)], s.cold[s.booked%len(s.times)] = at, cold
	s.booked++
	s.last = at
}

// underWay is how many requests of a revision have begun and not ended.
func (l *lane) underWay(r revision, pending float64) float64 {
	now := l.levels[len(l.levels)-1]
	return now.started[r] - now.ended[r] - pending
}

// older is how many requests of a revision at least are under way for longer than age, in milliseconds:
// those begun so long ago, less all that ended.
func (l *lane) older(r revision, age int64, pending float64) float64 {
	now := l.levels[len(l.levels)-1]
	for i := len(l.levels) - 1; i >= 0; i-- {
		if old := l.levels[i]; old.at <= now.at-age {
			return old.started[r] - now.ended[r] - pending
		}
	}
	return 0
}
