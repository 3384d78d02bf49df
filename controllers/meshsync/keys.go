package meshsync

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gateway "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// serviceKeys of a Service: itself, and for a canary's own Service the one that it feeds.
func serviceKeys(o client.Object) []types.NamespacedName {
	return feeding(o.GetNamespace(), o.GetName())
}

// sliceKeys of an EndpointSlice: the Service that it is of.
func sliceKeys(o client.Object) []types.NamespacedName {
	name := o.GetLabels()[discoveryv1.LabelServiceName]
	if name == "" {
		return nil
	}
	return feeding(o.GetNamespace(), name)
}

// feeding names a Service and, if its name is that of a canary's own Service, the one that it feeds.
func feeding(namespace, name string) []types.NamespacedName {
	keys := []types.NamespacedName{{Namespace: namespace, Name: name}}
	if parent, is := strings.CutSuffix(name, CanarySuffix); is {
		keys = append(keys, types.NamespacedName{Namespace: namespace, Name: parent})
	}
	return keys
}

// rolloutKeys of a Rollout: the Service that it names.
func rolloutKeys(o client.Object) []types.NamespacedName {
	rollout, ok := o.(*v1alpha1.Rollout)
	if !ok {
		return nil
	}
	return []types.NamespacedName{{Namespace: rollout.Namespace, Name: rollout.Spec.Service.Name}}
}

// policyKeys of a TrafficPolicy: the Service that it names.
func policyKeys(o client.Object) []types.NamespacedName {
	policy, ok := o.(*v1alpha1.TrafficPolicy)
	if !ok {
		return nil
	}
	return []types.NamespacedName{{Namespace: policy.Namespace, Name: policy.Spec.TargetRef.Name}}
}

// routeKeys of a route: the Services that it is for, and those that it leads to.
func routeKeys(o client.Object) []types.NamespacedName {
	var r route
	switch o := o.(type) {
	case *gateway.HTTPRoute:
		r = httpRoute(o)
	case *gateway.GRPCRoute:
		r = grpcRoute(o)
	}
	parents := parentKeys(r)
	if len(parents) == 0 {
		return nil // a Gateway's
	}
	return append(parents, refersTo(r)...)
}

// parentKeys are the Services that a route is for, each once.
func parentKeys(r route) []types.NamespacedName {
	var keys []types.NamespacedName
	for _, ref := range r.parents {
		if key, is := parentKey(r.namespace(), ref); is && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// podKeys of a pod: the services whose slices were translated before the pod was known. A pod's
// revision never changes, so only its appearance matters; the services that it may stand behind are
// those of its namespace.
func (s *Syncer) podKeys(ctx context.Context, o client.Object) []types.NamespacedName {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return nil
	}
	var services corev1.ServiceList
	if err := s.Cache.List(ctx, &services, client.InNamespace(pod.Namespace)); err != nil {
		return nil
	}
	var keys []types.NamespacedName
	for _, service := range services.Items {
		if len(service.Spec.Selector) > 0 && selects(service.Spec.Selector, pod.Labels) {
			keys = append(keys, feeding(service.Namespace, service.Name)...)
		}
	}
	return keys
}

// selects tells whether a Service's selector matches labels.
func selects(selector, labels map[string]string) bool {
	for key, value := range selector {
		if labels[key] != value {
			return false
		}
	}
	return true
}

// handler calls mark for both the old and the new form of an object, or only when it appears.
func handler(appearsOnly bool, mark func(client.Object)) toolscache.ResourceEventHandler {
	see := func(o any) {
		if gone, is := o.(toolscache.DeletedFinalStateUnknown); is {
			o = gone.Obj
		}
		if object, is := o.(client.Object); is {
			mark(object)
		}
	}
	if appearsOnly {
		return toolscache.ResourceEventHandlerFuncs{AddFunc: see}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    see,
		UpdateFunc: func(old, now any) { see(old); see(now) },
		DeleteFunc: see,
	}
}
