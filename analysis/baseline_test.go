package analysis_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/analysis"
	"github.com/sluice-mesh/sluice/analysis/stats"
)

func TestBaselineShare(t *testing.T) {
	for weight, want := range map[uint32]uint32{0: 0, 1: 1, 10: 10, 33: 33, 34: 33, 50: 25, 90: 5, 98: 1, 99: 0, 100: 0, 250: 0} {
		if got := analysis.BaselineShare(weight); got != want {
			t.Errorf("beside a weight of %d: %d, want %d", weight, got, want)
		}
	}
	for weight := range uint32(101) {
		if share := analysis.BaselineShare(weight); share > weight || weight+2*share > 100 {
			t.Errorf("beside a weight of %d the baseline gets %d, more than the canary or than stable", weight, share)
		}
	}
}

// TestAssessBesideBaseline holds that the canary's share of what is compared is w / (w + BaselineShare(w)).
func TestAssessBesideBaseline(t *testing.T) {
	now := since.Add(time.Minute)
	tests := map[string]struct {
		weight  uint32
		pair    analysis.Pair
		share   float64 // 0: nothing is compared
		outcome analysis.Outcome
		reason  string
	}{
		"as many requests each":                {20, analysis.Pair{Canary: answered(2000, 8), Control: answered(2000, 8)}, .5, analysis.Pass, "canary errors 0.4 % against 0.4 %"},
		"two thirds where the baseline yields": {50, analysis.Pair{Canary: answered(4000, 16), Control: answered(2000, 8)}, 2. / 3, analysis.Pass, "canary errors 0.4 % against 0.4 %"},
		"not the share that stable would leave": {50, analysis.Pair{Canary: answered(4000, 16), Control: answered(4000, 16)}, 2. / 3, analysis.Inconclusive,
			"the canary got 50.0 % of 8000 requests where its share is 66.7 %, so the split is not as asked"},
		"worse":                   {50, analysis.Pair{Canary: answered(4000, 80), Control: answered(2000, 8)}, 2. / 3, analysis.Fail, "canary errors 2 % against 0.4 %: 5.0 times as many"},
		"no baseline answers":     {20, analysis.Pair{Canary: answered(2000, 8)}, .5, analysis.Inconclusive, "the canary got 100.0 % of 2000 requests where its share is 50 %"},
		"nothing left to compare": {99, analysis.Pair{Canary: answered(2000, 8)}, 0, analysis.Pass, "canary errors 0.4 % of 2000 requests at full weight"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := fine(now)
			w.release.Control, w.release.Weight, w.release.Planned = "c", test.weight, []uint32{test.weight, 100}
			w.compare.Latency.Weight, w.pair = 0, test.pair
			verdict := w.assess(now)
			if verdict.Outcome != test.outcome || !strings.HasPrefix(verdict.Reason, test.reason) {
				t.Errorf("%s: %s, want %s: %s …", verdict.Outcome, verdict.Reason, test.outcome, test.reason)
			}
			if test.share == 0 || test.pair.Control.Answered == 0 {
				if len(verdict.Metrics) > 0 {
					t.Errorf("metrics %+v, want none", verdict.Metrics)
				}
				return
			}
			harm := stats.Test{Grid: stats.HarmGrid(), Ratio: w.compare.Tolerated, Slack: w.compare.Slack, Dispersion: w.compare.Dispersion}
			canary, control := test.pair.Canary, test.pair.Control
			want := harm.LogE([]stats.Stratum{{
				Bad: float64(canary.Failed), Total: float64(canary.Failed + control.Failed), Requests: float64(canary.Answered), Share: test.share,
			}})
			if len(verdict.Metrics) != 1 || math.Abs(verdict.Metrics[0].LogE-want) > 1e-9 {
				t.Errorf("metrics %+v, want ln E = %v", verdict.Metrics, want)
			}
		})
	}
}
