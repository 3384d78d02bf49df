package bench

import (
	"runtime"
	"syscall"
	"time"

	"github.com/sluice-mesh/sluice/analysis"
)

// Speed is how many verdicts a second one core gives: over a whole release, and at its first and last
// weight. The sources keep the series of all weights so far, so the last one is the slowest.
type Speed struct {
	Release float64 `json:"release"`
	First   float64 `json:"first"`
	Last    float64 `json:"last"`
}

// speedSources is how many sources there are, each with 5 E-processes: failures and 4 boundaries.
const speedSources = 50

// MeasureSpeed measures whole verdicts: a fresh scrape of all sources is asked for, decoded, booked and
// assessed, in a release of five weights with a minute each. What the simulated server needs to make its
// answer does not count, nor do the first verdicts, until memory is there.
func MeasureSpeed() Speed {
	return measureSpeed(func(int, analysis.Evidence, analysis.Verdict) {})
}

// measureSpeed hands each verdict that is timed to look, with its weight's index and what it is based on.
func measureSpeed(look func(step int, evidence analysis.Evidence, verdict analysis.Verdict)) Speed {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const warm, looks = 20, 100
	cell := same(1000, .009)
	cell.Scraped.Sources, cell.Scraped.Ledger = speedSources, true
	judge := newOurs(cell, 0).(*ours)
	path := judge.book.(*served)
	scrapes := newSources(newTraffic(cell, 0, Boundaries), 0)
	moment := Moment{Decided: []float64{0}}
	judge.Begin(moment)
	every, spent := seconds(cell.Scraped.Every), make([]time.Duration, len(cell.Plan.Weights))
	for round := range (warm + looks) * len(spent) {
		moment.Now += every
		scrapes.round(moment.Now-every, moment.Decided, judge.Observe)
		path.server.now, path.server.spent = at(moment.Now), 0
		before := processor()
		evidence := path.evidence(path.server.now)
		verdict := analysis.Assess(judge.release, judge.settings, evidence, path.server.now)
		if round%(warm+looks) >= warm {
			spent[moment.Step] += processor() - before - path.server.spent
			look(moment.Step, evidence, verdict)
		}
		if (round+1)%(warm+looks) == 0 && moment.Step < len(spent)-1 {
			moment.Step++
			moment.Decided = append(moment.Decided, moment.Now)
			judge.Begin(moment)
		}
	}
	total := time.Duration(0)
	for _, s := range spent {
		total += s
	}
	return Speed{
		Release: float64(looks*len(spent)) / total.Seconds(),
		First:   looks / spent[0].Seconds(), Last: looks / spent[len(spent)-1].Seconds(),
	}
}

// processor is how much time the process has had on processors: other than the clock's, it does not depend
// on what else the machine does.
func processor() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
