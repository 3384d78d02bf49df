package bench

import "math"

// deadline is how many times a step's length a weight may last before the release is given up as
// inconclusive.
const deadline = 3

// Ending is how a release ended.
type Ending int

// How a release ended.
const (
	Promoted Ending = iota
	RolledBack
	Inconclusive
)

// Run is what came of one release.
type Run struct {
	Ending Ending
	// At is when it ended, in seconds since the first weight was decided.
	At float64
	// Excess is how many bad answers were to be expected until then beyond those of stable's version.
	Excess float64
}

// Detected is how long after its onset a regression was rolled back; infinite if it was not, or before.
func (r Run) Detected(cell Cell) float64 {
	if onset := seconds(cell.Onset); r.Ending == RolledBack && r.At > onset {
		return r.At - onset
	}
	return math.Inf(1)
}

// Play lets a contender judge one release of a cell.
func Play(cell Cell, contender Contender, trace uint64) Run {
	requests := newTraffic(cell, trace, contender.Bounds(cell))
	scrapes := newSources(requests, trace)
	judge := contender.New(cell, trace)
	every, step := seconds(cell.Scraped.Every), seconds(cell.Plan.Step)
	moment := Moment{Decided: []float64{0}}
	judge.Begin(moment)
	for round := 1; ; round++ {
		moment.Now = float64(round) * every
		scrapes.round(moment.Now-every, moment.Decided, judge.Observe)
		decision := judge.Look(moment)
		run := Run{At: moment.Now, Excess: requests.excess}
		switch {
		case decision == RollBack:
			run.Ending = RolledBack
			return run
		case decision == Advance && moment.Step == len(cell.Plan.Weights)-1 && moment.InStep() >= step:
			run.Ending = Promoted
			return run
		case decision == Advance && moment.InStep() >= step:
			moment.Step++
			moment.Decided = append(moment.Decided, moment.Now)
			judge.Begin(moment)
		case moment.InStep() >= deadline*step:
			run.Ending = Inconclusive
			return run
		}
	}
}
