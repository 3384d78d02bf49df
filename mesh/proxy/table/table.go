// Package table owns the compiled configuration: which address leads to which service, which route a
// request takes, how it is drawn over revisions, and which endpoint gets it. A Table is immutable and is read
// once per request; what has to survive a change of configuration (an endpoint's requests in flight, health
// and pool, a revision's open streams, what limits count) lives in objects that one table hands to the next.
//
// It knows no sockets and no protocol, and never waits.
package table

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

// Table is one compiled configuration. All its methods may be called concurrently.
type Table struct {
	// Applied is when it was compiled.
	Applied time.Time

	now      func() time.Time
	services []*service // as in the mesh
	virtual  map[netip.AddrPort]*Port
	headless map[netip.AddrPort]*Port
	local    map[uint16][]*Port
	known    map[netip.Addr]*service

	endpoints map[endpointKey]*Endpoint
	stale     []*Endpoint // to which connections are made in another way than in the table before
	streams   map[streamsKey]*Streams
	live      map[telemetry.Key]bool
}

type streamsKey struct{ service, revision string }

// Empty is the table of a proxy that has no configuration yet: everything passes through.
func Empty() *Table { return &Table{} }

// install puts a compiled service into the table.
func (b *builder) install(s *service) {
	t := b.table
	t.services = append(t.services, s)
	for key, e := range s.endpoints {
		t.endpoints[key] = e
	}
	for _, key := range s.live {
		t.live[key] = true
	}
	for _, addr := range s.Addresses {
		t.known[addr] = s
	}
	for _, p := range s.ports {
		for _, number := range b.numbers(s, p.name) {
			t.local[number] = append(t.local[number], p)
		}
		if len(s.Subsets) == 0 && s.Split.Owner == "" && len(s.Routes) == 0 {
			continue // nothing that the mesh could do better than the network
		}
		for _, addr := range s.Addresses {
			t.virtual[netip.AddrPortFrom(addr, p.number)] = p
		}
		if len(s.Addresses) == 0 {
			b.installHeadless(s, p)
		}
	}
}

// installHeadless enters the addresses of a headless service's pods. Calls to a pod's own address join a
// split only when one headless service claims the address and a release is on; otherwise they go where they
// were sent (a StatefulSet's members are not alike).
func (b *builder) installHeadless(s *service, p *Port) {
	t := b.table
	for addr := range endpointsOn(s.Subsets, p.name) {
		if other, taken := t.headless[addr]; taken && (other == nil || other.Service != p.Service) {
			t.headless[addr] = nil
		} else {
			t.headless[addr] = p
		}
		if t.known[addr.Addr()] == nil {
			t.known[addr.Addr()] = s
		}
	}
}

// Outbound returns the port that a destination of the pod's own connections leads to; nil when the mesh
// does not know it, and the connection goes where it was sent.
func (t *Table) Outbound(dst netip.AddrPort) *Port {
	dst = netip.AddrPortFrom(dst.Addr().Unmap(), dst.Port())
	if p := t.virtual[dst]; p != nil {
		return p
	}
	if p := t.headless[dst]; p != nil && p.weight != "" {
		return p
	}
	return nil
}

// Inbound returns the port of the pod that is called at this number: that of the service that the caller
// meant ("<namespace>/<name>", or "" when it did not say), else the first of those the pod is behind. Nil:
// the mesh knows none.
func (t *Table) Inbound(number uint16, intended string) *Port {
	ports := t.local[number]
	for _, p := range ports {
		if p.Service == intended {
			return p
		}
	}
	if len(ports) > 0 {
		return ports[0]
	}
	return nil
}

// Unused returns the addresses of services that nothing is in flight to and that no request was planned
// for since then; nor have they become known since. A headless service has its pods' addresses.
func (t *Table) Unused(since time.Time) []netip.Addr {
	var unused []netip.Addr
	for addr, s := range t.known {
		if s.use.second.Load() < since.Unix() && s.use.inFlight() == 0 {
			unused = append(unused, addr)
		}
	}
	return unused
}

// Live returns the keys of the series that this configuration counts on.
// The map must not be modified.
func (t *Table) Live() map[telemetry.Key]bool { return t.live }

// Configured reports whether the table was compiled from a mesh.
func (t *Table) Configured() bool { return !t.Applied.IsZero() }

func (c *Compiler) logger() *slog.Logger {
	if c.Logger != nil {
		return c.Logger
	}
	return slog.Default()
}
