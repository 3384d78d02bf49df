package bench

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-mesh/sluice/analysis"
)

// both lets the real ledger and direct book the same scrapes.
type both struct {
	*ours
	served, direct booking
	compare        func(now float64, served, direct analysis.Evidence)
}

func (b *both) Begin(moment Moment) {
	b.ours.Begin(moment)
	b.direct.changed(b.release)
	b.served.changed(b.release)
}

func (b *both) Observe(scrape Scrape) {
	b.direct.observe(scrape)
	b.served.observe(scrape)
}

func (b *both) Look(moment Moment) Decision {
	b.compare(moment.Now, b.served.evidence(at(moment.Now)), b.direct.evidence(at(moment.Now)))
	if moment.InStep() >= 300 {
		return Advance
	}
	return Wait
}

// The evidence that most cells are judged by is the same as the real ledger's, at every look, whatever
// happens to sources and scrapes.
func TestDirectIsTheLedger(t *testing.T) {
	for _, cell := range Cells() {
		if !cell.Scraped.Ledger && cell.Name != "null-0.9%-50rps" && cell.Name != "quiet-null" {
			continue
		}
		t.Run(cell.Name, func(t *testing.T) {
			for trace := range uint64(3) {
				looks := 0
				Play(cell, Contender{Bounds: Ours.Bounds, New: func(cell Cell, trace uint64) Judge {
					b := &both{
						ours: newOurs(cell, trace).(*ours), direct: newDirect(cell), served: newServed(cell, []float64{.15, .25, .4, .75}),
						compare: func(now float64, served, direct analysis.Evidence) {
							looks++
							served.Interval, direct.Interval = 0, 0 // found out, and as configured
							if diff := cmp.Diff(direct, served); diff != "" && !t.Failed() {
								t.Errorf("trace %d at %v, direct (-) and ledger (+):\n%s", trace, now, diff)
							}
						},
					}
					return b
				}}, trace)
				if looks < 90 {
					t.Errorf("compared %d times", looks)
				}
			}
		})
	}
}
