package bench

import (
	"time"

	"github.com/sluice-mesh/sluice/analysis"
)

// direct makes evidence by the rules of the design, without the real ledger's parsing of samples: it is
// what most cells can afford. TestDirectIsTheLedger compares the two.
type direct struct {
	boundaries []time.Duration
	weights    []uint32
	warmUps    []window
	every      time.Duration
	sources    []followed
	strata     []stratum
	newest     float64
	dropped    int
	known      int // sources that were scraped
}

// followed is a source, as it was last scraped.
type followed struct {
	at       float64
	counters []Pair
}

type window struct{ from, until float64 }

// stratum is what was seen at one weight, all of it and without warm-ups.
type stratum struct{ seen, tested Pair }

func newDirect(cell Cell) *direct {
	d := &direct{
		weights: cell.Plan.Weights, every: cell.Scraped.Every,
		sources: make([]followed, cell.Scraped.Sources), strata: make([]stratum, len(cell.Plan.Weights)),
	}
	for i := range d.sources {
		d.sources[i].counters = make([]Pair, len(d.weights))
	}
	return d
}

func (d *direct) changed(release analysis.Release) {
	d.boundaries = release.Boundaries
	d.leaveOut(release.WarmUps)
}

// leaveOut sets the warm-ups.
func (d *direct) leaveOut(warmUps []analysis.Window) {
	d.warmUps = d.warmUps[:0]
	for _, w := range warmUps {
		d.warmUps = append(d.warmUps, window{w.From.Sub(epoch).Seconds(), w.Until.Sub(epoch).Seconds()})
	}
}

func (d *direct) observe(scrape Scrape) {
	last := &d.sources[scrape.Source]
	if last.at == 0 {
		d.known++
	}
	more := make([]Pair, len(d.weights))
	fell := false
	for w := range more {
		for revision, count := range scrape.Counters[w] {
			rise, less := count.less(last.counters[w][revision])
			more[w][revision], fell = rise, fell || less
		}
	}
	if fell {
		d.dropped++
	} else {
		warm := d.warm(last.at, scrape.At)
		for w := range more {
			d.strata[w].seen.add(more[w])
			if !warm {
				d.strata[w].tested.add(more[w])
			}
		}
	}
	last.at = scrape.At
	copy(last.counters, scrape.Counters)
	d.newest = max(d.newest, scrape.At)
}

// warm says whether the interval (from, to] has a moment in a warm-up, [from, until).
func (d *direct) warm(from, to float64) bool {
	for _, w := range d.warmUps {
		if from < w.until && to >= w.from {
			return true
		}
	}
	return false
}

func (d *direct) evidence(time.Time) analysis.Evidence {
	evidence := analysis.Evidence{
		Boundaries: d.boundaries, Patience: analysis.Patience,
		Newest: at(d.newest), Interval: d.every, Sources: d.known, Dropped: d.dropped,
	}
	for w, s := range d.strata {
		if s.seen[Canary].All+s.seen[Stable].All > 0 {
			evidence.Strata = append(evidence.Strata, analysis.Stratum{
				Weight: d.weights[w], Seen: d.pair(s.seen), Tested: d.pair(s.tested),
			})
		}
	}
	return evidence
}

func (d *direct) pair(p Pair) analysis.Pair {
	return analysis.Pair{Canary: d.requests(p[Canary]), Control: d.requests(p[Stable])}
}

func (d *direct) requests(c Count) analysis.Requests {
	return analysis.Requests{
		Started: c.All, Answered: c.All, Failed: c.Failed,
		Slow: append([]uint64(nil), c.Slow[:len(d.boundaries)]...), Overdue: make([]uint64, len(d.boundaries)),
	}
}
