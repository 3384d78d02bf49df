package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// uninstall ends every release before the operator goes: it deletes all Rollouts, so that each gives
// its Service and Deployment back, and waits until they are gone. The chart runs it before deletion.
func uninstall(ctx context.Context) error {
	scheme, err := newScheme()
	if err != nil {
		return err
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the cluster: %w", err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("connect to the cluster: %w", err)
	}
	told := -1
	return wait.PollUntilContextCancel(ctx, 500*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		var rollouts v1alpha1.RolloutList
		if err := c.List(ctx, &rollouts); err != nil {
			if meta.IsNoMatchError(err) {
				return true, nil // the CRD is gone, and every Rollout with it
			}
			return false, fmt.Errorf("list rollouts: %w", err)
		}
		if n := len(rollouts.Items); n != told {
			fmt.Fprintf(os.Stderr, "%d Rollouts left\n", n)
			told = n
		}
		for i := range rollouts.Items {
			if rollouts.Items[i].DeletionTimestamp.IsZero() {
				if err := c.Delete(ctx, &rollouts.Items[i]); client.IgnoreNotFound(err) != nil {
					return false, fmt.Errorf("delete rollout %s: %w", client.ObjectKeyFromObject(&rollouts.Items[i]), err)
				}
			}
		}
		return len(rollouts.Items) == 0, nil
	})
}
