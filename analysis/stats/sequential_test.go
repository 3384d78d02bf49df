package stats

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Published tables of tests that are looked at repeatedly. They prove the computations with which the tests
// here, and those of the judge, measure errors under repeated looks.

// normalCrossing is the chance that the sum of independent standard normal variables, looked at after each,
// ever leaves [-limit(k), limit(k)]: the recursive numerical integration of Armitage, McPherson and Rowe,
// by Simpson's rule.
func normalCrossing(looks int, limit func(k int) float64) float64 {
	const intervals = 500
	density := func(x float64) float64 { return math.Exp(-x*x/2) / math.Sqrt(2*math.Pi) }
	var at, mass []float64 // of the sums that have not left
	kept := 1.0
	for k := 1; k <= looks; k++ {
		nextAt, nextMass := make([]float64, intervals+1), make([]float64, intervals+1)
		width := 2 * limit(k) / intervals
		kept = 0
		for i := range nextAt {
			x := -limit(k) + float64(i)*width
			weight := width / 3
			switch {
			case i > 0 && i < intervals && i%2 == 1:
				weight *= 4
			case i > 0 && i < intervals:
				weight *= 2
			}
			f := 0.0
			if k == 1 {
				f = density(x)
			}
			for j, y := range at {
				f += mass[j] * density(x-y)
			}
			nextAt[i], nextMass[i] = x, f*weight
			kept += nextMass[i]
		}
		at, mass = nextAt, nextMass
	}
	return 1 - kept
}

// P. Armitage, C. K. McPherson, B. C. Rowe, Repeated significance tests on accumulating data, J. R. Statist.
// Soc. A 132 (1969), table 2: the chance of ever seeing 5 % significance where there is nothing.
func TestNaiveLooksFindWhatIsNotThere(t *testing.T) {
	for looks, want := range map[int]float64{1: .05, 2: .08, 5: .14, 10: .19, 20: .25, 100: .37} {
		got := normalCrossing(looks, func(k int) float64 { return 1.959964 * math.Sqrt(float64(k)) })
		if math.Round(got*100)/100 != want {
			t.Errorf("%d looks: %.4f, published %.2f", looks, got, want)
		}
	}
}

// S. J. Pocock, Biometrika 64 (1977), and P. C. O'Brien, T. R. Fleming, Biometrics 35 (1979): the constants
// for five looks at 5 % two-sided, as tabulated by Jennison and Turnbull, Group Sequential Methods (2000),
// tables 2.1 and 2.3.
func TestGroupSequentialConstants(t *testing.T) {
	for name, c := range map[string]struct {
		limit func(constant float64, k int) float64
		want  float64
	}{
		"Pocock":              {func(c float64, k int) float64 { return c * math.Sqrt(float64(k)) }, 2.413},
		"O'Brien and Fleming": {func(c float64, _ int) float64 { return c * math.Sqrt(5) }, 2.040},
	} {
		low, high := 1.5, 3.5
		for high-low > 1e-6 {
			middle := (low + high) / 2
			if normalCrossing(5, func(k int) float64 { return c.limit(middle, k) }) > .05 {
				low = middle
			} else {
				high = middle
			}
		}
		if math.Round(low*1000)/1000 != c.want {
			t.Errorf("%s: %.5f, published %.3f", name, low, c.want)
		}
	}
}

// poissonCrossing is the exact chance that a Poisson process, watched until it is expected to have had so
// many events, ever has c events by the time that it is expected to have had earliest(c) of them.
func poissonCrossing(until float64, latest func(c int) float64) float64 {
	states, now := []float64{1}, 0.0
	for c := 1; now < until; c++ {
		next := min(latest(c), until)
		step := max(next-now, 0)
		// Fewer than c events until then, or it has crossed.
		arrived := make([]float64, c)
		for have, p := range states {
			chance := math.Exp(-step)
			for more := 0; have+more < c; more++ {
				arrived[have+more] += p * chance
				chance *= step / float64(more+1)
			}
		}
		states, now = arrived, max(next, now)
	}
	kept := 0.0
	for _, p := range states {
		kept += p
	}
	return 1 - kept
}

