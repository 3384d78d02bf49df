// Package bench measures how well the judge decides, by simulation: releases whose truth is known are
// judged by ours and by its rivals, and what came out is counted. It owns the simulated traffic, the
// rivals, the cells and the report; it refuses to know how our judge comes to its verdicts, which it takes
// from package analysis as everybody else does, and it contacts nobody.
//
// What is simulated is what Prometheus would have: counters of source proxies, one set for every weight,
// read at scrapes. Between two scrapes the counts are drawn from the law that single requests would give
// (see traffic), so a release costs microseconds for each scrape and none for each request. Everything
// is determined by the cell's name and the number of the trace, whatever runs in parallel.
package bench

import (
	"time"
)

// The two revisions, as indices.
const (
	Canary = iota
	Stable
)

// Bounds are the bounds of the proxies' classic histogram of durations, in seconds.
var Bounds = []float64{
	.001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .25, .3, .4, .5, .75, 1, 1.5, 2, 3, 5, 7.5, 10, 30, 60,
}

// maxBounds is the number of Bounds.
const maxBounds = 24

// Count is how many requests of one revision ended.
type Count struct {
	// All, and Failed of them.
	All, Failed uint64
	// Slow is, for each bound that is counted in a run, how many took longer and did not fail.
	Slow [maxBounds]uint64
}

func (c *Count) add(other Count) {
	c.All += other.All
	c.Failed += other.Failed
	for i := range c.Slow {
		c.Slow[i] += other.Slow[i]
	}
}

// less is the count without what was there before. Where a counter of the proxy's fell in between, which
// counts requests that did not fail and those of them up to a bound, it is the count as it stands. Else a
// difference in Slow may be below zero: it wraps around, and is right again in a sum.
func (c Count) less(before Count) (more Count, fell bool) {
	good, goodBefore := c.All-c.Failed, before.All-before.Failed
	if fell = c.Failed < before.Failed || good < goodBefore; fell {
		return c, true
	}
	more = Count{All: c.All - before.All, Failed: c.Failed - before.Failed}
	for i := range c.Slow {
		if good-c.Slow[i] < goodBefore-before.Slow[i] {
			return c, true
		}
		more.Slow[i] = c.Slow[i] - before.Slow[i]
	}
	return more, false
}

// Pair is the counts of both revisions.
type Pair [2]Count

func (p *Pair) add(other Pair) {
	p[Canary].add(other[Canary])
	p[Stable].add(other[Stable])
}

// Scrape is one reading of one source's counters.
type Scrape struct {
	Source int
	// At is the time since the first weight was decided, in seconds.
	At float64
	// Counters are one pair for each weight of the plan. There are series for those from First up to and
	// without Known. The caller changes them afterwards.
	Counters     []Pair
	First, Known int
}

// Moment is when a judge is asked, in seconds since the first weight was decided.
type Moment struct {
	Now float64
	// Step is the index of the present weight, which was decided at Decided[Step].
	Step    int
	Decided []float64
}

// InStep is how long the present weight has been decided.
func (m Moment) InStep() float64 { return m.Now - m.Decided[m.Step] }

// Decision is what a judge wants done.
type Decision int

// What a judge wants done.
const (
	// Wait for more.
	Wait Decision = iota
	// Advance to the next weight, or promote after the last one.
	Advance
	// RollBack the canary.
	RollBack
)

// Judge decides about one release. Begin is called when a weight is decided, the first one included, before
// any scrape after that; Observe for every scrape, in order of time for each source; Look after every round
// of scrapes.
type Judge interface {
	Begin(moment Moment)
	Observe(scrape Scrape)
	Look(moment Moment) Decision
}

// Contender is a kind of judge.
type Contender struct {
	Name string
	// Label is for people.
	Label string
	// New makes one for a release in a cell; the number of the trace seeds whatever it needs to know from
	// before the release.
	New func(cell Cell, trace uint64) Judge
	// Bounds are indices of Bounds that it needs counted in a cell.
	Bounds func(cell Cell) []int
}

// seconds of a duration.
func seconds(d time.Duration) float64 { return d.Seconds() }
