package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

func (r *RolloutReconciler) gatherMesh(ctx context.Context, w *world) error {
	o := &w.observed.Mesh
	weight := w.rollout.Status.Weight
	service := types.NamespacedName{Namespace: w.rollout.Namespace, Name: w.rollout.Spec.Service.Name}
	inForce := r.Mesh.InForce(service, string(w.rollout.UID), weight.Epoch)
	var expected []string
	if weight.DecidedAt != nil && weight.LiveAt == nil { // asked for only while somebody waits
		var err error
		if expected, err = r.injectedPods(ctx); err != nil {
			return err
		}
	}
	o.Epoch, o.Rejected = weight.Epoch, inForce.Rejected
	waiting := map[string]bool{}
	for node, live := range inForce.Connected {
		if !live {
			waiting[node] = true
		}
	}
	for _, node := range expected {
		if live, connected := inForce.Connected[node]; !connected || !live {
			waiting[node] = true
		}
	}
	for _, replica := range inForce.Lagging {
		waiting["operator "+replica] = true
	}
	o.Pending = slices.Sorted(maps.Keys(waiting))
	o.Live = inForce.Published && len(o.Pending) == 0

	for _, revision := range []struct {
		hash  string
		count *int32
	}{
		{hashOf(w.rollout.Status.Stable), &o.StableEndpoints}, {hashOf(w.rollout.Status.Canary), &o.CanaryEndpoints},
		{hashOf(w.rollout.Status.Baseline), &o.BaselineEndpoints},
	} {
		if revision.hash == "" {
			continue
		}
		for _, name := range []string{service.Name, canaryServiceName(w.rollout)} {
			ready, err := r.readyEndpoints(ctx, w, name, revision.hash)
			if err != nil {
				return err
			}
			*revision.count = max(*revision.count, ready)
		}
	}
	return nil
}

func hashOf(revision *v1alpha1.Revision) string {
	if revision == nil {
		return ""
	}
	return revision.Hash
}

// injectedPods names the proxies that should act: those of ready pods with a sidecar, as node ids.
func (r *RolloutReconciler) injectedPods(ctx context.Context) ([]string, error) {
	var pods corev1.PodList
	if err := r.Client.List(ctx, &pods, client.MatchingFields{injectedIndex: "ready"}); err != nil {
		return nil, fmt.Errorf("list pods with a proxy: %w", err)
	}
	nodes := make([]string, 0, len(pods.Items))
	for i := range pods.Items {
		nodes = append(nodes, pods.Items[i].Name+"."+pods.Items[i].Namespace)
	}
	return nodes, nil
}

// injectedIndex indexes pods by whether a proxy in them should act.
const injectedIndex = "sluice.injected"

// proxyContainer is the name of the sidecar that the injection policy adds.
const proxyContainer = "sluice-proxy"

// indexInjected is the indexer of injectedIndex.
func indexInjected(o client.Object) []string {
	pod, ok := o.(*corev1.Pod)
	if !ok || !slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == proxyContainer }) {
		return nil
	}
	if pod.DeletionTimestamp != nil {
		return nil
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
			return []string{"ready"}
		}
	}
	return nil
}

// StripPod is a cache transform: of a pod, keep only what Sluice reads, so that the operator's memory
// does not grow with pod specs.
func StripPod(o any) (any, error) {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return o, nil
	}
	kept := &corev1.Pod{ObjectMeta: pod.ObjectMeta}
	kept.ManagedFields, kept.Annotations = nil, nil
	for _, c := range pod.Spec.InitContainers {
		if c.Name == proxyContainer {
			kept.Spec.InitContainers = []corev1.Container{{Name: c.Name}}
		}
	}
	kept.Status = corev1.PodStatus{
		Phase: pod.Status.Phase, PodIP: pod.Status.PodIP, Conditions: pod.Status.Conditions,
		InitContainerStatuses: pod.Status.InitContainerStatuses, ContainerStatuses: pod.Status.ContainerStatuses,
	}
	return kept, nil
}
