package bench

import (
	"time"

	"github.com/sluice-mesh/sluice/analysis"
)

// Alpha is the chance of a false rollback that our judge and the ratio test are held to.
const Alpha = .05

// epoch is when the first weight of every release is decided.
var epoch = time.Unix(1_700_000_000, 0)

// at is a moment of the release as a time.
func at(now float64) time.Time {
	return epoch.Add(time.Duration(now*1000+.5) * time.Millisecond)
}

// Boundaries are the indices in Bounds of what our judge counts slow requests at: 150, 250, 400 and 750 ms,
// above which about 10, 5, 1 and 0.1 % of stable's requests are.
var Boundaries = []int{8, 10, 12, 14}

// Ours is package analysis' judge, with its defaults but for Alpha.
var Ours = Contender{
	Name: "ours", Label: "Sluice",
	New:    newOurs,
	Bounds: func(Cell) []int { return Boundaries },
}

// ours hands evidence to analysis.Assess.
type ours struct {
	cell     Cell
	release  analysis.Release
	settings analysis.Settings
	book     booking
}

// booking turns scrapes into evidence.
type booking interface {
	observe(scrape Scrape)
	// changed says that the release has a new weight.
	changed(release analysis.Release)
	evidence(now time.Time) analysis.Evidence
}

// comparison is what our judge demands in a cell.
func (c Cell) comparison() analysis.Comparison {
	compare := analysis.DefaultComparison()
	compare.Alpha = Alpha
	if c.Compare != nil {
		c.Compare(&compare)
	}
	return compare
}

func newOurs(cell Cell, trace uint64) Judge {
	compare := cell.comparison()
	if cell.Pods > 0 {
		compare.CanaryPods, compare.ControlPods = cell.Pods, StablePods
		compare.PodSpread = hourBefore(cell, trace)
	}
	o := &ours{
		cell: cell,
		release: analysis.Release{
			Namespace: "shop", Service: "cart", Stable: "old", Canary: "new",
			Since: epoch, Planned: cell.Plan.Weights,
		},
		settings: analysis.Settings{
			Compare: &compare, MinRequests: cell.Plan.MinRequests, Duration: cell.Plan.Step - cell.Plan.WarmUp,
		},
	}
	bounds := make([]float64, len(Boundaries))
	for i, b := range Boundaries {
		bounds[i] = Bounds[b]
		o.release.Boundaries = append(o.release.Boundaries, time.Duration(Bounds[b]*float64(time.Second)+.5))
	}
	if cell.Scraped.Ledger {
		o.book = newServed(cell, bounds)
	} else {
		o.book = newDirect(cell)
	}
	return o
}

// Begin notes a new weight.
func (o *ours) Begin(moment Moment) {
	o.release.Weight, o.release.WeightSince = o.cell.Plan.Weights[moment.Step], at(moment.Now)
	o.release.WarmUps = o.cell.Plan.warmUps(moment)
	o.book.changed(o.release)
}

func (o *ours) Observe(scrape Scrape) { o.book.observe(scrape) }

func (o *ours) Look(moment Moment) Decision {
	now := at(moment.Now)
	switch analysis.Assess(o.release, o.settings, o.book.evidence(now), now).Outcome {
	case analysis.Fail:
		return RollBack
	case analysis.Pass:
		return Advance
	}
	return Wait
}

// warmUps are the windows of a plan up to a moment.
func (p Plan) warmUps(moment Moment) []analysis.Window {
	var windows []analysis.Window
	for step, decided := range moment.Decided {
		if p.WarmUp > 0 && p.adds(step) {
			windows = append(windows, analysis.Window{From: at(decided), Until: at(decided).Add(p.WarmUp)})
		}
	}
	return windows
}
