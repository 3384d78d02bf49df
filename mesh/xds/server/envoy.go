package server

import (
	"slices"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/sluice-mesh/sluice/mesh/xds"
)

// serveEnvoy makes the resources of Envoy's types, when a client first asks for one of them: they are the
// bulk of what there is to remember of a mesh, and a mesh of our own proxies needs none.
func (s *Server) serveEnvoy() {
	if s.envoy.Swap(true) {
		return
	}
	for key, service := range s.services {
		s.encode(service)
		s.replace(key, service)
	}
}

// encode makes a service's resources unless they are there. The caller holds mu.
func (s *Server) encode(service *service) {
	if err := service.encode(); err != nil {
		s.log.Error("serve a service to our own proxies only", "service", service.key, "error", err)
	}
}

// encode makes the service's resources unless they are there.
func (s *service) encode() error {
	if s.encoded {
		return nil
	}
	s.encoded = true
	encoded, err := xds.EncodeService(s.meaning)
	if err != nil {
		return err
	}
	var needs []string
	for _, route := range encoded.Routes {
		needs = append(needs, xds.WeightedClusters(route)...)
	}
	slices.Sort(needs)
	needs = slices.Compact(needs)
	for _, packed := range encoded.Pack() {
		r := &resource{
			typeURL: packed.Body.TypeUrl,
			name:    packed.Name,
			version: packed.Version,
			service: s.key,
			wire:    &discoveryv3.Resource{Name: packed.Name, Version: packed.Version, Resource: packed.Body},
		}
		switch message := packed.Message.(type) {
		case *routev3.RouteConfiguration:
			r.weighs, r.names, r.needs = xds.WeightedClusters(message), xds.NamedClusters(message), needs
		case *endpointv3.ClusterLoadAssignment:
			r.reachable = xds.Reachable(message)
		}
		// Listeners are for gRPC, which asks for them by name.
		r.wildcard = r.typeURL != xds.ListenerType
		s.resources = append(s.resources, r)
	}
	return nil
}
