package stats

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// With the true ratio in the grid and no slack, ln E grows by the divergence of the split of the errors from
// the split of the requests.
func TestGrowthIsTheDivergence(t *testing.T) {
	traffic := Traffic{Rate: 100, Share: .1, Canary: .02, Control: .01}
	errors := 100 * (.1*.02 + .9*.01)
	q := .1 * 2 / 1.1
	divergence := q*math.Log(q/.1) + (1-q)*math.Log((1-q)/.9)
	if got, want := harm(1).Growth(traffic), errors*divergence; math.Abs(got-want) > 1e-12 {
		t.Errorf("growth %v, want %v", got, want)
	}
	if got := harm(2).Growth(traffic); got > 0 {
		t.Errorf("growth %v within the hypothesis, want none", got)
	}
}

func TestWaitIsWhenTheExpectationArrives(t *testing.T) {
	test := Test{Grid: HarmGrid(), Ratio: 1.1, Slack: .0005}
	traffic := Traffic{Rate: 30, Share: .2, Canary: .03, Control: .01}
	wait := test.Wait(traffic, math.Log(100))
	before, after := test.LogE([]Stratum{traffic.After(wait * .999)}), test.LogE([]Stratum{traffic.After(wait * 1.001)})
	if !(before < math.Log(100) && after > math.Log(100)) {
		t.Errorf("after %v s: ln E is %v before and %v after, want ln 100 between", wait, before, after)
	}
	traffic.Canary = traffic.Control
	if wait := test.Wait(traffic, 1); !math.IsInf(wait, 1) {
		t.Errorf("an identical canary is found after %v s, want never", wait)
	}
	traffic.Canary = .02
	for _, limit := range []float64{0, -1, math.NaN()} {
		if wait := test.Wait(traffic, limit); !math.IsNaN(wait) {
			t.Errorf("limit %v: %v, want NaN", limit, wait)
		}
	}
	traffic.Share = 0
	if wait := test.Wait(traffic, 1); !math.IsNaN(wait) {
		t.Errorf("without a canary: %v, want NaN", wait)
	}
}

// The wait is near the median of when E arrives in simulated traffic, looked at every second. Seeded.
func TestWaitIsAboutTheMedian(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 5)) //nolint:gosec // a simulation
	test := Test{Grid: HarmGrid(), Ratio: 1}
	traffic := Traffic{Rate: 50, Share: .2, Canary: .03, Control: .01}
	var waits []float64
	for range 301 {
		s, seconds := Stratum{Share: traffic.Share}, 0.0
		for test.LogE([]Stratum{s}) < math.Log(100) {
			seconds++
			for range int(traffic.Rate) {
				bad := traffic.Control
				canary := random.Float64() < traffic.Share
				if canary {
					bad = traffic.Canary
					s.Requests++
				}
				if random.Float64() < bad {
					s.Total++
					if canary {
						s.Bad++
					}
				}
			}
		}
		waits = append(waits, seconds)
	}
	slices.Sort(waits)
	if median, want := waits[len(waits)/2], test.Wait(traffic, math.Log(100)); !(median > .7*want && median < 1.3*want) {
		t.Errorf("the median is %v s, the expectation %v s", median, want)
	}
}
