package analysis_test

import (
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/analysis"
)

// BenchmarkAssess judges a release at the last of five steps by five boundaries.
func BenchmarkAssess(b *testing.B) {
	compare := analysis.DefaultComparison()
	release, evidence := step5()
	settings := analysis.Settings{Compare: &compare, MinRequests: 50, Duration: time.Minute}
	now := evidence.Newest.Add(time.Second)
	b.ReportAllocs()
	for b.Loop() {
		analysis.Assess(release, settings, evidence, now)
	}
}

// step5 is a release at the last of five steps, of five minutes each.
func step5() (analysis.Release, analysis.Evidence) {
	release := analysis.Release{
		Namespace: "shop", Service: "cart", Stable: "a", Canary: "b", Since: since,
		Weight: 75, WeightSince: since.Add(20 * time.Minute), Planned: []uint32{5, 10, 25, 50, 75},
	}
	evidence := analysis.Evidence{
		Boundaries: []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, time.Second, 5 * time.Second},
		Newest:     since.Add(25 * time.Minute), Interval: time.Second, Sources: 50,
	}
	for _, weight := range release.Planned {
		n := uint64(weight) * 300
		canary, control := requests(n), requests(30000-n)
		evidence.Strata = append(evidence.Strata, analysis.Stratum{
			Weight: weight, Seen: analysis.Pair{Canary: canary, Control: control}, Tested: analysis.Pair{Canary: canary, Control: control},
		})
	}
	return release, evidence
}

// requests of which 0.9 % failed, and 10, 5, 1, 0.1 and 0 % were slow.
func requests(n uint64) analysis.Requests {
	return analysis.Requests{
		Started: n, Answered: n, Failed: n * 9 / 1000,
		Slow: []uint64{n / 10, n / 20, n / 100, n / 1000, 0}, Overdue: make([]uint64, 5),
	}
}
