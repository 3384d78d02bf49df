package proxytest

import (
	"net/netip"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// ShopAddress is where the service is. Nothing listens there: a client dials a door instead, and who serves the
// connection is told that it was going to the service.
var ShopAddress = netip.MustParseAddrPort("10.96.0.1:80")

// Revisions are the endpoints of each.
type Revisions = map[string][]netip.AddrPort

// Service makes a service in namespace demo with one port, main, whose number on each pod is the endpoint's own.
// Without a valid address it has none.
func Service(name string, address netip.AddrPort, protocol ir.Protocol, split ir.Split, revisions Revisions) ir.Service {
	s := ir.Service{
		Namespace: "demo", Name: name, Split: split,
		Ports: []ir.Port{{Name: "main", Number: address.Port(), Protocol: protocol}},
	}
	if address.Addr().IsValid() {
		s.Addresses = []netip.Addr{address.Addr()}
	}
	for revision, endpoints := range revisions {
		subset := ir.Subset{Name: revision}
		for _, e := range endpoints {
			subset.Endpoints = append(subset.Endpoints, ir.Endpoint{
				Address: e.Addr(), Ports: map[string]uint16{"main": e.Port()},
			})
		}
		s.Subsets = append(s.Subsets, subset)
	}
	s.Split = s.Split.WithShares(s.Subsets)
	return s.Normalise()
}

// Release is the split of a release from v1 to v2.
func Release(epoch int64, weight uint32) ir.Split {
	return ir.Split{Owner: "rollout", Epoch: epoch, Weight: weight, Stable: "v1", Canary: "v2"}
}
