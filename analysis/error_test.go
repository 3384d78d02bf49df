package analysis_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/analysis"
	"github.com/sluice-mesh/sluice/analysis/stats"
)

// crossing is the exact chance that a canary with the given share of bad requests is ever failed at once
// on the way to so many requests, when it is looked at after every look-th of them: the distribution of
// the number of bad requests is carried along, and what reaches the limit leaves it. Mass below 1e-18
// is let go.
func crossing(share float64, look, requests uint64) float64 {
	mass, least, crossed, limit := []float64{1}, uint64(0), 0.0, uint64(1)
	for n := uint64(1); n <= requests; n++ {
		next := make([]float64, len(mass)+1)
		for i, m := range mass {
			next[i] += m * (1 - share)
			next[i+1] += m * share
		}
		for mass = next; len(mass) > 1 && mass[0] < 1e-18; mass = mass[1:] {
			least++
		}
		for len(mass) > 1 && mass[len(mass)-1] < 1e-18 {
			mass = mass[:len(mass)-1]
		}
		if n%look != 0 {
			continue
		}
		for limit <= n && stats.BinomialTail(limit, n, share) > analysis.LookError {
			limit++ // with n the limit only grows
		}
		if reach := max(limit, least) - least; reach < uint64(len(mass)) {
			for _, m := range mass[reach:] {
				crossed += m
			}
			mass = mass[:reach]
		}
	}
	return crossed
}

// The computation is exact, so the test has no false alarms.
func TestFailAtOnceIsRarelyWrong(t *testing.T) {
	for _, c := range []struct {
		share          float64
		look, requests uint64
	}{
		{.001, 1, 20_000}, {.01, 1, 20_000}, {.05, 1, 20_000}, {.1, 1, 20_000},
		{.01, 20, 72_000}, // an hour of looks every second at 20 requests a second
	} {
		got := crossing(c.share, c.look, c.requests)
		t.Logf("%v bad, %d requests, a look every %d: failed with chance %.2e", c.share, c.requests, c.look, got)
		if got > 1e-3 || got < analysis.LookError {
			t.Errorf("%v bad, %d requests: failed with chance %v, want a little, at most 0.001", c.share, c.requests, got)
		}
	}
}

// thresholds demand that 99 % succeed, within 250 ms.
var thresholds = analysis.Settings{SuccessRate: .99, LatencyP99: 250 * time.Millisecond, MinRequests: 50, Duration: time.Minute}

// life is one canary, simulated second by second: 15 to 25 requests arrive (180 at stable, none of which
// fail), fail independently, and are scraped and looked at.
func life(random *rand.Rand, failing float64, settings analysis.Settings, seconds int) (analysis.Outcome, int) {
	release := analysis.Release{Since: since, Weight: 10, WeightSince: since, Planned: []uint32{10}}
	pair := analysis.Pair{Canary: answered(0, 0, 0), Control: answered(0, 0, 0)}
	evidence := analysis.Evidence{Boundaries: []time.Duration{250 * time.Millisecond}, Patience: 10 * time.Second, Interval: time.Second}
	for second := 1; second <= seconds; second++ {
		now := since.Add(time.Duration(second) * time.Second)
		evidence.Newest = now
		pair.Control.Started += 180
		pair.Control.Answered += 180
		requests := uint64(15 + random.IntN(11))
		pair.Canary.Started += requests
		pair.Canary.Answered += requests
		for range requests {
			if random.Float64() < failing {
				pair.Canary.Failed++
			}
		}
		evidence.Strata = []analysis.Stratum{{Weight: 10, Seen: pair, Tested: pair}}
		if outcome := analysis.Assess(release, settings, evidence, now).Outcome; outcome != analysis.Inconclusive {
			return outcome, second
		}
	}
	return analysis.Inconclusive, seconds
}

