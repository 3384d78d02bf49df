package xds

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// warmRoute names the route that keeps clusters warm.
const warmRoute = "keep-warm"

// route is the one RouteConfiguration of a port, shared by all clients: every host, every path, the
// split. Weights of zero are left out, as gRPC does with them; ir's shares never are all zero.
//
// Behind the route that takes every request stands one that is never reached. It names the clusters that
// may get requests later: gRPC in Go puts a new route in force a moment before it has a picker for the
// clusters that the route brings in, and fails the calls that it sends there meanwhile ("unknown cluster
// selected for RPC"). A cluster that some route has named before is not new.
func route(service ir.Service, port ir.Port) *routev3.RouteConfiguration {
	name := RouteName(service, port)
	current := destination(service, port)
	routes := []*routev3.Route{everyRequest("", current)}
	if warm := warmClusters(service, port); len(warm) > 1 {
		routes = append(routes, everyRequest(warmRoute, warm))
	}
	return &routev3.RouteConfiguration{
		Name:         name,
		Metadata:     splitMetadata(service.Split),
		VirtualHosts: []*routev3.VirtualHost{{Name: name, Domains: []string{"*"}, Routes: routes}},
	}
}

type weighted struct {
	cluster string
	weight  uint32
}

// destination of requests now. Without shares that is the cluster of all endpoints, or the only subset's,
// where it has all: then a release begins without a change of cluster.
func destination(service ir.Service, port ir.Port) []weighted {
	var to []weighted
	for _, share := range service.SharesOn(port.Name) {
		to = append(to, weighted{ClusterName(service, port, share.Subset), share.Weight})
	}
	switch {
	case len(to) > 0:
		return to
	case len(service.Subsets) == 1:
		return []weighted{{ClusterName(service, port, service.Subsets[0].Name), 100}}
	default:
		return []weighted{{everyCluster(service, port), 100}}
	}
}

// warmClusters are all that there are, of a port with more than one subset.
func warmClusters(service ir.Service, port ir.Port) []weighted {
	names := subsetNames(service)
	if len(names) < 2 {
		return nil
	}
	var warm []weighted
	for _, subset := range names {
		warm = append(warm, weighted{ClusterName(service, port, subset), 1})
	}
	return append(warm, weighted{everyCluster(service, port), 1})
}

func everyRequest(name string, to []weighted) *routev3.Route {
	clusters := &routev3.WeightedCluster{}
	for _, destination := range to {
		clusters.Clusters = append(clusters.Clusters, &routev3.WeightedCluster_ClusterWeight{
			Name:   destination.cluster,
			Weight: wrapperspb.UInt32(destination.weight),
		})
	}
	return &routev3.Route{
		Name:  name,
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_WeightedClusters{WeightedClusters: clusters},
			// Envoy's default would cut every answer at 15 seconds.
			Timeout: durationpb.New(0),
		}},
	}
}

// WeightedClusters lists the clusters that a route sends new requests to, NamedClusters also those that
// it only keeps warm.
func WeightedClusters(route *routev3.RouteConfiguration) []string {
	return clustersOf(route, func(r *routev3.Route) bool { return r.GetName() != warmRoute })
}

// NamedClusters lists all clusters that a route refers to.
func NamedClusters(route *routev3.RouteConfiguration) []string {
	return clustersOf(route, func(*routev3.Route) bool { return true })
}

func clustersOf(configuration *routev3.RouteConfiguration, counts func(*routev3.Route) bool) []string {
	var names []string
	for _, host := range configuration.GetVirtualHosts() {
		for _, route := range host.GetRoutes() {
			if !counts(route) {
				continue
			}
			for _, weighted := range route.GetRoute().GetWeightedClusters().GetClusters() {
				if weighted.GetWeight().GetValue() > 0 {
					names = append(names, weighted.GetName())
				}
			}
		}
	}
	return names
}
