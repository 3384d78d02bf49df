package xds

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// Decode reads the mesh from resources as Encode makes them for our own proxy: for a valid mesh,
// Decode(Encode(mesh)) is its normal form. What is malformed is an error that names its service, and
// then there is no mesh. What is only not there (yet) is not: a listener without its route is left out,
// as are endpoints without their cluster. Listeners for other clients, and what a newer control plane
// may add, are passed over.
func Decode(resources Resources) (ir.Mesh, error) {
	var mesh ir.Mesh
	var errs []error
	groups := groupByService(resources)
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		service, present, err := decodeService(groups[key])
		if err != nil {
			errs = append(errs, err)
		}
		if present {
			mesh.Services = append(mesh.Services, service)
		}
	}
	if len(errs) > 0 {
		return ir.Mesh{}, errors.Join(errs...)
	}
	slices.SortFunc(mesh.Services, ir.CompareServices)
	return mesh, nil
}

// DecodeService is Decode for the resources of one service only. False: the service is not there (yet).
func DecodeService(resources Resources) (ir.Service, bool, error) {
	groups := groupByService(resources)
	if len(groups) > 1 {
		return ir.Service{}, false, fmt.Errorf("decode service: resources of %d services", len(groups))
	}
	for _, group := range groups {
		return decodeService(group)
	}
	return ir.Service{}, false, nil
}

// group is what belongs to one service, by port.
type group struct {
	namespace, name string
	listeners       map[uint16]*listenerv3.Listener
	routes          map[uint16]*routev3.RouteConfiguration
	clusters        map[string]*clusterv3.Cluster
	endpoints       []assignment
}

type assignment struct {
	name
	*endpointv3.ClusterLoadAssignment
}

func groupByService(resources Resources) map[string]*group {
	groups := map[string]*group{}
	of := func(resource string, cluster bool) (*group, name) {
		parsed, ok := parseName(resource)
		if !ok || cluster == (parsed.subset == "") {
			return nil, name{}
		}
		key := parsed.namespace + "/" + parsed.service
		if groups[key] == nil {
			groups[key] = &group{
				namespace: parsed.namespace,
				name:      parsed.service,
				listeners: map[uint16]*listenerv3.Listener{},
				routes:    map[uint16]*routev3.RouteConfiguration{},
				clusters:  map[string]*clusterv3.Cluster{},
			}
		}
		return groups[key], parsed
	}
	for _, listener := range resources.Listeners {
		if group, name := of(listener.GetName(), false); group != nil {
			group.listeners[name.port] = listener
		}
	}
	for _, route := range resources.Routes {
		if group, name := of(route.GetName(), false); group != nil {
			group.routes[name.port] = route
		}
	}
	for _, cluster := range resources.Clusters {
		if group, _ := of(cluster.GetName(), true); group != nil {
			group.clusters[cluster.GetName()] = cluster
		}
	}
	for _, endpoints := range resources.Endpoints {
		if group, name := of(endpoints.GetClusterName(), true); group != nil {
			group.endpoints = append(group.endpoints, assignment{name, endpoints})
		}
	}
	return groups
}

func decodeService(from *group) (ir.Service, bool, error) {
	service := ir.Service{Namespace: from.namespace, Name: from.name}
	var errs []error
	for _, number := range slices.Sorted(maps.Keys(from.listeners)) {
		route := from.routes[number]
		if route == nil {
			continue
		}
		listener := from.listeners[number]
		addresses, err := addressesOf(listener)
		if err != nil {
			errs = append(errs, fmt.Errorf("listener %s: %w", listener.GetName(), err))
		}
		split, err := SplitOf(route)
		if err != nil {
			errs = append(errs, fmt.Errorf("route %s: %w", route.GetName(), err))
		}
		// Ports of one service say the same but for a moment; the first port's word counts, or a newer
		// epoch of the same owner.
		if len(service.Ports) == 0 {
			service.Addresses, service.Split = addresses, split
		} else if split.Owner == service.Split.Owner && split.Epoch > service.Split.Epoch {
			service.Split = split
		}
		service.Ports = append(service.Ports, portFrom(fieldsOf(listener.GetMetadata()), number))
	}
	if len(service.Ports) == 0 && len(errs) == 0 {
		return service, false, nil
	}
	subsets, err := from.subsets(service.Ports)
	service.Subsets = subsets
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return ir.Service{}, false, fmt.Errorf("service %s: %w", service.Key(), err)
	}
	if err := service.Validate(); err != nil {
		return ir.Service{}, false, err
	}
	return service.Normalise(), true, nil
}

