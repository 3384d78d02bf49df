package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/controllers/plan"
)

// errOutdated says that the world is no longer what was gathered: look again.
var errOutdated = errors.New("the cluster changed since it was looked at")

// Annotations by which the Deployment controller recognises a saturated ReplicaSet: without both, it
// raises the handed-over canary by the surge for a moment.
const (
	desiredReplicasAnnotation = "deployment.kubernetes.io/desired-replicas"
	maxReplicasAnnotation     = "deployment.kubernetes.io/max-replicas"
)

// apply carries out one write. Every write is idempotent and carries the resourceVersion of what was
// gathered, so that one made from an outdated view is refused.
func (r *RolloutReconciler) apply(ctx context.Context, w *world, op plan.Op) error {
	switch op.Kind {
	case plan.OpCreateCanary:
		return r.createCanary(ctx, w, op.Size)
	case plan.OpTakeOver:
		return r.takeOver(ctx, w, op.Size)
	case plan.OpScaleCanary:
		return r.scaleOurs(ctx, w, w.observed.Canary, op.Size)
	case plan.OpDeleteCanary:
		return r.deleteOurs(ctx, w, w.observed.Canary)
	case plan.OpCreateBaseline:
		return r.createBaseline(ctx, w, op.Size)
	case plan.OpScaleBaseline:
		return r.scaleOurs(ctx, w, w.observed.Baseline, op.Size)
	case plan.OpDeleteBaseline:
		return r.deleteOurs(ctx, w, w.observed.Baseline)
	case plan.OpNarrow:
		return r.setServiceHash(ctx, w, op.Hash)
	case plan.OpRestore:
		return r.setServiceHash(ctx, w, "")
	case plan.OpHandOver:
		return r.handOver(ctx, w)
	case plan.OpUnpause:
		return r.unpause(ctx, w, op.Hash)
	case plan.OpHold:
		return r.hold(ctx, w)
	case plan.OpRevert:
		return r.revert(ctx, w)
	case plan.OpDropNative:
		return r.dropNative(ctx, w)
	case plan.OpSettle:
		return r.settle(ctx, w, op.Hash)
	case plan.OpPrune:
		return r.prune(ctx, w)
	case plan.OpCleanUp:
		return r.cleanUp(ctx, w)
	case plan.OpCanaryService:
		return r.ensureCanaryService(ctx, w, op.Hash)
	case plan.OpAnalyse:
		return r.analyse(ctx, w, op.Stage)
	case plan.OpStopAnalysis:
		return r.stopAnalysis(ctx, w, op.Run)
	default:
		return fmt.Errorf("apply %q: unknown write", op.Kind)
	}
}

// ensureHolder creates the object that controls the ReplicaSets of the canary and the baseline. The Rollout does not own it,
// so that no foreground deletion of the Rollout can take the canary away while it has weight.
func (r *RolloutReconciler) ensureHolder(ctx context.Context, w *world) (*corev1.ConfigMap, error) {
	holder := &corev1.ConfigMap{}
	key := client.ObjectKey{Namespace: w.rollout.Namespace, Name: holderName(w.rollout)}
	err := r.Reader.Get(ctx, key, holder)
	if err == nil && holder.DeletionTimestamp != nil {
		return nil, errOutdated
	}
	if err == nil || !apierrors.IsNotFound(err) {
		return holder, wrap(err, "get canary's holder")
	}
	holder = &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace, Name: key.Name,
			Labels: map[string]string{v1alpha1.LabelManagedBy: w.rollout.Name},
		},
		Data: map[string]string{"about": "Sluice's hold on the canary of Rollout " + w.rollout.Name + "; it goes when the release is over."},
	}
	return holder, wrap(r.Client.Create(ctx, holder), "create canary's holder")
}

func heldBy(holder *corev1.ConfigMap) metav1.OwnerReference {
	return *metav1.NewControllerRef(holder, corev1.SchemeGroupVersion.WithKind("ConfigMap"))
}

