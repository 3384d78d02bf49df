package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// attempts at writing an order before somebody else's writes are given up on.
const attempts = 10

// waiting is how an order is waited for.
type waiting struct {
	wait    bool
	timeout time.Duration
}

func (w *waiting) bind(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&w.wait, "wait", true, "wait until the operator has acted on it")
	cmd.Flags().DurationVar(&w.timeout, "timeout", 30*time.Second, "how long to wait")
}

// newOrders makes a command for each verb.
func newOrders(env *environment) []*cobra.Command {
	orders := []struct {
		verb  v1alpha1.Verb
		short string
	}{
		{v1alpha1.VerbPromote, "Skip the remaining steps and verdicts: all traffic, the bake, promotion"},
		{v1alpha1.VerbAbort, "Roll the release back"},
		{v1alpha1.VerbApprove, "Let the present approval step pass"},
		{v1alpha1.VerbReject, "Roll back the release that waits for approval"},
		{v1alpha1.VerbRetry, "Release the version that was rolled back again, from the first step"},
		{v1alpha1.VerbPause, "Stop the steps; a failing canary is still rolled back"},
		{v1alpha1.VerbResume, "End a pause, or a pause step without duration"},
	}
	var commands []*cobra.Command
	for _, order := range orders {
		var w waiting
		cmd := &cobra.Command{
			Use: string(order.verb) + " NAME", Short: order.short,
			Args: oneName, ValidArgsFunction: completeNames(env),
			RunE: func(cmd *cobra.Command, args []string) error {
				c, namespace, err := env.connect()
				if err != nil {
					return err
				}
				return env.order(cmd.Context(), c, client.ObjectKey{Namespace: namespace, Name: args[0]}, order.verb, w)
			},
		}
		w.bind(cmd)
		commands = append(commands, cmd)
	}
	return commands
}

// order writes an order and prints what came of it. A refusal is an error with the operator's words.
func (env *environment) order(ctx context.Context, c client.WithWatch, key client.ObjectKey, verb v1alpha1.Verb, w waiting) error {
	command := v1alpha1.Command{ID: env.id(), Verb: verb, By: env.user(ctx)}
	if err := give(ctx, c, key, &command); err != nil {
		return err
	}
	if !w.wait {
		fmt.Fprintf(env.Out, "%s ordered\n", verb)
		return nil
	}
	within, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	var result *v1alpha1.CommandStatus
	err := follow(within, c, key.Namespace, key.Name, func(r *v1alpha1.Rollout) (bool, error) {
		if last := r.Status.LastCommand; last != nil && last.ID == command.ID {
			result = last
			return true, nil
		}
		if other := pending(r); other == nil || other.ID != command.ID {
			return false, fmt.Errorf("the order was replaced before the operator had acted on it%s", describe(other))
		}
		return false, nil
	})
	switch {
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return fmt.Errorf("the order is given, but nobody has acted on it in %s; is the operator running? "+
			"Look with: kubectl get pods -n %s", w.timeout, defaultInstallation)
	case err != nil:
		return err
	case !result.Accepted:
		return errors.New(result.Message)
	}
	fmt.Fprintln(env.Out, result.Message)
	return nil
}

// give writes the command into the Rollout's annotation, about the release and step that are there at
// that moment. An order that waits to be acted on is not overwritten, but for an abort.
func give(ctx context.Context, c client.Client, key client.ObjectKey, command *v1alpha1.Command) error {
	for range attempts {
		rollout, err := find(ctx, c, key.Namespace, key.Name)
		if err != nil {
			return err
		}
		other := pending(rollout)
		if other != nil && command.Verb != v1alpha1.VerbAbort {
			return fmt.Errorf("an earlier order has not been acted on yet%s; try again in a moment, or abort", describe(other))
		}
		address(command, rollout)
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
			"resourceVersion": rollout.ResourceVersion,
			"annotations":     map[string]string{v1alpha1.AnnotationCommand: command.String()},
		}})
		if err != nil {
			return fmt.Errorf("write order: %w", err)
		}
		err = c.Patch(ctx, rollout, client.RawPatch(types.MergePatchType, patch))
		if apierrors.IsConflict(err) {
			continue
		}
		if err != nil {
			return advise(err, "order "+string(command.Verb))
		}
		return nil
	}
	return fmt.Errorf("order %s: the Rollout changes all the time; try again", command.Verb)
}

// address names the release, and for verbs about a step the step, so that a late order hits no other.
func address(command *v1alpha1.Command, r *v1alpha1.Rollout) {
	command.Release, command.Step = "", nil
	if r.Status.Release != nil {
		command.Release = r.Status.Release.ID
	}
	switch command.Verb {
	case v1alpha1.VerbApprove, v1alpha1.VerbReject, v1alpha1.VerbResume:
		if r.Status.Step != nil {
			index := r.Status.Step.Index
			command.Step = &index
		}
	}
}

// pending is the order that the operator has not acted on.
func pending(r *v1alpha1.Rollout) *v1alpha1.Command {
	command, err := v1alpha1.ParseCommand(r.Annotations[v1alpha1.AnnotationCommand])
	if err != nil { // none, or one that nobody can act on
		return nil
	}
	if last := r.Status.LastCommand; last != nil && last.ID == command.ID {
		return nil
	}
	return command
}

func describe(command *v1alpha1.Command) string {
	if command == nil {
		return ""
	}
	return strings.TrimRight(fmt.Sprintf(": %s by %s", command.Verb, dash(command.By)), " ")
}
