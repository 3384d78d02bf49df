// Package xds turns the mesh into Envoy's v3 resources and back. It is pure: no connections, no clock,
// no state, and it knows nothing of who asks. What it makes must be right for three kinds of clients:
// our own proxy, Envoy, and gRPC without a proxy. They share routes, clusters and endpoints; only their
// listeners differ. Decode reads what Encode makes for our own proxy.
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
	var all Resources
	var errs []error
	for _, service := range mesh.Services {
		resources, err := EncodeService(service)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all.append(resources)
	}
	all.sort()
	return all, errors.Join(errs...)
}

// EncodeService makes the resources of one service, or none and an error that names it.
func EncodeService(service ir.Service) (Resources, error) {
	if err := service.Validate(); err != nil {
		return Resources{}, err
	}
	service = service.Normalise()
	var made Resources
	for _, port := range service.Ports {
		made.Routes = append(made.Routes, route(service, port))
		for _, subset := range subsetNames(service) {
			made.Clusters = append(made.Clusters, cluster(ClusterName(service, port, subset), port))
			made.Endpoints = append(made.Endpoints, endpoints(ClusterName(service, port, subset), port, byName(service, subset)))
		}
		made.Clusters = append(made.Clusters, cluster(everyCluster(service, port), port))
		made.Endpoints = append(made.Endpoints, endpoints(everyCluster(service, port), port, service.Subsets))
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

// validate runs the rules that Envoy's definitions declare over every message, also over those that
// listeners carry inside an Any, where the outer message's rules do not reach.
func (r *Resources) validate() error {
	var errs []error
	check := func(name string, message interface{ ValidateAll() error }) {
		if err := message.ValidateAll(); err != nil {
			errs = append(errs, fmt.Errorf("validate %T %s: %w", message, name, err))
		}
	}
	for _, listener := range r.Listeners {
		check(listener.Name, listener)
		for _, inner := range packedIn(listener) {
			message, err := inner.UnmarshalNew()
			if err != nil {
				errs = append(errs, fmt.Errorf("unpack filter of listener %s: %w", listener.Name, err))
				continue
			}
			if message, ok := message.(interface{ ValidateAll() error }); ok {
				check(listener.Name, message)
			}
		}
	}
	for _, route := range r.Routes {
		check(route.Name, route)
	}
	for _, cluster := range r.Clusters {
		check(cluster.Name, cluster)
	}
	for _, assignment := range r.Endpoints {
		check(assignment.ClusterName, assignment)
	}
	return errors.Join(errs...)
}

// pack puts a message of ours into an Any, equal messages as equal bytes.
func pack(message proto.Message) *anypb.Any {
	packed := &anypb.Any{}
	// It fails only for invalid UTF-8 in a string or a missing required field. Names are validated
	// before anything is packed, and proto3 has no required fields.
	_ = anypb.MarshalFrom(packed, message, proto.MarshalOptions{Deterministic: true})
	return packed
}
