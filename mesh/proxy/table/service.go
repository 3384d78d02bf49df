package table

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

// service is a compiled service. It holds all that it brings into a table, so that the next table can take
// it as it is when nothing about it has changed.
type service struct {
	ir.Service // in force
	// given is what the mesh says; its split differs where an older epoch was refused.
	given  ir.Service
	since  time.Time // when the split came into force
	known  bool      // there was one of that name before
	policy *ir.Policy
	base   *Rule
	routes []route

	use       *usage
	circuits  map[circuitKey]*circuit
	limits    map[limitKey]*limiter
	before    *service // only while compiling
	ports     []*Port
	endpoints map[endpointKey]*Endpoint
	live      []telemetry.Key
}

// usage is what a service counts over all its configurations.
type usage struct {
	second    atomic.Int64 // of its last request, since 1970
	repeating atomic.Int64 // tries in flight that are repetitions
	circuits  atomic.Pointer[[]*circuit]

	mu   sync.Mutex
	hits map[string]*atomic.Int64 // by route
}

// touch notes that the service is in use.
func (u *usage) touch(now time.Time) {
	if second := now.Unix(); u.second.Load() != second {
		u.second.Store(second)
	}
}

// inFlight are the requests in flight, to all revisions and on all ports.
func (u *usage) inFlight() int64 {
	n := int64(0)
	for _, c := range *u.circuits.Load() {
		n += c.requests.Load()
	}
	return n
}

func (u *usage) hitsOf(route string) *atomic.Int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.hits[route] == nil {
		if u.hits == nil {
			u.hits = map[string]*atomic.Int64{}
		}
		u.hits[route] = &atomic.Int64{}
	}
	return u.hits[route]
}

// keepHits forgets routes that are gone.
func (u *usage) keepHits(routes []ir.Route) {
	u.mu.Lock()
	defer u.mu.Unlock()
	maps.DeleteFunc(u.hits, func(name string, _ *atomic.Int64) bool {
		return !slices.ContainsFunc(routes, func(r ir.Route) bool { return r.Name == name })
	})
}

// add compiles a service, without linking its routes to other services.
func (b *builder) add(g *given) *service {
	s, before := g.Service, g.before
	policy := s.Policy
	compiled := &service{
		Service: s, given: s, since: b.now, known: before != nil, before: before, routes: g.routes,
		circuits: map[circuitKey]*circuit{}, limits: map[limitKey]*limiter{}, endpoints: map[endpointKey]*Endpoint{},
		policy: &policy, use: &usage{},
	}
	compiled.use.touch(b.now)
	if before != nil {
		compiled.use = before.use
		compiled.use.keepHits(s.Routes)
		compiled.policy = samePolicy(before.policy, compiled.policy)
		old := before.Split
		if old.Owner != "" && old.Owner == s.Split.Owner && s.Split.Epoch < old.Epoch {
			b.logger().Warn("older split refused", "service", s.Key(), "owner", old.Owner,
				"epoch", old.Epoch, "offered", s.Split.Epoch)
			compiled.Split = old.WithShares(s.Subsets)
		}
		if reflect.DeepEqual(old, compiled.Split) {
			compiled.since = before.since
		}
	}
	compiled.base = &Rule{Timeouts: compiled.policy.Timeouts, Retry: compiled.policy.Retry}
	b.openStreams(compiled)
	for i := range s.Ports {
		compiled.ports = append(compiled.ports, b.port(compiled, &s.Ports[i]))
	}
	circuits := make([]*circuit, 0, len(compiled.circuits))
	for _, c := range compiled.circuits {
		circuits = append(circuits, c)
	}
	compiled.use.circuits.Store(&circuits)
	return compiled
}

// samePolicy returns the old policy where the new one means the same, and the old one's TLS where that does.
func samePolicy(old, policy *ir.Policy) *ir.Policy {
	if reflect.DeepEqual(old, policy) {
		return old
	}
	if reflect.DeepEqual(old.TLS, policy.TLS) {
		policy.TLS = old.TLS
	}
	return policy
}

// allPorts are the service's ports and what the undeclared ones may turn out to be.
func (s *service) allPorts() []*Port {
	all := slices.Clone(s.ports)
	for _, p := range s.ports {
		if p.siblings != nil {
			all = append(all, p.siblings.http, p.siblings.http2, p.siblings.tcp)
		}
	}
	return all
}

// circuit takes over or makes the one of a revision on a port.
func (b *builder) circuit(s *service, key circuitKey) *circuit {
	c := s.circuits[key]
	if c == nil && s.before != nil {
		c = s.before.circuits[key]
	}
	if c == nil {
		c = &circuit{}
		// Callers do not all begin their round with the same endpoint.
		c.turn.Store(uint32(hashAddress(b.Self)))
	}
	s.circuits[key] = c
	return c
}

// limiter takes over or makes the one for a limit, nil for none.
func (s *service) limiter(route string, limit *ir.RateLimit) *limiter {
	if limit == nil {
		return nil
	}
	key := limitKey{route, *limit}
	l := s.limits[key]
	if l == nil && s.before != nil {
		l = s.before.limits[key]
	}
	if l == nil {
		l = newLimiter(*limit)
	}
	s.limits[key] = l
	return l
}

// members compiles the endpoints of a revision on a port.
func (b *builder) members(s *service, subset ir.Subset, port *ir.Port) *members {
	policy := s.policy
	m := &members{
		revision: subset.Name,
		streams:  b.table.streams[streamsKey{s.Key(), subset.Name}],
		circuit:  b.circuit(s, circuitKey{subset.Name, port.Name}),
		balance:  policy.Balance, limits: policy.Limits, outlier: policy.Outlier,
	}
	zones := map[string]bool{}
	var others []*Endpoint
	for _, e := range subset.Endpoints {
		number := e.Ports[port.Name]
		if number == 0 {
			continue
		}
		endpoint := b.endpoint(s, endpointKey{netip.AddrPortFrom(e.Address, number), s.Key(), subset.Name})
		if e.Draining {
			endpoint.retire()
			continue
		}
		zones[e.Zone] = true
		if b.Zone != "" && e.Zone == b.Zone && !policy.Balance.AnyZone {
			m.endpoints = append(m.endpoints, endpoint)
		} else {
			others = append(others, endpoint)
		}
		if policy.Balance.SlowStart > 0 && endpoint.since != 0 && policy.Balance.Balancer != ir.RingHash {
			m.slowUntil = max(m.slowUntil, endpoint.since+int64(policy.Balance.SlowStart))
		}
	}
	if m.locals = len(m.endpoints); len(others) == 0 {
		m.locals = 0 // all are: nothing to prefer
	}
	m.zones = len(zones)
	m.endpoints = append(m.endpoints, others...)
	if policy.Balance.Balancer == ir.RingHash {
		m.ring = newRing(m.endpoints) // over all zones: a value has one endpoint for all callers
	}
	return m
}
