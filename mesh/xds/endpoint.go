package xds

import (
	"maps"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// endpoints lists the subsets' endpoints that have the port, by zone. gRPC wants every locality to have an
// identity and a weight of at least 1, priorities without a gap, and no address twice (which
// ir.Service.Validate rules out). It draws the locality by weight, so that this is the number of endpoints
// that take requests; Envoy prefers its own zone by itself.
func endpoints(cluster string, port ir.Port, subsets []ir.Subset) *endpointv3.ClusterLoadAssignment {
	zones := map[string]*endpointv3.LocalityLbEndpoints{}
	for _, subset := range subsets {
		for _, endpoint := range subset.Endpoints {
			number := endpoint.Ports[port.Name]
			if number == 0 {
				continue
			}
			zone := zones[endpoint.Zone]
			if zone == nil {
				zone = &endpointv3.LocalityLbEndpoints{Locality: &corev3.Locality{Zone: endpoint.Zone}}
				zones[endpoint.Zone] = zone
			}
			health := corev3.HealthStatus_UNKNOWN
			if endpoint.Draining {
				health = corev3.HealthStatus_DRAINING
			}
			zone.LbEndpoints = append(zone.LbEndpoints, &endpointv3.LbEndpoint{
				HealthStatus: health,
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
					Address: socketAddress(endpoint.Address, number),
				}},
			})
		}
	}
	assignment := &endpointv3.ClusterLoadAssignment{ClusterName: cluster}
	for _, name := range slices.Sorted(maps.Keys(zones)) {
		zone := zones[name]
		zone.LoadBalancingWeight = wrapperspb.UInt32(uint32(max(1, ready(zone))))
		assignment.Endpoints = append(assignment.Endpoints, zone)
	}
	return assignment
}

// Reachable counts the endpoints of an assignment that take new requests.
func Reachable(assignment *endpointv3.ClusterLoadAssignment) int {
	count := 0
	for _, locality := range assignment.GetEndpoints() {
		count += ready(locality)
	}
	return count
}

func ready(locality *endpointv3.LocalityLbEndpoints) int {
	count := 0
	for _, endpoint := range locality.GetLbEndpoints() {
		switch endpoint.GetHealthStatus() {
		case corev3.HealthStatus_UNKNOWN, corev3.HealthStatus_HEALTHY:
			count++
		default:
		}
	}
	return count
}
