package xds

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// connectTimeout is for Envoy; gRPC and our proxy have their own.
const connectTimeout = 5 * time.Second

const upstreamOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

func cluster(name string, port ir.Port) *clusterv3.Cluster {
	made := &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: fromADS()},
		LbPolicy:             clusterv3.Cluster_ROUND_ROBIN,
		ConnectTimeout:       durationpb.New(connectTimeout),
	}
	if port.Protocol == ir.GRPC {
		made.TypedExtensionProtocolOptions = map[string]*anypb.Any{
			upstreamOptions: pack(&upstreamv3.HttpProtocolOptions{
				UpstreamProtocolOptions: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_{
					ExplicitHttpConfig: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig{
						ProtocolConfig: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
							Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
						},
					},
				},
			}),
		}
	}
	return made
}

// endpoints lists the subsets' endpoints that have the port. gRPC wants every locality to have an
// identity and a weight of at least 1, priorities without a gap, and no address twice (which
// ir.Service.Validate rules out).
func endpoints(cluster string, port ir.Port, subsets []ir.Subset) *endpointv3.ClusterLoadAssignment {
	assignment := &endpointv3.ClusterLoadAssignment{ClusterName: cluster}
	var list []*endpointv3.LbEndpoint
	for _, subset := range subsets {
		for _, endpoint := range subset.Endpoints {
			number := endpoint.Ports[port.Name]
			if number == 0 {
				continue
			}
			health := corev3.HealthStatus_UNKNOWN
			if endpoint.Draining {
				health = corev3.HealthStatus_DRAINING
			}
			list = append(list, &endpointv3.LbEndpoint{
				HealthStatus: health,
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
					Address: socketAddress(endpoint.Address, number),
				}},
			})
		}
	}
	if len(list) > 0 {
		assignment.Endpoints = []*endpointv3.LocalityLbEndpoints{{
			Locality:            &corev3.Locality{},
			LoadBalancingWeight: wrapperspb.UInt32(1),
			LbEndpoints:         list,
		}}
	}
	return assignment
}

// Reachable counts the endpoints of an assignment that take new requests.
func Reachable(assignment *endpointv3.ClusterLoadAssignment) int {
	count := 0
	for _, locality := range assignment.GetEndpoints() {
		for _, endpoint := range locality.GetLbEndpoints() {
			switch endpoint.GetHealthStatus() {
			case corev3.HealthStatus_UNKNOWN, corev3.HealthStatus_HEALTHY:
				count++
			default:
			}
		}
	}
	return count
}
