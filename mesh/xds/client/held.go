package client

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/xds/part"
)

// holding is a part that is in force. Immutable.
type holding struct {
	// version that the control plane gave it, and body as it came: a restarted proxy, which may be a newer
	// one, reads it again.
	version string
	body    []byte
	part    part.Part
	// turn counts what has been received.
	turn uint64
}

// held is what the control plane has sent and the consumer has accepted. Guarded by Client.applying.
type held struct {
	parts map[string]*holding
	turn  uint64
	// mesh in force, the union of the parts; applied tells whether there is one.
	mesh    ir.Mesh
	applied bool
}

// read turns a resource into what is to be held. A split that is older than the one in force, of the same
// owner, is replaced by that one: a replica that lags behind is no reason to take traffic back, nor to stop
// a release. kept tells whether there was such a split.
func (h *held) read(sent resource) (made *holding, kept bool, err error) {
	if sent.typeURL != part.Type {
		return nil, false, fmt.Errorf("resource %q: it is a %q", sent.name, sent.typeURL)
	}
	decoded, err := part.Decode(sent.body)
	if err != nil {
		return nil, false, fmt.Errorf("resource %q: %w", sent.name, err)
	}
	h.turn++
	made = &holding{version: sent.version, part: decoded, turn: h.turn}
	for i := range decoded.Services {
		service := &decoded.Services[i]
		present := h.service(service.Key())
		if present != nil && newer(present.Split, service.Split) {
			service.Split, kept = present.Split.WithShares(service.Subsets), true
		}
		if present != nil && ir.Equal(*present, *service) {
			*service = *present // one copy in memory is enough
			continue
		}
		shrink(service.Subsets)
	}
	if kept {
		made.body, _ = decoded.Encode()
	} else {
		made.body = bytes.Clone(sent.body)
	}
	return made, kept, nil
}

// newer reports whether a split is a later decision of the same owner than another.
func newer(split, than ir.Split) bool {
	return split.Owner != "" && split.Owner == than.Owner && split.Epoch > than.Epoch
}

// shrink lets endpoints share what they have in common, which is nearly all of their size.
func shrink(subsets []ir.Subset) {
	var ports map[string]uint16
	var zone string
	for _, subset := range subsets {
		for i := range subset.Endpoints {
			endpoint := &subset.Endpoints[i]
			if maps.Equal(ports, endpoint.Ports) {
				endpoint.Ports = ports
			}
			if zone == endpoint.Zone {
				endpoint.Zone = zone
			}
			ports, zone = endpoint.Ports, endpoint.Zone
		}
	}
}

// service in force; nil when there is none of this key.
func (h *held) service(key string) *ir.Service {
	i, found := slices.BinarySearchFunc(h.mesh.Services, key, func(s ir.Service, key string) int { return cmp.Compare(s.Key(), key) })
	if !found {
		return nil
	}
	return &h.mesh.Services[i]
}

// union of the parts: one copy of each service. Where parts disagree, the later decision of the same owner
// counts, and else what was received last: of two services that claim an address, too. For a moment that is so
// where an address passes from one to the other, and to refuse the news would be to refuse it for good.
func (h *held) union() ir.Mesh {
	var mesh ir.Mesh
	type choice struct {
		ir.Service
		turn uint64
	}
	chosen := map[string]choice{}
	byTurn := slices.SortedFunc(maps.Values(h.parts), func(a, b *holding) int { return cmp.Compare(a.turn, b.turn) })
	for _, one := range byTurn {
		if one.part.Settings != nil {
			mesh.Settings = *one.part.Settings
		}
		for _, service := range one.part.Services {
			if before, found := chosen[service.Key()]; !found || !newer(before.Split, service.Split) {
				chosen[service.Key()] = choice{service, one.turn}
			}
		}
	}
	claimed := map[netip.Addr]bool{}
	for _, last := range slices.SortedFunc(maps.Values(chosen), func(a, b choice) int {
		return cmp.Or(cmp.Compare(b.turn, a.turn), cmp.Compare(a.Key(), b.Key()))
	}) {
		service := without(last.Service, claimed)
		if len(service.Routes) > 0 && !slices.ContainsFunc(addressesOf(last.Service), h.called) {
			service.Routes = within(service.Routes, func(key string) bool { _, known := chosen[key]; return known })
		}
		mesh.Services = append(mesh.Services, service)
		for _, address := range last.Addresses {
			claimed[address] = true
		}
	}
	slices.SortFunc(mesh.Services, func(a, b ir.Service) int { return cmp.Compare(a.Key(), b.Key()) })
	return mesh
}

