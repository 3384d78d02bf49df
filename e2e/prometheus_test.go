package e2e

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// The cluster's Prometheus.
const (
	monitoring = "monitoring"
	prometheus = "prometheus"
)

// restore scales something that all tests need back; the context of the test may be over.
func restore(t *testing.T, namespace, deployment string, replicas int32) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := cluster.ScaleSystem(ctx, namespace, deployment, replicas); err != nil {
		t.Errorf("restore %s: %v", deployment, err)
	}
}

// Without Prometheus a release holds at its first weight, is inconclusive after its deadline, and is
// never promoted, good as the version may be. It ends when a person says so.
func TestPrometheusAway(t *testing.T) {
	w := newWorld(t, setting{edit: func(r *v1alpha1.Rollout) {
		r.Spec.Deadlines.Analysis = &metav1.Duration{Duration: 5 * time.Second}
	}})
	t.Cleanup(func() { restore(t, monitoring, prometheus, 1) })
	w.must(cluster.ScaleSystem(w.ctx, monitoring, prometheus, 0))
	w.release(v2)
	w.reaches(1, 20)
	o, err := w.rollout.Until(w.ctx, "release to be inconclusive", func(o *v1alpha1.Rollout) bool {
		return o.Status.Step != nil && o.Status.Step.InconclusiveSince != nil
	})
	w.must(err)
	w.logf("inconclusive: %s", o.Status.Message)
	w.must(w.load.Flows(w.ctx, 600)) // ten more seconds
	o = w.rollout.Latest()
	if o.Status.Phase != v1alpha1.PhaseProgressing || o.Status.Weight.Desired != 20 {
		t.Errorf("without Prometheus the release went on to %s at weight %d", o.Status.Phase, o.Status.Weight.Desired)
	}
	if hasVerdict(o, v1alpha1.VerdictPass) || !hasVerdict(o, v1alpha1.VerdictInconclusive) {
		t.Errorf("verdicts without Prometheus: %+v", o.Status.Verdicts)
	}
	w.order(v1alpha1.VerbAbort)
	o = w.ends(1, v1alpha1.OutcomeRolledBack)
	w.rolledBackAt(o, 20)
	w.served("v1")
	w.nothingLost(w.load)
}
