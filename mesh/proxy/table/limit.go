package table

import (
	"cmp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// limiter is a token bucket in the form of the generic cell rate algorithm: one number, the time at which
// the bucket would be full again, so that taking a token is one compare-and-swap.
type limiter struct {
	interval  int64 // nanoseconds for a token to grow
	tolerance int64 // how far full may lie in the future for a token to be there
	none      bool  // a limit of no requests at all
	full      atomic.Int64
}

func newLimiter(limit ir.RateLimit) *limiter {
	if limit.Requests == 0 {
		return &limiter{none: true}
	}
	interval := max(int64(cmp.Or(limit.Per, time.Second))/int64(limit.Requests), 1)
	return &limiter{interval: interval, tolerance: interval * int64(cmp.Or(limit.Burst, limit.Requests)-1)}
}

// take takes a token; false when there is none. A nil limiter always has one.
func (l *limiter) take(now time.Time) bool {
	if l == nil {
		return true
	}
	if l.none {
		return false
	}
	at := now.UnixNano()
	for {
		full := l.full.Load()
		from := max(full, at)
		if from-at > l.tolerance {
			return false
		}
		if l.full.CompareAndSwap(full, from+l.interval) {
			return true
		}
	}
}

// limitKey is what a limiter is for. While it stays the same, so does the limiter.
type limitKey struct {
	route string // its name; "" for the service's own limit
	ir.RateLimit
}

// circuitKey names a circuit of a service.
type circuitKey struct{ revision, port string }

// circuit is what is in flight to one revision on one port, and what its endpoints' health and turn need in
// common. It is the same object in every configuration that has the revision.
type circuit struct {
	requests atomic.Int64
	waiting  atomic.Int64
	turn     atomic.Uint32 // of the round robin
	// ejecting is when the last of the present ejections ends, in nanoseconds since 1970: from then on
	// nobody need look whether an endpoint is ejected.
	ejecting atomic.Int64
	eject    sync.Mutex // serialises ejections, so that never too many are out
}

// enter adds one up to a limit; 0 means none.
func enter(count *atomic.Int64, limit uint32) bool {
	if limit == 0 {
		count.Add(1)
		return true
	}
	for {
		n := count.Load()
		if n >= int64(limit) {
			return false
		}
		if count.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// AcquirePending counts a request that waits for a connection, because AcquireConnection of its endpoint
// said no; ReleasePending must follow when it waits no more. False: as many wait as the policy lets
// (MaxPending), and the request is to be refused with ErrPending.
func (p *Plan) AcquirePending() bool {
	return p.group == nil || enter(&p.group.circuit.waiting, p.group.limits.MaxPending)
}

// ReleasePending ends what AcquirePending began.
func (p *Plan) ReleasePending() {
	if p.group != nil {
		p.group.circuit.waiting.Add(-1)
	}
}

// The refusals.
var (
	// ErrPending is for a request that may not even wait for a connection.
	ErrPending = &Refused{Reason: "too many requests wait for a connection: see limits.maxPending of its policy", Overloaded: true}

	errRequests = &Refused{Reason: "too many requests in flight: see limits.maxRequests of its policy", Overloaded: true}
	errNobody   = &Refused{Reason: "no endpoint takes requests"}
)

// defaultMaxConnections to one endpoint.
const defaultMaxConnections = 1024

// AcquireConnection counts a connection that a pool is about to open to the endpoint; ReleaseConnection
// must follow when it is closed, or could not be opened. False: the endpoint has as many as the policy lets
// (MaxConnections, 1024 by default); the request then waits for one that becomes free, between AcquirePending
// and ReleasePending of its Plan.
func (e *Endpoint) AcquireConnection() bool {
	return enter(&e.connections, cmp.Or(e.Policy().Limits.MaxConnections, defaultMaxConnections))
}

// ReleaseConnection ends what AcquireConnection began.
func (e *Endpoint) ReleaseConnection() { e.connections.Add(-1) }
