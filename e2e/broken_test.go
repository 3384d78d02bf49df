package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/e2e/harness"
	"github.com/sluice-mesh/sluice/e2e/load/ledger"
)

type podType = corev1.Pod

// count counts the pods of a revision.
func count(pods []*corev1.Pod, hash string) int {
	n := 0
	for _, p := range pods {
		if p.Labels[appsv1.DefaultDeploymentUniqueLabelKey] == hash {
			n++
		}
	}
	return n
}

// ready is a condition: so many ready pods, at least, of each revision.
func (w *world) ready(want map[string]int) func([]*corev1.Pod) bool {
	return func(pods []*corev1.Pod) bool {
		got := map[string]int{}
		for _, p := range pods {
			if slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
				return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
			}) {
				got[p.Labels[appsv1.DefaultDeploymentUniqueLabelKey]]++
			}
		}
		for hash, n := range want {
			if got[hash] < n {
				return false
			}
		}
		return true
	}
}

// seesBoth is a condition: v1 and v2 have answered since the last cut.
func seesBoth(s ledger.Snapshot) bool {
	return s.Window.Versions["v1"].Requests > 0 && s.Window.Versions["v2"].Requests > 0
}

// stalls waits until the Rollout says that a person must act, for that reason and in words.
func stalls(ctx context.Context, t *testing.T, r *harness.RolloutRecord, reason string) {
	t.Helper()
	o, err := r.Until(ctx, "rollout to be stalled for "+reason, func(o *v1alpha1.Rollout) bool {
		got, _ := harness.Stalled(o)
		return got == reason
	})
	if err != nil {
		t.Fatal(err)
	}
	_, message := harness.Stalled(o)
	t.Logf("stalled: %s", message)
	if len(message) < 20 {
		t.Errorf("message %q does not say what to do", message)
	}
}

// What a Rollout names is missing or does not fit: it says so, and goes on by itself once it is mended;
// then clients are served.
func TestMissing(t *testing.T) {
	t.Parallel()
	app := harness.App{Name: shop, Version: v1, Replicas: 1, Rollout: shop}
	elsewhere := app.Service()
	elsewhere.Spec.Selector = map[string]string{harness.LabelApp: "somebody-else"}
	tests := map[string]struct {
		first  []client.Object
		reason string
		mend   func(*world) error
	}{
		"service": {
			[]client.Object{app.Deployment()}, v1alpha1.ReasonServiceMissing,
			func(w *world) error { return w.Create(w.ctx, app.Service()) },
		},
		"deployment": {
			[]client.Object{app.Service()}, v1alpha1.ReasonWorkloadMissing,
			func(w *world) error { return w.Create(w.ctx, app.Deployment()) },
		},
		"selector": {
			[]client.Object{app.Deployment(), elsewhere}, v1alpha1.ReasonServiceMismatch,
			func(w *world) error {
				before := elsewhere.DeepCopy()
				service := before.DeepCopy()
				service.Spec.Selector = app.Service().Spec.Selector
				return w.Client.Patch(w.ctx, service, client.MergeFrom(before))
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := needCluster(t, 0)
			w := &world{Space: newSpace(ctx, t), t: t, ctx: ctx}
			for _, o := range test.first {
				w.must(w.Create(ctx, o))
			}
			w.must(w.Create(ctx, harness.NewRollout(shop)))
			var err error
			w.rollout, err = w.FollowRollout(ctx, shop)
			w.must(err)
			t.Cleanup(w.rollout.Stop)
			stalls(ctx, t, w.rollout, test.reason)
			w.must(test.mend(w))
			w.must(w.AwaitAvailable(ctx, shop))
			_, err = w.rollout.Healthy(ctx)
			w.must(err)
			w.load = w.client(harness.Clients{Target: shop, Rate: 30})
			w.served("v1")
			w.release(v2)
			w.ends(1, v1alpha1.OutcomePromoted)
			w.served("v2")
			w.nothingLost(w.load)
		})
	}
}

