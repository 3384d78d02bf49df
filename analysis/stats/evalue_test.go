package stats

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// at makes strata from (x, e, pi).
func at(counts ...[3]float64) []Stratum {
	strata := make([]Stratum, len(counts))
	for i, c := range counts {
		strata[i] = Stratum{Bad: c[0], Total: c[1], Share: c[2]}
	}
	return strata
}

// with sets the canary's requests of the only stratum.
func with(requests float64, strata []Stratum) []Stratum {
	strata[0].Requests = requests
	return strata
}

func harm(ratio float64) Test { return Test{Grid: HarmGrid(), Ratio: ratio} }

// unscaled is the mistake that golden value 2 guards against: alternatives below the tolerated ratio.
func unscaled(ratio float64) Test {
	t := harm(ratio)
	for i := range t.Grid {
		t.Grid[i] /= ratio
	}
	return t
}

var (
	two  = at([3]float64{5, 10, .1}, [3]float64{8, 20, .2})
	safe = Test{Grid: SafeGrid(), Ratio: 2}
)

// The values are the golden values of the judge's design, made apart from this code. Each is computed by
// the oracle too.
func TestLogEMeetsGoldenValues(t *testing.T) {
	for name, c := range map[string]struct {
		test   Test
		strata []Stratum
		want   float64
	}{
		"1: three of three":           {harm(1), at([3]float64{3, 3, .1}), 4.356213},
		"1: two strata":               {harm(1), two, 4.691254},
		"1: eight of eight, half":     {harm(1), at([3]float64{8, 8, .5}), 4.031645},
		"1: thirty of sixty":          {harm(1), at([3]float64{30, 60, .2}), 11.673896},
		"1: tolerating 1.25":          {harm(1.25), at([3]float64{30, 60, .2}), 8.017150},
		"2: the grid scales":          {harm(2), at([3]float64{100, 1000, .1}), -24.083318},
		"2: the mistake":              {unscaled(2), at([3]float64{100, 1000, .1}), 21.674126},
		"3: slack":                    {Test{Grid: HarmGrid(), Ratio: 1, Slack: .0005}, with(1000, at([3]float64{3, 3, .1})), 2.188318},
		"4: safe":                     {safe, with(1000, at([3]float64{10, 100, .1})), 1.542076},
		"4: safe with slack":          {Test{Grid: SafeGrid(), Ratio: 2, Slack: .005}, with(1000, at([3]float64{10, 100, .1})), 4.037420},
		"5: dispersed, inside":        {Test{Grid: HarmGrid(), Ratio: 1, Dispersion: 3}, two, 1.288326},
		"10: guard":                   {Test{Grid: GuardGrid(), Ratio: 1, Slack: .25}, with(12, at([3]float64{12, 12, .1})), 7.001551},
		"10: split":                   {Test{Grid: SplitGrid(), Ratio: 1}, at([3]float64{1100, 10000, .1}), 3.607488},
		"1: the other order":          {harm(1), []Stratum{two[1], two[0]}, 4.691254},
		"1: split in two":             {harm(1), append(at([3]float64{2, 7, .1}, [3]float64{3, 3, .1}), two[1]), 4.691254},
		"nothing seen":                {harm(1), nil, 0},
		"an empty stratum is nothing": {harm(1), append(at([3]float64{0, 0, .3}), two...), 4.691254},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.test.LogE(c.strata); !(math.Abs(got-c.want) <= 5.1e-7) {
				t.Errorf("ln E = %.7f, want %.6f", got, c.want)
			}
			if got := oracle(c.test, c.strata); !(math.Abs(got-c.want) <= 5.1e-7) {
				t.Errorf("the oracle's ln E = %.7f, want %.6f", got, c.want)
			}
		})
	}
}

