package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

func newStatus(env *environment) *cobra.Command {
	var watching bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "status NAME",
		Short: "Tell by the exit code where a release is",
		Long: "Tell by the exit code where a release is:\n\n" +
			"  0  the newest version is what runs\n" +
			"  1  an error\n" +
			"  2  a release is on, or is about to begin\n" +
			"  3  the newest version was rolled back, or is being rolled back\n" +
			"  4  a person must act\n\n" +
			"With --watch it waits while the answer is 2, for at most --timeout. A new template that is held and\n" +
			"that no operator has seen yet counts as a release, so it can follow a deployment at once.",
		Example:           "  kubectl set image deployment/shop shop=shop:v2 && sluice status shop --watch --timeout 30m",
		Args:              oneName,
		ValidArgsFunction: completeNames(env),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, namespace, err := env.connect()
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			if watching {
				if timeout > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, timeout)
					defer cancel()
				}
				return env.awaitEnd(ctx, c, namespace, args[0])
			}
			rollout, err := find(ctx, c, namespace, args[0])
			if err != nil {
				return err
			}
			code, message, err := judge(ctx, c, rollout)
			if err != nil {
				return err
			}
			fmt.Fprintln(env.Out, message)
			return leave(code)
		},
	}
	cmd.Flags().BoolVarP(&watching, "watch", "w", false, "wait until the release has ended")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "how long --watch waits; 0 is without end")
	return cmd
}

func leave(code int) error {
	if code == ExitDone {
		return nil
	}
	return exit(code)
}

// judge puts a Rollout's state into an exit code and a line. It looks at the Deployment too, because the
// hold marks it in the very write that brings a new template, before any operator has seen it.
func judge(ctx context.Context, c client.Client, r *v1alpha1.Rollout) (code int, message string, err error) {
	message = fmt.Sprintf("%s %s%s", r.Name, phase(r), after(": ", plain(r.Status.Message)))
	stalled := meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionStalled)
	switch r.Status.Phase {
	case v1alpha1.PhaseRolledBack, v1alpha1.PhaseRollingBack:
		return ExitRolledBack, message, nil
	case v1alpha1.PhaseHealthy:
	default:
		if stalled {
			return ExitStalled, message, nil
		}
		return ExitInProgress, message, nil
	}
	switch {
	case stalled:
		return ExitStalled, message, nil
	case r.Status.ObservedGeneration < r.Generation:
		return ExitInProgress, r.Name + ": the Rollout has changed and the operator has not seen it yet", nil
	}
	var deployment appsv1.Deployment
	key := client.ObjectKey{Namespace: r.Namespace, Name: r.Spec.WorkloadRef.Name}
	if err := c.Get(ctx, key, &deployment); apierrors.IsNotFound(err) {
		return ExitStalled, fmt.Sprintf("%s: there is no Deployment %s", r.Name, key.Name), nil
	} else if err != nil {
		return ExitError, "", advise(err, "get deployment "+key.Name)
	}
	if _, held := deployment.Annotations[v1alpha1.AnnotationHeld]; held && deployment.Spec.Paused {
		return ExitInProgress, r.Name + ": a new template is held and its release has not begun yet", nil
	}
	return ExitDone, message, nil
}

// awaitEnd waits until a release has ended, and tells each change. Where none is on at first because the
// last one failed, it looks for a moment whether the next one begins.
func (env *environment) awaitEnd(ctx context.Context, c client.WithWatch, namespace, name string) error {
	code, release, last := ExitInProgress, "", ""
	look := func(r *v1alpha1.Rollout) (over bool, err error) {
		var message string
		if code, message, err = judge(ctx, c, r); err != nil {
			return false, err
		}
		if message != last {
			last = message
			fmt.Fprintln(env.Out, message)
		}
		if r.Status.Release != nil {
			release = r.Status.Release.ID
		}
		// A rollback is over once the canary is gone.
		return code != ExitInProgress && r.Status.Phase != v1alpha1.PhaseRollingBack, nil
	}
	rollout, err := find(ctx, c, namespace, name)
	if err != nil {
		return err
	}
	over, err := look(rollout)
	if err != nil {
		return err
	}
	if over && code != ExitDone {
		moment, cancel := context.WithTimeout(ctx, env.settle)
		defer cancel()
		before, failed := release, code
		err := follow(moment, c, namespace, name, func(r *v1alpha1.Rollout) (bool, error) {
			_, err := look(r)
			return release != before || code != failed, err
		})
		if err == nil {
			over = false
		} else if !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
	if !over {
		err = follow(ctx, c, namespace, name, look)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		fmt.Fprintln(env.ErrOut, "the release has not ended in the time given")
	case err != nil:
		return err
	}
	return leave(code)
}
