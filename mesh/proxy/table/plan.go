package table

import (
	"net/netip"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
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
	// Header returns the value of the first field of that name (in lower case).
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

	hash   uint64
	hashed bool
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
}

// Plan decides how a request is carried: it matches the rules, draws the revision and says what is to be
// done locally. Now is the beginning of the request.
func (p *Port) Plan(plan *Plan, _ Request, random Rand, _ time.Time) {
	*plan = Plan{Draw: p.Draw(random), Port: p, Rule: &Rule{}}
}

// PlanInbound decides for a request to the pod itself: what counts there is the rate limit alone. Mesh says
// that a mesh proxy called. The plan's Draw is empty.
func (p *Port) PlanInbound(plan *Plan, _ Request, mesh bool, _ time.Time) {
	*plan = Plan{Draw: Draw{Series: p.InboundSeries(mesh)}, Port: p, Rule: &Rule{}}
}

// Next picks the endpoint of the next try, of the revision that was drawn, and enters it: Leave must follow.
// The error says why there is none, as a *Refused.
func (p *Plan) Next(random Rand, tried []*Endpoint, _ time.Time) (*Endpoint, error) {
	e := p.Pick(random, tried)
	if e == nil {
		return nil, &Refused{Reason: "no endpoint takes requests"}
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

// Outcome of a try, as the endpoint's health sees it.
type Outcome uint8

// The outcomes. Canceled says nothing about the endpoint.
const (
	Succeeded Outcome = iota
	// Failed: 5xx, a reset, a per-try timeout, gRPC's UNAVAILABLE, INTERNAL, UNKNOWN, DATA_LOSS or DEADLINE_EXCEEDED.
	Failed
	// Unreached: no connection.
	Unreached
	Canceled
)

// Done ends a try that Next began: it leaves the endpoint and notes the outcome, for ejection and limits.
func (p *Plan) Done(e *Endpoint, _ Outcome, _ time.Time) { e.Leave() }

// Failure describes a try that failed, for Retry to decide on.
type Failure struct {
	// On is what happened. Status and GRPC are the response's, where there is one (GRPC -1: none).
	On           ir.RetryOn
	Status, GRPC int
	// Untouched: certainly nobody has begun to process the request. Such a try is repeated in any case, on
	// another endpoint, up to three in all, without back-off.
	Untouched bool
	// Idempotent: the method may be repeated (RFC 9110, 9.2.2).
	Idempotent bool
}

// Retry decides whether the request is tried again, after how long, and takes it from the budget; Retried
// gives it back when that try is over. Try counts from 1 for the first that failed.
func (p *Plan) Retry(f Failure, try int, _ Rand) (wait time.Duration, again bool) {
	return 0, f.Untouched && try < 3
}

// Retried ends what Retry began when it said again.
func (p *Plan) Retried() {}

// RewritePath returns the path for the backend; the same when nothing is rewritten.
func (p *Plan) RewritePath(path string) string { return path }

// Mirrored calls send for each mirror that is drawn for this request, with a plan for the copy. The copy is
// counted by nobody.
func (p *Plan) Mirrored(_ Rand, _ func(*Plan)) {}

// Counts returns the series to count with, nil where nothing is counted.
func (p *Plan) Counts() *telemetry.Series { return p.Series }
