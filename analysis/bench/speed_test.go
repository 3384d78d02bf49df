package bench

import "testing"

// The path that is timed gives the judge evidence: else it would be quick for nothing.
func TestSpeedIsOfRealVerdicts(t *testing.T) {
	speed := MeasureSpeed()
	if !(speed.Release > 0 && speed.First >= speed.Release && speed.Last <= speed.Release) {
		t.Errorf("%+v", speed)
	}
	t.Logf("%+v", speed)
}
