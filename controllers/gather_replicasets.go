package controllers

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/controllers/plan"
)

func (r *RolloutReconciler) gatherReplicaSets(ctx context.Context, w *world) error {
	if w.deployment == nil {
		return r.gatherOrphans(ctx, w)
	}
	selector, err := metav1.LabelSelectorAsSelector(w.typed.Spec.Selector)
	if err != nil {
		return fmt.Errorf("read selector of deployment %s: %w", w.deployment.GetName(), err)
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(replicaSetKind)
	inNamespace := client.InNamespace(w.rollout.Namespace)
	if err := r.Client.List(ctx, list, inNamespace, client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return fmt.Errorf("list replicasets: %w", err)
	}
	var pods corev1.PodList
	if err := r.Client.List(ctx, &pods, inNamespace, client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	w.pods = pods.Items
	var seen []seenReplicaSet
	for i := range list.Items {
		u := &list.Items[i]
		w.replicaSets[u.GetName()] = u
		rs, err := r.see(w, u)
		if err != nil {
			return err
		}
		seen = append(seen, rs)
	}
	status := w.rollout.Status
	w.observed.Stable = pickStable(seen, status.Stable)
	if w.observed.Canary, err = r.named(ctx, w, status.Canary, seen); err != nil {
		return err
	}
	if w.observed.Baseline, err = r.named(ctx, w, status.Baseline, seen); err != nil {
		return err
	}
	others := slices.DeleteFunc(slices.Clone(seen), func(rs seenReplicaSet) bool {
		handedOver := rs.Name == w.observed.Canary.Name && rs.Owned && rs.Replicas > 0 && status.Release != nil && status.Release.Outcome == ""
		return !rs.Owned || rs.Name == w.observed.Stable.Name || handedOver
	})
	w.observed.Native = pickNative(others, w.observed.Workload.TemplateHash)
	w.observed.Running = pickRunning(others)
	w.observed.Workload.Settled = settled(w.typed, seen)
	if stable := w.replicaSets[w.observed.Stable.Name]; stable != nil {
		w.observed.Workload.Prunable = int32(len(w.prunable(stable))) //nolint:gosec // bounded by the history's length
	}
	return nil
}

// named is the ReplicaSet of the canary or the baseline. That it is missing is confirmed with the API server
// itself, or a rollback could leave one behind that the cache has not seen yet. When it is gone, its pods may
// still be there.
func (r *RolloutReconciler) named(ctx context.Context, w *world, revision *v1alpha1.Revision, seen []seenReplicaSet) (plan.ReplicaSet, error) {
	if revision == nil {
		return plan.ReplicaSet{}, nil
	}
	for _, rs := range seen {
		if rs.Name == revision.ReplicaSet {
			return rs.ReplicaSet, nil
		}
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(replicaSetKind)
	err := r.Reader.Get(ctx, types.NamespacedName{Namespace: w.rollout.Namespace, Name: revision.ReplicaSet}, u)
	if err == nil {
		w.replicaSets[u.GetName()] = u
		rs, err := r.see(w, u)
		return rs.ReplicaSet, err
	}
	var gone plan.ReplicaSet
	for i := range w.pods {
		if w.pods[i].Labels[hashLabel] == revision.Hash && alive(&w.pods[i]) {
			gone.Pods++
		}
	}
	return gone, wrap(client.IgnoreNotFound(err), "get replicaset "+revision.ReplicaSet)
}

// prunable lists owned ReplicaSets at zero that are newer than stable: scaling from zero while held
// picks the newest, which may be a rejected one.
func (w *world) prunable(stable *unstructured.Unstructured) []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for name, u := range w.replicaSets {
		controller := metav1.GetControllerOf(u)
		replicas, _, _ := unstructured.NestedInt64(u.Object, "spec", "replicas")
		created, than := u.GetCreationTimestamp(), stable.GetCreationTimestamp()
		if name != stable.GetName() && name != w.observed.Native.Name && replicas == 0 && u.GetDeletionTimestamp() == nil &&
			controller != nil && controller.UID == w.deployment.GetUID() && than.Before(&created) {
			out = append(out, u)
		}
	}
	return out
}

// gatherOrphans finds what is left of a release whose Deployment is gone.
func (r *RolloutReconciler) gatherOrphans(ctx context.Context, w *world) error {
	status := w.rollout.Status
	for _, orphan := range []struct {
		revision *v1alpha1.Revision
		into     *plan.ReplicaSet
	}{{status.Canary, &w.observed.Canary}, {status.Baseline, &w.observed.Baseline}} {
		if orphan.revision == nil || orphan.revision.ReplicaSet == "" {
			continue
		}
		var pods corev1.PodList
		if err := r.Client.List(ctx, &pods, client.InNamespace(w.rollout.Namespace), client.MatchingLabels{hashLabel: orphan.revision.Hash}); err != nil {
			return fmt.Errorf("list pods: %w", err)
		}
		w.pods = append(w.pods, pods.Items...)
		var err error
		if *orphan.into, err = r.named(ctx, w, orphan.revision, nil); err != nil {
			return err
		}
	}
	return nil
}

// seenReplicaSet adds what picking needs to what the plan sees.
type seenReplicaSet struct {
	plan.ReplicaSet
	created metav1.Time
	// current is status.replicas: pods that are not terminating.
	current int32
}

// see reads one ReplicaSet and its pods.
func (r *RolloutReconciler) see(w *world, u *unstructured.Unstructured) (seenReplicaSet, error) {
	typed, err := replicaSetOf(u)
	if err != nil {
		return seenReplicaSet{}, err
	}
	rs := plan.ReplicaSet{
		Exists: true, Name: u.GetName(), UID: string(u.GetUID()),
		Hash: u.GetLabels()[hashLabel], TemplateHash: templateHash(u), Images: images(u),
		Replicas: 1, Ready: typed.Status.ReadyReplicas, Available: typed.Status.AvailableReplicas,
		Terminating: u.GetDeletionTimestamp() != nil,
	}
	if typed.Spec.Replicas != nil {
		rs.Replicas = *typed.Spec.Replicas
	}
	if controller := metav1.GetControllerOf(u); controller != nil {
		rs.Owned = w.deployment != nil && controller.UID == w.deployment.GetUID()
		rs.Ours = controller.Kind == "ConfigMap" && controller.Name == holderName(w.rollout)
	}
	for i := range w.pods {
		pod := &w.pods[i]
		if controller := metav1.GetControllerOf(pod); controller == nil || controller.UID != u.GetUID() {
			continue
		}
		if !alive(pod) {
			continue
		}
		rs.Pods++
		if crashing(pod) && !rs.Crashing {
			rs.Crashing, rs.Trouble = true, trouble(pod)
		}
		if rs.Trouble == "" {
			rs.Trouble = trouble(pod)
		}
	}
	return seenReplicaSet{rs, u.GetCreationTimestamp(), typed.Status.Replicas}, nil
}

// alive tells whether a pod exists and has not ended.
func alive(pod *corev1.Pod) bool {
	return pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

// patience is how many restarts a container gets before its pod counts as crashing: some applications
// wait for what they need by ending.
const patience = 3

// crashing tells whether a container of a pod keeps ending.
func crashing(pod *corev1.Pod) bool {
	return slices.ContainsFunc(slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses), func(c corev1.ContainerStatus) bool {
		return c.RestartCount >= patience && c.State.Waiting != nil && c.State.Waiting.Reason == "CrashLoopBackOff"
	})
}

// trouble says why a pod does not start, or "".
func trouble(pod *corev1.Pod) string {
	all := slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses)
	for _, c := range all {
		if waiting := c.State.Waiting; waiting != nil && waiting.Reason != "" &&
			waiting.Reason != "ContainerCreating" && waiting.Reason != "PodInitializing" {
			return fmt.Sprintf("pod %s, container %s: %s", pod.Name, c.Name, waiting.Reason)
		}
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return fmt.Sprintf("pod %s cannot be scheduled: %s", pod.Name, condition.Message)
		}
	}
	return ""
}

