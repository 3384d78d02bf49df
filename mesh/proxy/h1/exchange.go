package h1

import (
	"net/netip"
	"sync"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/observe"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

// exchange is one request and its response on their way through. It is made when the head of the request is
// there whole, and lent like a buffer.
type exchange struct {
	c        *conn
	request  request
	response response
	up       *upstream // while the response is read from it

	// The request's body. first is what came with the head, all of it when it is whole; the rest is pumped.
	body  body
	first []byte
	own   *buffer // holds the head and first, where the connection reads on
	pump  *pump   // nil: nothing to pump

	plan     table.Plan
	rule     *table.Rule
	series   *telemetry.Series
	direct   bool // to the very destination, which is no endpoint of the mesh
	switches bool // the caller asks for another protocol
	last     bool // the response is the last of the connection

	begun    time.Time
	ended    time.Time // zero until the response has come whole
	deadline time.Time // of the whole request; zero: none
	until    time.Time // of this try
	tries    int
	retrying bool // this try was taken from the budget
	tried    []*table.Endpoint
	endpoint *table.Endpoint // of this try, entered

	rest    body // the response's body
	cut     bool // the response has broken off, or its connection is no good for another reason
	outcome table.Outcome
	code    int // how it ended
	counted bool
	tally   int // what it was counted with, which its first try decides

	span       *observe.Span
	propagated []ir.Header
	record     observe.Record
	requested  int64 // bytes of the request's body
	responded  int64 // bytes of the response's body
	reason     string
	reached    netip.AddrPort
}

var exchanges = sync.Pool{New: func() any {
	x := &exchange{}
	x.request.fields = make([]field, 0, 24)
	x.response.fields = make([]field, 0, 24)
	x.tried = make([]*table.Endpoint, 0, 4)
	return x
}}

func newExchange(c *conn) *exchange {
	x := exchanges.Get().(*exchange)
	x.c = c
	return x
}

// release gives the exchange back; views of the request are no good any more.
func (x *exchange) release() {
	x.own.release()
	request, response := x.request.fields[:0], x.response.fields[:0]
	clear(x.tried)
	tried, propagated := x.tried[:0], x.propagated[:0]
	*x = exchange{tried: tried, propagated: propagated}
	x.request.fields, x.response.fields = request, response
	exchanges.Put(x)
}

// takeBody takes the head off what the connection has buffered, and what there is of the body. Not whole:
// there is more to come.
func (x *exchange) takeBody(head int) (whole bool, m *malformed) {
	r := &x.request
	x.switches = r.switches() && !r.chunked && r.length <= 0 // a body would run into what comes after it
	b := x.c.buffered()
	switch {
	case r.chunked:
		x.body.reset(byChunks, 0)
	default:
		x.body.reset(byLength, max(0, r.length))
	}
	n := 0
	if !x.body.done {
		if n, m = x.body.take(b[head:]); m != nil {
			return false, m
		}
	}
	x.first = b[head : head+n]
	return x.body.done, nil
}

// worthwhile reports whether the rest of a body is probably there already and would fit into a large buffer.
func (x *exchange) worthwhile(head int) bool {
	return x.c.held && x.c.full && len(x.c.in.b) < largeBuffer && !x.request.chunked && x.request.length+int64(head) <= largeBuffer
}

// keep takes over the connection's buffer when the connection has to be read on during the exchange.
func (x *exchange) keep() {
	c := x.c
	b, used := c.buffered(), len(x.request.b)+len(x.first)
	x.own = c.in
	c.in, c.r, c.w = nil, 0, 0
	if left := b[used:]; len(left) > 0 {
		c.in = borrow(max(c.size, len(left)))
		c.w = copy(c.in.b, left)
	}
}

// run carries the request and its response, and reports whether the connection is good for another one.
func (x *exchange) run() bool {
	s := x.c.server
	s.active.Add(1)
	finished := false
	defer func() {
		if !finished {
			x.forsake()
		}
		s.active.Add(-1)
	}()
	x.begun = s.Now()
	if x.own == nil { // the next request begins behind this one
		x.c.r += len(x.request.b) + len(x.first)
	}
	x.requested = int64(len(x.first))
	x.last = x.request.last() || s.draining.Load()
	x.carry()
	good := x.finish()
	if x.own == nil {
		x.c.skip(0)
	}
	finished = true
	return good
}

// forsake gives back what a request holds that a fault of ours has ended. It counts as one that the revision has
// failed: a response may have brought the fault about.
func (x *exchange) forsake() {
	x.c.end(killed) // the pump as well
	if u := x.up; u != nil {
		x.up = nil
		u.close()
	}
	now := time.Now()
	x.countAt(500, now)
	x.leave(table.Failed, now)
	x.giveBack()
}

// carry does what the plan says.
func (x *exchange) carry() {
	if s := x.c.server; s.Observer != nil {
		if x.span = s.Observer.Begin(x); x.span != nil {
			x.span.Propagate(func(name, value string) {
				x.propagated = append(x.propagated, ir.Header{Name: name, Value: value})
			})
		}
	}
	if !x.route() {
		return
	}
	if x.series = x.plan.Series; x.series != nil {
		x.series.Begin()
	}
	x.rule = x.plan.Rule
	if d := x.rule.Timeouts.Request; d > 0 {
		x.deadline = time.Now().Add(d) // sockets know no other clock
		x.c.until = x.deadline
	}
	x.c.idle = x.rule.Timeouts.Idle
	x.c.set(waiting)
	if x.plan.Delay > 0 && !x.delay() {
		return
	}
	if local := x.plan.Local; local != nil {
		x.answer(ownAnswer{status: local.Status, location: local.Location, reason: local.Reason}, local.Status)
		return
	}
	mirrored := len(x.rule.Mirrors) > 0
	if mirrored && x.body.done {
		x.mirror()
		mirrored = false
	}
	x.try()
	if mirrored && x.stopPump() {
		x.mirror()
	}
}

// delay waits on purpose.
func (x *exchange) delay() bool {
	d, late := x.plan.Delay, false
	if !x.deadline.IsZero() && x.rule.Timeouts.Request < d {
		d, late = x.rule.Timeouts.Request, true
	}
	switch {
	case !x.c.pause(d):
		x.count(telemetry.Canceled)
		x.reason, x.last = "caller went away", true
	case late:
		x.explain(&failure{status: 504, code: 504, reason: "the request took longer than its timeout"})
	default:
		return true
	}
	return false
}

// finish counts the request as it ended, and reports whether its connection is good for another one.
func (x *exchange) finish() bool {
	s := x.c.server
	whole := x.stopPump()
	now := x.ended
	if now.IsZero() {
		now = s.Now()
	}
	x.countAt(x.code, now)
	x.settle(now)
	x.giveBack()
	if s.Observer != nil {
		x.observe(now)
	}
	x.unbound()
	if x.last && !x.request.last() {
		x.c.linger = true // the caller could not know, and may have sent more
	}
	return whole && !x.last && x.c.ended.Load() == 0
}

// unbound takes the rule's time limits off the caller's connection.
func (x *exchange) unbound() {
	if c := x.c; !c.until.IsZero() || c.idle > 0 {
		c.until, c.idle = time.Time{}, 0
		c.mu.Lock()
		if c.ended.Load() == 0 {
			_ = c.conn.SetWriteDeadline(time.Time{})
		}
		c.mu.Unlock()
	}
}

// count ends the request for the metrics, the first time it is called.
func (x *exchange) count(code int) {
	if !x.counted {
		x.countAt(code, x.c.server.Now())
	}
}

func (x *exchange) countAt(code int, now time.Time) {
	if x.counted {
		return
	}
	x.counted, x.tally = true, code
	if x.series != nil {
		x.series.End(code, now.Sub(x.begun))
	}
}

// observe writes what is to be known of the request besides the metrics.
func (x *exchange) observe(now time.Time) {
	r := &x.record
	r.Begun, r.Duration, r.Inbound, r.Protocol = x.begun, now.Sub(x.begun), x.c.server.inbound, "HTTP/1.1"
	r.Method, r.Path, r.Authority = x.request.method, x.request.path, x.request.authority
	r.UserAgent, _ = x.request.find("user-agent")
	r.RequestID, _ = x.request.find("x-request-id")
	r.Caller, r.Endpoint = x.c.peer, x.reached
	if x.plan.Port != nil {
		r.Service = x.plan.Port.Service
	}
	r.Revision, r.Code, r.GRPC, r.Tries, r.Reason = x.plan.Revision, x.tally, -1, x.tries, x.reason
	if x.rule != nil {
		r.Rule = x.rule.Name
	}
	r.RequestBytes, r.ResponseBytes = x.requested, x.responded
	if x.c.server.inbound {
		r.Revision = x.c.server.Revision
	}
	x.c.server.Observer.End(x.span, r)
}