func addressesOf(listener *listenerv3.Listener) ([]netip.Addr, error) {
	var addresses []netip.Addr
	if listener.GetAddress() != nil {
		address, _, err := parseSocket(listener.GetAddress())
		if err != nil {
			return nil, err
		}
		addresses = append(addresses, address)
	}
	for _, additional := range listener.GetAdditionalAddresses() {
		address, _, err := parseSocket(additional.GetAddress())
		if err != nil {
			return nil, err
		}
		addresses = append(addresses, address)
	}
	return addresses, nil
}

// subsets gathers the endpoints of all ports. One that is in two subsets (an address that was reused,
// seen between two answers) stays in the first by name.
func (g *group) subsets(ports []ir.Port) ([]ir.Subset, error) {
	portNames := map[uint16]string{}
	for _, port := range ports {
		portNames[port.Number] = port.Name
	}
	type place struct{ subset, endpoint int }
	places := map[netip.Addr]place{}
	var subsets []ir.Subset
	var errs []error
	slices.SortFunc(g.endpoints, func(a, b assignment) int {
		return slices.Compare([]string{a.subsetName(), a.ClusterName}, []string{b.subsetName(), b.ClusterName})
	})
	for _, assignment := range g.endpoints {
		portName, known := portNames[assignment.port]
		if !known || assignment.subset == everySubset || g.clusters[assignment.ClusterName] == nil {
			continue
		}
		if len(subsets) == 0 || subsets[len(subsets)-1].Name != assignment.subsetName() {
			subsets = append(subsets, ir.Subset{Name: assignment.subsetName()})
		}
		current := len(subsets) - 1
		for _, listed := range lbEndpoints(assignment.ClusterLoadAssignment) {
			address, number, err := parseSocket(listed.GetEndpoint().GetAddress())
			if err != nil {
				errs = append(errs, fmt.Errorf("endpoints %s: %w", assignment.ClusterName, err))
				continue
			}
			at, seen := places[address]
			if !seen {
				at = place{current, len(subsets[current].Endpoints)}
				places[address] = at
				subsets[current].Endpoints = append(subsets[current].Endpoints, ir.Endpoint{Address: address, Ports: map[string]uint16{}})
			}
			if at.subset != current {
				continue
			}
			endpoint := &subsets[current].Endpoints[at.endpoint]
			endpoint.Ports[portName] = number
			endpoint.Draining = endpoint.Draining || listed.GetHealthStatus() == corev3.HealthStatus_DRAINING
		}
	}
	return subsets, errors.Join(errs...)
}

func lbEndpoints(assignment *endpointv3.ClusterLoadAssignment) []*endpointv3.LbEndpoint {
	var list []*endpointv3.LbEndpoint
	for _, locality := range assignment.GetEndpoints() {
		list = append(list, locality.GetLbEndpoints()...)
	}
	return list
}

func parseSocket(address *corev3.Address) (netip.Addr, uint16, error) {
	socket := address.GetSocketAddress()
	parsed, err := netip.ParseAddr(socket.GetAddress())
	if err != nil {
		return netip.Addr{}, 0, fmt.Errorf("parse address %q: %w", socket.GetAddress(), err)
	}
	if socket.GetPortValue() < 1 || socket.GetPortValue() > 65535 {
		return netip.Addr{}, 0, fmt.Errorf("port %d of %s is out of range", socket.GetPortValue(), parsed)
	}
	return parsed.Unmap(), uint16(socket.GetPortValue()), nil
}
