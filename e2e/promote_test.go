package e2e

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// A good version takes all traffic, step by step; its pods are started once and stay; clients notice
// nothing but the version.
func TestPromote(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{replicas: 3})
	first := w.rollout.Latest().Status.Stable.Hash
	w.release(v2)
	w.reaches(1, 20)
	w.reaches(1, 50)
	w.reaches(1, 100)
	o := w.ends(1, v1alpha1.OutcomePromoted)

	if o.Status.Phase != v1alpha1.PhaseHealthy {
		t.Errorf("phase %s after a promotion, want Healthy", o.Status.Phase)
	}
	if diff := cmp.Diff([]int32{0, 20, 50, 100}, w.weights(1)[:4]); diff != "" {
		t.Errorf("weights: %s", diff)
	}
	w.epochsRise()
	w.served("v2")
	s := w.nothingLost(w.load)
	if bad := s.Total.Bad(); bad != 0 {
		t.Errorf("%d bad answers, want none", bad)
	}
	stable := o.Status.Stable.Hash
	w.must(w.pods.OnlyRevision(w.ctx, stable, 3))
	w.ordinary()
	w.startedOnce(map[string]int{first: 3, stable: 3})
}

// A version that was there before, and whose ReplicaSet still exists, is released as any other.
func TestBackToOlderVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	first := w.rollout.Latest().Status.Stable.Hash
	w.release(v2)
	second := w.ends(1, v1alpha1.OutcomePromoted).Status.Stable.Hash
	w.served("v2")
	w.release(v1)
	w.reaches(2, 20)
	o := w.ends(2, v1alpha1.OutcomePromoted)
	w.served("v1")
	w.nothingLost(w.load)
	w.must(w.pods.OnlyRevision(w.ctx, o.Status.Stable.Hash, 2))
	w.ordinary()
	if n := len(w.replicaSets()); n != 2 {
		t.Errorf("%d replicasets, want 2: one a version", n)
	}
	if o.Status.Stable.Hash != first {
		t.Errorf("revision %s, want %s as at first", o.Status.Stable.Hash, first)
	}
	w.startedOnce(map[string]int{first: 4, second: 2})
}
