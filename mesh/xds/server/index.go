package server

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
)

// place is an address that leads to a service.
type place struct {
	address netip.Addr
	service *service
}

// places is sorted by address, then by the service's key. A flat list is the least that an index of all
// endpoints of a cluster can cost (32 bytes each), and a change copies it in less than it takes to encode
// the service that changed. Immutable.
type places []place

func (p place) compare(other place) int {
	return cmp.Or(p.address.Compare(other.address), cmp.Compare(p.service.key, other.service.key))
}

// at yields the services of an address, in the order of their keys.
func (p places) at(address netip.Addr) iter.Seq[*service] {
	first, _ := slices.BinarySearchFunc(p, address, func(one place, address netip.Addr) int { return one.address.Compare(address) })
	return func(yield func(*service) bool) {
		for _, one := range p[first:] {
			if one.address != address || !yield(one.service) {
				return
			}
		}
	}
}

// replace returns the places without those of some services and with others.
func (p places) replace(gone map[*service]bool, added places) places {
	slices.SortFunc(added, place.compare)
	made := make(places, 0, len(p)+len(added))
	for _, one := range p {
		if gone[one.service] {
			continue
		}
		for len(added) > 0 && added[0].compare(one) < 0 {
			made, added = append(made, added[0]), added[1:]
		}
		made = append(made, one)
	}
	return append(made, added...)
}

// virtual lists the addresses of a service, pods those of its endpoints.
func (s *service) virtual() places {
	var made places
	for _, address := range s.meaning.Addresses {
		made = append(made, place{address, s})
	}
	return made
}

func (s *service) pods() places {
	var made places
	for _, subset := range s.meaning.Subsets {
		for _, endpoint := range subset.Endpoints {
			made = append(made, place{endpoint.Address, s})
		}
	}
	return made
}