func TestSafeWithoutErrorsNeedsSoManyRequests(t *testing.T) { // golden value 4
	test := Test{Grid: SafeGrid(), Ratio: 2, Slack: .005}
	first := 0.0
	for n := 1.0; n <= 1000 && first == 0; n++ {
		if test.LogE(with(n, at([3]float64{0, 0, .1}))) >= math.Log(20) {
			first = n
		}
	}
	if first != 805 {
		t.Errorf("ln 20 first at %v requests, want 805", first)
	}
	if got := safe.LogE(with(1e9, at([3]float64{0, 0, .1}))); got != 0 {
		t.Errorf("without slack and errors ln E is %v, want 0 for ever", got)
	}
}

func TestDispersionIsInsideTheMean(t *testing.T) { // golden value 5
	if outside := harm(1).LogE(two) / 3; math.Abs(outside-1.563751) > 5.1e-7 {
		t.Errorf("outside the mean %v, want 1.563751", outside)
	}
}

func TestMeanOfMetricsMeetsItsGoldenValue(t *testing.T) { // golden value 6
	logs := []float64{harm(1).LogE(two), harm(1).LogE(at([3]float64{2, 20, .2})), harm(1).LogE(at([3]float64{12, 30, .2}))}
	for _, weights := range [][]float64{{.5, .25, .25}, {2, 1, 1}} {
		if got := MeanLogE(logs, weights); math.Abs(got-4.034440) > 5.1e-7 {
			t.Errorf("weights %v: ln E = %.7f, want 4.034440", weights, got)
		}
	}
	if got := MeanLogE([]float64{1e6, 1e6 - 1, math.NaN()}, []float64{1, 1, 0}); math.Abs(got-(1e6+math.Log((1+1/math.E)/2))) > 1e-6 {
		t.Errorf("large ln E: %v", got)
	}
	for _, weights := range [][]float64{nil, {1, 1}, {0, 0, 0}, {1, -1, 1}, {1, math.NaN(), 1}, {math.Inf(1), 1, 1}} {
		if got := MeanLogE(logs, weights); !math.IsNaN(got) {
			t.Errorf("weights %v: %v, want NaN", weights, got)
		}
	}
}

func TestLateStartsMeetTheirGoldenValue(t *testing.T) { // golden value 7: five steps, two begun
	strata := at([3]float64{2, 40, .1}, [3]float64{16, 40, .2})
	if got := harm(1).LogEFrom(strata, []int{1, 2, 2, 2}); math.Abs(got-1.290871) > 5.1e-7 {
		t.Errorf("ln E = %.7f, want 1.290871", got)
	}
	// By hand, from the parts.
	whole, second := math.Exp(harm(1).LogE(strata)), math.Exp(harm(1).LogE(strata[1:]))
	if got, want := harm(1).LogEFrom(strata, []int{1, 2, 2, 2}), math.Log(whole/2+(second+3)/8); math.Abs(got-want) > 1e-12 {
		t.Errorf("ln E = %v, from its parts %v", got, want)
	}
	if got, want := harm(1).LogEFrom(strata, nil), harm(1).LogE(strata); got != want {
		t.Errorf("one step: ln E = %v, want %v", got, want)
	}
	if got := harm(1).LogEFrom(nil, []int{0, 1, 7}); math.Abs(got) > 1e-15 {
		t.Errorf("nothing seen: ln E = %v, want 0", got)
	}
}

// Golden value 9. Of 10 requests drawn 3 went to the canary; 4 of the 10 fail, whichever. Over all ways in
// which they can, the mean of E's factor is below 1: drawing without replacement is gentler than the
// independent draws that make it 1 (Hoeffding 1963, theorem 4).
func TestDrawsWithoutReplacementAreGentler(t *testing.T) {
	choose := func(n, k int) float64 {
		v, _ := new(big.Float).SetInt(new(big.Int).Binomial(int64(n), int64(k))).Float64()
		return v
	}
	mean := func(n, canary, bad int, ratio float64) (sum float64) {
		for x := max(0, bad+canary-n); x <= min(bad, canary); x++ {
			chance := choose(bad, x) * choose(n-bad, canary-x) / choose(n, canary)
			sum += chance * math.Exp(Test{Grid: []float64{ratio}, Ratio: 1}.LogE(at([3]float64{float64(x), float64(bad), float64(canary) / float64(n)})))
		}
		return sum
	}
	if got := mean(10, 3, 4, 3); math.Abs(got-.803630) > 5.1e-7 {
		t.Errorf("mean factor %.7f, want .803630", got)
	}
	for _, c := range [][3]int{{10, 3, 1}, {10, 3, 10}, {40, 7, 9}, {40, 30, 20}, {2, 1, 1}} {
		for _, ratio := range append(HarmGrid(), SafeGrid()...) {
			if got := mean(c[0], c[1], c[2], ratio); got > 1+1e-12 {
				t.Errorf("%v at ratio %v: mean factor %v above 1", c, ratio, got)
			}
		}
	}
}