// createCanary creates a ReplicaSet with the Deployment's template. A webhook may edit it on the way; the
// plan compares what is read back, and ends a release whose canary could never be handed over.
func (r *RolloutReconciler) createCanary(ctx context.Context, w *world, size int32) error {
	if w.deployment == nil || w.rollout.Status.Canary == nil {
		return errOutdated
	}
	canary := w.rollout.Status.Canary
	if templateHash(w.deployment) != canary.TemplateHash {
		return errOutdated
	}
	holder, err := r.ensureHolder(ctx, w)
	if err != nil {
		return err
	}
	u := newReplicaSet(w.deployment, canary, size)
	u.SetOwnerReferences([]metav1.OwnerReference{heldBy(holder)})
	u.SetAnnotations(saturation(w, nil))
	return r.createReplicaSet(ctx, u)
}

// createBaseline creates a ReplicaSet with the template of stable's. It is never handed over, so it needs none
// of the Deployment controller's annotations.
func (r *RolloutReconciler) createBaseline(ctx context.Context, w *world, size int32) error {
	stable, baseline := w.replicaSets[w.observed.Stable.Name], w.rollout.Status.Baseline
	if stable == nil || baseline == nil || w.observed.Stable.Terminating {
		return errOutdated
	}
	holder, err := r.ensureHolder(ctx, w)
	if err != nil {
		return err
	}
	u := newReplicaSet(stable, baseline, size)
	u.SetOwnerReferences([]metav1.OwnerReference{heldBy(holder)})
	return r.createReplicaSet(ctx, u)
}

func (r *RolloutReconciler) createReplicaSet(ctx context.Context, u *unstructured.Unstructured) error {
	err := r.Client.Create(ctx, u)
	if apierrors.IsAlreadyExists(err) {
		return errOutdated // the cache is behind, or an earlier one is still going
	}
	return wrap(err, "create replicaset "+u.GetName())
}

// newReplicaSet is a revision's ReplicaSet as the Deployment controller would make it, from a Deployment or from
// another ReplicaSet.
func newReplicaSet(from *unstructured.Unstructured, revision *v1alpha1.Revision, size int32) *unstructured.Unstructured {
	labelled := func(path ...string) map[string]any {
		set, _, _ := unstructured.NestedMap(from.Object, path...)
		if set == nil {
			set = map[string]any{}
		}
		set[hashLabel] = revision.Hash
		return set
	}
	t := template(from)
	_ = unstructured.SetNestedMap(t, labelled("spec", "template", "metadata", "labels"), "metadata", "labels")
	selector, _, _ := unstructured.NestedMap(from.Object, "spec", "selector")
	selector["matchLabels"] = labelled("spec", "selector", "matchLabels")
	spec := map[string]any{"replicas": int64(size), "selector": selector, "template": t}
	if seconds, found, _ := unstructured.NestedInt64(from.Object, "spec", "minReadySeconds"); found {
		spec["minReadySeconds"] = seconds
	}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetGroupVersionKind(replicaSetKind)
	u.SetNamespace(from.GetNamespace())
	u.SetName(revision.ReplicaSet)
	labels := map[string]string{}
	for key, value := range labelled("spec", "template", "metadata", "labels") {
		labels[key], _ = value.(string)
	}
	u.SetLabels(labels)
	return u
}

