package xds

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// route is the one RouteConfiguration of a port, shared by all clients: every host, every path, the
// split. Weights of zero are left out, as gRPC does with them; ir's shares never are all zero.
func route(service ir.Service, port ir.Port) *routev3.RouteConfiguration {
	name := RouteName(service, port)
	action := &routev3.RouteAction{
		// Envoy's default would cut every answer at 15 seconds.
		Timeout: durationpb.New(0),
	}
	if shares := service.SharesOn(port.Name); len(shares) == 0 {
		action.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: everyCluster(service, port)}
	} else {
		weighted := &routev3.WeightedCluster{}
		for _, share := range shares {
			weighted.Clusters = append(weighted.Clusters, &routev3.WeightedCluster_ClusterWeight{
				Name:   ClusterName(service, port, share.Subset),
				Weight: wrapperspb.UInt32(share.Weight),
			})
		}
		action.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: weighted}
	}
	return &routev3.RouteConfiguration{
		Name:     name,
		Metadata: splitMetadata(service.Split),
		VirtualHosts: []*routev3.VirtualHost{{
			Name:    name,
			Domains: []string{"*"},
			Routes: []*routev3.Route{{
				Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
				Action: &routev3.Route_Route{Route: action},
			}},
		}},
	}
}

// WeightedClusters lists the clusters that a route sends new requests to.
func WeightedClusters(route *routev3.RouteConfiguration) []string {
	var names []string
	for _, host := range route.GetVirtualHosts() {
		for _, route := range host.GetRoutes() {
			if single := route.GetRoute().GetCluster(); single != "" {
				names = append(names, single)
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
