package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/e2e/harness"
)

// shop is the name of the service that is released, of its Deployment and of its Rollout.
const shop = "shop"

// world is a shop under a Rollout with clients, all healthy.
type world struct {
	*harness.Space
	rollout *harness.RolloutRecord
	pods    *harness.PodRecord
	loads   []*harness.Load
}

// setting is how a world is to be.
type setting struct {
	replicas int32
	clients  int32
	// rate of each client.
	rate  float64
	steps []v1alpha1.Step
	// analysis is how long each weight is judged, warmUp for how long new pods are not.
	analysis, warmUp time.Duration
}

func newWorld(ctx context.Context, space *harness.Space, s setting) (*world, error) {
	w := &world{Space: space}
	if err := w.Deploy(ctx, harness.App{Name: shop, Version: harness.Version{Name: "v1"}, Replicas: s.replicas, Rollout: shop}); err != nil {
		return nil, err
	}
	if err := w.AwaitAvailable(ctx, shop); err != nil {
		return nil, err
	}
	r := harness.NewRollout(shop, s.steps...)
	harness.CompareOnly(r) // as by default
	r.Spec.Analysis.Duration = &metav1.Duration{Duration: s.analysis}
	r.Spec.Analysis.Interval = &metav1.Duration{Duration: 250 * time.Millisecond}
	r.Spec.Analysis.Compare.WarmUp = &metav1.Duration{Duration: s.warmUp}
	r.Spec.Analysis.MinRequests = ptr.To[int32](1)
	r.Spec.Deadlines.Analysis = &metav1.Duration{Duration: time.Minute}
	r.Spec.Deadlines.Release = &metav1.Duration{Duration: 20 * time.Minute}
	if err := w.Create(ctx, r); err != nil {
		return nil, err
	}
	var err error
	if w.rollout, err = w.FollowRollout(ctx, shop); err != nil {
		return nil, err
	}
	if w.pods, err = w.FollowPods(ctx, shop); err != nil {
		return nil, err
	}
	if _, err := w.rollout.Healthy(ctx); err != nil {
		return nil, err
	}
	if w.loads, err = w.StartLoad(ctx, harness.Clients{Target: shop, Rate: s.rate, Replicas: s.clients}); err != nil {
		return nil, err
	}
	for _, load := range w.loads {
		if err := load.Flows(ctx, 5); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// stop ends the recordings.
func (w *world) stop() {
	w.rollout.Stop()
	w.pods.Stop()
}

// ends waits for the end of a release and checks its outcome.
func (w *world) ends(ctx context.Context, attempt int64, outcome string) (*v1alpha1.Rollout, error) {
	o, err := w.rollout.Ended(ctx, attempt)
	if err != nil {
		return nil, err
	}
	if got := harness.Outcome(o); got != outcome {
		return nil, fmt.Errorf("release %d ended as %q, want %q: %s", attempt, got, outcome, harness.Describe(o))
	}
	return o, nil
}
