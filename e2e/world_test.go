package e2e

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/e2e/harness"
	"github.com/sluice-mesh/sluice/e2e/load/ledger"
)

// shop is the name of the service that is released, of its Deployment and of its Rollout.
const shop = "shop"

// Versions that tests release.
var (
	v1 = harness.Version{Name: "v1"}
	v2 = harness.Version{Name: "v2"}
	v3 = harness.Version{Name: "v3"}
)

// world is one namespace with a shop at v1 under a Rollout, a client that sends requests to it, and a
// record of all that happens.
type world struct {
	*harness.Space
	t       *testing.T
	ctx     context.Context
	before  corev1.Service
	rollout *harness.RolloutRecord
	pods    *harness.PodRecord
	load    *harness.Load
}

// setting is how a world is to be; the zero value is the usual one.
type setting struct {
	version  harness.Version // that runs first; none: v1
	replicas int32           // of the shop; 0: 2
	rate     float64         // of the client; 0: 60 a second
	protocol string          // of the client; empty: http
	cookies  int             // of the client: how many visitors it stands for, who keep theirs
	visits   int             // after which such a visitor leaves
	slow     time.Duration
	steps    []v1alpha1.Step
	edit     func(*v1alpha1.Rollout)
	before   []client.Object // to be there before the Rollout
	limit    time.Duration   // for the whole test; 0: 4 minutes
}

