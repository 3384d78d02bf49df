package controllers

import (
	"context"
	"fmt"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// setServiceHash narrows the Service to one revision, or with an empty hash restores its own selector.
// It patches that one key only, fenced by the resourceVersion, so that a selector which somebody edits
// at the same time is not written back.
func (r *RolloutReconciler) setServiceHash(ctx context.Context, w *world, hash string) error {
	if w.service == nil {
		return nil
	}
	if w.service.Spec.Selector[hashLabel] == hash {
		return nil
	}
	service := w.service.DeepCopy()
	if hash == "" {
		delete(service.Spec.Selector, hashLabel)
	} else {
		service.Spec.Selector[hashLabel] = hash
	}
	patch := client.MergeFromWithOptions(w.service, client.MergeFromWithOptimisticLock{})
	return outdated(r.Client.Patch(ctx, service, patch), "set selector of service "+service.Name)
}

// ensureCanaryService creates the headless Service that selects the canary: the mesh learns the
// canary's endpoints from its slices while the Rollout's Service is narrowed to stable. It copies the
// ports and no labels: a tracking label would make a GitOps tool prune it.
func (r *RolloutReconciler) ensureCanaryService(ctx context.Context, w *world, hash string) error {
	if w.service == nil || w.typed == nil {
		return errOutdated
	}
	selector := maps.Clone(w.service.Spec.Selector)
	if selector == nil {
		return errOutdated
	}
	selector[hashLabel] = hash
	want := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.rollout.Namespace, Name: canaryServiceName(w.rollout),
			Labels: map[string]string{v1alpha1.LabelManagedBy: w.rollout.Name},
		},
		Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Selector: selector, Ports: canaryPorts(w.service.Spec.Ports)},
	}
	have := &corev1.Service{}
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(want), have)
	if apierrors.IsNotFound(err) {
		err = r.Client.Create(ctx, want)
		if apierrors.IsAlreadyExists(err) {
			return errOutdated
		}
		return wrap(err, "create canary service")
	}
	if err != nil {
		return fmt.Errorf("get canary service: %w", err)
	}
	if have.Labels[v1alpha1.LabelManagedBy] != w.rollout.Name {
		return fmt.Errorf("create canary service: a Service named %s exists and is not Sluice's; rename it", want.Name)
	}
	if maps.Equal(have.Spec.Selector, selector) {
		return nil
	}
	have = have.DeepCopy()
	have.Spec.Selector = selector
	have.Spec.Ports = want.Spec.Ports
	return outdated(r.Client.Update(ctx, have), "point canary service at "+hash)
}

// canaryPorts are a Service's ports without what belongs to that Service alone.
func canaryPorts(ports []corev1.ServicePort) []corev1.ServicePort {
	out := make([]corev1.ServicePort, 0, len(ports))
	for _, p := range ports {
		p.NodePort = 0
		out = append(out, p)
	}
	return out
}

// maxSurge is how many pods above its size the Deployment allows, rounded up as its controller does.
func maxSurge(d *appsv1.Deployment) int32 {
	surge := intstr.FromString("25%")
	if d.Spec.Strategy.RollingUpdate != nil && d.Spec.Strategy.RollingUpdate.MaxSurge != nil {
		surge = *d.Spec.Strategy.RollingUpdate.MaxSurge
	}
	replicas := 1
	if d.Spec.Replicas != nil {
		replicas = int(*d.Spec.Replicas)
	}
	value, err := intstr.GetScaledValueFromIntOrPercent(&surge, replicas, true)
	if err != nil {
		return 0
	}
	return int32(value) //nolint:gosec // bounded by replicas
}
