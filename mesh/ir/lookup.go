package ir

import (
	"net/netip"
	"slices"
)

// Index finds services by where requests are sent. It is immutable; the mesh it was made from must not
// change.
type Index struct {
	mesh     Mesh
	virtual  map[netip.AddrPort]Target
	headless map[netip.AddrPort]Target
	keys     map[string]int
}

// Target is what an address leads to. The zero Target leads nowhere.
type Target struct {
	Service *Service
	Port    *Port
	// Subset of the endpoint, where the address is that of an endpoint.
	Subset string
}

// NewIndex makes an index. Where two services claim one virtual address and port, the first wins (a
// valid mesh has none). An endpoint's address that more than one headless service claims leads nowhere,
// since nobody could tell whose split the request should join.
func NewIndex(mesh Mesh) *Index {
	index := &Index{
		mesh:     mesh,
		virtual:  map[netip.AddrPort]Target{},
		headless: map[netip.AddrPort]Target{},
		keys:     make(map[string]int, len(mesh.Services)),
	}
	for i := range mesh.Services {
		service := &mesh.Services[i]
		index.keys[service.Key()] = i
		for p := range service.Ports {
			port := &service.Ports[p]
			for _, address := range service.Addresses {
				key := netip.AddrPortFrom(address.Unmap(), port.Number)
				if _, taken := index.virtual[key]; !taken {
					index.virtual[key] = Target{Service: service, Port: port}
				}
			}
			if len(service.Addresses) == 0 {
				index.addHeadless(service, port)
			}
		}
	}
	return index
}

func (x *Index) addHeadless(service *Service, port *Port) {
	for _, subset := range service.Subsets {
		for _, endpoint := range subset.Endpoints {
			number := endpoint.Ports[port.Name]
			if number == 0 {
				continue
			}
			key := netip.AddrPortFrom(endpoint.Address.Unmap(), number)
			if claim, taken := x.headless[key]; taken {
				if claim.Service != service {
					x.headless[key] = Target{}
				}
				continue
			}
			x.headless[key] = Target{Service: service, Port: port, Subset: subset.Name}
		}
	}
}

// Mesh returns the mesh that the index was made from.
func (x *Index) Mesh() Mesh { return x.mesh }

// Service returns a service by namespace and name; nil when there is none.
func (x *Index) Service(namespace, name string) *Service {
	if i, found := x.keys[namespace+"/"+name]; found {
		return &x.mesh.Services[i]
	}
	return nil
}

// Dependencies are the keys of the other services that the service's routes send requests or copies of them
// to, sorted. They need not be in the mesh.
func (s Service) Dependencies() []string {
	var keys []string
	for _, route := range s.Routes {
		for _, backend := range route.Backends {
			keys = append(keys, backend.Service)
		}
		for _, mirror := range route.Mirrors {
			keys = append(keys, mirror.Service)
		}
	}
	slices.Sort(keys)
	own := s.Key()
	return nilIfEmpty(slices.DeleteFunc(slices.Compact(keys), func(key string) bool { return key == own }))
}

// Virtual returns the service and port behind a virtual address (ClusterIP).
func (x *Index) Virtual(address netip.AddrPort) (Target, bool) {
	target, found := x.virtual[unmap(address)]
	return target, found
}

// Headless returns the one headless service whose endpoint listens at this address.
func (x *Index) Headless(address netip.AddrPort) (Target, bool) {
	target := x.headless[unmap(address)]
	return target, target.Service != nil
}

func unmap(address netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(address.Addr().Unmap(), address.Port())
}
