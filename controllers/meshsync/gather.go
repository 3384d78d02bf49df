package meshsync

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
	gatewaybeta "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/mesh/ir"
)

// world is what concerns the traffic of more than one service, gathered once for a round of translations. Its
// objects are the cache's own: nobody may change them.
type world struct {
	policies map[types.NamespacedName][]*v1alpha1.TrafficPolicy
	http     map[types.NamespacedName][]*gateway.HTTPRoute
	grpc     map[types.NamespacedName][]*gateway.GRPCRoute
	grants   []*gatewaybeta.ReferenceGrant
	// referring lists the services whose routes name a service as backend or mirror.
	referring map[types.NamespacedName][]types.NamespacedName
}

func (w world) traffic(key types.NamespacedName) Traffic {
	return Traffic{Policies: w.policies[key], HTTPRoutes: w.http[key], GRPCRoutes: w.grpc[key], References: References{Grants: w.grants}}
}

func (s *Syncer) gather(ctx context.Context) (world, error) {
	w := world{
		policies: map[types.NamespacedName][]*v1alpha1.TrafficPolicy{}, http: map[types.NamespacedName][]*gateway.HTTPRoute{},
		grpc: map[types.NamespacedName][]*gateway.GRPCRoute{}, referring: map[types.NamespacedName][]types.NamespacedName{},
	}
	authorities := map[authorityKey]bool{}
	var policies v1alpha1.TrafficPolicyList
	if err := s.Cache.List(ctx, &policies, client.UnsafeDisableDeepCopy); err != nil {
		return world{}, fmt.Errorf("list traffic policies: %w", err)
	}
	for i := range policies.Items {
		p := &policies.Items[i]
		key := types.NamespacedName{Namespace: p.Namespace, Name: p.Spec.TargetRef.Name}
		w.policies[key] = append(w.policies[key], p)
		if tls := p.Spec.TLS; tls != nil && tls.CAConfigMap != nil {
			authorities[authorityKey{types.NamespacedName{Namespace: p.Namespace, Name: tls.CAConfigMap.Name}, tls.CAConfigMap.Key}] = true
		}
	}
	s.authorities.keep(authorities)
	var grants gatewaybeta.ReferenceGrantList
	if err := s.gateway.list(ctx, s.Cache, &grants); err != nil {
		return world{}, err
	}
	for i := range grants.Items {
		w.grants = append(w.grants, &grants.Items[i])
	}
	refer := func(r route) (parents []types.NamespacedName) {
		parents = parentKeys(r)
		references := References{Grants: w.grants}
		for _, backend := range refersTo(r) {
			if backend.Namespace == r.namespace() || references.granted(r, backend) {
				w.referring[backend] = append(w.referring[backend], parents...)
			}
		}
		return parents
	}
	var http gateway.HTTPRouteList
	if err := s.gateway.list(ctx, s.Cache, &http); err != nil {
		return world{}, err
	}
	for i := range http.Items {
		for _, parent := range refer(httpRoute(&http.Items[i])) {
			w.http[parent] = append(w.http[parent], &http.Items[i])
		}
	}
	var grpc gateway.GRPCRouteList
	if err := s.gateway.list(ctx, s.Cache, &grpc); err != nil {
		return world{}, err
	}
	for i := range grpc.Items {
		for _, parent := range refer(grpcRoute(&grpc.Items[i])) {
			w.grpc[parent] = append(w.grpc[parent], &grpc.Items[i])
		}
	}
	return w, nil
}

// every adds all services that are, and all that somebody says something about.
func (s *Syncer) every(ctx context.Context, w world, keys map[types.NamespacedName]struct{}) error {
	var services corev1.ServiceList
	if err := s.Cache.List(ctx, &services, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list services: %w", err)
	}
	for i := range services.Items {
		keys[client.ObjectKeyFromObject(&services.Items[i])] = struct{}{}
	}
	for key := range w.policies {
		keys[key] = struct{}{}
	}
	for key := range w.http {
		keys[key] = struct{}{}
	}
	for key := range w.grpc {
		keys[key] = struct{}{}
	}
	return nil
}

