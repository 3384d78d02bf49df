package table

import (
	"net/netip"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// Request is what routing, hashing and matching may look at. Each engine implements it on its own request,
// so that asking allocates nothing. The texts are good until the request ends.
type Request interface {
	// Method as sent.
	Method() string
	// Path of the request target, without query and fragment, as sent; "*" and the authority form as they are.
	Path() string
	// Query after the "?"; "" without one.
	Query() string
	// Authority is the Host header, or :authority.
	Authority() string
	// Header returns the value of the first field of that name (in lower case). Of cookies, which HTTP/2 may
	// spread over several fields (RFC 9113, 8.2.3), it returns all, joined by "; ".
	Header(name string) (value string, found bool)
	// GRPC reports whether the content type is one of gRPC's.
	GRPC() bool
	// Peer is the caller's address.
	Peer() netip.Addr
}

// Plan is how one request is carried, decided once at its beginning. An engine keeps one per request or
// connection and has it filled anew.
type Plan struct {
	// Draw has the revision, and is where tries are picked from.
	Draw
	// Port that the request goes to: the one that was addressed, or that of a route's backend.
	Port *Port
	// Rule that matched; never nil.
	Rule *Rule
	// Local answers here and now, instead of an endpoint; nil: an endpoint does.
	Local *Local
	// Delay is to be waited before anything else (a fault on purpose).
	Delay time.Duration
	// SetCookie is the value of a Set-Cookie field to add to the response; "": none.
	SetCookie string
	// Backend is the rule's backend that was drawn; nil where the rule has none. Its header changes come
	// after the rule's.
	Backend *ir.Backend

	matched  *candidate // nil: no route did
	hash     uint64
	hashed   bool
	borrowed int32 // repetitions from the budget
}

// Local is an answer of the proxy's own.
type Local struct {
	// Status of HTTP, and of gRPC for callers that speak it (OK: to be derived from Status).
	Status, GRPC int
	// Location of a redirect; "": none.
	Location string
	// Reason in few words, for the body and the access log.
	Reason string
}

// Plan decides how a request is carried: it matches the rules, draws the revision and says what is to be
// done locally. Now is the beginning of the request. An undeclared port is taken for HTTP/1.1 (see As).
func (p *Port) Plan(plan *Plan, r Request, random Rand, now time.Time) {
	p = p.forRequests()
	p.use.touch(now)
	*plan = Plan{Port: p, Rule: p.base, matched: p.routes.find(r)}
	if plan.matched != nil {
		plan.Rule = plan.matched.rule
		plan.Rule.hits.Add(1)
	}
	target := p
	if rule := plan.Rule; rule.special {
		if plan.Local = rule.local(plan, r, random); plan.Local == nil && len(rule.backends) > 0 {
			target, plan.Local = rule.backend(plan, random)
		}
		if plan.Local != nil {
			// No revision answers, so none is held to account.
			plan.Draw = Draw{Series: p.none.get()}
			return
		}
	}
	target.plan(plan, r, random)
	if target != p {
		plan.Port = target
		target.use.touch(now)
	}
}

// plan draws the revision and what goes with it.
func (p *Port) plan(plan *Plan, r Request, random Rand) {
	g := p.side(plan.Rule.narrow, random)
	switch {
	case g != nil: // whoever asks for a side is no sample of anybody
		plan.Draw = g.drawn(false)
	case p.sticky != nil:
		g, plan.SetCookie = p.sticky.draw(r, random)
		plan.Draw = g.drawn(plan.SetCookie != "")
	default:
		plan.Draw = p.Draw(random)
	}
	if p.hashes {
		var setCookie string
		if plan.hash, plan.hashed, setCookie = p.hash(r, random); plan.SetCookie == "" {
			plan.SetCookie = setCookie
		}
	}
}

// PlanConnection decides how a connection is carried that is not read: it draws the revision by the split. No
// route applies, and of hashing only that of the caller's address. Next and Done are used as for a request.
func (p *Port) PlanConnection(plan *Plan, caller netip.Addr, random Rand, now time.Time) {
	p.use.touch(now)
	*plan = Plan{Draw: p.Draw(random), Port: p, Rule: p.base}
	if p.hashes && p.policy.Balance.HashOn.Source {
		plan.hash, plan.hashed = hashAddress(caller.Unmap()), true
	}
}

// PlanInbound decides for a request to the pod itself: what counts there is the rate limit alone. Mesh says
// that a mesh proxy called. The plan's Draw is empty.
func (p *Port) PlanInbound(plan *Plan, r Request, mesh bool, now time.Time) {
	p = p.forRequests()
	*plan = Plan{Draw: Draw{Series: p.InboundSeries(mesh)}, Port: p, Rule: bare}
	if matched := p.routes.find(r); matched != nil && !matched.rule.limit.take(now) {
		plan.Local = matched.rule.limited
	} else if !p.limit.take(now) {
		plan.Local = serviceLimited
	}
}

// bare is the rule of requests to the pod itself: whatever applies was done by the caller's proxy.
var bare = &Rule{}

// Next picks the endpoint of the next try, of the revision that was drawn, and enters it: Done must follow.
// Those tried are avoided while there are others. The error says why there is none, as a *Refused.
func (p *Plan) Next(random Rand, tried []*Endpoint, now time.Time) (*Endpoint, error) {
	if p.group == nil {
		return nil, errNobody
	}
	if !enter(&p.group.circuit.requests, p.group.limits.MaxRequests) {
		return nil, errRequests
	}
	e := p.group.pick(random, tried, p.hash, p.hashed, now)
	if e == nil {
		p.group.circuit.requests.Add(-1)
		return nil, errNobody
	}
	e.Enter()
	return e, nil
}

// Refused says why no endpoint was picked.
type Refused struct {
	// Reason in few words. Overloaded: a limit of the policy was reached (circuit breaking).
	Reason     string
	Overloaded bool
}

func (r *Refused) Error() string { return r.Reason }

// Done ends a try that Next began: it leaves the endpoint and notes the outcome, for ejection and limits.
func (p *Plan) Done(e *Endpoint, outcome Outcome, now time.Time) {
	e.Leave()
	p.group.circuit.requests.Add(-1)
	p.group.note(e, outcome, now)
}

// Mirrored calls send for each mirror that is drawn for this request, with a plan for the copy. The copy is
// counted by nobody.
func (p *Plan) Mirrored(random Rand, send func(*Plan)) {
	for _, m := range p.Rule.mirrors {
		if p.Local == nil && random(ir.Million) < m.share {
			plan := &Plan{Draw: m.port.Draw(random), Port: m.port, Rule: m.port.base}
			plan.Series = nil
			send(plan)
		}
	}
}
