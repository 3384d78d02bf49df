// Package table owns the compiled configuration: which address leads to which service, how its requests
// are drawn over revisions, and which endpoint gets the next one. A Table is immutable and is read once
// per request; what has to survive a change of configuration (an endpoint's requests in flight and its
// pool, a revision's open streams) lives in objects that one table hands to the next.
//
// It knows no sockets and no protocol, and never waits.
package table

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

// Compiler holds what does not change from one configuration to the next.
type Compiler struct {
	// Recorder makes the series of requests. Required.
	Recorder *telemetry.Recorder
	// Source and SourceNamespace say who calls, in the metrics.
	Source, SourceNamespace string
	// Revision of the pod that we serve; labels what its own proxy reports.
	Revision string
	// Self is the pod's address; invalid when unknown.
	Self netip.Addr
	// NewPool makes an endpoint's pool when it is first used; may be nil.
	NewPool func(netip.AddrPort) Pool
	// NewPools make an endpoint's pools when they are first used, by Kind.
	NewPools [kinds]func(*Endpoint) Pool
	// Now is the clock. Required.
	Now func() time.Time
	// Logger; nil is slog.Default().
	Logger *slog.Logger
}

// Table is one compiled configuration. All its methods may be called concurrently.
type Table struct {
	// Applied is when it was compiled.
	Applied time.Time

	services []*service
	virtual  map[netip.AddrPort]*Port
	headless map[netip.AddrPort]*Port
	local    map[uint16][]*Port

	endpoints map[endpointKey]*Endpoint
	streams   map[streamsKey]*Streams
	live      map[telemetry.Key]bool
}

type service struct {
	ir.Service
	since time.Time // when its split came into force
}

// Port is one port of a service.
type Port struct {
	// Service is "<namespace>/<name>".
	Service string
	// Protocol is what clients are expected to speak.
	Protocol ir.Protocol

	choices []choice
	total   uint32
	weight  string
	none    *counted

	// inbound are the destination's series: callers that count themselves, and others.
	inboundMesh, inboundOther *telemetry.Series
}

// choice is a group of endpoints with its share of the draw.
type choice struct {
	below uint32 // drawn when the number is below this and not below an earlier one's
	group *group
}

// group is the endpoints of one revision that take new requests on one port.
type group struct {
	revision  string
	endpoints []*Endpoint
	streams   *Streams
	counted   *counted
}

// counted makes its series when the first request is drawn, so that a proxy has series of the services
// that it calls and not of all that there are.
type counted struct {
	key      telemetry.Key
	recorder *telemetry.Recorder
	series   atomic.Pointer[telemetry.Series]
}

func (c *counted) get() *telemetry.Series {
	if s := c.series.Load(); s != nil {
		return s
	}
	s := c.recorder.Series(c.key)
	c.series.Store(s)
	return s
}

type streamsKey struct{ service, revision string }

// Empty is the table of a proxy that has no configuration yet: everything passes through.
func Empty() *Table { return &Table{} }

// Compile makes a table of the mesh. Objects of the previous table live on where they mean the same.
// When the mesh is not valid the error says why and the previous table stays good.
//
// A split with an older epoch than the one in force of the same owner is refused: the newer one stays,
// with its shares recomputed for the endpoints of now, and everything else of the mesh applies. That is
// no error, since a control plane replica that lags behind must still be able to tell of endpoints.
func (c *Compiler) Compile(mesh ir.Mesh, previous *Table) (*Table, error) {
	if err := ir.Validate(mesh); err != nil {
		return nil, fmt.Errorf("compile mesh: %w", err)
	}
	if previous == nil {
		previous = Empty()
	}
	mesh = ir.Normalise(mesh)
	now := c.Now()
	b := &builder{Compiler: c, previous: previous, now: now, table: &Table{
		Applied:   now,
		virtual:   map[netip.AddrPort]*Port{},
		headless:  map[netip.AddrPort]*Port{},
		local:     map[uint16][]*Port{},
		endpoints: map[endpointKey]*Endpoint{},
		streams:   map[streamsKey]*Streams{},
		live:      map[telemetry.Key]bool{},
	}}
	before := make(map[string]*service, len(previous.services))
	for _, s := range previous.services {
		before[s.Key()] = s
	}
	for _, s := range mesh.Services {
		b.add(s, before[s.Key()])
	}
	b.keepOpenStreams()
	return b.table, nil
}

type builder struct {
	*Compiler
	previous *Table
	table    *Table
	now      time.Time
}

func (b *builder) add(s ir.Service, before *service) {
	compiled := &service{Service: s, since: b.now}
	if before != nil {
		old := before.Split
		if old.Owner != "" && old.Owner == s.Split.Owner && s.Split.Epoch < old.Epoch {
			b.logger().Warn("older split refused", "service", s.Key(), "owner", old.Owner,
				"epoch", old.Epoch, "offered", s.Split.Epoch)
			compiled.Split = old.WithShares(s.Subsets)
		}
		if ir.Equal(ir.Service{Split: old}, ir.Service{Split: compiled.Split}) {
			compiled.since = before.since
		}
	}
	b.table.services = append(b.table.services, compiled)
	b.openStreams(compiled)
	for i := range s.Ports {
		b.addPort(compiled, &s.Ports[i])
	}
}