// translate gathers what one Service depends on, from the cache. Not wanted: the mesh has nothing to do with it.
func (s *Syncer) translate(ctx context.Context, w world, key types.NamespacedName) (service ir.Service, wanted bool, verdicts []Verdict, err error) {
	traffic := w.traffic(key)
	traffic.References.Service = func(key types.NamespacedName) *corev1.Service {
		var service corev1.Service
		if s.Cache.Get(ctx, key, &service) != nil {
			return nil
		}
		return &service
	}
	traffic.Authority = func(key types.NamespacedName, field string) (string, error) {
		return s.authorities.get(ctx, key, field)
	}
	in, exists, err := s.input(ctx, w, key)
	switch {
	case err != nil:
		return ir.Service{}, false, nil, err
	case in.Service == nil:
		return ir.Service{}, false, traffic.Missing(key, exists), nil
	}
	if service, wanted = Translate(in); !wanted {
		return ir.Service{}, false, traffic.Missing(key, true), nil
	}
	service, verdicts = traffic.Apply(service)
	return service, true, verdicts, nil
}

// input of a Service's translation; without a Service when the mesh has nothing to do with it, and then exists
// tells whether there is one.
func (s *Syncer) input(ctx context.Context, w world, key types.NamespacedName) (in Input, exists bool, err error) {
	service := &corev1.Service{}
	if err := s.Cache.Get(ctx, key, service); err != nil {
		return Input{}, false, client.IgnoreNotFound(err)
	}
	if service.Labels[v1alpha1.LabelManagedBy] != "" {
		return Input{}, true, nil // a canary's own Service only feeds the Rollout's
	}
	var rollouts v1alpha1.RolloutList
	if err := s.Cache.List(ctx, &rollouts, client.InNamespace(key.Namespace)); err != nil {
		return Input{}, false, err
	}
	in.Rollout = owner(rollouts.Items, key.Name)
	if in.Rollout == nil && len(w.referring[key]) == 0 { // what routes lead to must be known wherever it is
		var namespace corev1.Namespace
		if err := s.Cache.Get(ctx, types.NamespacedName{Name: key.Namespace}, &namespace); err != nil {
			return Input{}, true, client.IgnoreNotFound(err)
		}
		if namespace.Labels[v1alpha1.LabelInject] != "enabled" {
			return Input{}, true, nil
		}
	}
	for _, name := range []string{key.Name, key.Name + CanarySuffix} {
		if name != key.Name {
			var canary corev1.Service
			err := s.Cache.Get(ctx, types.NamespacedName{Namespace: key.Namespace, Name: name}, &canary)
			if apierrors.IsNotFound(err) || err == nil && canary.Labels[v1alpha1.LabelManagedBy] == "" {
				continue
			}
			if err != nil {
				return Input{}, false, err
			}
		}
		var list discoveryv1.EndpointSliceList
		if err := s.Cache.List(ctx, &list, client.InNamespace(key.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: name}); err != nil {
			return Input{}, false, err
		}
		for i := range list.Items {
			in.Slices = append(in.Slices, &list.Items[i])
		}
	}
	in.Revision = func(uid types.UID) (string, bool) {
		var pods corev1.PodList
		if err := s.Cache.List(ctx, &pods, client.InNamespace(key.Namespace), client.MatchingFields{podByUID: string(uid)}); err != nil || len(pods.Items) == 0 {
			return "", false
		}
		return pods.Items[0].Labels[appsv1.DefaultDeploymentUniqueLabelKey], true
	}
	in.Service = service
	return in, true, nil
}

// owner of a Service among a namespace's Rollouts: the oldest that names it, as the reconciler has it.
func owner(rollouts []v1alpha1.Rollout, service string) *v1alpha1.Rollout {
	var oldest *v1alpha1.Rollout
	for i := range rollouts {
		r := &rollouts[i]
		if r.Spec.Service.Name == service && (oldest == nil || v1alpha1.Older(r, oldest)) {
			oldest = r
		}
	}
	return oldest
}