// needCluster skips the test where there is none, and bounds its time.
func needCluster(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	if cluster == nil {
		t.Skipf("needs a cluster: set %s, or use make e2e", harness.EnvKubeconfig)
	}
	if limit == 0 {
		limit = 4 * time.Minute
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// newSpace makes a namespace that goes with the test; its state is dumped first if the test failed.
func newSpace(ctx context.Context, t *testing.T) *harness.Space {
	t.Helper()
	space, err := cluster.NewSpace(ctx, strings.TrimPrefix(t.Name(), "Test"), true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if t.Failed() {
			folder := filepath.Join(cluster.Root, "build", "e2e", strings.ReplaceAll(t.Name(), "/", "-"))
			if err := space.Dump(ctx, folder); err != nil {
				t.Logf("dump of the state is not complete: %v", err)
			}
			t.Logf("the cluster's state is in %s", folder)
		}
		if err := space.Delete(ctx); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	return space
}

// newWorld returns once the Rollout is healthy and requests flow.
func newWorld(t *testing.T, s setting) *world {
	t.Helper()
	ctx := needCluster(t, s.limit)
	w := &world{Space: newSpace(ctx, t), t: t, ctx: ctx}
	if s.replicas == 0 {
		s.replicas = 2
	}
	if s.rate == 0 {
		s.rate = 60
	}
	if s.version.Name == "" {
		s.version = v1
	}
	w.must(w.Deploy(ctx, harness.App{
		Name: shop, Version: s.version, Replicas: s.replicas, Rollout: shop, Protocols: s.protocol != "",
	}))
	w.must(w.AwaitAvailable(ctx, shop))
	w.must(w.Get(ctx, shop, &w.before))
	r := harness.NewRollout(shop, s.steps...)
	if s.edit != nil {
		s.edit(r)
	}
	for _, o := range append(s.before, r) {
		w.must(w.Create(ctx, o))
	}
	var err error
	w.rollout, err = w.FollowRollout(ctx, shop)
	w.must(err)
	t.Cleanup(w.rollout.Stop)
	w.pods, err = w.FollowPods(ctx, shop)
	w.must(err)
	t.Cleanup(w.pods.Stop)
	_, err = w.rollout.Healthy(ctx)
	w.must(err)
	w.load = w.client(harness.Clients{Target: shop, Protocol: s.protocol, Rate: s.rate, Slow: s.slow, Cookies: s.cookies, Visits: s.visits})
	w.must(w.load.Flows(ctx, 20))
	w.logf("requests flow")
	return w
}

// client starts one client.
func (w *world) client(c harness.Clients) *harness.Load {
	w.t.Helper()
	loads, err := w.StartLoad(w.ctx, c)
	w.must(err)
	if len(loads) != 1 {
		w.t.Fatalf("%d clients, want 1", len(loads))
	}
	return loads[0]
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) logf(format string, args ...any) {
	w.t.Helper()
	w.t.Logf(time.Now().Format("15:04:05.000 ")+format, args...)
}

// release gives the Deployment a new version.
func (w *world) release(v harness.Version) {
	w.t.Helper()
	w.logf("release %s", v.Name)
	w.must(w.Release(w.ctx, shop, v))
}

// order gives the Rollout a command.
func (w *world) order(verb v1alpha1.Verb) {
	w.t.Helper()
	w.logf("order %s", verb)
	w.must(w.Command(w.ctx, shop, verb))
}

// ends waits for the end of a release and checks its outcome.
func (w *world) ends(attempt int64, outcome string) *v1alpha1.Rollout {
	w.t.Helper()
	o, err := w.rollout.Ended(w.ctx, attempt)
	w.must(err)
	w.logf("release %d: %s", attempt, harness.Describe(o))
	if got := harness.Outcome(o); got != outcome || o.Status.Release.Attempt != attempt {
		w.t.Fatalf("release %d ended as %q, want release %d as %q: %s", o.Status.Release.Attempt, got, attempt, outcome, harness.Describe(o))
	}
	return o
}

// reaches waits until the weight is live.
func (w *world) reaches(attempt int64, weight int32) *v1alpha1.Rollout {
	w.t.Helper()
	o, err := w.rollout.Reaches(w.ctx, attempt, weight)
	w.must(err)
	w.logf("weight %d is live in release %d", weight, attempt)
	return o
}

// waits waits until the release has come to the step of that index, and waits there for a person.
func (w *world) waits(attempt int64, index int32) *v1alpha1.Rollout {
	w.t.Helper()
	o, err := w.rollout.Until(w.ctx, "release to wait at its pause", func(o *v1alpha1.Rollout) bool {
		return harness.Attempt(o) == attempt && o.Status.Phase == v1alpha1.PhaseProgressing && o.Status.Step != nil && o.Status.Step.Index == index
	})
	w.must(err)
	w.logf("release %d waits at step %s", attempt, o.Status.Step.Display)
	return o
}

// seen returns what the client saw until now.
func (w *world) seen() ledger.Snapshot {
	w.t.Helper()
	s, err := w.load.Stats(w.ctx, time.Time{})
	w.must(err)
	return s
}

// nothingLost checks that the mesh lost no request of the client since it started, and that the client
// sent all that it was to send.
func (w *world) nothingLost(load *harness.Load) ledger.Snapshot {
	w.t.Helper()
	s, err := load.Stats(w.ctx, time.Time{})
	w.must(err)
	if s.Total.Lost != 0 {
		w.t.Errorf("%d of %d requests were lost: %v, first %+v", s.Total.Lost, s.Total.Done, s.Total.Reasons, s.Total.Samples[:min(5, len(s.Total.Samples))])
	}
	if s.Skipped != 0 {
		w.t.Errorf("%d requests could not be sent: too many were in flight", s.Skipped)
	}
	return s
}

// served checks that from now on only these versions answer, over a number of answers.
func (w *world) served(versions ...string) {
	w.t.Helper()
	_, err := w.load.Cut(w.ctx)
	w.must(err)
	w.must(w.load.Flows(w.ctx, 60))
	if diff := cmp.Diff(versions, w.seen().Window.Names()); diff != "" {
		w.t.Errorf("versions that answer now: %s", diff)
	}
}

// startedOnce checks how many pods were started per revision, since before the first release.
func (w *world) startedOnce(want map[string]int) {
	w.t.Helper()
	got := map[string]int{}
	for hash, names := range w.pods.Started() {
		got[hash] = len(names)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("pods started by revision: %s\nall: %v", diff, w.pods.Started())
	}
	if restarts := w.pods.Restarts(); len(restarts) > 0 {
		w.t.Errorf("containers restarted: %s", strings.Join(restarts, ", "))
	}
}

// ordinary checks that nothing of a release is left: the Deployment is unpaused and unmarked, owns all
// its ReplicaSets, and only one of them has pods; the Service is as it was.
func (w *world) ordinary() {
	w.t.Helper()
	d := &appsv1.Deployment{}
	w.must(w.Get(w.ctx, shop, d))
	if _, held := d.Annotations[v1alpha1.AnnotationHeld]; held || d.Spec.Paused {
		w.t.Errorf("deployment is paused (%v) or held (%v)", d.Spec.Paused, held)
	}
	active := 0
	for _, rs := range w.replicaSets() {
		if owner := metav1.GetControllerOf(&rs); owner == nil || owner.UID != d.UID {
			w.t.Errorf("replicaset %s does not belong to the deployment, but to %+v", rs.Name, owner)
		}
		if rs.Status.Replicas > 0 {
			active++
		}
	}
	if active != 1 {
		w.t.Errorf("%d replicasets have pods, want 1", active)
	}
	w.serviceAsBefore()
}

func (w *world) serviceAsBefore() {
	w.t.Helper()
	service := corev1.Service{}
	w.must(w.Get(w.ctx, shop, &service))
	if diff := cmp.Diff(w.before.Spec, service.Spec); diff != "" {
		w.t.Errorf("service: %s", diff)
	}
}

// replicaSets of the shop.
func (w *world) replicaSets() []appsv1.ReplicaSet {
	w.t.Helper()
	list := &appsv1.ReplicaSetList{}
	w.must(w.Client.List(w.ctx, list, client.InNamespace(w.Name), client.MatchingLabels{harness.LabelApp: shop}))
	return list.Items
}

// weights returns the weights that were asked for in a release, in order, each once.
func (w *world) weights(attempt int64) []int32 {
	var all []int32
	for _, o := range w.rollout.History() {
		if harness.Attempt(o) == attempt {
			all = append(all, o.Status.Weight.Desired)
		}
	}
	return slices.Compact(all)
}

// epochsRise checks that the epoch never fell and each has one weight only, over all that was seen.
func (w *world) epochsRise() {
	w.t.Helper()
	weights := map[int64]int32{}
	var last int64
	for _, o := range w.rollout.History() {
		weight := o.Status.Weight
		if weight.Epoch < last {
			w.t.Errorf("epoch fell from %d to %d", last, weight.Epoch)
		}
		last = weight.Epoch
		if asked, found := weights[weight.Epoch]; found && asked != weight.Desired {
			w.t.Errorf("epoch %d has weights %d and %d", weight.Epoch, asked, weight.Desired)
		}
		weights[weight.Epoch] = weight.Desired
	}
	if len(weights) < 2 {
		w.t.Errorf("epochs seen: %v, want some", slices.Sorted(maps.Keys(weights)))
	}
}

// await asks five times a second until the condition holds. Errors are part of what it says in the end only.
func (w *world) await(what string, condition func() (bool, error)) {
	w.t.Helper()
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		done, err := condition()
		if done && err == nil {
			w.logf("%s", what)
			return
		}
		select {
		case <-ticker.C:
		case <-w.ctx.Done():
			w.t.Fatalf("wait for %s: %v", what, errors.Join(context.Cause(w.ctx), err))
		}
	}
}

// pause lets real time pass: where a test is about how long something lasts.
func pause(ctx context.Context, t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-ctx.Done():
		t.Fatalf("let %v pass: %v", d, ctx.Err())
	}
}
