// Package meshsync derives the mesh from API objects: Rollouts, Services, EndpointSlices and pods, and what
// TrafficPolicies and routes of the Gateway API say about traffic. Translate and Traffic.Apply are pure; Syncer
// watches and publishes. Every operator replica runs it, leader or not, and all derive the same mesh, because
// weights live in the Rollouts' status.
package meshsync

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/mesh/ir"
)

// Input is all that one service's meaning depends on.
type Input struct {
	Service *corev1.Service
	// Slices are the EndpointSlices of the Service and, during a release, of its canary Service.
	Slices []*discoveryv1.EndpointSlice
	// Revision tells a pod's pod-template-hash by its UID; false when the pod is not known (yet), and
	// then its endpoint is left out.
	Revision func(uid types.UID) (string, bool)
	// Rollout that releases behind this Service; nil when there is none.
	Rollout *v1alpha1.Rollout
}

// Translate says what one Service means to the mesh, without its traffic (see Traffic). False: the mesh has nothing to do with it.
func Translate(in Input) (ir.Service, bool) {
	service := ir.Service{Namespace: in.Service.Namespace, Name: in.Service.Name}
	if in.Service.Spec.Type == corev1.ServiceTypeExternalName {
		return service, false
	}
	for _, address := range in.Service.Spec.ClusterIPs {
		if parsed, err := netip.ParseAddr(address); err == nil {
			service.Addresses = append(service.Addresses, parsed)
		}
	}
	slices.SortFunc(service.Addresses, netip.Addr.Compare)
	for _, port := range in.Service.Spec.Ports {
		if port.Protocol != "" && port.Protocol != corev1.ProtocolTCP || port.Port < 1 || port.Port > 65535 {
			continue
		}
		service.Ports = append(service.Ports, ir.Port{Name: port.Name, Number: uint16(port.Port), Protocol: protocol(port)}) //nolint:gosec // bounded above
	}
	if len(service.Ports) == 0 {
		return service, false
	}
	slices.SortFunc(service.Ports, func(a, b ir.Port) int { return cmp.Compare(a.Number, b.Number) })
	service.Subsets = subsets(in)
	service.Split = split(in.Rollout, service.Subsets)
	return service, true
}

// subsets groups the endpoints by their pods' revision. A pod seen in several slices is one endpoint.
func subsets(in Input) []ir.Subset {
	type entry struct {
		revision string
		endpoint ir.Endpoint
	}
	endpoints := map[netip.Addr]*entry{}
	for _, slice := range in.Slices {
		if !fits(in.Service, slice) {
			continue
		}
		ports := map[string]uint16{}
		for _, port := range slice.Ports {
			if port.Port == nil || *port.Port < 1 || *port.Port > 65535 || port.Protocol != nil && *port.Protocol != corev1.ProtocolTCP {
				continue
			}
			name := ""
			if port.Name != nil {
				name = *port.Name
			}
			ports[name] = uint16(*port.Port) //nolint:gosec // bounded above
		}
		for _, endpoint := range slice.Endpoints {
			usable, draining := state(endpoint.Conditions)
			if !usable || len(endpoint.Addresses) == 0 {
				continue
			}
			address, err := netip.ParseAddr(endpoint.Addresses[0])
			if err != nil {
				continue
			}
			revision := ""
			if endpoint.TargetRef != nil && endpoint.TargetRef.Kind == "Pod" {
				var known bool
				if revision, known = in.Revision(endpoint.TargetRef.UID); !known {
					continue
				}
			}
			known := endpoints[address]
			switch {
			case known == nil, known.revision != revision && known.endpoint.Draining:
				// An address belongs to one pod at a time: the one that is not leaving.
				known = &entry{revision, ir.Endpoint{Address: address, Ports: map[string]uint16{}, Zone: ptr.Deref(endpoint.Zone, ""), Draining: draining}}
				endpoints[address] = known
			case known.revision != revision:
				continue
			}
			maps.Copy(known.endpoint.Ports, ports)
			known.endpoint.Draining = known.endpoint.Draining || draining
		}
	}
	byRevision := map[string][]ir.Endpoint{}
	for _, e := range endpoints {
		byRevision[e.revision] = append(byRevision[e.revision], e.endpoint)
	}
	out := make([]ir.Subset, 0, len(byRevision))
	for revision, list := range byRevision {
		slices.SortFunc(list, func(a, b ir.Endpoint) int { return a.Address.Compare(b.Address) })
		out = append(out, ir.Subset{Name: revision, Endpoints: list})
	}
	slices.SortFunc(out, func(a, b ir.Subset) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// fits tells whether a slice's addresses are those to send to: of the Service's own family, since an
// application need not listen on both. Who calls a headless Service picks the address, so both fit.
func fits(service *corev1.Service, slice *discoveryv1.EndpointSlice) bool {
	if slice.AddressType == discoveryv1.AddressTypeFQDN {
		return false
	}
	families := service.Spec.IPFamilies
	return len(families) == 0 || service.Spec.ClusterIP == corev1.ClusterIPNone || string(families[0]) == string(slice.AddressType)
}

// state of an endpoint: whether the mesh may know it, and whether it only finishes what it has.
func state(c discoveryv1.EndpointConditions) (usable, draining bool) {
	ready := c.Ready == nil || *c.Ready
	serving := ready
	if c.Serving != nil {
		serving = *c.Serving
	}
	terminating := c.Terminating != nil && *c.Terminating
	return ready || serving && terminating, terminating
}

// split of a Rollout: its persisted weight between its two revisions, and its baseline's share. Without a release, or when the
// canary is not known, new requests are drawn over all endpoints alike.
func split(rollout *v1alpha1.Rollout, subsets []ir.Subset) ir.Split {
	if rollout == nil {
		return ir.Split{}
	}
	status := rollout.Status
	s := ir.Split{Owner: string(rollout.UID), Epoch: status.Weight.Epoch}
	switch status.Phase {
	case "", v1alpha1.PhasePending, v1alpha1.PhaseHealthy, v1alpha1.PhaseRolledBack:
		return s
	} // a phase that a newer operator knows keeps its split
	if status.Stable == nil || status.Canary == nil || status.Stable.Hash == status.Canary.Hash {
		return s
	}
	s.Stable, s.Canary = status.Stable.Hash, status.Canary.Hash
	s.Weight = uint32(min(max(status.Weight.Desired, 0), 100)) //nolint:gosec // bounded
	if status.Baseline != nil {
		s.Baseline = status.Baseline.Hash
		s.BaselineWeight = uint32(min(max(status.Weight.Baseline, 0), 100)) //nolint:gosec // bounded
	}
	return s.WithShares(subsets)
}
