package main

import (
	"context"
	"fmt"
	"os"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// uninstall leaves the cluster as if Sluice had never been there, but for the chart itself: releases end,
// then the hold, then what was held. The chart runs it before it is deleted.
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
	for _, step := range []func(context.Context, client.Client) error{endReleases, endHold, resumeHeld} {
		if err := step(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// endReleases deletes every Rollout and waits until the operator has given its Service and Deployment
// back.
func endReleases(ctx context.Context, c client.Client) error {
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

// endHold deletes the hold policy's binding, which the chart names in SLUICE_HOLD_BINDING, so that no
// template is held that nobody would release.
func endHold(ctx context.Context, c client.Client) error {
	name := os.Getenv("SLUICE_HOLD_BINDING")
	if name == "" {
		return nil
	}
	binding := &admissionv1.MutatingAdmissionPolicyBinding{}
	binding.Name = name
	if err := c.Delete(ctx, binding); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete hold binding %s: %w", name, err)
	}
	fmt.Fprintln(os.Stderr, "the hold is over")
	return nil
}

// resumeHeld lets Deployments roll out that were held without a Rollout. The policy may still act for a
// moment after its binding is gone, so each is looked at until it stays unpaused.
func resumeHeld(ctx context.Context, c client.Client) error {
	free := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"`+v1alpha1.AnnotationHeld+`":null}},"spec":{"paused":false}}`))
	return wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		var deployments appsv1.DeploymentList
		if err := c.List(ctx, &deployments, client.HasLabels{v1alpha1.LabelRollout}); err != nil {
			return false, fmt.Errorf("list deployments: %w", err)
		}
		held := 0
		for i := range deployments.Items {
			d := &deployments.Items[i]
			if _, is := d.Annotations[v1alpha1.AnnotationHeld]; !is {
				continue
			}
			held++
			fmt.Fprintf(os.Stderr, "resuming deployment %s\n", client.ObjectKeyFromObject(d))
			if err := c.Patch(ctx, d, free); client.IgnoreNotFound(err) != nil {
				return false, fmt.Errorf("resume deployment %s: %w", client.ObjectKeyFromObject(d), err)
			}
		}
		return held == 0, nil
	})
}
