package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/e2e/harness"
)

// A canary is compared with pods of stable's version that are as young as it and get as many requests. They
// are there before the first weight, and gone when the release is over, whichever way.
func TestBaseline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{
		rate: 200, limit: 6 * time.Minute,
		steps: []v1alpha1.Step{harness.Weight(20), harness.Judge(6 * time.Second), harness.Weight(50)},
		edit: func(r *v1alpha1.Rollout) {
			harness.CompareOnly(r)
			r.Spec.Analysis.Compare.Against = v1alpha1.RevisionBaseline
		},
	})
	first := w.rollout.Latest().Status.Stable.Hash
	baseline := first + "-baseline"

	w.release(v2)
	for weight, share := range map[int32]int32{20: 20, 50: 25, 100: 0} {
		o := w.reaches(1, weight)
		if b := o.Status.Baseline; b == nil || b.Hash != baseline || o.Status.Weight.Baseline != share || share > 0 && b.Ready != 1 {
			t.Errorf("at weight %d: baseline %+v gets %d%%, want %d%% for one pod of %s", weight, b, o.Status.Weight.Baseline, share, baseline)
		}
	}
	o := w.ends(1, v1alpha1.OutcomePromoted)
	second := o.Status.Stable.Hash
	w.asManyRequests(o, 20)
	w.served("v2")
	w.nothingLost(w.load)
	w.must(w.pods.OnlyRevision(w.ctx, second, 2))
	w.ordinary()
	w.withoutBaseline(o)
	w.startedOnce(map[string]int{first: 2, baseline: 1, second: 2})

	w.release(harness.Version{Name: "v3", ErrorRate: .5})
	o = w.ends(2, v1alpha1.OutcomeRolledBack)
	w.rolledBackAt(o, 20)
	w.served("v2")
	w.nothingLost(w.load)
	w.must(w.pods.OnlyRevision(w.ctx, second, 2))
	w.withoutBaseline(o)
	if started := w.pods.Started()[second+"-baseline"]; len(started) != 1 {
		t.Errorf("baseline pods of the second release: %v, want one", started)
	}
}

// withoutBaseline checks that nothing of a baseline is left.
func (w *world) withoutBaseline(o *v1alpha1.Rollout) {
	w.t.Helper()
	if o.Status.Baseline != nil || o.Status.Weight.Baseline != 0 {
		w.t.Errorf("status still has baseline %+v with %d%%", o.Status.Baseline, o.Status.Weight.Baseline)
	}
	for _, rs := range w.replicaSets() {
		if strings.HasSuffix(rs.Name, "-baseline") {
			w.t.Errorf("replicaset %s is left", rs.Name)
		}
	}
}

// asManyRequests checks by the pass at a weight that canary and baseline had about as many requests each; stable
// would have had four times as many. Of 480 requests more than two thirds go to one of the two by chance in less
// than 1 of 10^12 runs.
func (w *world) asManyRequests(o *v1alpha1.Rollout, weight int32) {
	w.t.Helper()
	for _, v := range o.Status.Verdicts {
		if v.Outcome != v1alpha1.VerdictPass || v.Weight != weight || len(v.Metrics) == 0 {
			continue
		}
		canary, control := requests(w.t, v.Metrics[0].Canary), requests(w.t, v.Metrics[0].Control)
		w.logf("verdict: %s; canary %d requests, baseline %d", v.Reason, canary, control)
		if canary > 2*control || control > 2*canary {
			w.t.Errorf("the canary had %d requests and the baseline %d at weight %d, want about as many", canary, control, weight)
		}
		return
	}
	w.t.Errorf("no verdict passes the canary at weight %d with what was compared: %+v", weight, o.Status.Verdicts)
}

// requests reads how many requests a rate is about.
func requests(t *testing.T, rate string) int {
	t.Helper()
	var bad, of int
	if _, err := fmt.Sscanf(rate, "%d/%d", &bad, &of); err != nil {
		t.Fatalf("rate %q: %v", rate, err)
	}
	return of
}
