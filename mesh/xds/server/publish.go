package server

import (
	"errors"
	"fmt"
	"slices"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/xds"
)

// service is one that is published. Immutable.
type service struct {
	meaning   ir.Service
	resources []*resource
}

// resource is one version of a resource. Immutable; a new version is a new value, and versions, not
// pointers, are compared.
type resource struct {
	typeURL, name, version string
	// service is the key of the one it belongs to.
	service string
	// wire is how it travels.
	wire *discoveryv3.Resource
	// audience that a wildcard subscription gives it to.
	audience audience
	// weighs lists the clusters that a route sends requests to, names all that it refers to; needs those
	// that all routes of the service, which go out together, send requests to. reachable counts an
	// assignment's ready endpoints.
	weighs, names, needs []string
	reachable            int
}

// audience is who gets a resource without asking for it by name.
type audience uint8

const (
	// proxies are our own.
	proxies audience = 1 << iota
	// envoys get clusters and routes; listeners for them are not made yet.
	envoys
)

// Publish makes this the mesh that clients get. A service that is not valid keeps what was published
// of it before, and the error names it; the others are published all the same. Publishing what is
// published already sends nothing.
func (s *Server) Publish(mesh ir.Mesh) error {
	s.publishing.Lock()
	defer s.publishing.Unlock()

	// Only Publish writes services, so reading them here needs no lock.
	changed := map[string]*service{}
	present := make(map[string]bool, len(mesh.Services))
	var errs []error
	for _, meaning := range mesh.Services {
		key := meaning.Key()
		if present[key] {
			errs = append(errs, fmt.Errorf("service %s: listed twice", key))
			continue
		}
		present[key] = true
		normal := meaning.Normalise()
		if before := s.services[key]; before != nil && ir.Equal(before.meaning, normal) {
			continue
		}
		encoded, err := newService(normal)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		changed[key] = encoded
	}
	for key := range s.services {
		if !present[key] {
			changed[key] = nil
		}
	}
	s.apply(changed)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("publish mesh: %w", err)
	}
	return nil
}

func newService(meaning ir.Service) (*service, error) {
	encoded, err := xds.EncodeService(meaning)
	if err != nil {
		return nil, err
	}
	made := &service{meaning: meaning}
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
			service: meaning.Key(),
			wire:    &discoveryv3.Resource{Name: packed.Name, Version: packed.Version, Resource: packed.Body},
		}
		switch message := packed.Message.(type) {
		case *routev3.RouteConfiguration:
			r.weighs, r.names, r.needs = xds.WeightedClusters(message), xds.NamedClusters(message), needs
		case *endpointv3.ClusterLoadAssignment:
			r.reachable = xds.Reachable(message)
		}
		r.audience = audienceOf(r)
		made.resources = append(made.resources, r)
	}
	return made, nil
}

func audienceOf(r *resource) audience {
	if r.typeURL == xds.ListenerType {
		if _, ours := xds.ServiceOf(r.name); ours {
			return proxies
		}
		return 0
	}
	if xds.ForEverySubset(r.name) {
		return envoys
	}
	return proxies | envoys
}

// apply puts the changes in place at once, marks them for every stream that subscribes to them, and
// answers where a stream is waiting for an answer. nil stands for a service that is gone.
func (s *Server) apply(changed map[string]*service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var touched []*resource
	for key, after := range changed {
		touched = append(touched, s.replace(key, after)...)
	}
	if len(touched) > 0 {
		wave := &wave{start: s.options.Now()}
		for _, stream := range s.streams {
			if stream.mark(touched) {
				stream.join(wave)
			}
		}
	}
	for key, after := range changed {
		s.convergence.publish(key, after)
		for _, stream := range s.streams {
			stream.judge(key)
		}
	}
	for _, stream := range s.streams {
		stream.answer()
	}
	select {
	case <-s.ready:
	default:
		close(s.ready)
		s.convergence.serve()
	}
}

// replace exchanges a service's resources and returns those that came, went or changed.
func (s *Server) replace(key string, after *service) []*resource {
	var touched []*resource
	kept := map[[2]string]bool{}
	if after != nil {
		for _, r := range after.resources {
			kept[[2]string{r.typeURL, r.name}] = true
			if before := s.resources[r.typeURL][r.name]; before == nil || before.version != r.version {
				touched = append(touched, r)
			}
			s.resources[r.typeURL][r.name] = r
		}
	}
	if before := s.services[key]; before != nil {
		for _, r := range before.resources {
			if !kept[[2]string{r.typeURL, r.name}] {
				touched = append(touched, r)
				delete(s.resources[r.typeURL], r.name)
			}
		}
	}
	if after == nil {
		delete(s.services, key)
	} else {
		s.services[key] = after
	}
	return touched
}
