package xds

import (
	"cmp"
	"math"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

const upstreamOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// The defaults that ir's policies name where Envoy's differ, or where saying a thing at all needs a value.
const (
	connectTimeout    = 3 * time.Second
	maxConnections    = 1024
	unlimited         = math.MaxUint32
	retryBudget       = 20
	retryBudgetMin    = 3
	outlierFailures   = 5
	outlierEjection   = 30 * time.Second
	outlierPercent    = 50
	outlierEjections  = 10 // the longest ejection is so many times the first
	outlierCheckEvery = time.Second
)

// cluster makes the Cluster of that name for a port. Of the policy gRPC follows the balancer, the limit of
// requests in flight and, with credentials from xDS, TLS. Connections belong to clusters and not to routes,
// so that a route has no connect timeout of its own.
func cluster(name string, port ir.Port, policy ir.Policy) *clusterv3.Cluster {
	made := &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: fromADS()},
		ConnectTimeout:       duration(cmp.Or(policy.Timeouts.Connect, connectTimeout)),
		CircuitBreakers:      circuitBreakers(policy),
		OutlierDetection:     outlierDetection(policy.Outlier),
	}
	balance(made, policy.Balance)
	if policy.TLS != nil && port.Protocol.SpeaksHTTP() {
		made.TransportSocket = upstreamTLS(*policy.TLS, port)
	}
	if port.Protocol == ir.GRPC || port.Protocol == ir.HTTP2 {
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

// circuitBreakers are ir's: no limit but that of connections to one endpoint. Left out, Envoy and gRPC would
// have limits of 1024 each. The budget of retries is the service's; routes have none of their own here.
func circuitBreakers(policy ir.Policy) *clusterv3.CircuitBreakers {
	limits, retry := policy.Limits, ir.Retry{}
	if policy.Retry != nil {
		retry = *policy.Retry
	}
	return &clusterv3.CircuitBreakers{
		Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections:     wrapperspb.UInt32(unlimited),
			MaxPendingRequests: wrapperspb.UInt32(cmp.Or(limits.MaxPending, unlimited)),
			MaxRequests:        wrapperspb.UInt32(cmp.Or(limits.MaxRequests, unlimited)),
			RetryBudget: &clusterv3.CircuitBreakers_Thresholds_RetryBudget{
				BudgetPercent:       &typev3.Percent{Value: float64(cmp.Or(retry.Budget, retryBudget))},
				MinRetryConcurrency: wrapperspb.UInt32(cmp.Or(retry.BudgetMin, retryBudgetMin)),
			},
		}},
		PerHostThresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections: wrapperspb.UInt32(cmp.Or(limits.MaxConnections, maxConnections)),
		}},
	}
}

// outlierDetection ejects after failures in a row and for nothing else. gRPC has no such rule, and ejects
// nothing.
func outlierDetection(from *ir.Outlier) *clusterv3.OutlierDetection {
	if from == nil {
		return nil
	}
	ejection := cmp.Or(from.Ejection, outlierEjection)
	return &clusterv3.OutlierDetection{
		Consecutive_5Xx:                    wrapperspb.UInt32(cmp.Or(from.Consecutive, outlierFailures)),
		EnforcingConsecutive_5Xx:           wrapperspb.UInt32(100),
		Interval:                           duration(outlierCheckEvery),
		BaseEjectionTime:                   duration(ejection),
		MaxEjectionTime:                    duration(min(ejection, math.MaxInt64/outlierEjections/2) * outlierEjections),
		MaxEjectionPercent:                 wrapperspb.UInt32(cmp.Or(from.MaxPercent, outlierPercent)),
		AlwaysEjectOneHost:                 wrapperspb.Bool(true),
		EnforcingSuccessRate:               wrapperspb.UInt32(0),
		EnforcingConsecutiveGatewayFailure: wrapperspb.UInt32(0),
	}
}