// The Service is deleted in mid-release: the release is rolled back and says why. Once the Service is
// back, clients are served by stable, and the next version is released.
func TestServiceDeletedInMidRelease(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{steps: waiting()})
	w.release(v2)
	w.waits(1, 1)
	w.must(w.Client.Delete(w.ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: w.Name, Name: shop}}))
	o := w.ends(1, v1alpha1.OutcomeRolledBack)
	if !strings.Contains(o.Status.Release.Reason, "Service "+shop) {
		t.Errorf("reason %q does not name the Service", o.Status.Release.Reason)
	}
	// Without a Service its name leads nowhere, with or without a mesh: what clients see meanwhile is not
	// judged. The new one keeps the address, so that clients need not resolve the name again.
	// They wait until their proxy knows of it, since what is called before passes by it, without a split.
	w.must(w.load.Rate(w.ctx, 0))
	_, err := w.load.Poll(w.ctx, "an end of the requests to nobody", func(s ledger.Snapshot) bool { return s.InFlight == 0 })
	w.must(err)
	again := harness.App{Name: shop}.Service()
	again.Spec.ClusterIP = w.before.Spec.ClusterIP
	w.must(w.Create(w.ctx, again))
	w.await("the client's proxy knows the Service again", func() (bool, error) {
		config, err := w.ProxyConfig(w.ctx, w.load.Pod)
		return config.Ready(w.Name+"/"+shop) == 2, err
	})
	nothingLost := func() {
		t.Helper()
		s, err := w.load.Cut(w.ctx)
		w.must(err)
		if s.Window.Lost != 0 {
			t.Errorf("%d requests lost after the Service was back: %v", s.Window.Lost, s.Window.Reasons)
		}
	}
	_, err = w.load.Cut(w.ctx)
	w.must(err)
	w.must(w.load.Rate(w.ctx, 60))
	w.must(w.load.Flows(w.ctx, 30))
	nothingLost()
	w.served("v1")
	w.release(v3)
	w.waits(2, 1)
	w.order(v1alpha1.VerbResume)
	w.ends(2, v1alpha1.OutcomePromoted)
	nothingLost()
	w.served("v3")
	nothingLost()
}

// flows is a condition: answers have come since it was made.
func flows(w *world) func(ledger.Snapshot) bool {
	began := w.seen().Total.Answered()
	return func(s ledger.Snapshot) bool { return s.Total.Answered() >= began+30 }
}

// The Deployment is deleted in mid-release: nothing of the canary is left over, and a new Deployment of
// that name is taken on.
func TestDeploymentDeletedInMidRelease(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{steps: waiting()})
	w.release(v2)
	w.waits(1, 1)
	w.must(w.Client.Delete(w.ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: w.Name, Name: shop}}, client.PropagationPolicy("Background")))
	stalls(w.ctx, t, w.rollout, v1alpha1.ReasonWorkloadMissing)
	w.must(w.pods.Await(w.ctx, "all pods of the shop to be gone", func(pods []*corev1.Pod) bool { return len(pods) == 0 }))
	w.must(w.Create(w.ctx, harness.App{Name: shop, Version: v3, Replicas: 2, Rollout: shop}.Deployment()))
	w.must(w.AwaitAvailable(w.ctx, shop))
	_, err := w.rollout.Healthy(w.ctx)
	w.must(err)
	if _, err := w.load.Poll(w.ctx, "requests to flow again", flows(w)); err != nil {
		t.Fatal(err)
	}
	w.served("v3")
	w.ordinary()
}

// Of two Rollouts for one Deployment the younger says that it is one too many, and does nothing; the
// older one releases as always.
func TestTwoRolloutsForOneDeployment(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	other := harness.NewRollout("second")
	other.Spec.WorkloadRef.Name, other.Spec.Service.Name = shop, shop
	w.must(w.Create(w.ctx, other))
	second, err := w.FollowRollout(w.ctx, "second")
	w.must(err)
	t.Cleanup(second.Stop)
	stalls(w.ctx, t, second, v1alpha1.ReasonConflict)
	w.release(v2)
	o := w.ends(1, v1alpha1.OutcomePromoted)
	if harness.Attempt(second.Latest()) != 0 {
		t.Errorf("the second rollout released: %s", harness.Describe(second.Latest()))
	}
	w.served("v2")
	w.nothingLost(w.load)
	w.must(w.pods.OnlyRevision(w.ctx, o.Status.Stable.Hash, 2))
	if o, err := w.rollout.Healthy(w.ctx); err != nil || strings.Contains(o.Status.Message, "second") {
		t.Errorf("the first rollout: %v, %s", err, harness.Describe(o))
	}
	w.ordinary()
}
