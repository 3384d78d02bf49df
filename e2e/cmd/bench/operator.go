package main

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/e2e/harness"
)

const (
	// idleRollouts is how many Rollouts there are while the operator's memory is measured.
	idleRollouts = 50
	// idleTime is how long nothing happens to them before.
	idleTime = 20 * time.Second
)

// operatorMemory measures the operators with many Rollouts on which nothing happens: one pod each,
// without a proxy, because the node is small.
func (b *bench) operatorMemory(ctx context.Context, space *harness.Space) error {
	for i := range idleRollouts {
		name := fmt.Sprintf("shop-%d", i)
		if err := space.Deploy(ctx, harness.App{Name: name, Version: harness.Version{Name: "v1"}, Replicas: 1, Rollout: name}); err != nil {
			return err
		}
		if err := space.Create(ctx, harness.NewRollout(name)); err != nil {
			return err
		}
	}
	rollouts, err := harness.Follow[*v1alpha1.Rollout](ctx, space.Client, &v1alpha1.RolloutList{}, client.InNamespace(space.Name))
	if err != nil {
		return err
	}
	defer rollouts.Stop()
	healthy := func(all []*v1alpha1.Rollout) bool {
		n := 0
		for _, o := range all {
			if o.Status.Phase == v1alpha1.PhaseHealthy {
				n++
			}
		}
		return n == idleRollouts
	}
	if err := rollouts.Await(ctx, fmt.Sprintf("%d rollouts to be healthy", idleRollouts), healthy); err != nil {
		return err
	}
	select {
	case <-time.After(idleTime):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if !healthy(rollouts.Current()) {
		return fmt.Errorf("not all rollouts stayed healthy")
	}
	operators, err := b.cluster.Operators(ctx)
	if err != nil {
		return err
	}
	var largest float64
	notes := ""
	for i := range operators {
		mb, err := residentMB(&operators[i], operators[i].Spec.Containers[0].Name)
		if err != nil {
			return err
		}
		notes += fmt.Sprintf("%.1f; ", mb)
		largest = max(largest, mb)
	}
	b.give("operator_rss_mb", "MB", largest, "%s%d rollouts", notes, idleRollouts)
	return nil
}
