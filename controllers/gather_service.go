package controllers

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

func (r *RolloutReconciler) gatherService(ctx context.Context, w *world) error {
	if err := r.gatherLeftovers(ctx, w); err != nil {
		return err
	}
	service := &corev1.Service{}
	key := types.NamespacedName{Namespace: w.rollout.Namespace, Name: w.rollout.Spec.Service.Name}
	if narrowed := w.rollout.Status.Narrowed; narrowed != nil {
		key.Name = narrowed.Service // what was narrowed is what must be restored, even if the spec names another now
	}
	err := r.Client.Get(ctx, key, service)
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	w.service = service
	o := &w.observed.Service
	o.Exists, o.UID = true, string(service.UID)
	own := maps.Clone(service.Spec.Selector)
	if narrowed := w.rollout.Status.Narrowed; narrowed != nil && own[hashLabel] == narrowed.Hash || w.ours(own[hashLabel]) {
		o.Narrowed = own[hashLabel]
		delete(own, hashLabel)
	}
	if w.typed != nil {
		o.Selects = len(own) > 0 && labels.SelectorFromSet(own).Matches(labels.Set(w.typed.Spec.Template.Labels))
	}
	if o.OnlyStable, err = r.onlyStable(ctx, w, service); err != nil {
		return err
	}
	if canary := w.observed.Canary; canary.Exists {
		ready, err := r.readyEndpoints(ctx, w, service.Name, canary.Hash)
		if err != nil {
			return err
		}
		o.CanaryReady = ready
	}
	return nil
}

// gatherLeftovers looks for what Sluice creates beside the canary itself.
func (r *RolloutReconciler) gatherLeftovers(ctx context.Context, w *world) error {
	canaryService := &corev1.Service{}
	err := r.Client.Get(ctx, types.NamespacedName{Namespace: w.rollout.Namespace, Name: canaryServiceName(w.rollout)}, canaryService)
	if err == nil && canaryService.Labels[v1alpha1.LabelManagedBy] == w.rollout.Name {
		w.observed.Service.CanaryServiceHash = canaryService.Spec.Selector[hashLabel]
		w.observed.Leftovers = true
	} else if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get canary service: %w", err)
	}
	if w.observed.Leftovers || w.rollout.Status.Release == nil {
		return nil // without a release there was never a holder
	}
	holder := &corev1.ConfigMap{}
	err = r.Reader.Get(ctx, types.NamespacedName{Namespace: w.rollout.Namespace, Name: holderName(w.rollout)}, holder)
	w.observed.Leftovers = err == nil && holder.Labels[v1alpha1.LabelManagedBy] == w.rollout.Name
	return wrap(client.IgnoreNotFound(err), "get canary's holder")
}

// ours tells whether a hash in the Service's selector is one of a revision of this Rollout: then it was
// put there by narrowing, though the memory of it was lost.
func (w *world) ours(hash string) bool {
	if hash == "" {
		return false
	}
	for _, revision := range []*v1alpha1.Revision{w.rollout.Status.Stable, w.rollout.Status.Canary} {
		if revision != nil && revision.Hash == hash {
			return true
		}
	}
	return false
}

// onlyStable tells whether every pod that the Service selects, of whatever workload, belongs to the stable
// ReplicaSet.
func (r *RolloutReconciler) onlyStable(ctx context.Context, w *world, service *corev1.Service) (bool, error) {
	var pods corev1.PodList
	if err := r.Client.List(ctx, &pods, client.InNamespace(service.Namespace), client.MatchingLabels(service.Spec.Selector)); err != nil {
		return false, fmt.Errorf("list the service's pods: %w", err)
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if controller := metav1.GetControllerOf(pod); alive(pod) && (controller == nil || string(controller.UID) != w.observed.Stable.UID) {
			return false, nil
		}
	}
	return true, nil
}

// readyEndpoints counts the endpoints of one revision in a Service's own slices that get new requests: the ready
// ones, which those of unknown readiness count as, but none that drains.
func (r *RolloutReconciler) readyEndpoints(ctx context.Context, w *world, service, hash string) (int32, error) {
	var slicesOf discoveryv1.EndpointSliceList
	if err := r.Client.List(ctx, &slicesOf, client.InNamespace(w.rollout.Namespace),
		client.MatchingLabels{discoveryv1.LabelServiceName: service}); err != nil {
		return 0, fmt.Errorf("list endpoint slices: %w", err)
	}
	revision := map[types.UID]string{}
	for i := range w.pods {
		revision[w.pods[i].UID] = w.pods[i].Labels[hashLabel]
	}
	ready := map[types.UID]bool{}
	for _, slice := range slicesOf.Items {
		for _, endpoint := range slice.Endpoints {
			is := endpoint.Conditions
			if endpoint.TargetRef == nil || !ptr.Deref(is.Ready, true) || ptr.Deref(is.Terminating, false) {
				continue
			}
			if revision[endpoint.TargetRef.UID] == hash {
				ready[endpoint.TargetRef.UID] = true
			}
		}
	}
	return int32(len(ready)), nil //nolint:gosec // pods of one revision
}
