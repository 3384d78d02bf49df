// Package xds turns the mesh into Envoy's v3 resources. It is pure: no connections, no clock, no state, and it
// knows nothing of who asks. What it makes must be right for two kinds of clients: Envoy, and gRPC without a
// proxy. They share routes, clusters and endpoints; only their listeners differ. Our own proxy gets parts
// instead (see package part). Where a client cannot do what the mesh means, the code that makes the resource
// says what it does.
package xds

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// Resources are what clients get, each list sorted by name.
type Resources struct {
	Listeners []*listenerv3.Listener
	Routes    []*routev3.RouteConfiguration
	Clusters  []*clusterv3.Cluster
	Endpoints []*endpointv3.ClusterLoadAssignment
}

// Encode makes the resources of a mesh. The error joins what is wrong, each part naming its service;
// the resources are those of all services with nothing wrong.
func Encode(mesh ir.Mesh) (Resources, error) {
	mesh = ir.Normalise(mesh)
	services := make(map[string]ir.Service, len(mesh.Services))
	for _, service := range mesh.Services {
		services[service.Key()] = service
	}
	find := func(key string) (ir.Service, bool) {
		service, found := services[key]
		return service, found
	}
	var all Resources
	var errs []error
	for _, service := range mesh.Services {
		resources, err := EncodeServiceIn(service, find)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all.append(resources)
	}
	all.sort()
	return all, errors.Join(errs...)
}

// EncodeService makes the resources of one service, or none and an error that names it. There are no other
// services for its routes to send requests to.
func EncodeService(service ir.Service) (Resources, error) {
	return EncodeServiceIn(service, func(string) (ir.Service, bool) { return ir.Service{}, false })
}

// EncodeServiceIn makes the resources of one service among others, which find returns by key
// ("<namespace>/<name>"), each valid and in normal form. It asks for the service's Dependencies only, and for
// nothing of them but ports, names of subsets, which of those are ready and the split: when one of these
// changes, or a dependency comes or goes, the service has to be encoded anew.
func EncodeServiceIn(service ir.Service, find func(key string) (ir.Service, bool)) (Resources, error) {
	if err := service.Validate(); err != nil {
		return Resources{}, err
	}
	service = service.Normalise()
	var made Resources
	for _, port := range service.Ports {
		add := func(name string, subsets []ir.Subset) {
			made.Clusters = append(made.Clusters, cluster(name, port, service.Policy))
			made.Endpoints = append(made.Endpoints, endpoints(name, port, subsets))
		}
		for _, subset := range subsetNames(service) {
			add(ClusterName(service, port, subset), byName(service, subset))
		}
		add(everyCluster(service, port), service.Subsets)
		configuration := scope{service, port, find}.configuration()
		if slices.Contains(NamedClusters(configuration), nowhere(service, port)) {
			add(nowhere(service, port), nil)
		}
		made.Routes = append(made.Routes, configuration)
		made.Listeners = append(made.Listeners, listeners(service, port)...)
	}
	made.sort()
	if err := made.validate(); err != nil {
		return Resources{}, fmt.Errorf("service %s: %w", service.Key(), err)
	}
	return made, nil
}

// subsetNames are those with endpoints and those that the split names, so that a route never refers to
// a cluster that is not there.
func subsetNames(service ir.Service) []string {
	var names []string
	for _, subset := range service.Subsets {
		names = append(names, subset.Name)
	}
	names = append(names, service.Split.Revisions()...)
	for _, share := range service.Split.Shares {
		names = append(names, share.Subset)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func byName(service ir.Service, subset string) []ir.Subset {
	if found, ok := service.Subset(subset); ok {
		return []ir.Subset{found}
	}
	return nil
}

func (r *Resources) append(more Resources) {
	r.Listeners = append(r.Listeners, more.Listeners...)
	r.Routes = append(r.Routes, more.Routes...)
	r.Clusters = append(r.Clusters, more.Clusters...)
	r.Endpoints = append(r.Endpoints, more.Endpoints...)
}

func (r *Resources) sort() {
	slices.SortFunc(r.Listeners, func(a, b *listenerv3.Listener) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Routes, func(a, b *routev3.RouteConfiguration) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Clusters, func(a, b *clusterv3.Cluster) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Endpoints, func(a, b *endpointv3.ClusterLoadAssignment) int {
		return cmp.Compare(a.ClusterName, b.ClusterName)
	})
}

// pack puts a message of ours into an Any, equal messages as equal bytes.
func pack(message proto.Message) *anypb.Any {
	packed := &anypb.Any{}
	// It fails only for invalid UTF-8 in a string or a missing required field. Names are validated
	// before anything is packed, and proto3 has no required fields.
	_ = anypb.MarshalFrom(packed, message, proto.MarshalOptions{Deterministic: true})
	return packed
}