// oracle is ln E by multiplying the factor of every single bad request and of every request at 200 bits,
// alternative by alternative, and adding up what comes out.
func oracle(test Test, strata []Stratum) float64 {
	const bits = 200
	number := func(v float64) *big.Float { return new(big.Float).SetPrec(bits).SetFloat64(v) }
	multiply := func(product, factor *big.Float, times float64) {
		for range int(times) {
			product.Mul(product, factor)
		}
	}
	mean := number(0)
	for _, g := range test.Grid {
		e := number(1)
		for _, s := range strata {
			a := number(g)
			b := number(s.Share)
			b.Mul(b, number(test.Ratio))
			b.Add(b, number(1-s.Share)) // 1-Share is exact enough: it is rounded once
			under := number(s.Share)
			under.Mul(under, number(test.Ratio)).Mul(under, number(g)).Add(under, number(1-s.Share))
			b.Quo(b, under)
			multiply(e, a, s.Bad)
			multiply(e, b, s.Total)
			if test.Slack > 0 {
				loss := number(g)
				loss.Mul(loss, b).Sub(loss, number(1)).Mul(loss, number(-test.Slack))
				multiply(e, exponential(loss), s.Requests)
			}
		}
		if test.Dispersion > 1 {
			e = number(math.Exp(logarithm(e) / test.Dispersion))
		}
		mean.Add(mean, e)
	}
	return logarithm(mean.Quo(mean, number(float64(len(test.Grid)))))
}

// exponential by its series.
func exponential(v *big.Float) *big.Float {
	sum, term := new(big.Float).SetPrec(v.Prec()).SetInt64(1), new(big.Float).SetPrec(v.Prec()).SetInt64(1)
	for k := int64(1); k < 100; k++ {
		term.Mul(term, v).Quo(term, new(big.Float).SetPrec(v.Prec()).SetInt64(k))
		sum.Add(sum, term)
	}
	return sum
}

func logarithm(v *big.Float) float64 {
	mantissa, _ := new(big.Float).SetMantExp(v, -v.MantExp(nil)).Float64()
	return math.Log(mantissa) + float64(v.MantExp(nil))*math.Ln2
}

func TestLogEIsTheProductOfAllFactors(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3)) //nolint:gosec // a simulation
	for range 200 {
		strata := make([]Stratum, random.IntN(5))
		for i := range strata {
			total := random.IntN(400)
			strata[i] = Stratum{
				Bad: float64(random.IntN(total + 1)), Total: float64(total),
				Requests: float64(random.IntN(3000)), Share: .01 + .98*random.Float64(),
			}
		}
		for _, test := range []Test{
			{Grid: HarmGrid(), Ratio: .5 + 2*random.Float64(), Slack: .01 * random.Float64(), Dispersion: 1 + 2*random.Float64()},
			{Grid: SafeGrid(), Ratio: .5 + 2*random.Float64(), Slack: .01 * random.Float64()},
			{Grid: SplitGrid(), Ratio: 1},
		} {
			if got, want := test.LogE(strata), oracle(test, strata); math.Abs(got-want) > 1e-9*(1+math.Abs(want)) {
				t.Fatalf("%+v of %+v: ln E = %v, by all factors %v", test, strata, got, want)
			}
		}
	}
}

