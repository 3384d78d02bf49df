package e2e

import (
	"math"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/e2e/harness"
)

// A version that fails gets no further than its first weight; few clients see it; the next good one is
// released.
func TestRollBackOnErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{rate: 100})
	stable := w.rollout.Latest().Status.Stable.Hash
	w.release(harness.Version{Name: "v2", ErrorRate: 0.5})
	o := w.ends(1, v1alpha1.OutcomeRolledBack)
	w.rolledBackAt(o, 20)
	w.served("v1")
	s := w.nothingLost(w.load)
	w.fewBad(s.Total.Versions["v2"].Bad, 10) // half of the 20 a second that are a fifth of 100
	if bad := s.Total.Versions["v1"].Bad; bad != 0 {
		t.Errorf("%d bad answers of v1, want none", bad)
	}
	if !hasVerdict(o, v1alpha1.VerdictFail) {
		t.Errorf("no verdict says fail: %+v", o.Status.Verdicts)
	}
	w.must(w.pods.OnlyRevision(w.ctx, stable, 2))
	d := &appsv1.Deployment{}
	w.must(w.Get(w.ctx, shop, d))
	if !d.Spec.Paused || !strings.HasSuffix(d.Spec.Template.Spec.Containers[0].Image, ":v2") {
		t.Errorf("deployment is paused: %v, at %s; want the rejected version held", d.Spec.Paused, d.Spec.Template.Spec.Containers[0].Image)
	}

	w.release(v3)
	w.ends(2, v1alpha1.OutcomePromoted)
	w.served("v3")
	w.nothingLost(w.load)
	w.ordinary()
}

// A version that is slow, and answers everything well, is rolled back too.
func TestRollBackOnLatency(t *testing.T) {
	t.Parallel()
	const limit = 250 * time.Millisecond
	w := newWorld(t, setting{rate: 80, slow: limit, edit: func(r *v1alpha1.Rollout) {
		r.Spec.Analysis.LatencyP99 = &metav1.Duration{Duration: limit}
	}})
	stable := w.rollout.Latest().Status.Stable.Hash
	w.release(harness.Version{Name: "v2", Latency: 600 * time.Millisecond})
	o := w.ends(1, v1alpha1.OutcomeRolledBack)
	w.rolledBackAt(o, 20)
	w.served("v1")
	s := w.nothingLost(w.load)
	slow := s.Total.Versions["v2"]
	if slow.Errors != 0 {
		t.Errorf("v2: %d errors, want none", slow.Errors)
	}
	w.fewBad(slow.Slow, 16)
	w.must(w.pods.OnlyRevision(w.ctx, stable, 2))
}

// A version whose pods never become ready never gets traffic, and is rolled back at its deadline.
func TestRollBackWhenPodsDoNotStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{edit: func(r *v1alpha1.Rollout) {
		r.Spec.Deadlines.Progress = &metav1.Duration{Duration: 10 * time.Second}
	}})
	w.release(harness.Version{Name: "v2", StartDelay: time.Hour})
	o := w.ends(1, v1alpha1.OutcomeRolledBack)
	w.logf("reason: %s", o.Status.Release.Reason)
	for _, weight := range w.weights(1) {
		if weight != 0 {
			t.Errorf("weight %d for a version without a ready pod", weight)
		}
	}
	w.served("v1")
	if names := w.nothingLost(w.load).Total.Names(); len(names) != 1 {
		t.Errorf("versions that answered: %v, want v1 only", names)
	}
}

// rolledBackAt checks that a release ended without ever going above the weight, at 0 everywhere, with
// a reason, and that the weight did not rise again on the way down.
func (w *world) rolledBackAt(o *v1alpha1.Rollout, weight int32) {
	w.t.Helper()
	if o.Status.Phase != v1alpha1.PhaseRolledBack || o.Status.Weight.Desired != 0 || o.Status.Weight.Live != 0 {
		w.t.Errorf("after a rollback: %s", harness.Describe(o))
	}
	if o.Status.Release.Reason == "" {
		w.t.Error("no reason for the rollback")
	}
	w.logf("reason: %s", o.Status.Release.Reason)
	all := w.weights(o.Status.Release.Attempt)
	want := []int32{0, weight, 0}
	if len(all) != 3 || all[0] != want[0] || all[1] != want[1] || all[2] != want[2] {
		w.t.Errorf("weights %v, want %v", all, want)
	}
	w.epochsRise()
}

// fewBad checks how many requests the first release failed, whose version fails so many a second at its weight:
// some, and no more than from the decision for that weight until 0 was live. How long that is depends on the
// machine: a second or two, which make bench-release measures, but not many.
func (w *world) fewBad(bad uint64, perSecond float64) {
	w.t.Helper()
	var from, until time.Time
	for _, o := range w.rollout.History() {
		weight := o.Status.Weight
		switch {
		case harness.Attempt(o) != 1 || weight.DecidedAt == nil:
		case weight.Desired > 0 && from.IsZero():
			from = weight.DecidedAt.Time
		case weight.Desired == 0 && !from.IsZero() && weight.LiveAt != nil && until.IsZero():
			until = weight.LiveAt.Time
		}
	}
	took := until.Sub(from)
	if from.IsZero() || until.IsZero() || took > 20*time.Second {
		w.t.Fatalf("it had traffic from %v to %v", from, until)
	}
	expected := perSecond * took.Seconds()
	if most := expected + 5*math.Sqrt(expected) + 5; bad == 0 || float64(bad) > most {
		w.t.Errorf("%d bad answers, want some and at most %.0f in the %v in which it had traffic", bad, most, took)
	}
}

func hasVerdict(o *v1alpha1.Rollout, outcome v1alpha1.VerdictOutcome) bool {
	for _, v := range o.Status.Verdicts {
		if v.Outcome == outcome {
			return true
		}
	}
	return false
}
