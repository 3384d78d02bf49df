package controllers

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// What counts as ready is what the mesh sends new requests to, each pod once.
func TestReadyEndpoints(t *testing.T) {
	yes, no := ptr.To(true), ptr.To(false)
	endpoint := func(pod string, is discoveryv1.EndpointConditions) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{Conditions: is, TargetRef: &corev1.ObjectReference{Kind: "Pod", UID: types.UID(pod)}}
	}
	slice := func(name string, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: "shop"}},
			Endpoints:  endpoints,
		}
	}
	r := &RolloutReconciler{Client: fake.NewClientBuilder().WithObjects(
		slice("a",
			endpoint("ready", discoveryv1.EndpointConditions{Ready: yes}),
			endpoint("unknown", discoveryv1.EndpointConditions{}),
			endpoint("not", discoveryv1.EndpointConditions{Ready: no, Serving: yes}),
			endpoint("going", discoveryv1.EndpointConditions{Ready: yes, Terminating: yes}),
			endpoint("another", discoveryv1.EndpointConditions{Ready: yes}),
			endpoint("nobody", discoveryv1.EndpointConditions{Ready: yes}),
			discoveryv1.Endpoint{Conditions: discoveryv1.EndpointConditions{Ready: yes}}),
		slice("b", endpoint("ready", discoveryv1.EndpointConditions{Ready: yes})),
	).Build()}
	w := &world{rollout: &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Namespace: "demo"}}}
	for pod, hash := range map[string]string{"ready": "k", "unknown": "k", "not": "k", "going": "k", "another": "x"} {
		w.pods = append(w.pods, corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(pod), Labels: map[string]string{hashLabel: hash}}})
	}
	if n, err := r.readyEndpoints(t.Context(), w, "shop", "k"); err != nil || n != 2 {
		t.Errorf("%d, %v; want 2", n, err)
	}
}