func TestLogEStandsExtremes(t *testing.T) {
	for _, c := range []struct {
		x, e, n, share float64
		sign           float64
	}{
		{1e15, 1e15, 1e15, .5, 1},
		{1e12, 2e12, 1e15, .5, 0}, // exactly its share: evidence against every alternative
		{0, 1e15, 1e15, .5, -1},
		{5e6, 5e6, 5e6, 1e-9, 1},
		{1, 1e300, 1e300, .999999999, -1},
	} {
		strata := []Stratum{{Bad: c.x, Total: c.e, Requests: c.n, Share: c.share}}
		got := harm(1).LogE(strata)
		if math.IsNaN(got) || math.IsInf(got, 0) || c.sign*got < 0 || c.sign == 0 && got > 0 {
			t.Errorf("%+v: ln E = %v", c, got)
		}
	}
}

func TestNonsenseGivesNaN(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, s := range []Stratum{
		{Bad: 2, Total: 1, Share: .1}, {Bad: -1, Total: 1, Share: .1}, {Bad: nan, Total: 1, Share: .1},
		{Total: nan, Share: .1}, {Total: inf, Share: .1}, {Total: 1, Share: 0}, {Total: 1, Share: 1},
		{Total: 1, Share: -1}, {Total: 1, Share: nan}, {Total: 1, Share: .1, Requests: -1},
		{Total: 1, Share: .1, Requests: nan}, {Total: 1, Share: .1, Requests: inf},
	} {
		for _, test := range []Test{harm(1), safe, {Grid: GuardGrid(), Ratio: 1, Slack: .25}} {
			if got := test.LogEFrom(append(two[:2:2], s), []int{1, 2}); !math.IsNaN(got) {
				t.Errorf("%+v: %v, want NaN", s, got)
			}
		}
	}
	for _, test := range []Test{
		{}, {Grid: HarmGrid()}, {Ratio: 1}, {Grid: []float64{2, 0}, Ratio: 1}, {Grid: []float64{nan}, Ratio: 1},
		{Grid: []float64{inf}, Ratio: 1}, {Grid: HarmGrid(), Ratio: -1}, {Grid: HarmGrid(), Ratio: nan},
		{Grid: HarmGrid(), Ratio: inf}, {Grid: HarmGrid(), Ratio: 1, Slack: -.1}, {Grid: HarmGrid(), Ratio: 1, Slack: 2},
		{Grid: HarmGrid(), Ratio: 1, Slack: nan}, {Grid: HarmGrid(), Ratio: 1, Dispersion: .5},
		{Grid: HarmGrid(), Ratio: 1, Dispersion: nan}, {Grid: HarmGrid(), Ratio: 1, Dispersion: inf},
	} {
		traffic := Traffic{Rate: 10, Share: .1, Canary: .1, Control: .01}
		if got := test.LogE(two); !math.IsNaN(got) {
			t.Errorf("%+v: %v, want NaN", test, got)
		}
		if growth, wait := test.Growth(traffic), test.Wait(traffic, 1); !math.IsNaN(growth) || !math.IsNaN(wait) {
			t.Errorf("%+v: growth %v, wait %v, want NaN", test, growth, wait)
		}
	}
}

func BenchmarkLogEFrom(b *testing.B) {
	strata := at([3]float64{5, 100, .05}, [3]float64{8, 100, .1}, [3]float64{20, 100, .25}, [3]float64{50, 100, .5}, [3]float64{80, 100, .75})
	test := Test{Grid: HarmGrid(), Ratio: 1.1, Slack: .0005}
	b.ReportAllocs()
	for b.Loop() {
		test.LogEFrom(strata, []int{1, 2, 3, 4})
	}
}

func ExampleTest_LogE() {
	// At a tenth of the traffic the canary has 5 of 10 errors, at a fifth 8 of 20.
	test := Test{Grid: HarmGrid(), Ratio: 1}
	e := math.Exp(test.LogE([]Stratum{{Bad: 5, Total: 10, Share: .1}, {Bad: 8, Total: 20, Share: .2}}))
	fmt.Printf("E = %.0f, so p = %.3f\n", e, 1/e)
	// Output: E = 109, so p = 0.009
}
