// Package subnet owns the addresses of a cluster: one small number decides all of them, so two
// clusters with different numbers can be reached from the same host without a clash. It knows
// nothing of interfaces or routes; whoever creates the interface has claimed the number.
package subnet

import (
	"fmt"
	"net/netip"
)

// Limit is the number of clusters that one host can have; indexes run from 0 to Limit-1.
const Limit = 32

// firstOctet is the second octet of the first cluster: cluster i owns 10.(firstOctet+i).0.0/16.
const firstOctet = 200

// Plan is every address that a cluster is given. All of it lies inside Block.
type Plan struct {
	Index    int          `json:"index"`
	Block    netip.Prefix `json:"block"`
	Link     netip.Prefix `json:"link"`     // between the host and the node
	Host     netip.Addr   `json:"host"`     // the host's end of the link
	Node     netip.Addr   `json:"node"`     // the node's end; the API server listens there
	Services netip.Prefix `json:"services"` // cluster IPs
	Pods     netip.Prefix `json:"pods"`
}

// For returns the plan with the given index.
func For(index int) (Plan, error) {
	if index < 0 || index >= Limit {
		return Plan{}, fmt.Errorf("plan addresses: index %d is not within 0 and %d", index, Limit-1)
	}
	at := func(c, d byte) netip.Addr {
		return netip.AddrFrom4([4]byte{10, byte(firstOctet + index), c, d})
	}
	return Plan{
		Index:    index,
		Block:    netip.PrefixFrom(at(0, 0), 16),
		Link:     netip.PrefixFrom(at(0, 0), 30),
		Host:     at(0, 1),
		Node:     at(0, 2),
		Services: netip.PrefixFrom(at(16, 0), 20),
		Pods:     netip.PrefixFrom(at(128, 0), 17),
	}, nil
}

// Interface is the name of the host's end of the link. The kernel refuses a second interface with
// the same name, which makes creating it the claim on the index.
func (p Plan) Interface() string { return fmt.Sprintf("sluice%d", p.Index) }

// Service returns the cluster IP with the given number, counted from the start of the range:
// 1 is the API server by Kubernetes' own rule.
func (p Plan) Service(number byte) netip.Addr {
	address := p.Services.Addr().As4()
	address[3] += number
	return netip.AddrFrom4(address)
}

// API is the cluster IP of the Service kubernetes.
func (p Plan) API() netip.Addr { return p.Service(1) }

// DNS is the cluster IP of the cluster's name server.
func (p Plan) DNS() netip.Addr { return p.Service(10) }

// Prometheus is the cluster IP of Prometheus.
func (p Plan) Prometheus() netip.Addr { return p.Service(90) }

// Clashes reports whether the plan overlaps any of the prefixes, which are those that the host
// already has routes to. A default route is no clash.
func (p Plan) Clashes(routes []netip.Prefix) bool {
	for _, route := range routes {
		if route.Bits() > 0 && route.Overlaps(p.Block) {
			return true
		}
	}
	return false
}