// saturation sets the annotations that the Deployment controller keeps on its ReplicaSets.
func saturation(w *world, annotations map[string]string) map[string]string {
	annotations = maps.Clone(annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	replicas := w.observed.Workload.Replicas
	annotations[desiredReplicasAnnotation] = strconv.Itoa(int(replicas))
	annotations[maxReplicasAnnotation] = strconv.Itoa(int(replicas + maxSurge(w.typed)))
	return annotations
}

// takeOver makes an owned ReplicaSet with the same template, at zero replicas, the canary.
func (r *RolloutReconciler) takeOver(ctx context.Context, w *world, size int32) error {
	u, canary := w.replicaSets[w.observed.Native.Name], w.rollout.Status.Canary
	if u == nil || canary == nil || canary.ReplicaSet != u.GetName() || w.observed.Native.Replicas != 0 {
		return errOutdated
	}
	holder, err := r.ensureHolder(ctx, w)
	if err != nil {
		return err
	}
	u = u.DeepCopy()
	u.SetOwnerReferences([]metav1.OwnerReference{heldBy(holder)})
	u.SetAnnotations(saturation(w, u.GetAnnotations()))
	if err := unstructured.SetNestedField(u.Object, int64(size), "spec", "replicas"); err != nil {
		return fmt.Errorf("size replicaset %s: %w", u.GetName(), err)
	}
	return outdated(r.Client.Update(ctx, u), "take over replicaset "+u.GetName())
}

// scaleOurs sets the size of a ReplicaSet that the holder controls.
func (r *RolloutReconciler) scaleOurs(ctx context.Context, w *world, rs plan.ReplicaSet, size int32) error {
	u := w.replicaSets[rs.Name]
	if u == nil || !rs.Ours {
		return errOutdated
	}
	if rs.Replicas == size {
		return nil
	}
	u = u.DeepCopy()
	if err := unstructured.SetNestedField(u.Object, int64(size), "spec", "replicas"); err != nil {
		return fmt.Errorf("size replicaset %s: %w", rs.Name, err)
	}
	return outdated(r.Client.Update(ctx, u), "scale replicaset "+rs.Name)
}

// deleteOurs deletes a ReplicaSet that the holder controls.
func (r *RolloutReconciler) deleteOurs(ctx context.Context, w *world, rs plan.ReplicaSet) error {
	u := w.replicaSets[rs.Name]
	if u == nil || !rs.Ours {
		return nil
	}
	return r.deleteReplicaSet(ctx, u)
}

// handOver makes the Deployment the canary's controller, in one write: between "none" and "adopted"
// another Deployment could take it.
func (r *RolloutReconciler) handOver(ctx context.Context, w *world) error {
	u := w.replicaSets[w.observed.Canary.Name]
	if u == nil || w.deployment == nil {
		return errOutdated
	}
	if w.observed.Canary.Owned {
		return nil
	}
	if err := r.unchanged(ctx, w); err != nil {
		return err
	}
	if templateHash(u) != templateHash(w.deployment) {
		return errOutdated
	}
	u = u.DeepCopy()
	u.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(w.deployment, deploymentKind)})
	u.SetAnnotations(saturation(w, u.GetAnnotations()))
	return outdated(r.Client.Update(ctx, u), "hand canary over")
}

// unchanged asks the API server itself whether the Deployment is still what was looked at: the write
// that follows is on another object, so no resourceVersion of it fences this one.
func (r *RolloutReconciler) unchanged(ctx context.Context, w *world) error {
	now := &unstructured.Unstructured{}
	now.SetGroupVersionKind(deploymentKind)
	if err := r.Reader.Get(ctx, client.ObjectKeyFromObject(w.deployment), now); err != nil {
		return outdated(err, "get deployment")
	}
	if now.GetGeneration() != w.deployment.GetGeneration() || now.GetUID() != w.deployment.GetUID() {
		return errOutdated
	}
	return nil
}

// unpause ends the hold, provided that the template is still the one that was compared.
func (r *RolloutReconciler) unpause(ctx context.Context, w *world, hash string) error {
	if w.deployment == nil || templateHash(w.deployment) != hash {
		return errOutdated
	}
	if !w.observed.Workload.Paused && !w.observed.Workload.Held {
		return nil
	}
	u := w.deployment.DeepCopy()
	release(u)
	return outdated(r.Client.Update(ctx, u), "unpause deployment")
}

// release takes the hold's marks off a Deployment.
func release(u *unstructured.Unstructured) {
	unstructured.RemoveNestedField(u.Object, "spec", "paused")
	annotations := u.GetAnnotations()
	delete(annotations, v1alpha1.AnnotationHeld)
	u.SetAnnotations(annotations)
}

func (r *RolloutReconciler) hold(ctx context.Context, w *world) error {
	if w.deployment == nil {
		return errOutdated
	}
	u := w.deployment.DeepCopy()
	if err := unstructured.SetNestedField(u.Object, true, "spec", "paused"); err != nil {
		return fmt.Errorf("pause deployment: %w", err)
	}
	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[v1alpha1.AnnotationHeld] = "true"
	u.SetAnnotations(annotations)
	return outdated(r.Client.Update(ctx, u), "hold deployment")
}

