package analysis

import (
	"math"
	"testing"
)

// The lowest and the highest boundary have nine tenths of a metric's weight, whatever lies between.
func TestMeanOverBoundaries(t *testing.T) {
	e := func(values ...float64) []float64 {
		logs := make([]float64, len(values))
		for i, v := range values {
			logs[i] = math.Log(v)
		}
		return logs
	}
	for name, test := range map[string]struct {
		logs []float64
		want float64
	}{
		"one":   {e(7), 7},
		"two":   {e(2, 8), 5},
		"three": {e(2, 10, 4), .45*2 + .1*10 + .45*4},
		"four":  {e(2, 10, 20, 4), .45*2 + .05*10 + .05*20 + .45*4},
		"six":   {e(2, 10, 20, 30, 40, 4), .45*2 + .025*(10+20+30+40) + .45*4},
	} {
		if got := math.Exp(mean(test.logs)); math.Abs(got-test.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
