package table

import (
	"net/netip"
	"slices"
	"strconv"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

// Port is one port of a service.
type Port struct {
	// Service is "<namespace>/<name>".
	Service string
	// Protocol is what clients are expected to speak.
	Protocol ir.Protocol

	name   string
	number uint16
	use    *usage
	policy *ir.Policy

	base   *Rule    // of requests that no route matches
	routes *matcher // nil without routes
	limit  *limiter // of the service, inbound

	all            lot
	stable, canary lot // the sides of a split: what of all is on which; the baseline is on stable's
	weight         string
	none           *counted // requests that no revision answers
	sticky         *stickiness
	hashes         bool // the balancer wants a hash

	// inbound are the destination's series: callers that count themselves, and others.
	inboundMesh, inboundOther *counted

	siblings *siblings
}

// siblings are what an undeclared port is once it has shown what it speaks.
type siblings struct{ http, http2, tcp *Port }

// As returns the port as that of a protocol that a connection has shown. An undeclared port has series of
// its own for each: labelled "http", "http2" (gRPC too) and "tcp" (TLS too). Every other port returns itself.
func (p *Port) As(protocol ir.Protocol) *Port {
	if p.siblings == nil {
		return p
	}
	switch protocol {
	case ir.HTTP:
		return p.siblings.http
	case ir.HTTP2, ir.GRPC:
		return p.siblings.http2
	case ir.Undeclared:
		return p
	default:
		return p.siblings.tcp
	}
}

// forRequests returns what a port is that a request has come to.
func (p *Port) forRequests() *Port {
	if p.siblings != nil {
		return p.siblings.http
	}
	return p
}

// InboundSeries returns the destination's series: of a mesh proxy's requests, or of others'. Nil when the
// pod is not behind the port.
func (p *Port) InboundSeries(mesh bool) *telemetry.Series {
	if mesh {
		return p.inboundMesh.get()
	}
	return p.inboundOther.get()
}

// label of a protocol in the metrics. What the proxy does not read it calls tcp: the judge knows that the
// end of such a connection is not its answer.
func label(protocol ir.Protocol) string {
	switch protocol {
	case ir.TLS, ir.Undeclared:
		return string(ir.TCP)
	default:
		return string(protocol)
	}
}

// port compiles a port, without its routes.
func (b *builder) port(s *service, port *ir.Port) *Port {
	shared := map[string]*members{}
	if port.Protocol != ir.Undeclared {
		return b.portAs(s, port, port.Protocol, shared)
	}
	p := *b.portAs(s, port, ir.TCP, shared)
	p.Protocol = ir.Undeclared
	p.siblings = &siblings{
		http:  b.portAs(s, port, ir.HTTP, shared),
		http2: b.portAs(s, port, ir.HTTP2, shared),
		tcp:   b.portAs(s, port, ir.TCP, shared),
	}
	return &p
}

// portAs compiles a port for a protocol. Members are shared by what the port may turn out to speak.
func (b *builder) portAs(s *service, port *ir.Port, protocol ir.Protocol, shared map[string]*members) *Port {
	p := &Port{
		Service: s.Key(), Protocol: protocol, name: port.Name, number: port.Number,
		use: s.use, policy: s.policy, base: s.base, limit: s.limiter("", s.policy.RateLimit),
		hashes: s.policy.Balance.Balancer == ir.RingHash,
	}
	shares := s.SharesOn(port.Name)
	if len(shares) > 0 {
		p.weight = weightInForce(s.Split, shares)
	}
	p.none = b.counted(s, p, "", "")
	groups := map[string]*group{}
	add := func(subset ir.Subset) {
		m := shared[subset.Name]
		if m == nil {
			m = b.members(s, subset, port)
			shared[subset.Name] = m
		}
		g := &group{members: m, counted: b.counted(s, p, subset.Name, p.weight)}
		g.unjudged = g.counted
		if p.weight != "" {
			g.unjudged = b.counted(s, p, subset.Name, "")
		}
		groups[subset.Name] = g
	}
	for _, subset := range s.Subsets {
		add(subset)
	}
	// The revisions' series exist from the moment a split names them, with endpoints or without.
	for _, name := range s.Split.Revisions() {
		if groups[name] == nil {
			add(ir.Subset{Name: name})
		}
		groups[name].counted.get()
	}
	for _, share := range shares {
		g := groups[share.Subset]
		p.all.add(g, share.Weight)
		switch {
		case s.Split.Canary == "":
		case share.Subset == s.Split.Canary:
			p.canary.add(g, share.Weight)
		default:
			p.stable.add(g, share.Weight)
		}
	}
	if len(shares) == 0 { // over all endpoints alike
		for _, subset := range s.Subsets {
			p.all.add(groups[subset.Name], uint32(len(groups[subset.Name].endpoints)))
		}
	}
	if s.policy.Sticky != nil && p.canary.total > 0 {
		p.sticky = newStickiness(s.policy.Sticky, s.Split, p.all)
	}
	b.inbound(s, p, port)
	return p
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

func (b *builder) counted(s *service, p *Port, revision, weight string) *counted {
	key := telemetry.Key{
		Reporter: telemetry.Source, Source: b.Source, SourceNamespace: b.SourceNamespace,
		Service: s.Name, Namespace: s.Namespace, Revision: revision, Weight: weight, Protocol: label(p.Protocol),
	}
	return b.counting(s, key)
}

func (b *builder) counting(s *service, key telemetry.Key) *counted {
	s.live = append(s.live, key)
	return &counted{key: key, recorder: b.Recorder}
}

// inbound notes the port for the pod's own proxy, when one of the endpoints is the pod.
func (b *builder) inbound(s *service, p *Port, port *ir.Port) {
	for _, subset := range s.Subsets {
		for _, e := range subset.Endpoints {
			if e.Ports[port.Name] == 0 || !b.Self.IsValid() || e.Address != b.Self.Unmap() {
				continue
			}
			key := telemetry.Key{
				Reporter: telemetry.Destination, Source: "unknown",
				Service: s.Name, Namespace: s.Namespace, Revision: b.Revision, Protocol: label(p.Protocol),
			}
			if key.Revision == "" {
				key.Revision = subset.Name
			}
			p.inboundOther = b.counting(s, key)
			key.Source = "mesh"
			p.inboundMesh = b.counting(s, key)
			if port.Protocol != ir.Undeclared {
				p.inboundOther.get()
				p.inboundMesh.get()
			}
		}
	}
}

// numbers are those that the pod itself has for the port.
func (b *builder) numbers(s *service, port string) []uint16 {
	var numbers []uint16
	for _, subset := range s.Subsets {
		for _, e := range subset.Endpoints {
			if number := e.Ports[port]; number != 0 && b.Self.IsValid() && e.Address == b.Self.Unmap() {
				numbers = append(numbers, number)
			}
		}
	}
	return numbers
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
