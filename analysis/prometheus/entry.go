package prometheus

import "slices"

// entry is what a series feeds: nothing, one counter, or, of a native histogram, one for all durations and
// one for each bound.
type entry struct {
	metric   *metric
	counters []*counter
	seen     int64
}

// entryOf finds what a series feeds.
func (l *ledger) entryOf(m *metric) (*entry, error) {
	if e := l.entries[m]; e != nil {
		return e, nil
	}
	e := &entry{metric: m, seen: l.newest}
	at := slices.Index(l.revisions[:], m.revision)
	switch {
	case at < 0: // of another release that the same answer is for
	case m.doubt != "":
		return nil, doubtError(m.doubt)
	default:
		for _, id := range l.feeds(m, revision(at)) { //nolint:gosec // 0 or 1
			e.counters = append(e.counters, l.sourceOf(m).counterOf(id, l))
		}
	}
	l.entries[m] = e
	return e, nil
}

// feeds are the counters that a series feeds.
func (l *ledger) feeds(m *metric, r revision) []series {
	id := series{revision: r, weight: m.weight, kind: m.kind, outcome: m.outcome, stays: m.stays, rest: m.rest}
	switch {
	case m.kind == nothing,
		m.kind == native && !l.scale.native,
		(m.kind == all || m.kind == quick) && (l.scale.native || len(l.scale.bounds) == 0):
		return nil
	case m.kind == quick:
		i, found := l.scale.index(m.bound)
		if !found {
			return nil
		}
		id.bound = i
	case m.kind == native:
		id.kind = all
		ids := []series{id}
		for i := range l.scale.bounds {
			id.kind, id.bound = quick, i
			ids = append(ids, id)
		}
		return ids
	}
	return []series{id}
}

func (l *ledger) sourceOf(m *metric) *source {
	s := l.sources[m.source]
	if s == nil {
		s = &source{name: m.source}
		l.sources[m.source] = s
	}
	s.instance = m.instance
	return s
}
