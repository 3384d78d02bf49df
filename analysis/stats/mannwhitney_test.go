package stats

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
)

// The data of the examples in R's documentation of wilcox.test and of its package datasets.
var (
	chorioamnionTerm  = []float64{.80, .83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, .73, 1.46} // Hollander and Wolfe (1973), 69f.
	chorioamnionEarly = []float64{1.15, .88, .90, .74, 1.21}
	sleep1            = []float64{.7, -1.6, -.2, -1.2, -.1, 3.4, 3.7, .8, 0, 2}
	sleep2            = []float64{1.9, .8, 1.1, .1, -.1, 4.4, 5.5, 1.6, 4.6, 3.4}
	mpgAutomatic      = []float64{21.4, 18.7, 18.1, 14.3, 24.4, 22.8, 19.2, 17.8, 16.4, 17.3, 15.2, 10.4, 10.4, 14.7, 21.5, 15.5, 15.2, 13.3, 19.2}
	mpgManual         = []float64{21, 21, 22.8, 32.4, 30.4, 33.9, 27.3, 26, 30.4, 15.8, 19.7, 15, 21.4}
	ozoneMay          = []float64{41, 36, 12, 18, 28, 23, 19, 8, 7, 16, 11, 14, 18, 14, 34, 6, 30, 11, 1, 11, 4, 32, 23, 45, 115, 37}
	ozoneAugust       = []float64{39, 9, 16, 78, 35, 66, 122, 89, 110, 44, 28, 65, 22, 59, 23, 31, 44, 21, 9, 45, 168, 73, 76, 118, 84, 85}
)

// The values are what R prints: example(wilcox.test) for the first and last (W = 35, p-value = 0.1272 and
// W = 127.5, p-value = 0.0001208); wilcox.test(extra ~ group, sleep, conf.int = TRUE), also to be found in
// the tests of the R package papaja; wilcox.test(mpg ~ am, mtcars, conf.int = TRUE). R finds limits and
// estimate to 1e-4 where there are ties.
func TestMannWhitneyMeetsR(t *testing.T) {
	unknown := math.NaN()
	for name, c := range map[string]struct {
		x, y             []float64
		u                float64
		exact            bool
		p, greater       float64
		shift, low, high float64
	}{
		"chorioamnion": {chorioamnionTerm, chorioamnionEarly, 35, true, .2544, .1272, unknown, unknown, unknown},
		"sleep":        {sleep1, sleep2, 25.5, false, .06933, unknown, -1.35, -3.6, .1},
		"mtcars":       {mpgAutomatic, mpgManual, 42, false, .001871, unknown, -6.799963, -11.699942, -2.900042},
		"airquality":   {ozoneMay, ozoneAugust, 127.5, false, .0001208, unknown, unknown, unknown, unknown},
	} {
		t.Run(name, func(t *testing.T) {
			got := MannWhitney(c.x, c.y)
			low, high := ShiftInterval(c.x, c.y, .95)
			if got.U != c.u || got.Exact != c.exact {
				t.Errorf("U = %v, exact %v, want %v, %v", got.U, got.Exact, c.u, c.exact)
			}
			for _, is := range []struct {
				what        string
				got, want   float64
				significant float64
			}{
				{"p", got.P, c.p, 5e-4 * c.p}, {"p greater", got.Greater, c.greater, 5e-4 * c.greater},
				{"shift", got.Shift, c.shift, 2e-4}, {"low", low, c.low, 2e-4}, {"high", high, c.high, 2e-4},
			} {
				if !math.IsNaN(is.want) && !(math.Abs(is.got-is.want) <= is.significant) {
					t.Errorf("%s is %v, want %v", is.what, is.got, is.want)
				}
			}
		})
	}
}

// enumerate is the oracle: it deals all values to the two samples in every way and counts those with a U at
// most, and at least, as large as the one that was seen. It needs neither a formula nor untied values.
func enumerate(x, y []float64) (less, greater float64) {
	all := slices.Concat(x, y)
	u := func(dealt uint) (sum float64) {
		for i, a := range all {
			for j, b := range all {
				if dealt>>i&1 == 1 && dealt>>j&1 == 0 {
					switch {
					case a > b:
						sum++
					case a == b:
						sum += .5
					}
				}
			}
		}
		return sum
	}
	seen, ways := u(1<<len(x)-1), 0.0
	for dealt := range uint(1) << len(all) {
		if bits.OnesCount(dealt) != len(x) {
			continue
		}
		ways++
		is := u(dealt)
		if is <= seen {
			less++
		}
		if is >= seen {
			greater++
		}
	}
	return less / ways, greater / ways
}

