package cli

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

func newUndo(env *environment) *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use:   "undo NAME",
		Short: "Take the new template back: write stable's into the Deployment",
		Long: "Take the new template back: write the stable version's pod template into the held Deployment.\n\n" +
			"A release that is on ends as a rollback; after a rollback the Deployment becomes ordinary again. Where\n" +
			"something applies the Deployment from Git, revert it there, or it will bring the template again.",
		Args: oneName, ValidArgsFunction: completeNames(env),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, namespace, err := env.connect()
			if err != nil {
				return err
			}
			return env.undo(cmd.Context(), c, client.ObjectKey{Namespace: namespace, Name: args[0]}, w)
		},
	}
	w.bind(cmd)
	return cmd
}

func (env *environment) undo(ctx context.Context, c client.WithWatch, key client.ObjectKey, w waiting) error {
	stable, err := revert(ctx, c, key)
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Out, "the template of %s is back in the Deployment\n", stable)
	if !w.wait {
		return nil
	}
	within, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	message := ""
	err = follow(within, c, key.Namespace, key.Name, func(r *v1alpha1.Rollout) (bool, error) {
		if r.Status.Phase != v1alpha1.PhaseHealthy {
			return false, nil
		}
		message = r.Status.Message
		code, _, err := judge(within, c, r)
		return code == ExitDone, err
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return fmt.Errorf("the release has not ended in %s; follow it with: sluice get %s -n %s --watch", w.timeout, key.Name, key.Namespace)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Out, "%s is %s%s\n", key.Name, v1alpha1.PhaseHealthy, after(": ", message))
	return nil
}

// revert writes the template of the stable ReplicaSet into the Deployment and returns the ReplicaSet's
// name. The hold stays; it is the operator that ends it. Templates are kept raw, because a client that is
// older than the API server would drop fields.
func revert(ctx context.Context, c client.Client, key client.ObjectKey) (string, error) {
	for range attempts {
		rollout, err := find(ctx, c, key.Namespace, key.Name)
		if err != nil {
			return "", err
		}
		if rollout.Status.Stable == nil || rollout.Status.Stable.ReplicaSet == "" {
			return "", fmt.Errorf("no version of %s is known to be good yet, so there is none to go back to", key.Name)
		}
		deployment, err := raw(ctx, c, "Deployment", key.Namespace, rollout.Spec.WorkloadRef.Name)
		if err != nil {
			return "", err
		}
		replicaSet, err := raw(ctx, c, "ReplicaSet", key.Namespace, rollout.Status.Stable.ReplicaSet)
		if err != nil {
			return "", err
		}
		template, found, err := unstructured.NestedMap(replicaSet.Object, "spec", "template")
		if err != nil || !found {
			return "", fmt.Errorf("replicaset %s has no template", replicaSet.GetName())
		}
		unstructured.RemoveNestedField(template, "metadata", "labels", appsv1.DefaultDeploymentUniqueLabelKey)
		present, _, _ := unstructured.NestedMap(deployment.Object, "spec", "template")
		if reflect.DeepEqual(present, template) {
			return "", fmt.Errorf("there is nothing to undo: the Deployment has the template of %s already", replicaSet.GetName())
		}
		paused, _, _ := unstructured.NestedBool(deployment.Object, "spec", "paused")
		if _, held := deployment.GetAnnotations()[v1alpha1.AnnotationHeld]; !paused || !held {
			return "", fmt.Errorf("there is nothing to undo: the Deployment is not held; "+
				"to release an earlier version again: kubectl rollout undo deployment/%s -n %s", deployment.GetName(), key.Namespace)
		}
		if err := unstructured.SetNestedMap(deployment.Object, template, "spec", "template"); err != nil {
			return "", fmt.Errorf("write template: %w", err)
		}
		err = c.Update(ctx, deployment)
		if apierrors.IsConflict(err) {
			continue
		}
		if err != nil {
			return "", advise(err, "write deployment "+deployment.GetName())
		}
		return replicaSet.GetName(), nil
	}
	return "", errors.New("write deployment: it changes all the time; try again")
}

func raw(ctx context.Context, c client.Client, kind, namespace, name string) (*unstructured.Unstructured, error) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind(kind))
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object); err != nil {
		return nil, advise(err, "get "+kind+" "+name)
	}
	return object, nil
}
