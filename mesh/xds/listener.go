package xds

import (
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// The names that Envoy gives its filters. Clients go by the type of the configuration.
const (
	hcmFilter = "envoy.filters.network.http_connection_manager"
	tcpFilter = "envoy.filters.network.tcp_proxy"
)

// tcpAttempts is how often Envoy dials, each time another endpoint, for one connection.
const tcpAttempts = 3

// listeners of one port: for each name that gRPC may dial, and for Envoy.
func listeners(service ir.Service, port ir.Port) []*listenerv3.Listener {
	var made []*listenerv3.Listener
	if len(service.Addresses) > 0 {
		made = append(made, envoyListener(service, port))
	}
	for _, name := range dialNames(service, port) {
		made = append(made, apiListener(name, service, port))
	}
	return made
}

// envoyListener is at the service's virtual addresses. It is not bound: it gets the connections that another
// listener captured for such an address (use_original_dst). A headless service has none. Nothing is sniffed:
// what is not declared is TCP.
func envoyListener(service ir.Service, port ir.Port) *listenerv3.Listener {
	listener := &listenerv3.Listener{
		Name:             RouteName(service, port),
		BindToPort:       wrapperspb.Bool(false),
		TrafficDirection: corev3.TrafficDirection_OUTBOUND,
		FilterChains:     []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{networkFilter(service, port)}}},
	}
	for i, address := range service.Addresses {
		if i == 0 {
			listener.Address = socketAddress(address, port.Number)
			continue
		}
		listener.AdditionalAddresses = append(listener.AdditionalAddresses,
			&listenerv3.AdditionalAddress{Address: socketAddress(address, port.Number)})
	}
	return listener
}

func networkFilter(service ir.Service, port ir.Port) *listenerv3.Filter {
	if !port.Protocol.SpeaksHTTP() {
		return &listenerv3.Filter{Name: tcpFilter, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(tcpProxy(service, port))}}
	}
	manager := connectionManager(service, port, envoyFilters())
	if port.Protocol == ir.HTTP {
		manager.UpgradeConfigs = []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}}
	}
	return &listenerv3.Filter{Name: hcmFilter, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(manager)}}
}

// tcpProxy draws connections by the split, so that a new weight is a new listener; Envoy keeps the
// connections of the old one until they end or its drain time has passed.
func tcpProxy(service ir.Service, port ir.Port) *tcpv3.TcpProxy {
	made := &tcpv3.TcpProxy{
		StatPrefix:         RouteName(service, port),
		IdleTimeout:        duration(service.Policy.Timeouts.Idle),
		MaxConnectAttempts: wrapperspb.UInt32(tcpAttempts),
	}
	if service.Policy.Balance.HashOn.Source {
		made.HashPolicy = []*typev3.HashPolicy{{PolicySpecifier: &typev3.HashPolicy_SourceIp_{SourceIp: &typev3.HashPolicy_SourceIp{}}}}
	}
	split := &tcpv3.TcpProxy_WeightedCluster{}
	for _, to := range destination(service, port, ir.AnyRevision) {
		split.Clusters = append(split.Clusters, &tcpv3.TcpProxy_WeightedCluster_ClusterWeight{Name: to.cluster, Weight: to.weight})
	}
	made.ClusterSpecifier = &tcpv3.TcpProxy_WeightedClusters{WeightedClusters: split}
	return made
}

// apiListener is the one for gRPC without a proxy, named as the client dials. There is one for every
// port, whatever is declared of it: who dials with xds:/// speaks gRPC.
func apiListener(name string, service ir.Service, port ir.Port) *listenerv3.Listener {
	return &listenerv3.Listener{
		Name:        name,
		ApiListener: &listenerv3.ApiListener{ApiListener: pack(connectionManager(service, port, grpcFilters()))},
	}
}

func connectionManager(service ir.Service, port ir.Port, filters []*hcmv3.HttpFilter) *hcmv3.HttpConnectionManager {
	return &hcmv3.HttpConnectionManager{
		StatPrefix: RouteName(service, port),
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			ConfigSource:    fromADS(),
			RouteConfigName: RouteName(service, port),
		}},
		HttpFilters: filters,
	}
}

func fromADS() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

func socketAddress(address netip.Addr, port uint16) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       address.String(),
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}
