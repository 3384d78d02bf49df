package client

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/xds"
)

// versioned is a resource with the version that the control plane gave it.
type versioned struct {
	xds.Packed
	version string
}

// identity of a resource.
type identity struct{ typeURL, name string }

// held is what the control plane has sent and we have accepted, with its meaning by service, so that a
// change costs what has changed and not what there is.
type held struct {
	resources map[identity]versioned
	// groups are the identities of each service's resources.
	groups   map[string]map[identity]bool
	services map[string]ir.Service
	// answered are the types of which we know all there is.
	answered map[string]bool
}

func newHeld() *held {
	return &held{
		resources: map[identity]versioned{},
		groups:    map[string]map[identity]bool{},
		services:  map[string]ir.Service{},
		answered:  map[string]bool{},
	}
}

// complete reports whether every type has been answered, so that the mesh is one and not a part.
func (h *held) complete() bool {
	return !slices.ContainsFunc(xds.Types, func(typeURL string) bool { return !h.answered[typeURL] })
}

// mesh that the resources mean.
func (h *held) mesh() ir.Mesh {
	services := slices.Collect(maps.Values(h.services))
	slices.SortFunc(services, ir.CompareServices)
	return ir.Mesh{Services: services}
}

// versions of a type, to tell a new stream what we have.
func (h *held) versions(typeURL string) map[string]string {
	versions := map[string]string{}
	for id, r := range h.resources {
		if id.typeURL == typeURL {
			versions[id.name] = r.version
		}
	}
	return versions
}

func (h *held) list() []versioned {
	return slices.Collect(maps.Values(h.resources))
}

// fill takes stored resources.
func (h *held) fill(resources []versioned) error {
	changes := make(map[identity]*versioned, len(resources))
	for _, r := range resources {
		changes[identity{r.Body.GetTypeUrl(), r.Name}] = &r
	}
	if _, _, err := h.change(changes); err != nil {
		return err
	}
	for _, typeURL := range xds.Types {
		h.answered[typeURL] = true
	}
	return nil
}

// read turns an answer into changes; nil is a removal. Routes whose split is older than the one we hold
// of the same owner are refused without a word: a replica that lags behind is no reason to take traffic
// back, nor to stop a release (refused lists them).
func (h *held) read(answer *discoveryv3.DeltaDiscoveryResponse) (changes map[identity]*versioned, refused []string, err error) {
	changes = make(map[identity]*versioned, len(answer.GetResources())+len(answer.GetRemovedResources()))
	var errs []error
	for _, sent := range answer.GetResources() {
		packed, err := xds.Unpack(sent.GetResource())
		if err == nil && packed.Body.GetTypeUrl() != answer.GetTypeUrl() {
			err = fmt.Errorf("it is a %s", packed.Body.GetTypeUrl())
		}
		if err == nil && packed.Name != sent.GetName() {
			err = fmt.Errorf("it names itself %q", packed.Name)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("resource %q: %w", sent.GetName(), err))
			continue
		}
		id := identity{answer.GetTypeUrl(), packed.Name}
		if h.newer(id, packed) {
			refused = append(refused, packed.Name)
			continue
		}
		changes[id] = &versioned{packed, sent.GetVersion()}
	}
	for _, name := range answer.GetRemovedResources() {
		changes[identity{answer.GetTypeUrl(), name}] = nil
	}
	return changes, refused, errors.Join(errs...)
}

// newer reports whether we hold a route with a newer epoch of the same owner than the one sent.
func (h *held) newer(id identity, sent xds.Packed) bool {
	route, isRoute := sent.Message.(*routev3.RouteConfiguration)
	before, exists := h.resources[id]
	if !isRoute || !exists {
		return false
	}
	beforeRoute, _ := before.Message.(*routev3.RouteConfiguration)
	offered, errOffered := xds.SplitOf(route)
	have, errHave := xds.SplitOf(beforeRoute)
	return errOffered == nil && errHave == nil && have.Owner != "" && have.Owner == offered.Owner && have.Epoch > offered.Epoch
}

// change makes the changes and reports whether the mesh means something else now, and how to take them
// back. With an error nothing has changed.
func (h *held) change(changes map[identity]*versioned) (meaning bool, undo func(), err error) {
	resources := map[identity]*versioned{}
	services := map[string]*ir.Service{}
	undo = func() {
		for id, before := range resources {
			h.set(id, before)
		}
		for key, before := range services {
			h.setService(key, before)
		}
	}
	for id, after := range changes {
		if before, exists := h.resources[id]; exists {
			resources[id] = &before
		} else {
			resources[id] = nil
		}
		h.set(id, after)
		if key, ours := xds.ServiceOf(id.name); ours {
			services[key] = nil
		}
	}
	var errs []error
	for key := range services {
		before, existed := h.services[key]
		if existed {
			services[key] = &before
		}
		after, exists, err := h.decode(key)
		switch {
		case err != nil:
			errs = append(errs, err)
		case !exists:
			meaning = meaning || existed
			h.setService(key, nil)
		default:
			meaning = meaning || !existed || !ir.Equal(before, after)
			h.setService(key, &after)
		}
	}
	if err := errors.Join(errs...); err != nil {
		undo()
		return false, nil, err
	}
	return meaning, undo, nil
}

func (h *held) decode(key string) (ir.Service, bool, error) {
	var resources xds.Resources
	for id := range h.groups[key] {
		resources.Add(h.resources[id].Packed)
	}
	return xds.DecodeService(resources)
}

// set stores a resource, or removes it when it is nil.
func (h *held) set(id identity, r *versioned) {
	key, ours := xds.ServiceOf(id.name)
	if r == nil {
		delete(h.resources, id)
		delete(h.groups[key], id)
		if len(h.groups[key]) == 0 {
			delete(h.groups, key)
		}
		return
	}
	h.resources[id] = *r
	if !ours {
		return
	}
	if h.groups[key] == nil {
		h.groups[key] = map[identity]bool{}
	}
	h.groups[key][id] = true
}

func (h *held) setService(key string, service *ir.Service) {
	if service == nil {
		delete(h.services, key)
		return
	}
	h.services[key] = *service
}
