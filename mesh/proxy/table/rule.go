package table

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// Rule is one compiled route; a port without routes has the one that matches all. It is immutable but for
// what it counts.
type Rule struct {
	// Name as in ir.Route; "" for the rule that matches what no route does.
	Name string
	// Timeouts in force, those of the policy included; 0: none.
	Timeouts ir.Timeouts
	// Retry in force; nil: only what certainly nobody has begun to process is repeated.
	Retry *ir.Retry
	// Changes; nil where there are none.
	RequestHeaders, ResponseHeaders *ir.HeaderChanges
	// Rewrite is nil where nothing is rewritten; RewritePath makes the path.
	Rewrite *ir.Rewrite
	// Mirrors that get copies; Mirrored draws.
	Mirrors []ir.Mirror

	special  bool // it may answer itself, or has backends
	narrow   ir.Revision
	redirect *ir.Redirect
	fault    *ir.Fault
	aborted  *Local
	backends []backend
	total    uint32 // of the backends' weights
	mirrors  []mirror
	limit    *limiter
	limited  *Local
	hits     *atomic.Int64 // requests that matched, across configurations
}

type backend struct {
	ir.Backend
	below   uint32 // drawn when the number is below this and not below an earlier one's
	port    *Port
	missing *Local // where there is no port
}

type mirror struct {
	port  *Port
	share uint32
}

// gRPC's statuses that we answer with.
const grpcExhausted = 8

var (
	serviceLimited = &Local{http.StatusTooManyRequests, grpcExhausted, "", "rate limit of the service"}
	weightless     = &Local{Status: http.StatusInternalServerError, Reason: "all backends of the route have weight 0"}
)

// local decides whether the request is answered here: by a fault on purpose, whose delay it notes, or by a
// redirect.
func (r *Rule) local(plan *Plan, request Request, random Rand) *Local {
	if f := r.fault; f != nil {
		if f.DelayShare > 0 && random(ir.Million) < f.DelayShare {
			plan.Delay = f.Delay
		}
		// A fault that names a gRPC status alone is for callers that understand it.
		if f.AbortShare > 0 && (f.AbortStatus != 0 || request.GRPC()) && random(ir.Million) < f.AbortShare {
			return r.aborted
		}
	}
	if r.redirect != nil {
		return &Local{
			Status: r.redirect.Status, Location: location(r.redirect, request, plan.matched),
			Reason: "redirected by route " + r.Name,
		}
	}
	return nil
}

// backend draws one by weight.
func (r *Rule) backend(plan *Plan, random Rand) (*Port, *Local) {
	if r.total == 0 {
		return nil, weightless
	}
	i := 0
	for number := random(r.total); number >= r.backends[i].below; {
		i++
	}
	plan.Backend = &r.backends[i].Backend
	return r.backends[i].port, r.backends[i].missing
}

// route is a route as far as it can be compiled without the rest of the mesh: whom it matches.
type route struct {
	*ir.Route
	matches []*candidate
}

// newRoutes compiles what the service's routes match. The error names each that cannot be.
func newRoutes(s *ir.Service) ([]route, error) {
	var routes []route
	var errs []error
	order := 0
	for i := range s.Routes {
		r := route{Route: &s.Routes[i]}
		matches := r.Matches
		if len(matches) == 0 {
			matches = []ir.Match{{}}
		}
		for _, m := range matches {
			c, err := newCandidate(m)
			if err != nil {
				errs = append(errs, fmt.Errorf("service %s: route %s: %w", s.Key(), r.Name, err))
				continue
			}
			c.order = order
			order++
			r.matches = append(r.matches, c)
		}
		routes = append(routes, r)
	}
	return routes, errors.Join(errs...)
}

// link gives the service's ports their rules, once all services of the mesh have their ports.
func (b *builder) link(s *service) {
	for _, p := range s.allPorts() {
		if len(s.routes) == 0 || p.Protocol == ir.TCP || p.Protocol == ir.TLS || p.siblings != nil {
			continue
		}
		p.routes = &matcher{exact: map[string][]*candidate{}, prefixes: map[string][]*candidate{}}
		for _, r := range s.routes {
			if len(r.Ports) > 0 && !slices.Contains(r.Ports, p.number) {
				continue
			}
			rule := b.rule(s, p, r.Route)
			for _, c := range r.matches {
				own := *c
				own.rule = rule
				p.routes.add(&own)
			}
		}
	}
}

func (b *builder) rule(s *service, p *Port, r *ir.Route) *Rule {
	rule := &Rule{
		Name: r.Name, Retry: cmp.Or(r.Retry, s.policy.Retry), Rewrite: r.Rewrite, Mirrors: r.Mirrors,
		Timeouts: ir.Timeouts{
			Request: cmp.Or(r.Timeouts.Request, s.policy.Timeouts.Request),
			PerTry:  cmp.Or(r.Timeouts.PerTry, s.policy.Timeouts.PerTry),
			Idle:    cmp.Or(r.Timeouts.Idle, s.policy.Timeouts.Idle),
			Connect: cmp.Or(r.Timeouts.Connect, s.policy.Timeouts.Connect),
		},
		RequestHeaders: changes(&r.RequestHeaders), ResponseHeaders: changes(&r.ResponseHeaders),
		narrow: r.Revision, redirect: r.Redirect, fault: r.Fault,
		limit: s.limiter(r.Name, r.RateLimit), limited: &Local{http.StatusTooManyRequests, grpcExhausted, "", "rate limit of route " + r.Name},
		hits: s.use.hitsOf(r.Name),
	}
	rule.special = r.Redirect != nil || r.Fault != nil || len(r.Backends) > 0
	if r.Fault != nil {
		rule.aborted = &Local{cmp.Or(r.Fault.AbortStatus, http.StatusServiceUnavailable), r.Fault.AbortGRPC, "", cmp.Or(r.Fault.Reason, "aborted on purpose by route "+r.Name)}
	}
	for _, to := range r.Backends {
		rule.total += to.Weight
		compiled := backend{Backend: to, below: rule.total, port: b.lookup(p, to.Service, to.Port)}
		if compiled.port == nil {
			compiled.missing = &Local{Status: http.StatusInternalServerError,
				Reason: fmt.Sprintf("route %s leads to %s port %d, which the mesh does not have", r.Name, to.Service, to.Port)}
		}
		rule.backends = append(rule.backends, compiled)
	}
	for _, to := range r.Mirrors {
		if port := b.lookup(p, to.Service, to.Port); port != nil {
			rule.mirrors = append(rule.mirrors, mirror{port, to.Share})
		}
	}
	return rule
}

// lookup finds a port of a service for requests that came to p.
func (b *builder) lookup(p *Port, service string, number uint16) *Port {
	s := b.services[service]
	if s == nil {
		return nil
	}
	i := slices.IndexFunc(s.ports, func(to *Port) bool { return to.number == number })
	if i < 0 {
		return nil
	}
	return s.ports[i].As(p.Protocol)
}

func changes(c *ir.HeaderChanges) *ir.HeaderChanges {
	if len(c.Set) == 0 && len(c.Add) == 0 && len(c.Remove) == 0 {
		return nil
	}
	return c
}
