package xds

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	commonlbv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	roundrobinv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// balance says how a cluster chooses endpoints. Envoy prefers its own zone unless told otherwise, if it
// knows its own cluster (cluster_manager.local_cluster_name); gRPC never does. A gRPC client starts nothing
// slowly.
func balance(made *clusterv3.Cluster, from ir.Balance) {
	common := &clusterv3.Cluster_CommonLbConfig{}
	if from.Panic > 0 {
		common.HealthyPanicThreshold = &typev3.Percent{Value: float64(from.Panic)}
	}
	if from.AnyZone && from.Balancer != ir.Random {
		common.LocalityConfigSpecifier = &clusterv3.Cluster_CommonLbConfig_ZoneAwareLbConfig_{
			ZoneAwareLbConfig: &clusterv3.Cluster_CommonLbConfig_ZoneAwareLbConfig{RoutingEnabled: &typev3.Percent{}},
		}
	}
	if proto.Size(common) > 0 {
		made.CommonLbConfig = common
	}
	switch from.Balancer {
	case ir.RoundRobin:
		made.LbPolicy = clusterv3.Cluster_ROUND_ROBIN
		if start := slowStart(from.SlowStart); start != nil {
			made.LbConfig = &clusterv3.Cluster_RoundRobinLbConfig_{
				RoundRobinLbConfig: &clusterv3.Cluster_RoundRobinLbConfig{SlowStartConfig: start},
			}
		}
	case ir.Random:
		// gRPC rejects a cluster with Envoy's RANDOM, but takes the first of a list of policies that it knows.
		made.LbPolicy = clusterv3.Cluster_ROUND_ROBIN
		made.LoadBalancingPolicy = &clusterv3.LoadBalancingPolicy{Policies: []*clusterv3.LoadBalancingPolicy_Policy{
			lbPolicy("envoy.load_balancing_policies.random", &randomv3.Random{LocalityLbConfig: locality(from.AnyZone)}),
			lbPolicy("envoy.load_balancing_policies.round_robin", &roundrobinv3.RoundRobin{}),
		}}
	case ir.RingHash:
		made.LbPolicy = clusterv3.Cluster_RING_HASH
	default:
		made.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
		if start := slowStart(from.SlowStart); start != nil {
			made.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{
				LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{SlowStartConfig: start},
			}
		}
	}
}

// slowStart grows as ir has it by Envoy's defaults: linearly, from a tenth.
func slowStart(window time.Duration) *clusterv3.Cluster_SlowStartConfig {
	if window == 0 {
		return nil
	}
	return &clusterv3.Cluster_SlowStartConfig{SlowStartWindow: duration(window)}
}

func lbPolicy(name string, config proto.Message) *clusterv3.LoadBalancingPolicy_Policy {
	return &clusterv3.LoadBalancingPolicy_Policy{
		TypedExtensionConfig: &corev3.TypedExtensionConfig{Name: name, TypedConfig: pack(config)},
	}
}

func locality(anyZone bool) *commonlbv3.LocalityLbConfig {
	zoneAware := &commonlbv3.LocalityLbConfig_ZoneAwareLbConfig{}
	if anyZone {
		zoneAware.RoutingEnabled = &typev3.Percent{}
	}
	return &commonlbv3.LocalityLbConfig{
		LocalityConfigSpecifier: &commonlbv3.LocalityLbConfig_ZoneAwareLbConfig_{ZoneAwareLbConfig: zoneAware},
	}
}
