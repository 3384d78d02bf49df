package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/e2e/harness"
)

// waiting is a release that waits for a person at half of the traffic.
func waiting() []v1alpha1.Step { return []v1alpha1.Step{harness.Weight(50), harness.Pause()} }

// A new version in mid-release ends the release on the way, through weight 0, and begins its own.
func TestNewVersionInMidRelease(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{steps: waiting()})
	w.release(v2)
	w.waits(1, 1)
	rejected := w.rollout.Latest().Status.Canary.Hash
	w.release(v3)
	w.waits(2, 1)
	w.served("v1", "v3")
	w.order(v1alpha1.VerbResume)
	o := w.ends(2, v1alpha1.OutcomePromoted)
	if last := slices.Max(w.weights(1)); last != 50 {
		t.Errorf("the first release got to weight %d, want 50", last)
	}
	zero := slices.ContainsFunc(w.rollout.History(), func(o *v1alpha1.Rollout) bool {
		return o.Status.Weight.Epoch > 1 && o.Status.Weight.Desired == 0 && o.Status.Weight.Live == 0
	})
	if !zero {
		t.Error("weight 0 was never live between the two releases")
	}
	w.epochsRise()
	w.served("v3")
	w.nothingLost(w.load)
	w.must(w.pods.OnlyRevision(w.ctx, o.Status.Stable.Hash, 2))
	w.ordinary()
	if started := w.pods.Started()[o.Status.Stable.Hash]; len(started) != 2 {
		t.Errorf("%d pods of v3 were started, want 2 (v2 was %s): %v", len(started), rejected, w.pods.Started())
	}
}

// Going back to the stable version in mid-release is a rollback that leaves nothing held; stable's
// pods are untouched.
func TestBackToStableInMidRelease(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{steps: waiting()})
	stable := w.rollout.Latest().Status.Stable.Hash
	w.release(v2)
	w.waits(1, 1)
	w.release(v1)
	o := w.ends(1, v1alpha1.OutcomeRolledBack)
	w.logf("reason: %s", o.Status.Release.Reason)
	if _, err := w.rollout.Healthy(w.ctx); err != nil {
		t.Fatal(err)
	}
	w.served("v1")
	w.nothingLost(w.load)
	w.must(w.pods.OnlyRevision(w.ctx, stable, 2))
	if started := w.pods.Started()[stable]; len(started) != 2 {
		t.Errorf("%d pods of stable were started, want the 2 from the beginning: %v", len(started), started)
	}
	w.ordinary()
}

// An autoscaler acts in mid-release, as it does: through the Deployment's scale subresource. (The
// cluster has no metrics API, so no HorizontalPodAutoscaler runs; its write is the same.)
func TestAutoscalerInMidRelease(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{steps: waiting()})
	stable := w.rollout.Latest().Status.Stable.Hash
	w.release(v2)
	w.waits(1, 1)
	canary := w.rollout.Latest().Status.Canary.Hash
	w.must(w.Scale(w.ctx, shop, 4))
	w.must(w.pods.Await(w.ctx, "stable to have 4 ready pods and the canary at least 2", w.ready(map[string]int{stable: 4, canary: 2})))
	w.logf("scaled up")
	if o := w.rollout.Latest(); o.Status.Weight.Desired != 50 {
		t.Errorf("weight %d after scaling, want 50 as before", o.Status.Weight.Desired)
	}
	w.must(w.Scale(w.ctx, shop, 3))
	w.must(w.pods.Await(w.ctx, "stable to have 3 pods", func(pods []*podType) bool { return count(pods, stable) == 3 }))
	w.logf("scaled down")
	w.order(v1alpha1.VerbResume)
	o := w.ends(1, v1alpha1.OutcomePromoted)
	w.served("v2")
	w.nothingLost(w.load)
	w.must(w.pods.OnlyRevision(w.ctx, o.Status.Stable.Hash, 3))
	w.ordinary()
}

// A client's proxy that is cut off from the control plane is waited for until the deadline, named, and
// left out; it serves as before, and catches up when it is back.
func TestProxyCutOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{steps: []v1alpha1.Step{harness.Weight(20), harness.Weight(50), harness.Pause()}})
	lonely := w.client(harness.Clients{Name: "lonely", Target: shop, Rate: 30})
	w.must(lonely.Flows(w.ctx, 20))
	pods, err := cluster.Pods(w.ctx, w.Name, "lonely")
	w.must(err)
	heal, err := harness.CutOff(w.ctx, &pods[0], harness.ProxyContainer, harness.XDSPort)
	w.must(err)
	healed := false
	t.Cleanup(func() {
		if !healed {
			_ = heal(context.WithoutCancel(w.ctx)) // the pod may be gone
		}
	})
	w.logf("cut off %s", pods[0].Name)
	w.release(v2)
	o := w.reaches(1, 20)
	if took := o.Status.Weight.LiveAt.Sub(o.Status.Weight.DecidedAt.Time); took < 4*time.Second {
		t.Errorf("weight 20 was live after %v, without waiting for the proxy that is cut off", took)
	}
	if !slices.ContainsFunc(o.Status.Weight.Lagging, func(name string) bool { return strings.HasPrefix(name, pods[0].Name) }) {
		t.Errorf("lagging: %v, want %s", o.Status.Weight.Lagging, pods[0].Name)
	}
	w.waits(1, 2)
	if _, err := lonely.Cut(w.ctx); err != nil {
		t.Fatal(err)
	}
	w.must(lonely.Flows(w.ctx, 60))
	if s := w.nothingLost(lonely); len(s.Window.Names()) != 1 || s.Window.Names()[0] != "v1" {
		t.Errorf("the client that is cut off is served by %v, want v1", s.Window.Names())
	}
	w.must(heal(w.ctx))
	healed = true
	w.logf("healed")
	if _, err := lonely.Poll(w.ctx, "the client to be served by v2", seesBoth); err != nil {
		t.Fatal(err)
	}
	w.order(v1alpha1.VerbResume)
	w.ends(1, v1alpha1.OutcomePromoted)
	w.served("v2")
	w.nothingLost(w.load)
	w.nothingLost(lonely)
	w.ordinary()
}

// A Rollout that is deleted in mid-release leaves an ordinary Deployment at the stable version.
func TestRolloutDeletedInMidRelease(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]client.PropagationPolicy{"background": "Background", "foreground": "Foreground"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{steps: waiting()})
			stable := w.rollout.Latest().Status.Stable.Hash
			w.release(v2)
			w.waits(1, 1)
			w.must(w.Client.Delete(w.ctx, w.rollout.Latest(), policy))
			w.must(w.rollout.Await(w.ctx, "rollout to be gone", func(all []*v1alpha1.Rollout) bool { return len(all) == 0 }))
			w.must(w.pods.OnlyRevision(w.ctx, stable, 2))
			w.must(w.AwaitAvailable(w.ctx, shop))
			w.served("v1")
			w.nothingLost(w.load)
			w.ordinary()
			if started := w.pods.Started()[stable]; len(started) != 2 {
				t.Errorf("%d pods of stable were started, want the 2 from the beginning: %v", len(started), started)
			}
			d := &appsv1.Deployment{}
			w.must(w.Get(w.ctx, shop, d))
			if image := d.Spec.Template.Spec.Containers[0].Image; !strings.HasSuffix(image, ":v1") {
				t.Errorf("deployment is at %s, want v1: never ship what was not promoted", image)
			}
		})
	}
}
