package stats

import (
	"math"
	"math/rand/v2"
	"testing"
)

// sequence is the confidence sequence of strata without slack.
func sequence(alpha float64, strata []Stratum, starts []int) (low, high float64) {
	return RatioInterval(alpha,
		func(ratio float64) float64 { return harm(ratio).LogEFrom(strata, starts) },
		func(ratio float64) float64 { return Test{Grid: SafeGrid(), Ratio: ratio}.LogE(strata) })
}

func TestRatioIntervalMeetsGoldenValues(t *testing.T) { // golden value 8
	for name, c := range map[string]struct {
		strata    []Stratum
		low, high float64
	}{
		"half":          {at([3]float64{42, 60, .5}), 1.062715, 5.589681},
		"none":          {at([3]float64{0, 5, .2}), 0, 5.211300},
		"two strata":    {two, 1.279574, 11.495616},
		"nothing seen":  {nil, 0, math.Inf(1)},
		"one bad":       {at([3]float64{1, 1, .2}), 0, math.Inf(1)},
		"canary's only": {at([3]float64{9, 9, .2}), 1.995262, math.Inf(1)},
	} {
		t.Run(name, func(t *testing.T) {
			low, high := sequence(.05, c.strata, nil)
			if name == "canary's only" { // the lower limit is not golden: by its definition
				if e := harm(low).LogE(c.strata); math.Abs(e-math.Log(20)) > 1e-6 {
					t.Errorf("ln E is %v at the lower limit %v, want ln 20", e, low)
				}
				c.low = low
			}
			if math.Abs(low-c.low) > 5.1e-7 || high != c.high && !(math.Abs(high-c.high) <= 5.1e-7) {
				t.Errorf("[%.7f, %.7f], want [%.6f, %.6f]", low, high, c.low, c.high)
			}
		})
	}
}

// The oracle walks the ratio up in small steps until the test turns.
func TestRatioIntervalIsWhereTheTestsTurn(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 4)) //nolint:gosec // a simulation
	const step = 1.0005
	for range 30 {
		var strata []Stratum
		for range 1 + random.IntN(3) {
			total := random.IntN(200)
			strata = append(strata, Stratum{Bad: float64(random.IntN(total + 1)), Total: float64(total), Share: .05 + .9*random.Float64()})
		}
		starts := []int{1, 2}[:random.IntN(3)]
		wantLow, wantHigh := 0.0, math.Inf(1)
		for ratio := 1e-4; ratio < 1e4; ratio *= step {
			if harm(ratio).LogEFrom(strata, starts) >= math.Log(100) {
				wantLow = ratio
			}
			if math.IsInf(wantHigh, 1) && (Test{Grid: SafeGrid(), Ratio: ratio}).LogE(strata) >= math.Log(100) {
				wantHigh = ratio
			}
		}
		low, high := sequence(.01, strata, starts)
		if wantLow > 0 && !(low >= wantLow && low <= wantLow*step) || wantLow == 0 && low > 1e-4 ||
			high < 1e4 && !(high <= wantHigh && high >= wantHigh/step) || high >= 1e4 && !math.IsInf(wantHigh, 1) {
			t.Errorf("%+v: [%v, %v], by walking [%v, %v]", strata, low, high, wantLow, wantHigh)
		}
	}
}

func TestRatioIntervalOfManyRequestsIsNarrow(t *testing.T) {
	low, high := sequence(.01, at([3]float64{1e8, 1e9, .1}), nil)
	if !(low > .8 && low < 1 && high > 1 && high < 1.3) {
		t.Errorf("[%v, %v] around 1", low, high)
	}
	for _, alpha := range []float64{0, 1, -1, math.NaN()} {
		if low, high := sequence(alpha, two, nil); !math.IsNaN(low) || !math.IsNaN(high) {
			t.Errorf("alpha %v: [%v, %v], want NaN", alpha, low, high)
		}
	}
	if low, high := sequence(.05, at([3]float64{2, 1, .1}), nil); !math.IsNaN(low) || !math.IsNaN(high) {
		t.Errorf("nonsense: [%v, %v], want NaN", low, high)
	}
}

// The quantiles are those of any table of Student's distribution: t(.95, 8) = 1.860, t(.95, 1) = 6.314,
// t(.95, 120) = 1.658.
func TestPodRatio(t *testing.T) {
	for _, c := range []struct {
		ratio, spread   float64
		canary, control int
		want            float64
	}{
		{1.1, .3, 3, 9, math.Exp(1.860 * .3 * math.Sqrt(1./3+1./9))},
		{1.1, .3, 1, 9, math.Exp(1.860 * .3 * math.Sqrt(1+1./9))},
		{1.1, .1, 1, 2, math.Exp(6.314 * .1 * math.Sqrt(1.5))},
		{1.1, .1, 10, 121, 1.1}, // exp(1.658 * .1 * .33) = 1.056 is less
		{1.1, 0, 3, 9, 1.1},
		{1.1, .3, 0, 9, 1.1},
		{1.1, .3, 3, 1, 1.1},
	} {
		if got := PodRatio(c.ratio, c.spread, c.canary, c.control); math.Abs(got-c.want) > 1e-3 {
			t.Errorf("%+v: %v", c, got)
		}
	}
	for _, c := range [][2]float64{{-1, .3}, {math.NaN(), .3}, {1.1, -.3}, {1.1, math.NaN()}} {
		if got := PodRatio(c[0], c[1], 3, 9); !math.IsNaN(got) {
			t.Errorf("%v: %v, want NaN", c, got)
		}
	}
}