// Seeded, so it gives the same answer every time. Over seeds: canaries at the threshold are failed with a
// chance of 0.12 % (36 of 30,000, once), so 8 or more of 1,000 would be seen by chance in 1 of 25,000
// seeds, and a judge that is wrong in 2 % of the cases would be found out in all but 1 of 1,000.
func TestCanariesAtTheThresholdAreRarelyFailed(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a simulation
	outcomes, last := map[analysis.Outcome]int{}, 0
	for range 1000 {
		outcome, second := life(random, .01, thresholds, 600)
		outcomes[outcome]++
		last = max(last, second)
	}
	t.Logf("ten minutes of looks at 1,000 canaries with 1 %% bad: %v", outcomes)
	if outcomes[analysis.Fail] >= 8 {
		t.Errorf("%d of 1,000 failed, want fewer than 8", outcomes[analysis.Fail])
	}
}

// The same, looked at for an hour without an end in between. 0.03 % are failed (exactly computed above);
// 2 of 40 would be seen by chance in fewer than 1 of 10,000 seeds.
func TestAnHourOfLooksFailsNoGoodCanary(t *testing.T) {
	hour := thresholds
	hour.Duration = 2 * time.Hour
	runs := 40
	if testing.Short() {
		runs = 10
	}
	for name, failing := range map[string]float64{"at the threshold": .01, "half of it": .005} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // a simulation
			failed := 0
			for range runs {
				if outcome, _ := life(random, failing, hour, 3600); outcome == analysis.Fail {
					failed++
				}
			}
			t.Logf("an hour of looks at %d canaries with %v bad: %d failed", runs, failing, failed)
			if failed >= 2 {
				t.Errorf("%d of %d failed, want fewer than 2", failed, runs)
			}
		})
	}
}

// A good canary, with half of the errors that are allowed, gets through: with chance above 99.9 % it has
// passed after ten minutes and never fails, so over seeds fewer than 1 in 1,000,000 would see 10 of 500.
func TestGoodCanariesPassSoon(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6)) //nolint:gosec // a simulation
	atOnce, passed := 0, 0
	for range 500 {
		outcome, second := life(random, .005, thresholds, 600)
		if outcome == analysis.Pass {
			passed++
		}
		if second == 60 {
			atOnce++
		}
	}
	t.Logf("of 500 canaries with 0.5 %% bad %d passed, %d of them after 60 s", passed, atOnce)
	if passed < 490 || atOnce < 400 {
		t.Errorf("of 500 canaries with 0.5 %% bad %d passed, %d of them at once, want 490 and 400", passed, atOnce)
	}
}

// A canary that fails half of its requests, 20 a second, is failed at the first or second scrape.
func TestABrokenCanaryFailsAtOnce(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8)) //nolint:gosec // a simulation
	after := map[int]int{}
	for range 1000 {
		outcome, second := life(random, .5, thresholds, 60)
		if outcome != analysis.Fail || second > 2 {
			t.Fatalf("%s after %d s", outcome, second)
		}
		after[second]++
	}
	t.Logf("1,000 canaries with 50 %% bad failed after so many scrapes: %v", after)
}

// A metric without evidence keeps its weight: the other one alone does not get all of Alpha, or a metric
// that comes later would be a second chance to be wrong.
func TestAMetricWithoutEvidenceKeepsItsWeight(t *testing.T) {
	fails := func(failed uint64, latency float64) bool {
		w := fine(since.Add(10 * time.Second))
		w.evidence.Boundaries = nil
		w.compare.Latency.Weight = latency
		w.pair = analysis.Pair{Canary: answered(1000, failed), Control: answered(9000, 36)}
		w.pair.Canary.Slow, w.pair.Canary.Overdue, w.pair.Control.Slow, w.pair.Control.Overdue = nil, nil, nil, nil
		return w.assess(since.Add(10*time.Second)).Outcome == analysis.Fail
	}
	least := func(latency float64) uint64 {
		for failed := uint64(4); failed < 100; failed++ {
			if fails(failed, latency) {
				return failed
			}
		}
		t.Fatalf("with a latency weight of %v no number of failed requests fails", latency)
		return 0
	}
	if alone, with := least(0), least(1); with <= alone {
		t.Errorf("fails from %d failed requests on beside a metric without evidence, from %d on alone: want later", with, alone)
	}
}