func (b *builder) addPort(s *service, port *ir.Port) {
	p := &Port{Service: s.Key(), Protocol: port.Protocol}
	shares := s.SharesOn(port.Name)
	if len(shares) > 0 {
		p.weight = weightInForce(s.Split, shares)
	}
	groups := map[string]*group{}
	for _, subset := range s.Subsets {
		groups[subset.Name] = b.group(s, p, subset, port)
	}
	// The revisions' series exist from the moment a split names them, with endpoints or without.
	for _, name := range s.Split.Revisions() {
		if groups[name] == nil {
			groups[name] = b.group(s, p, ir.Subset{Name: name}, port)
		}
		groups[name].counted.get()
	}
	if len(shares) > 0 {
		for _, share := range shares {
			if g := groups[share.Subset]; g != nil && share.Weight > 0 {
				p.total += share.Weight
				p.choices = append(p.choices, choice{p.total, g})
			}
		}
	} else { // over all endpoints alike
		for _, subset := range s.Subsets {
			if g := groups[subset.Name]; len(g.endpoints) > 0 {
				p.total += uint32(len(g.endpoints))
				p.choices = append(p.choices, choice{p.total, g})
			}
		}
	}
	if len(p.choices) == 0 {
		p.none = b.counted(s, p, "")
	}
	b.inbound(s, p, port)

	if len(s.Subsets) == 0 && s.Split.Owner == "" {
		return // nothing that the mesh could do better than the network
	}
	for _, addr := range s.Addresses {
		b.table.virtual[netip.AddrPortFrom(addr, port.Number)] = p
	}
	// Calls to a pod's own address join a split only when one headless service claims the address and a
	// release is on; otherwise they go where they were sent (a StatefulSet's members are not alike).
	if len(s.Addresses) == 0 {
		for addr := range endpointsOn(s.Subsets, port.Name) {
			if other, taken := b.table.headless[addr]; taken && (other == nil || other.Service != p.Service) {
				b.table.headless[addr] = nil
			} else {
				b.table.headless[addr] = p
			}
		}
	}
}

// weightInForce is the canary's share on this port. It is the split's Weight unless a side has no
// endpoint, and then the judge must not take the asked weight for the truth. Where the baseline does not
// have the share that goes with the weight there is no weight to compare at.
func weightInForce(split ir.Split, shares []ir.Share) string {
	if split.Canary == "" {
		return ""
	}
	if asked := (ir.Share{Subset: split.Baseline, Weight: split.BaselineWeight}); asked.Weight > 0 && !slices.Contains(shares, asked) {
		return ""
	}
	for _, share := range shares {
		if share.Subset == split.Canary {
			return strconv.Itoa(int(share.Weight))
		}
	}
	return "0"
}

func (b *builder) group(s *service, p *Port, subset ir.Subset, port *ir.Port) *group {
	g := &group{
		revision: subset.Name,
		streams:  b.table.streams[streamsKey{p.Service, subset.Name}],
		counted:  b.counted(s, p, subset.Name),
	}
	for _, e := range subset.Endpoints {
		number := e.Ports[port.Name]
		if number == 0 {
			continue
		}
		endpoint := b.endpoint(endpointKey{netip.AddrPortFrom(e.Address, number), p.Service, subset.Name})
		if !e.Draining {
			g.endpoints = append(g.endpoints, endpoint)
		} else if pool := endpoint.opened(); pool != nil {
			pool.Retire()
		}
	}
	return g
}

func (b *builder) counted(s *service, p *Port, revision string) *counted {
	key := telemetry.Key{
		Reporter: telemetry.Source, Source: b.Source, SourceNamespace: b.SourceNamespace,
		Service: s.Name, Namespace: s.Namespace, Revision: revision, Weight: p.weight, Protocol: string(p.Protocol),
	}
	b.table.live[key] = true
	return &counted{key: key, recorder: b.Recorder}
}

// inbound notes the port for the pod's own proxy, when one of the endpoints is the pod.
func (b *builder) inbound(s *service, p *Port, port *ir.Port) {
	if !b.Self.IsValid() {
		return
	}
	for _, subset := range s.Subsets {
		for _, e := range subset.Endpoints {
			number := e.Ports[port.Name]
			if number == 0 || e.Address != b.Self.Unmap() {
				continue
			}
			revision := b.Revision
			if revision == "" {
				revision = subset.Name
			}
			key := telemetry.Key{
				Reporter: telemetry.Destination, Source: "unknown",
				Service: s.Name, Namespace: s.Namespace, Revision: revision, Protocol: string(p.Protocol),
			}
			b.table.live[key] = true
			p.inboundOther = b.Recorder.Series(key)
			key.Source = "mesh"
			b.table.live[key] = true
			p.inboundMesh = b.Recorder.Series(key)
			b.table.local[number] = append(b.table.local[number], p)
		}
	}
}

func (c *Compiler) logger() *slog.Logger {
	if c.Logger != nil {
		return c.Logger
	}
	return slog.Default()
}

func endpointsOn(subsets []ir.Subset, port string) map[netip.AddrPort]bool {
	all := map[netip.AddrPort]bool{}
	for _, subset := range subsets {
		for _, e := range subset.Endpoints {
			if number := e.Ports[port]; number != 0 {
				all[netip.AddrPortFrom(e.Address, number)] = true
			}
		}
	}
	return all
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

// InboundSeries returns the destination's series: of a mesh proxy's requests, or of others'.
func (p *Port) InboundSeries(mesh bool) *telemetry.Series {
	if mesh {
		return p.inboundMesh
	}
	return p.inboundOther
}

// Live returns the keys of the series that this configuration counts on.
// The map must not be modified.
func (t *Table) Live() map[telemetry.Key]bool { return t.live }

// Configured reports whether the table was compiled from a mesh.
func (t *Table) Configured() bool { return !t.Applied.IsZero() }
