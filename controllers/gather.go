package controllers

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/controllers/plan"
)

var (
	deploymentKind = appsv1.SchemeGroupVersion.WithKind("Deployment")
	replicaSetKind = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")
)

// world is one pass over the cluster: the objects that plan.Observed was made from, kept so that every
// write carries the resourceVersion that was looked at.
type world struct {
	rollout *v1alpha1.Rollout
	// deployment is nil when it does not exist; typed is its read-only typed form.
	deployment *unstructured.Unstructured
	typed      *appsv1.Deployment
	// replicaSets that match the Deployment's selector, by name.
	replicaSets map[string]*unstructured.Unstructured
	service     *corev1.Service
	// pods that match the Deployment's selector.
	pods []corev1.Pod
	// runs of analysis templates that the Rollout owns; remediable: what keeps one from beginning may be
	// mended without this Rollout hearing of it.
	runs       []*v1alpha1.AnalysisRun
	remediable bool
	observed   plan.Observed
}

// gather looks at everything that a decision about one Rollout depends on.
func (r *RolloutReconciler) gather(ctx context.Context, rollout *v1alpha1.Rollout) (*world, error) {
	w := &world{rollout: rollout, replicaSets: map[string]*unstructured.Unstructured{}}
	w.observed = plan.Observed{
		Spec: rollout.Spec, Generation: rollout.Generation, Status: *rollout.Status.DeepCopy(),
		Deleting: !rollout.DeletionTimestamp.IsZero(),
	}
	for _, step := range []func(context.Context, *world) error{
		r.gatherWorkload, r.gatherReplicaSets, r.gatherService, r.gatherConflicts, r.gatherMesh, r.gatherAnalyses,
	} {
		if err := step(ctx, w); err != nil {
			return nil, err
		}
	}
	w.observed.Command = pendingCommand(rollout)
	w.observed.CanaryYoungest = youngest(w.pods, hashOf(rollout.Status.Canary))
	if baseline := rollout.Status.Baseline; baseline != nil {
		if at := youngest(w.pods, baseline.Hash); at.After(w.observed.CanaryYoungest) {
			w.observed.CanaryYoungest = at
		}
	}
	w.observed.Verdict = r.Looks.newest(rollout)
	return w, nil
}

// pendingCommand reads a person's order that has not been acted on.
func pendingCommand(rollout *v1alpha1.Rollout) *v1alpha1.Command {
	value := rollout.Annotations[v1alpha1.AnnotationCommand]
	if value == "" {
		return nil
	}
	command, err := v1alpha1.ParseCommand(value)
	if err != nil {
		// What cannot be read is refused by the plan as an unknown verb, once.
		command = &v1alpha1.Command{ID: safeHash([]byte(value)), Verb: v1alpha1.Verb(err.Error())}
	}
	if last := rollout.Status.LastCommand; last != nil && last.ID == command.ID {
		return nil
	}
	return command
}

func (r *RolloutReconciler) gatherWorkload(ctx context.Context, w *world) error {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(deploymentKind)
	err := r.Client.Get(ctx, types.NamespacedName{Namespace: w.rollout.Namespace, Name: w.rollout.Spec.WorkloadRef.Name}, u)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("get deployment: %w", err)
	}
	w.deployment = u
	if w.typed, err = deploymentOf(u); err != nil {
		return err
	}
	replicas := int32(1)
	if w.typed.Spec.Replicas != nil {
		replicas = *w.typed.Spec.Replicas
	}
	_, held := u.GetAnnotations()[v1alpha1.AnnotationHeld]
	w.observed.Workload = plan.Workload{
		Exists: true, UID: string(u.GetUID()),
		Terminating:  u.GetDeletionTimestamp() != nil,
		Labelled:     u.GetLabels()[v1alpha1.LabelRollout] == w.rollout.Name,
		Replicas:     replicas,
		TemplateHash: templateHash(u),
		Images:       images(u),
		Paused:       w.typed.Spec.Paused,
		Held:         held,
	}
	return nil
}

func holderName(rollout *v1alpha1.Rollout) string {
	return "sluice-" + strings.ToLower(rollout.Name) + "-canary"
}
func canaryServiceName(rollout *v1alpha1.Rollout) string {
	return rollout.Spec.Service.Name + "-canary"
}