// revert writes stable's template back and unpauses in one write, so that the rejected template is
// never shipped.
func (r *RolloutReconciler) revert(ctx context.Context, w *world) error {
	stable := w.replicaSets[w.observed.Stable.Name]
	if w.deployment == nil || stable == nil {
		return errOutdated
	}
	u := w.deployment.DeepCopy()
	if err := unstructured.SetNestedMap(u.Object, template(stable), "spec", "template"); err != nil {
		return fmt.Errorf("write stable's template back: %w", err)
	}
	release(u)
	return outdated(r.Client.Update(ctx, u), "write stable's template back")
}

// prune deletes what prunable lists.
func (r *RolloutReconciler) prune(ctx context.Context, w *world) error {
	stable := w.replicaSets[w.observed.Stable.Name]
	if stable == nil || w.deployment == nil {
		return nil
	}
	for _, u := range w.prunable(stable) {
		if err := r.deleteReplicaSet(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

// dropNative deletes an owned ReplicaSet with the canary's template, at zero: the Deployment controller
// would take it for its new one.
func (r *RolloutReconciler) dropNative(ctx context.Context, w *world) error {
	u := w.replicaSets[w.observed.Native.Name]
	if u == nil {
		return nil
	}
	if w.observed.Native.Replicas != 0 {
		return errOutdated
	}
	return r.deleteReplicaSet(ctx, u)
}

// settle scales to zero what a hold in the middle of a native rollout left, except one revision.
func (r *RolloutReconciler) settle(ctx context.Context, w *world, keep string) error {
	for name, u := range w.replicaSets {
		controller := metav1.GetControllerOf(u)
		replicas, _, _ := unstructured.NestedInt64(u.Object, "spec", "replicas")
		if w.deployment == nil || controller == nil || controller.UID != w.deployment.GetUID() || replicas == 0 || u.GetLabels()[hashLabel] == keep {
			continue
		}
		u = u.DeepCopy()
		if err := unstructured.SetNestedField(u.Object, int64(0), "spec", "replicas"); err != nil {
			return fmt.Errorf("size replicaset %s: %w", name, err)
		}
		if err := r.Client.Update(ctx, u); err != nil {
			return outdated(err, "scale replicaset "+name+" to zero")
		}
	}
	return nil
}

// deleteReplicaSet deletes a ReplicaSet and its pods, provided that it is still as it was looked at.
func (r *RolloutReconciler) deleteReplicaSet(ctx context.Context, u *unstructured.Unstructured) error {
	version := u.GetResourceVersion()
	err := r.Client.Delete(ctx, u, client.Preconditions{ResourceVersion: &version}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	return outdated(client.IgnoreNotFound(err), "delete replicaset "+u.GetName())
}

// cleanUp deletes the canary's Service and the holder; whatever the holder still controls goes with it.
func (r *RolloutReconciler) cleanUp(ctx context.Context, w *world) error {
	for _, object := range []client.Object{
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: canaryServiceName(w.rollout)}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: holderName(w.rollout)}},
	} {
		object.SetNamespace(w.rollout.Namespace)
		err := r.Reader.Get(ctx, client.ObjectKeyFromObject(object), object)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("get %s: %w", object.GetName(), err)
		}
		if object.GetLabels()[v1alpha1.LabelManagedBy] != w.rollout.Name {
			continue // somebody else's
		}
		if err := r.Client.Delete(ctx, object, client.PropagationPolicy(metav1.DeletePropagationBackground)); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete %s: %w", object.GetName(), err)
		}
	}
	return nil
}

// wrap adds what was being done to an error; nil stays nil.
func wrap(err error, doing string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// outdated is wrap for a fenced write: a conflict, or an object that is gone, means look again.
func outdated(err error, doing string) error {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return fmt.Errorf("%s: %w", doing, errOutdated)
	}
	return wrap(err, doing)
}
