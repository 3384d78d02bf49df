package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/e2e/harness"
)

// These tests kill operators, which all namespaces share: they are not parallel.

// newOperators gives the test operators that were never killed: the kubelet lets one that was killed
// often wait for minutes.
func newOperators(t *testing.T) {
	t.Helper()
	ctx := needCluster(t, time.Minute)
	if err := cluster.RenewOperators(ctx); err != nil {
		t.Fatal(err)
	}
}

// kill sends SIGKILL to the operator that leads.
func (w *world) kill() {
	w.t.Helper()
	pod, err := cluster.KillLeader(w.ctx)
	w.must(err)
	w.logf("killed %s, which led", pod.Name)
}

// The leader dies at the beginning of a release, while a weight is on its way, in the middle of a step
// and in the bake: the release ends as if nothing had happened.
func TestOperatorKilledInSteps(t *testing.T) {
	newOperators(t)
	w := newWorld(t, setting{limit: 6 * time.Minute})
	first := w.rollout.Latest().Status.Stable.Hash
	w.release(v2)
	points := []struct {
		name string
		at   func(*v1alpha1.Rollout) bool
	}{
		{"starting", func(o *v1alpha1.Rollout) bool { return o.Status.Phase == v1alpha1.PhaseStarting }},
		{"first weight asked for", func(o *v1alpha1.Rollout) bool { return o.Status.Weight.Desired == 20 }},
		{"first weight live", func(o *v1alpha1.Rollout) bool { return o.Status.Weight.Live == 20 }},
		{"second weight asked for", func(o *v1alpha1.Rollout) bool { return o.Status.Weight.Desired == 50 }},
		{"all traffic asked for", func(o *v1alpha1.Rollout) bool { return o.Status.Weight.Desired == 100 }},
		{"baking", func(o *v1alpha1.Rollout) bool { return o.Status.Phase == v1alpha1.PhaseBaking }},
	}
	for _, point := range points {
		_, err := w.rollout.Past(w.ctx, point.name, func(o *v1alpha1.Rollout) bool { return harness.Attempt(o) == 1 && point.at(o) })
		w.must(err)
		w.logf("%s", point.name)
		w.kill()
		w.must(cluster.AwaitOperators(w.ctx, 2))
		w.must(cluster.AwaitLeader(w.ctx))
	}
	o := w.ends(1, v1alpha1.OutcomePromoted)
	w.epochsRise()
	w.served("v2")
	w.nothingLost(w.load)
	w.must(w.pods.OnlyRevision(w.ctx, o.Status.Stable.Hash, 2))
	w.ordinary()
	w.startedOnce(map[string]int{first: 2, o.Status.Stable.Hash: 2})
}

// The leader dies at several moments of the promotion itself, when the pods change hands.
func TestOperatorKilledWhilePromoting(t *testing.T) {
	newOperators(t)
	w := newWorld(t, setting{limit: 8 * time.Minute})
	for i, after := range []time.Duration{0, 20 * time.Millisecond, 60 * time.Millisecond, 120 * time.Millisecond} {
		attempt := int64(i + 1)
		version := harness.Version{Name: fmt.Sprintf("v%d", i+2)}
		w.release(version)
		_, err := w.rollout.In(w.ctx, attempt, v1alpha1.PhasePromoting)
		w.must(err)
		pause(w.ctx, t, after)
		w.kill()
		o := w.ends(attempt, v1alpha1.OutcomePromoted)
		w.must(w.pods.OnlyRevision(w.ctx, o.Status.Stable.Hash, 2))
		w.served(version.Name)
		w.ordinary()
		if started := w.pods.Started()[o.Status.Stable.Hash]; len(started) != 2 {
			t.Errorf("killed %v into the promotion: %d pods of it were started, want 2: %v", after, len(started), started)
		}
	}
	w.epochsRise()
	w.nothingLost(w.load)
}

// The leader dies while a bad version is being rolled back: weight 0 is reached all the same.
func TestOperatorKilledWhileRollingBack(t *testing.T) {
	newOperators(t)
	w := newWorld(t, setting{})
	stable := w.rollout.Latest().Status.Stable.Hash
	w.release(harness.Version{Name: "v2", ErrorRate: 0.5})
	_, err := w.rollout.In(w.ctx, 1, v1alpha1.PhaseRollingBack)
	w.must(err)
	w.kill()
	o := w.ends(1, v1alpha1.OutcomeRolledBack)
	w.rolledBackAt(o, 20)
	w.served("v1")
	w.fewBad(w.nothingLost(w.load).Total.Bad(), 6) // though the leader died
	w.must(w.pods.OnlyRevision(w.ctx, stable, 2))
}

// No operator runs for a minute in the middle of a release: clients notice nothing, the weight stays,
// a version that is pushed meanwhile is held, and the release goes on afterwards.
func TestOperatorsAway(t *testing.T) {
	w := newWorld(t, setting{steps: []v1alpha1.Step{harness.Weight(50), harness.Pause()}, limit: 6 * time.Minute})
	w.release(v2)
	w.waits(1, 1)
	t.Cleanup(func() { restore(t, harness.SystemNamespace, harness.OperatorDeployment, 2) })
	operators, err := cluster.Operators(w.ctx)
	w.must(err)
	for i := range operators {
		w.must(harness.Kill(&operators[i], operators[i].Spec.Containers[0].Name))
	}
	w.must(cluster.ScaleSystem(w.ctx, harness.SystemNamespace, harness.OperatorDeployment, 0))
	w.must(cluster.AwaitOperators(w.ctx, 0))
	_, err = w.load.Cut(w.ctx)
	w.must(err)
	w.logf("no operator runs")
	pause(w.ctx, t, time.Minute)
	s := w.nothingLost(w.load)
	first, second := s.Window.Versions["v1"].Requests, s.Window.Versions["v2"].Requests
	// Of 3,600 draws at one half less than 1,600 has a chance below 1e-10.
	if sum := first + second; sum < 3000 || min(first, second)*9 < sum*4 {
		t.Errorf("without operators v1 answered %d and v2 %d requests, want about half of 3,600 each", first, second)
	}
	w.must(cluster.ScaleSystem(w.ctx, harness.SystemNamespace, harness.OperatorDeployment, 2))
	w.logf("operators are back")
	w.order(v1alpha1.VerbResume)
	o := w.ends(1, v1alpha1.OutcomePromoted)
	w.served("v2")
	w.nothingLost(w.load)
	w.must(w.pods.OnlyRevision(w.ctx, o.Status.Stable.Hash, 2))
	w.ordinary()
}

// A version that is pushed while no operator runs reaches nobody until one does.
func TestReleaseWhileOperatorsAway(t *testing.T) {
	w := newWorld(t, setting{})
	t.Cleanup(func() { restore(t, harness.SystemNamespace, harness.OperatorDeployment, 2) })
	w.must(cluster.ScaleSystem(w.ctx, harness.SystemNamespace, harness.OperatorDeployment, 0))
	w.must(cluster.AwaitOperators(w.ctx, 0)) // one that is stopping still decides
	w.release(harness.Version{Name: "v2", ErrorRate: 1})
	w.must(w.load.Flows(w.ctx, 300))
	w.served("v1")
	w.release(v3)
	w.must(cluster.ScaleSystem(w.ctx, harness.SystemNamespace, harness.OperatorDeployment, 2))
	w.ends(1, v1alpha1.OutcomePromoted)
	w.served("v3")
	if s := w.nothingLost(w.load); s.Total.Bad() != 0 {
		t.Errorf("%d bad answers, want none", s.Total.Bad())
	}
	w.ordinary()
}