// pickStable is the ReplicaSet that status names; where status names none, of the owned ones with pods
// the one with most available pods (held in the middle of a native rollout there are several).
func pickStable(seen []seenReplicaSet, named *v1alpha1.Revision) plan.ReplicaSet {
	var best plan.ReplicaSet
	for _, rs := range seen {
		if named != nil {
			if rs.Name == named.ReplicaSet {
				return rs.ReplicaSet
			}
			continue
		}
		if rs.Owned && (rs.Replicas > 0 || rs.Pods > 0) && (!best.Exists || rs.Available > best.Available) {
			best = rs.ReplicaSet
		}
	}
	return best
}

// pickNative is the oldest of the owned ReplicaSets with the Deployment's present template: the one that
// the Deployment controller takes as its new one.
func pickNative(others []seenReplicaSet, template string) plan.ReplicaSet {
	var oldest seenReplicaSet
	for _, rs := range others {
		if rs.TemplateHash == template && (!oldest.Exists || rs.created.Before(&oldest.created)) {
			oldest = rs
		}
	}
	return oldest.ReplicaSet
}

// pickRunning is the one with most available pods of the owned ReplicaSets that should have pods.
func pickRunning(others []seenReplicaSet) plan.ReplicaSet {
	var best plan.ReplicaSet
	for _, rs := range others {
		if rs.Replicas > 0 && (!best.Exists || rs.Available > best.Available) {
			best = rs.ReplicaSet
		}
	}
	return best
}

// settled tells whether the Deployment controller has nothing left to do: it has seen the newest
// generation and at most one owned ReplicaSet is not at zero. Pods that are terminating do not count, or
// one on a lost node would hold everything up.
func settled(deployment *appsv1.Deployment, seen []seenReplicaSet) bool {
	if deployment.Status.ObservedGeneration < deployment.Generation {
		return false
	}
	active := 0
	for _, rs := range seen {
		if rs.Owned && (rs.Replicas > 0 || rs.current > 0) {
			active++
		}
	}
	return active <= 1
}
