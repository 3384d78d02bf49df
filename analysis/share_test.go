package analysis_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/analysis"
)

// Where others split the traffic the canary's share is what was seen, whatever the weight is called, and
// there is no other share to check it against.
func TestAShareThatWasSeenIsUsed(t *testing.T) {
	since := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	release := analysis.Release{
		Namespace: "shop", Service: "cart", Stable: "old", Canary: "new", Since: since,
		Weight: 10, WeightSince: since, Planned: []uint32{10},
	}
	compare := analysis.DefaultComparison()
	compare.Latency.Weight = 0
	settings := analysis.Settings{Compare: &compare, MinRequests: 50, Duration: time.Minute}
	// As many errors on each side of a half: with a share of 10 % the canary would have far too many.
	pair := analysis.Pair{
		Canary:  analysis.Requests{Started: 1000, Answered: 1000, Failed: 30},
		Control: analysis.Requests{Started: 1000, Answered: 1000, Failed: 30},
	}
	evidence := analysis.Evidence{
		Strata: []analysis.Stratum{{Weight: 10, Seen: pair, Tested: pair}},
		Newest: since.Add(2 * time.Minute), Interval: time.Second, Sources: 1,
	}
	now := since.Add(2 * time.Minute)
	for share, want := range map[float64]struct {
		outcome analysis.Outcome
		part    string
	}{
		0:   {analysis.Fail, "errors"},
		.5:  {analysis.Pass, "errors"},
		1:   {analysis.Inconclusive, "beyond belief"},
		-.1: {analysis.Inconclusive, "beyond belief"},
	} {
		evidence.Strata[0].Share = share
		if got := analysis.Assess(release, settings, evidence, now); got.Outcome != want.outcome || !strings.Contains(got.Reason, want.part) {
			t.Errorf("share %v: %s, %s", share, got.Outcome, got.Reason)
		}
	}
}
