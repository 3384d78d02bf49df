package xds

import (
	"cmp"
	"slices"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// scope is what a port's routes are made from: the port, its service, and a way to the services that the
// routes name.
type scope struct {
	service ir.Service
	port    ir.Port
	find    func(key string) (ir.Service, bool)
}

// weighted is a cluster's share of the requests of a route.
type weighted struct {
	cluster string
	weight  uint32
	// backend of the route that the cluster belongs to; nil where the route names none.
	backend *ir.Backend
}

// destination of a port's requests, of those that are narrowed to one side of the split where one is given;
// weights sum to 100. Without shares that is the cluster of all endpoints, or the only subset's, where it has
// all: then a release begins without a change of cluster. The canary comes first: where a hash decides rather
// than chance, who has seen the canary stays with it while its weight rises.
func destination(service ir.Service, port ir.Port, side ir.Revision) []weighted {
	var to []weighted
	for _, share := range service.SharesFor(port.Name, side) {
		to = append(to, weighted{cluster: ClusterName(service, port, share.Subset), weight: share.Weight})
	}
	switch {
	case len(to) > 0:
		canary := ClusterName(service, port, service.Split.Canary)
		slices.SortStableFunc(to, func(a, b weighted) int { return cmp.Compare(rank(a, canary), rank(b, canary)) })
		return to
	case len(service.Subsets) == 1:
		return []weighted{{cluster: ClusterName(service, port, service.Subsets[0].Name), weight: 100}}
	default:
		return []weighted{{cluster: everyCluster(service, port), weight: 100}}
	}
}

func rank(to weighted, canary string) int {
	if to.cluster == canary {
		return 0
	}
	return 1
}

// destinations of a route's requests: its backends' weights multiplied by the shares of their splits, or the
// service itself. None: all backends have weight 0. A backend that is not there is a cluster without
// endpoints, so that its share of the requests fails and no other's. ir bounds the weights so that their sum
// fits 32 bits.
func (s scope) destinations(route ir.Route) []weighted {
	if len(route.Backends) == 0 {
		return destination(s.service, s.port, route.Revision)
	}
	var to []weighted
	for i := range route.Backends {
		backend := &route.Backends[i]
		if backend.Weight == 0 {
			continue
		}
		clusters := []weighted{{cluster: nowhere(s.service, s.port), weight: 100}}
		if service, port, found := s.lookup(backend.Service, backend.Port); found {
			clusters = destination(service, port, route.Revision)
		}
		for _, part := range clusters {
			to = append(to, weighted{part.cluster, part.weight * backend.Weight, backend})
		}
	}
	return to
}

// lookup finds a port of a service of the mesh.
func (s scope) lookup(key string, number uint16) (ir.Service, ir.Port, bool) {
	service, found := s.service, key == s.service.Key()
	if !found {
		service, found = s.find(key)
	}
	if !found {
		return ir.Service{}, ir.Port{}, false
	}
	i := slices.IndexFunc(service.Ports, func(p ir.Port) bool { return p.Number == number })
	if i < 0 {
		return ir.Service{}, ir.Port{}, false
	}
	return service, service.Ports[i], true
}

// warmClusters are all that requests may be sent to later: of the port itself, and of backends, those of a
// service with more than one subset.
func (s scope) warmClusters(routes []ir.Route) []weighted {
	names := clusterNames(s.service, s.port)
	for _, route := range routes {
		for _, backend := range route.Backends {
			if service, port, found := s.lookup(backend.Service, backend.Port); found {
				names = append(names, clusterNames(service, port)...)
			}
		}
	}
	slices.Sort(names)
	var warm []weighted
	for _, name := range slices.Compact(names) {
		warm = append(warm, weighted{cluster: name, weight: 1})
	}
	return warm
}

func clusterNames(service ir.Service, port ir.Port) []string {
	subsets := subsetNames(service)
	if len(subsets) < 2 {
		return nil
	}
	names := []string{everyCluster(service, port)}
	for _, subset := range subsets {
		names = append(names, ClusterName(service, port, subset))
	}
	return names
}
