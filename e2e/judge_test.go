package e2e

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/e2e/harness"
)

// A version with three times stable's errors, 3 % against 1 %, is rolled back at 100 requests a second,
// though nobody gave a threshold. In 1,000 simulations it was seen after 27 s in the median, and after 119 s
// at the latest; here it has 150 s.
func TestDefaultJudgeSmallRegression(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{
		version: harness.Version{Name: "v1", ErrorRate: .01}, rate: 100, limit: 6 * time.Minute,
		steps: []v1alpha1.Step{harness.Weight(50), harness.Judge(150 * time.Second)},
		edit:  harness.CompareOnly,
	})
	w.release(harness.Version{Name: "v2", ErrorRate: .03})
	o := w.ends(1, v1alpha1.OutcomeRolledBack)
	w.rolledBackAt(o, 50)
	if !hasVerdict(o, v1alpha1.VerdictFail) {
		t.Fatalf("no verdict says fail: %+v", o.Status.Verdicts)
	}
	v := o.Status.Verdicts[0]
	t.Logf("verdict: %s; score %v; %+v", v.Reason, v.Score, v.Metrics)
	if v.Score == nil || *v.Score != 0 {
		t.Errorf("score %v of a canary that fails, want 0", v.Score)
	}
	if len(v.Metrics) == 0 || v.Metrics[0].Name != "success-rate" || v.Metrics[0].Low == "" || v.Metrics[0].P == "" {
		t.Fatalf("metrics %+v, want the success rate with its limits and p", v.Metrics)
	}
	// In one of thirty runs stable has not had an error yet, and there is no ratio to none.
	rate := v.Metrics[0]
	if none := strings.HasPrefix(rate.Control, "0/"); none != (rate.Ratio == "") {
		t.Errorf("ratio %q of %s to %s, want one unless stable has no errors", rate.Ratio, rate.Canary, rate.Control)
	}
	w.served("v1")
	w.nothingLost(w.load)
}

// Twenty releases of an identical image, at a base error rate of 0.9 % and alpha 0.01: at most one is rolled
// back. With exactly alpha for each, two or more would be seen in 1.7 % of runs; in so short a time the test
// spends far less: none of 2,000 simulations was. Five shops release side by side, to save time; they share two cores,
// and nothing else.
func TestIdenticalReleases(t *testing.T) {
	const shops, releases = 5, 4
	base := harness.Version{Name: "v1", ErrorRate: .009}
	var rolledBack atomic.Int32
	t.Run("shops", func(t *testing.T) {
		for i := range shops {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, setting{
					version: base, limit: 8 * time.Minute,
					steps: []v1alpha1.Step{harness.Weight(20), harness.Weight(50)},
					edit: func(r *v1alpha1.Rollout) {
						harness.CompareOnly(r)
						r.Spec.Analysis.Duration = &metav1.Duration{Duration: 8 * time.Second}
					},
				})
				for attempt := int64(1); attempt <= releases; attempt++ {
					next := base
					next.Build = int(attempt)
					w.release(next)
					o, err := w.rollout.Ended(w.ctx, attempt)
					w.must(err)
					w.logf("release %d: %s", attempt, harness.Describe(o))
					if harness.Outcome(o) != v1alpha1.OutcomePromoted {
						rolledBack.Add(1)
						t.Logf("rolled back: %s; %+v", o.Status.Release.Reason, o.Status.Verdicts)
					}
				}
				w.nothingLost(w.load)
			})
		}
	})
	t.Logf("%d of %d releases of an identical image were rolled back", rolledBack.Load(), shops*releases)
	if n := rolledBack.Load(); n > 1 {
		t.Errorf("%d releases of an identical image were rolled back, want at most 1", n)
	}
}

// With hardly any requests the judge says what is missing and what could be seen by when; what happens then
// is as the Rollout says.
func TestLowTraffic(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		policy  v1alpha1.LowTrafficPolicy
		outcome string // empty: it holds
	}{
		"hold": {"", ""},
		"fail": {v1alpha1.LowTrafficFail, v1alpha1.OutcomeRolledBack},
		"pass": {v1alpha1.LowTrafficPass, v1alpha1.OutcomePromoted},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{
				rate: 4, steps: []v1alpha1.Step{harness.Weight(20)},
				edit: func(r *v1alpha1.Rollout) {
					harness.CompareOnly(r)
					r.Spec.Analysis.LowTraffic = test.policy
					r.Spec.Analysis.MinRequests = new(int32)
					*r.Spec.Analysis.MinRequests = 1000
					r.Spec.Deadlines.Analysis = &metav1.Duration{Duration: 5 * time.Second}
				},
			})
			w.release(v2)
			if test.outcome != "" {
				o := w.ends(1, test.outcome)
				w.logf("release: %+v; verdicts: %+v", o.Status.Release, o.Status.Verdicts)
				if test.outcome == v1alpha1.OutcomeRolledBack && !strings.Contains(o.Status.Release.Reason, "too few requests") {
					t.Errorf("reason %q does not speak of requests", o.Status.Release.Reason)
				}
				if test.outcome == v1alpha1.OutcomePromoted && !strings.Contains(o.Status.Verdicts[0].Reason, "lowTraffic") {
					t.Errorf("verdict %q does not say by whose word it goes on", o.Status.Verdicts[0].Reason)
				}
				w.nothingLost(w.load)
				return
			}
			stalls(w.ctx, t, w.rollout, v1alpha1.ReasonInconclusive)
			// Other tests' pods that go may be what is missing for a moment, and without any request nobody knows
			// what could be seen by when.
			o, err := w.rollout.Until(w.ctx, "only requests to be missing", func(o *v1alpha1.Rollout) bool {
				return len(o.Status.Verdicts) > 0 && o.Status.Verdicts[0].LowTraffic &&
					strings.Contains(o.Status.Message, "a pass needs") && strings.Contains(o.Status.Message, "shows in about")
			})
			w.must(err)
			if o.Status.Phase != v1alpha1.PhaseProgressing || o.Status.Weight.Desired != 20 {
				t.Errorf("it does not hold: %s", harness.Describe(o))
			}
			if len(o.Status.Verdicts) == 0 || !o.Status.Verdicts[0].LowTraffic {
				t.Errorf("verdicts %+v, want one that lacks requests only", o.Status.Verdicts)
			}
			if !strings.Contains(o.Status.Message, "1000 that a pass needs") {
				t.Errorf("message %q does not say what is missing and what could be seen by when", o.Status.Message)
			}
			w.order(v1alpha1.VerbAbort)
			w.ends(1, v1alpha1.OutcomeRolledBack)
			w.nothingLost(w.load)
		})
	}
}
