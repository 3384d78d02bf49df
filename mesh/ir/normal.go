package ir

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Key is the service's name in the mesh: "<namespace>/<name>".
func (s Service) Key() string { return s.Namespace + "/" + s.Name }

// Normalise returns the mesh in its normal form, in which equal meaning is equal value: everything in
// the order that the types promise, IPv4 in IPv6 unmapped, an empty protocol spelt TCP, no port of an
// endpoint that the service does not have, no endpoint without a port, no subset without an endpoint, names
// of headers and hosts in lower case, nothing that has no effect, nil for every empty list. A default that is
// spelt out stays. The input is not modified; parts of it may be shared.
func Normalise(mesh Mesh) Mesh {
	services := make([]Service, len(mesh.Services))
	for i, service := range mesh.Services {
		services[i] = service.Normalise()
	}
	slices.SortStableFunc(services, CompareServices)
	return Mesh{Services: nilIfEmpty(services), Settings: mesh.Settings.Normalise()}
}

// CompareServices orders services by namespace and name.
func CompareServices(a, b Service) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

// Normalise returns the service in its normal form (see the function Normalise).
func (s Service) Normalise() Service {
	addresses := make([]netip.Addr, 0, len(s.Addresses))
	for _, address := range s.Addresses {
		addresses = append(addresses, address.Unmap())
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	s.Addresses = nilIfEmpty(addresses)

	s.Ports = nilIfEmpty(slices.Clone(s.Ports))
	names := make(map[string]bool, len(s.Ports))
	for i := range s.Ports {
		if s.Ports[i].Protocol == "" {
			s.Ports[i].Protocol = TCP
		}
		names[s.Ports[i].Name] = true
	}
	slices.SortStableFunc(s.Ports, func(a, b Port) int { return cmp.Compare(a.Number, b.Number) })

	subsets := make([]Subset, 0, len(s.Subsets))
	for _, subset := range s.Subsets {
		endpoints := make([]Endpoint, 0, len(subset.Endpoints))
		for _, endpoint := range subset.Endpoints {
			if endpoint = endpoint.normalise(names); len(endpoint.Ports) > 0 {
				endpoints = append(endpoints, endpoint)
			}
		}
		if len(endpoints) == 0 {
			continue
		}
		slices.SortStableFunc(endpoints, func(a, b Endpoint) int { return a.Address.Compare(b.Address) })
		subsets = append(subsets, Subset{Name: subset.Name, Endpoints: endpoints})
	}
	slices.SortStableFunc(subsets, func(a, b Subset) int { return strings.Compare(a.Name, b.Name) })
	s.Subsets = nilIfEmpty(subsets)

	s.Split.Shares = nilIfEmpty(slices.Clone(s.Split.Shares))
	slices.SortStableFunc(s.Split.Shares, func(a, b Share) int { return strings.Compare(a.Subset, b.Subset) })

	routes := make([]Route, 0, len(s.Routes))
	for _, route := range s.Routes {
		routes = append(routes, route.normalise())
	}
	s.Routes = nilIfEmpty(routes)
	s.Policy = s.Policy.normalise()
	return s
}

func (e Endpoint) normalise(ports map[string]bool) Endpoint {
	e.Address = e.Address.Unmap()
	for name := range e.Ports {
		if !ports[name] {
			e.Ports = maps.Clone(e.Ports)
			maps.DeleteFunc(e.Ports, func(name string, _ uint16) bool { return !ports[name] })
			break
		}
	}
	return e
}

func nilIfEmpty[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return list
}
