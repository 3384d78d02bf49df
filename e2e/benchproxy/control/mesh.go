package control

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/sluice-mesh/sluice/e2e/benchproxy/backend"
	"github.com/sluice-mesh/sluice/mesh/ir"
)

const namespace = "bench"

// Ports of the backends.
type Ports struct{ H1, H2, Bulk uint16 }

// Mesh has the services of Destinations in the middle of a release, as a proxy in use has: two revisions with
// an endpoint each, a fifth of the requests to the canary, and a route that has to be matched.
func Mesh(ports Ports) ir.Mesh { return ports.mesh(0, 20, 0) }

// Swap is one of the meshes that are published in turn: other weights, other endpoints. Numbers count from 1.
// Every backend behind it answers all the time, so that each failed request is the proxy's.
func Swap(ports Ports, number int) ir.Mesh {
	return ports.mesh(int64(number), uint32(10+20*(number%4)), number%(len(backend.Hosts())-1))
}

func (p Ports) mesh(epoch int64, weight uint32, first int) ir.Mesh {
	hosts := backend.Hosts()
	service := func(name string, at netip.AddrPort, protocol ir.Protocol, port uint16) ir.Service {
		return release(name, at, protocol, port, hosts[first:first+1], hosts[first+1:first+2], epoch, weight)
	}
	return ir.Normalise(ir.Mesh{Services: []ir.Service{
		service("h1", H1, ir.HTTP, p.H1), service("h2", H2, ir.HTTP2, p.H2),
		service("grpc", GRPC, ir.GRPC, p.H2), service("tcp", TCP, ir.TCP, p.Bulk),
	}})
}

// release is a service with a release under way.
func release(name string, at netip.AddrPort, protocol ir.Protocol, port uint16, stable, canary []netip.Addr, epoch int64, weight uint32) ir.Service {
	s := ir.Service{
		Namespace: namespace, Name: name, Addresses: []netip.Addr{at.Addr()},
		Ports:   []ir.Port{{Name: "main", Number: at.Port(), Protocol: protocol}},
		Subsets: []ir.Subset{{Name: "stable", Endpoints: endpoints(stable, port)}, {Name: "canary", Endpoints: endpoints(canary, port)}},
	}
	s.Split = ir.Split{Owner: "bench-" + name, Epoch: epoch, Weight: weight, Stable: "stable", Canary: "canary"}.WithShares(s.Subsets)
	if protocol != ir.TCP {
		s.Routes = []ir.Route{{
			Name:    "HTTPRoute/" + namespace + "/" + name + "/0",
			Matches: []ir.Match{{Path: ir.PathMatch{Kind: ir.Prefix, Value: "/"}}},
		}}
	}
	return s
}

func endpoints(hosts []netip.Addr, port uint16) []ir.Endpoint {
	made := make([]ir.Endpoint, len(hosts))
	for i, host := range hosts {
		made[i] = ir.Endpoint{Address: host, Ports: map[string]uint16{"main": port}}
	}
	return made
}

// Many is a cluster of that many services with ten endpoints each. The first of them, whose destinations it
// returns, lead to the backends; the others lead nowhere.
func Many(ports Ports, services, used int) (ir.Mesh, []netip.AddrPort) {
	var mesh ir.Mesh
	var destinations []netip.AddrPort
	for i := range services {
		at := netip.AddrPortFrom(address(127, 97, i), 4080)
		hosts := backend.Hosts()
		if i < used {
			destinations = append(destinations, at)
		} else {
			for j := range hosts {
				hosts[j] = address(11, 0, i*len(hosts)+j)
			}
		}
		half := len(hosts) / 2
		mesh.Services = append(mesh.Services,
			release(fmt.Sprintf("service-%d", i), at, ir.HTTP, ports.H1, hosts[:half], hosts[half:], 0, 20))
	}
	return ir.Normalise(mesh), slices.Clip(destinations)
}

// address number n of a.b.0.0, counted on into what follows.
func address(a, b byte, n int) netip.Addr {
	n += int(b) << 16
	return netip.AddrFrom4([4]byte{a, byte(n >> 16), byte(n >> 8), byte(n)})
}
