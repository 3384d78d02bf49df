package bench

import (
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/analysis"
)

// The path that is timed gives the judge evidence: else it would be quick for nothing. Each verdict is about
// a fresh scrape of all sources, at all weights so far.
func TestSpeedIsOfRealVerdicts(t *testing.T) {
	looks, newest := 0, time.Time{}
	speed := measureSpeed(func(step int, e analysis.Evidence, v analysis.Verdict) {
		looks++
		fresh := e.Newest.After(newest) && e.Sources == speedSources && e.Doubt == ""
		if !fresh || len(e.Strata) != step+1 || len(e.Boundaries) != len(Boundaries) || len(v.Metrics) != 2 {
			t.Fatalf("look %d, at weight %d: %+v of %+v", looks, step, v, e)
		}
		newest = e.Newest
	})
	if looks != 500 || !(speed.Release > 0 && speed.First > 0 && speed.Last > 0) {
		t.Errorf("%+v after %d looks", speed, looks)
	}
	t.Logf("%+v", speed)
}