// M. Kulldorff et al., A maximized sequential probability ratio test for drug and vaccine safety
// surveillance, Sequential Analysis 30 (2011), table 1: critical values of the log-likelihood ratio for
// Poisson data at alpha .05, with one event needed at least.
func TestPoissonMaxSPRT(t *testing.T) {
	// latest is until when c events reach the critical value: the ratio c ln(c/mu) - (c - mu) falls in mu < c.
	latest := func(critical float64, c int) float64 {
		low, high := 0.0, float64(c)
		for range 200 {
			middle := (low + high) / 2
			if float64(c)*math.Log(float64(c)/middle)-(float64(c)-middle) >= critical {
				low = middle
			} else {
				high = middle
			}
		}
		return low
	}
	for until, want := range map[float64]float64{1: 2.853937, 10: 3.467952, 50: 3.819903, 100: 3.952321} {
		low, high := 2.0, 5.0
		for high-low > 1e-8 {
			middle := (low + high) / 2
			if poissonCrossing(until, func(c int) float64 { return latest(middle, c) }) > .05 {
				low = middle
			} else {
				high = middle
			}
		}
		if math.Abs(low-want) > 5.1e-7 {
			t.Errorf("T = %v: %.7f, published %.6f", until, low, want)
		}
	}
}

// harmCrossing is the exact chance that harm is ever called at level alpha within so many errors, looked at
// after every one of them, when each falls on the canary with chance q.
func harmCrossing(test Test, share, q, alpha float64, errors int) float64 {
	mass, crossed := make([]float64, 1, errors+2), 0.0
	mass[0] = 1
	for e := 1; e <= errors; e++ {
		mass = append(mass, 0)
		for x := e; x >= 0; x-- {
			mass[x] *= 1 - q
			if x > 0 {
				mass[x] += mass[x-1] * q
			}
		}
		for x := e; x >= 0 && test.LogE(at([3]float64{float64(x), float64(e), share})) >= -math.Log(alpha); x-- {
			crossed += mass[x]
			mass[x] = 0
		}
	}
	return crossed
}

// Ville's inequality, exactly: a canary at the edge of what is tolerated is ever called harmful with a chance
// of at most alpha, and not with a much smaller one, or power would be given away. A test that looks at a
// fixed p-value each time would fail here.
func TestHarmKeepsItsLevelAtEveryError(t *testing.T) {
	for _, c := range []struct{ ratio, share, alpha float64 }{
		{1, .05, .05}, {1, .1, .05}, {1, .5, .05}, {1.1, .2, .01}, {2, .1, .05}, {1.5, .8, .05},
	} {
		q := c.share * c.ratio / (1 + c.share*(c.ratio-1))
		got := harmCrossing(harm(c.ratio), c.share, q, c.alpha, 1000)
		t.Logf("ratio %v, share %v: %.4f of alpha %v", c.ratio, c.share, got, c.alpha)
		if got > c.alpha || got < .1*c.alpha {
			t.Errorf("ratio %v, share %v: ever called with chance %v, want below %v and not far", c.ratio, c.share, got, c.alpha)
		}
	}
}

// The whole process by simulation: the share grows, the error rate of both sides has shocks that they share,
// the canary is at the edge with its slack used up, and every error and every request is looked at. Seeded;
// over seeds a true chance of alpha exceeds the limit in 1 of 40.
func TestHarmKeepsItsLevelThroughARelease(t *testing.T) {
	random := rand.New(rand.NewPCG(6, 6)) //nolint:gosec // a simulation
	const alpha, runs, each = .05, 2000, 1500
	test := Test{Grid: HarmGrid(), Ratio: 1.1, Slack: .002}
	shares, starts := []float64{.05, .2, .5}, []int{1, 2}
	called, late := 0, 0
	for range runs {
		strata, before := make([]Stratum, 0, len(shares)), false
	release:
		for _, share := range shares {
			strata = append(strata, Stratum{Share: share})
			s := &strata[len(strata)-1]
			for i := range each {
				base := .02
				if i/250%2 == 1 {
					base = .1 // a shock
				}
				bad, canary := base, random.Float64() < share
				if canary {
					bad = test.Ratio*base + test.Slack
					s.Requests++
				}
				if random.Float64() >= bad {
					continue
				}
				s.Total++
				if canary {
					s.Bad++
					if test.LogEFrom(strata, starts) >= -math.Log(alpha) {
						before = true
						break release
					}
				}
			}
		}
		if before {
			called++
			if len(strata) > 1 {
				late++
			}
		}
	}
	t.Logf("%d of %d called, %d of them after the first step", called, runs, late)
	if limit := alpha + 2*math.Sqrt(alpha*(1-alpha)/runs); float64(called) > limit*runs {
		t.Errorf("%d of %d called harmful, want at most %.1f", called, runs, limit*runs)
	}
	if called == 0 {
		t.Error("none is ever called harmful: the simulation shows nothing")
	}
}