func TestMannWhitneyIsTheShareOfAllDeals(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1)) //nolint:gosec // a simulation
	for _, size := range [][2]int{{1, 1}, {1, 4}, {3, 3}, {2, 7}, {5, 5}, {7, 4}} {
		x, y := values(random, size[0]), values(random, size[1])
		got := MannWhitney(x, y)
		less, greater := enumerate(x, y)
		if !got.Exact || math.Abs(got.Less-less) > 1e-12 || math.Abs(got.Greater-greater) > 1e-12 ||
			math.Abs(got.P-min(1, 2*min(less, greater))) > 1e-12 {
			t.Errorf("%v, %v: %+v, by all deals %v and %v", x, y, got, less, greater)
		}
	}
	// With ties it is an approximation, good to a few hundredths even here.
	x, y := []float64{1, 2, 2, 3, 5, 5}, []float64{2, 3, 4, 5, 6, 6}
	got := MannWhitney(x, y)
	less, greater := enumerate(x, y)
	if got.Exact || math.Abs(got.Less-less) > .03 || math.Abs(got.Greater-greater) > .03 {
		t.Errorf("with ties: %+v, by all deals %v and %v", got, less, greater)
	}
}

func values(random *rand.Rand, n int) []float64 {
	values := make([]float64, n)
	for i := range values {
		values[i] = random.NormFloat64()
	}
	return values
}

// The interval is what the test does not reject: just inside its limits p is above, just outside below.
func TestShiftIntervalInvertsTheTest(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 2)) //nolint:gosec // a simulation
	for _, size := range [][2]int{{10, 5}, {8, 8}, {30, 12}, {60, 55}} {
		x, y := values(random, size[0]), values(random, size[1])
		low, high := ShiftInterval(x, y, .95)
		shifted := func(by float64) float64 {
			moved := slices.Clone(x)
			for i := range moved {
				moved[i] -= by
			}
			return MannWhitney(moved, y).P
		}
		const hair = 1e-9
		if shifted(low-hair) > .05 || shifted(low+hair) <= .05 || shifted(high+hair) > .05 || shifted(high-hair) <= .05 {
			t.Errorf("%v: [%v, %v]: p is %v, %v, %v, %v", size, low, high,
				shifted(low-hair), shifted(low+hair), shifted(high-hair), shifted(high+hair))
		}
	}
}

func TestMannWhitneyIsTotal(t *testing.T) {
	inf := math.Inf(1)
	for _, c := range [][2][]float64{{nil, {1}}, {{1}, nil}, {{math.NaN()}, {1}}, {{1}, {inf}}, {{-inf, 2}, {1}}} {
		got := MannWhitney(c[0], c[1])
		low, high := ShiftInterval(c[0], c[1], .95)
		for _, v := range []float64{got.U, got.P, got.Less, got.Greater, got.Shift, low, high} {
			if !math.IsNaN(v) {
				t.Errorf("%v: %+v [%v, %v], want NaN", c, got, low, high)
			}
		}
	}
	for _, confidence := range []float64{0, 1, -1, math.NaN()} {
		if low, high := ShiftInterval(sleep1, sleep2, confidence); !math.IsNaN(low) || !math.IsNaN(high) {
			t.Errorf("confidence %v: [%v, %v], want NaN", confidence, low, high)
		}
	}
	same := []float64{2, 2, 2}
	if got := MannWhitney(same, same); got.P != 1 || got.Less != 1 || got.Greater != 1 || got.Shift != 0 {
		t.Errorf("values that are all the same: %+v, want p = 1", got)
	}
	if low, high := ShiftInterval(same, same, .95); low != 0 || high != 0 {
		t.Errorf("values that are all the same: [%v, %v], want 0", low, high)
	}
}

func FuzzMannWhitney(f *testing.F) {
	f.Add([]byte{1, 2, 3}, []byte{2, 3, 4})
	f.Add([]byte{0}, []byte{255})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		x, y := make([]float64, min(len(a), 80)), make([]float64, min(len(b), 80))
		for i := range x {
			x[i] = float64(a[i])
		}
		for i := range y {
			y[i] = float64(b[i])
		}
		got, back := MannWhitney(x, y), MannWhitney(y, x)
		if len(x) == 0 || len(y) == 0 {
			return
		}
		for _, p := range []float64{got.P, got.Less, got.Greater} {
			if !(p >= 0 && p <= 1) {
				t.Fatalf("%v, %v: %+v", x, y, got)
			}
		}
		if got.U+back.U != float64(len(x)*len(y)) || !near(got.Less, back.Greater, 1e-9) || !near(got.P, back.P, 1e-9) || got.Shift != -back.Shift {
			t.Fatalf("%v, %v: %+v, the other way round %+v", x, y, got, back)
		}
		if low, high := ShiftInterval(x, y, .9); !(low <= got.Shift && got.Shift <= high) {
			t.Fatalf("%v, %v: shift %v outside [%v, %v]", x, y, got.Shift, low, high)
		}
	})
}
