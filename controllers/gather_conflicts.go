package controllers

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// gatherConflicts finds what makes the Rollout's spec impossible to act on.
func (r *RolloutReconciler) gatherConflicts(ctx context.Context, w *world) error {
	o := &w.observed
	var rollouts v1alpha1.RolloutList
	if err := r.Client.List(ctx, &rollouts, client.InNamespace(w.rollout.Namespace)); err != nil {
		return fmt.Errorf("list rollouts: %w", err)
	}
	for i := range rollouts.Items {
		other := &rollouts.Items[i]
		if other.UID == w.rollout.UID || !v1alpha1.Older(other, w.rollout) {
			continue
		}
		if other.Spec.WorkloadRef.Name == w.rollout.Spec.WorkloadRef.Name {
			o.InvalidReason = v1alpha1.ReasonConflict
			o.Invalid = fmt.Sprintf("spec.workloadRef: Deployment %s already belongs to Rollout %s, which is older; delete one of the two Rollouts", other.Spec.WorkloadRef.Name, other.Name)
			return nil
		}
		if other.Spec.Service.Name == w.rollout.Spec.Service.Name {
			o.InvalidReason = v1alpha1.ReasonConflict
			o.Invalid = fmt.Sprintf("spec.service: Service %s already belongs to Rollout %s, which is older; give this Rollout a Service of its own", other.Spec.Service.Name, other.Name)
			return nil
		}
	}
	if w.typed == nil {
		return nil
	}
	if w.typed.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		o.InvalidReason = v1alpha1.ReasonInvalid
		o.Invalid = fmt.Sprintf("spec.workloadRef: Deployment %s has strategy Recreate, which stops all pods at once; set spec.strategy.type to RollingUpdate", w.typed.Name)
		return nil
	}
	if limit := w.typed.Spec.RevisionHistoryLimit; limit != nil && *limit == 0 {
		o.InvalidReason = v1alpha1.ReasonInvalid
		o.Invalid = fmt.Sprintf("spec.workloadRef: Deployment %s has revisionHistoryLimit 0, which deletes the version to go back to; set it to at least 1", w.typed.Name)
		return nil
	}
	return r.gatherOverlaps(ctx, w)
}

// gatherOverlaps refuses Deployments whose selectors match each other's pods: one could adopt the
// other's canary.
func (r *RolloutReconciler) gatherOverlaps(ctx context.Context, w *world) error {
	mine, err := metav1.LabelSelectorAsSelector(w.typed.Spec.Selector)
	if err != nil {
		return fmt.Errorf("read selector: %w", err)
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(deploymentKind)
	if err := r.Client.List(ctx, list, client.InNamespace(w.rollout.Namespace)); err != nil {
		return fmt.Errorf("list deployments: %w", err)
	}
	for i := range list.Items {
		u := &list.Items[i]
		if u.GetUID() == w.deployment.GetUID() {
			continue
		}
		other, err := deploymentOf(u)
		if err != nil {
			return err
		}
		theirs, err := metav1.LabelSelectorAsSelector(other.Spec.Selector)
		if err != nil {
			continue
		}
		if theirs.Matches(labels.Set(w.typed.Spec.Template.Labels)) || mine.Matches(labels.Set(other.Spec.Template.Labels)) {
			w.observed.InvalidReason = v1alpha1.ReasonConflict
			w.observed.Invalid = fmt.Sprintf("spec.workloadRef: the selectors of Deployments %s and %s match each other's pods; give each a label of its own", w.typed.Name, other.Name)
			return nil
		}
	}
	return nil
}
