package server

import (
	"errors"
	"slices"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/xds"
)

// serveEnvoy makes the resources of Envoy's types, when a client first asks for one of them: they are the
// bulk of what there is to remember of a mesh, and a mesh of our own proxies needs none.
func (s *Server) serveEnvoy() {
	if s.envoy.Swap(true) {
		return
	}
	for _, service := range s.services {
		if err := service.encode(s.finder(nil)); err != nil {
			s.log.Error("serve a service to our own proxies only", "error", err)
		}
		for _, r := range service.resources {
			s.resources[r.typeURL][r.name] = r
		}
	}
}

// encode makes the resources of services that are to be published, once Envoy's types are asked for, and of
// those that have one of them among their dependencies. It takes out those that cannot be.
func (s *Server) encode(changed map[string]*service) error {
	if !s.envoy.Load() {
		return nil
	}
	for key, present := range s.services {
		isChanged := func(key string) bool { _, found := changed[key]; return found }
		if !isChanged(key) && slices.ContainsFunc(present.meaning.Dependencies(), isChanged) {
			changed[key] = &service{key: key, meaning: present.meaning}
		}
	}
	var errs []error
	for key, after := range changed {
		if after == nil {
			continue
		}
		if err := after.encode(s.finder(changed)); err != nil {
			errs = append(errs, err)
			delete(changed, key)
		}
	}
	return errors.Join(errs...)
}

// finder finds services as they are going to be published.
func (s *Server) finder(changed map[string]*service) func(key string) (ir.Service, bool) {
	return func(key string) (ir.Service, bool) {
		found, isChanged := changed[key]
		if !isChanged {
			found = s.services[key]
		}
		if found == nil {
			return ir.Service{}, false
		}
		return found.meaning, true
	}
}

// encode makes the service's resources unless they are there.
func (s *service) encode(find func(key string) (ir.Service, bool)) error {
	if s.encoded {
		return nil
	}
	s.encoded = true
	encoded, err := xds.EncodeServiceIn(s.meaning, find)
	if err != nil {
		return err
	}
	var needs []string
	for _, packed := range encoded.Pack() {
		r := &resource{
			typeURL: packed.Body.TypeUrl,
			name:    packed.Name,
			version: packed.Version,
			service: s.key,
			wire:    &discoveryv3.Resource{Name: packed.Name, Version: packed.Version, Resource: packed.Body},
			// gRPC's listeners, which it asks for by name, have the names that it dials.
			wildcard: named(packed.Name),
		}
		switch message := packed.Message.(type) {
		case *routev3.RouteConfiguration:
			r.draws, r.weighs, r.names = true, xds.WeightedClusters(message), xds.NamedClusters(message)
		case *listenerv3.Listener:
			r.weighs = drawnOver(message)
			r.draws, r.names = len(r.weighs) > 0, r.weighs
		case *endpointv3.ClusterLoadAssignment:
			r.reachable = xds.Reachable(message)
		}
		needs = append(needs, r.weighs...)
		s.resources = append(s.resources, r)
	}
	slices.Sort(needs)
	needs = slices.Compact(needs)
	for _, r := range s.resources {
		if r.draws {
			r.needs = needs
		}
	}
	return nil
}

func named(name string) bool {
	_, ours := xds.ServiceOf(name)
	return ours
}

// drawnOver lists the clusters that a listener draws connections over, where it has no route to do that.
func drawnOver(listener *listenerv3.Listener) []string {
	var names []string
	for _, chain := range listener.GetFilterChains() {
		for _, filter := range chain.GetFilters() {
			var proxy tcpv3.TcpProxy
			if filter.GetTypedConfig().UnmarshalTo(&proxy) != nil {
				continue // another kind of filter
			}
			for _, weighted := range proxy.GetWeightedClusters().GetClusters() {
				names = append(names, weighted.GetName())
			}
		}
	}
	return names
}
