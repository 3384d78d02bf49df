package prometheus

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A release leaves the series of each weight that it was at behind. They rarely change any more, and to ask
// for all of them at each look would cost more with every step. So those that have come to rest are asked
// for in turn only: what a proxy still counts there, because it has not heard of newer weights, is seen a
// little later. It is never lost, since counters are cumulative.

// rest is for how long nothing must change at a weight before it is cold, in scrapes and at least.
const (
	restScrapes = 3
	leastRest   = 10 * time.Second
)

// weights is a set of weights in percent.
type weights [2]uint64

func (w weights) has(percent uint32) bool {
	return percent < 128 && w[percent/64]&(1<<(percent%64)) != 0
}

func (w *weights) add(percent uint32) { w[percent/64] |= 1 << (percent % 64) }

func (w *weights) remove(percent uint32) { w[percent/64] &^= 1 << (percent % 64) }

// and are the weights that are in both.
func (w weights) and(other weights) weights { return weights{w[0] & other[0], w[1] & other[1]} }

// matcher is a pattern of the weights that are not asked for: none, zero, and these.
func (w weights) matcher() string {
	var b strings.Builder
	b.WriteString("0?")
	for percent := range uint32(128) {
		if w.has(percent) {
			fmt.Fprintf(&b, "|%d", percent)
		}
	}
	return b.String()
}

// cold are the weights that need not be asked for now: those at which nothing has changed for a while and no
// request is under way, but for one of them, by turns. The present weight, and one that is not known yet, are
// never among them.
func (l *ledger) cold(present uint32, now time.Time) weights {
	var cold weights
	interval := l.scrapeInterval()
	if l.newest == 0 || interval == 0 {
		return cold
	}
	rest := max(restScrapes*interval, leastRest).Milliseconds()
	resting, open := make([]uint32, 0, len(l.strata)), l.open()
	for _, s := range l.strata {
		if s.weight != present && l.newest-s.changed > rest && !open.has(s.weight) {
			resting = append(resting, s.weight)
			cold.add(s.weight)
		}
	}
	if len(resting) == 0 {
		return cold
	}
	if now.After(l.turnEnds) || !cold.has(l.itsTurn) {
		next := slices.IndexFunc(resting, func(weight uint32) bool { return weight > l.itsTurn })
		// A turn is so long that each source is scraped in it, and takes one look at least.
		l.itsTurn, l.turnEnds = resting[max(next, 0)], now.Add(interval+time.Second)
	}
	cold.remove(l.itsTurn)
	return cold
}

// open are the weights at which requests are under way.
func (l *ledger) open() weights {
	var open weights
	for _, s := range l.sources {
		if l.quiet(s) {
			continue
		}
		for _, lane := range s.lanes {
			if len(lane.levels) > 0 && (lane.underWay(canary, lane.seenPending[canary]) > 0 || lane.underWay(control, lane.seenPending[control]) > 0) {
				open.add(lane.stratum.weight)
			}
		}
	}
	return open
}
