package xds

import (
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// The names that Envoy gives its filters. Clients go by the type of the configuration.
const (
	routerFilter = "envoy.filters.http.router"
	hcmFilter    = "envoy.filters.network.http_connection_manager"
	tcpFilter    = "envoy.filters.network.tcp_proxy"
)

// listeners of one port, one kind for each kind of client. Listeners for Envoy by original destination
// (one that captures all outbound traffic, with a filter chain per address and port) would be a third
// kind here: they are made from the whole mesh and within an explicit scope, not per service.
func listeners(service ir.Service, port ir.Port) []*listenerv3.Listener {
	made := []*listenerv3.Listener{meshListener(service, port)}
	for _, name := range dialNames(service, port) {
		made = append(made, apiListener(name, service, port))
	}
	return made
}

// meshListener is the one for our own proxy: by virtual address and port. A headless service's has no
// address; the proxy finds it by the addresses of its endpoints.
func meshListener(service ir.Service, port ir.Port) *listenerv3.Listener {
	listener := &listenerv3.Listener{
		Name:             RouteName(service, port),
		BindToPort:       wrapperspb.Bool(false),
		TrafficDirection: corev3.TrafficDirection_OUTBOUND,
		Metadata:         portMetadata(port),
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
	if port.Protocol == ir.TCP {
		return &listenerv3.Filter{Name: tcpFilter, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(&tcpv3.TcpProxy{
			StatPrefix:       RouteName(service, port),
			ClusterSpecifier: &tcpv3.TcpProxy_Cluster{Cluster: everyCluster(service, port)},
		})}}
	}
	return &listenerv3.Filter{Name: hcmFilter, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(connectionManager(service, port))}}
}

// apiListener is the one for gRPC without a proxy, named as the client dials. There is one for every
// port, whatever is declared of it: who dials with xds:/// speaks gRPC.
func apiListener(name string, service ir.Service, port ir.Port) *listenerv3.Listener {
	return &listenerv3.Listener{
		Name:        name,
		ApiListener: &listenerv3.ApiListener{ApiListener: pack(connectionManager(service, port))},
	}
}

func connectionManager(service ir.Service, port ir.Port) *hcmv3.HttpConnectionManager {
	return &hcmv3.HttpConnectionManager{
		StatPrefix: RouteName(service, port),
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			ConfigSource:    fromADS(),
			RouteConfigName: RouteName(service, port),
		}},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name:       routerFilter,
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&routerv3.Router{})},
		}},
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

// packedIn lists the messages that a listener carries inside an Any.
func packedIn(listener *listenerv3.Listener) []*anypb.Any {
	var packed []*anypb.Any
	if api := listener.GetApiListener().GetApiListener(); api != nil {
		packed = append(packed, api)
	}
	for _, chain := range listener.GetFilterChains() {
		for _, filter := range chain.GetFilters() {
			packed = append(packed, filter.GetTypedConfig())
		}
	}
	return packed
}
