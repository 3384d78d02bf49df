package server

import (
	"errors"
	"fmt"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// service is one that is published. Immutable, but for what is encoded of it when Envoy's types are first
// asked for.
type service struct {
	key     string
	meaning ir.Service
	// resources of Envoy's types; encoded tells whether they have been made.
	resources []*resource
	encoded   bool
}

// resource is one version of a resource. Immutable; a new version is a new value, and versions, not
// pointers, are compared.
type resource struct {
	typeURL, name, version string
	// service is the key of the one it belongs to; empty for parts, which may hold many.
	service string
	// wire is how it travels.
	wire *discoveryv3.Resource
	// wildcard: who asks for everything of the type gets it.
	wildcard bool
	// decisions that a part holds, by service.
	decisions map[string]decision
	// draws: requests or connections are drawn by it, as routes do, and listeners without a route. weighs
	// lists the clusters that it sends them to, names all that it refers to; needs those that all of the
	// service, which go out together, send them to. reachable counts an assignment's ready endpoints.
	draws                bool
	weighs, names, needs []string
	reachable            int
}

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
		if err := normal.Validate(); err != nil {
			errs = append(errs, err)
			continue
		}
		changed[key] = &service{key: key, meaning: normal}
	}
	for key := range s.services {
		if !present[key] {
			changed[key] = nil
		}
	}
	if err := s.encode(changed); err != nil {
		errs = append(errs, err)
	}
	settings := mesh.Settings.Normalise()
	if err := settings.Validate(); err != nil {
		errs = append(errs, err)
		settings = s.parts.settings
	}
	s.apply(changed, settings)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("publish mesh: %w", err)
	}
	return nil
}

// apply puts the changes in place at once, marks them for every stream that subscribes to them, and
// answers where a stream is waiting for an answer. nil stands for a service that is gone.
func (s *Server) apply(changed map[string]*service, settings ir.Settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Somebody may have asked for Envoy's types since they were, or were not, encoded.
	if err := s.encode(changed); err != nil {
		s.log.Error("keep what was published before", "error", err)
	}
	var touched []*resource
	exchanged, concerned := make(map[string][2]*service, len(changed)), make(map[string]bool, len(changed))
	for key, after := range changed {
		exchanged[key], concerned[key] = [2]*service{s.services[key], after}, true
		touched = append(touched, s.replace(key, after)...)
	}
	touched = append(touched, s.refresh(exchanged, concerned)...)
	touched = append(touched, s.set(settings)...)
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
	}
	for key := range concerned {
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

// replace exchanges a service with its resources of Envoy's types and returns those that came, went or
// changed.
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
		for _, dependency := range before.meaning.Dependencies() {
			if delete(s.dependents[dependency], key); len(s.dependents[dependency]) == 0 {
				delete(s.dependents, dependency)
			}
		}
		for _, r := range before.resources {
			if !kept[[2]string{r.typeURL, r.name}] {
				touched = append(touched, r)
				delete(s.resources[r.typeURL], r.name)
			}
		}
	}
	if after == nil {
		delete(s.services, key)
		return touched
	}
	s.services[key] = after
	for _, dependency := range after.meaning.Dependencies() {
		if s.dependents[dependency] == nil {
			s.dependents[dependency] = map[string]bool{}
		}
		s.dependents[dependency][key] = true
	}
	return touched
}