// called reports whether there is a part with all that is needed to call an address.
func (h *held) called(address netip.Addr) bool {
	_, held := h.parts[part.ToName(address)]
	return held
}

// addressesOf are those that a service is called by: a headless one by its pods'.
func addressesOf(service ir.Service) []netip.Addr {
	if len(service.Addresses) > 0 {
		return service.Addresses
	}
	var addresses []netip.Addr
	for _, subset := range service.Subsets {
		for _, endpoint := range subset.Endpoints {
			addresses = append(addresses, endpoint.Address)
		}
	}
	return addresses
}

// within returns routes that lead nowhere but to known services; what would lead to none of them leads to the
// service itself, as it was sent. That is for a service which is there only because another leads to it, or
// because our pod is behind it: where its own routes lead is asked for only when it is called, and if the control
// plane is away then, the request must not fail. A service that was asked for by its own address keeps its
// routes: what is not known then is not there.
func within(routes []ir.Route, known func(key string) bool) []ir.Route {
	unknown := func(b ir.Backend) bool { return b.Weight > 0 && !known(b.Service) }
	routes = slices.Clone(routes)
	for i := range routes {
		route := &routes[i]
		if slices.ContainsFunc(route.Backends, unknown) {
			route.Backends = slices.DeleteFunc(slices.Clone(route.Backends), unknown)
			if !slices.ContainsFunc(route.Backends, func(b ir.Backend) bool { return b.Weight > 0 }) {
				route.Backends, route.Rewrite, route.Revision = nil, nil, ir.AnyRevision
			}
		}
		if gone := func(m ir.Mirror) bool { return !known(m.Service) }; slices.ContainsFunc(route.Mirrors, gone) {
			route.Mirrors = slices.DeleteFunc(slices.Clone(route.Mirrors), gone)
		}
	}
	return routes
}

// without returns the service without the addresses that others have claimed.
func without(service ir.Service, claimed map[netip.Addr]bool) ir.Service {
	others := func(address netip.Addr) bool { return claimed[address] }
	if slices.ContainsFunc(service.Addresses, others) {
		service.Addresses = slices.DeleteFunc(slices.Clone(service.Addresses), others)
	}
	return service
}

// errForeign says that the control plane answers for a type that it does not know: settings always exist.
var errForeign = errors.New("the control plane has no parts of the mesh for us: is it older than this proxy?")

// put exchanges parts (nil: it leads nowhere) and has the consumer apply the mesh that they make, if it means
// something else now. With an error nothing has changed. While only a part of what a proxy begins with is
// there (complete is false), nothing is applied.
func (h *held) put(changes map[string]*holding, complete bool, consumer Consumer) error {
	before := maps.Clone(h.parts)
	for name, after := range changes {
		if after == nil {
			delete(h.parts, name)
		} else {
			h.parts[name] = after
		}
	}
	if !complete && !h.applied {
		return nil
	}
	mesh := h.union()
	if h.applied && ir.EqualMeshes(mesh, h.mesh) {
		return nil
	}
	if err := consumer.Apply(mesh); err != nil {
		h.parts = before
		return err
	}
	h.mesh, h.applied = mesh, true
	return nil
}

// versions of all parts, to tell a new stream what we have.
func (h *held) versions() map[string]string {
	versions := make(map[string]string, len(h.parts))
	for name, one := range h.parts {
		versions[name] = one.version
	}
	return versions
}

// list is what is held in the form of an answer.
func (h *held) list() *response {
	made := &response{typeURL: part.Type}
	for _, name := range slices.Sorted(maps.Keys(h.parts)) {
		one := h.parts[name]
		made.resources = append(made.resources, resource{name: name, version: one.version, typeURL: part.Type, body: one.body})
	}
	return made
}
