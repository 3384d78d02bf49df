package h2

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

// straightTries bounds how often a request is offered where there is only one address for it.
const straightTries = 3

// attempt offers the request to the next endpoint.
func (s *stream) attempt(b *batch) {
	now := s.begun
	if s.tries > 0 {
		now = s.server.Now()
	}
	to := s.straight
	if s.planned {
		e, err := s.plan.Next(s.server.Random, s.tried, now)
		if err != nil {
			s.status, s.grpc = telemetry.Unreached, -1
			s.explain(b, http.StatusServiceUnavailable, err.Error())
			return
		}
		s.endpoint = e
		if s.tried == nil {
			s.tried = s.triedOne[:0]
		}
		s.tried = append(s.tried, e)
		to = e.PoolFor(table.HTTP2).(*pool)
	}
	s.tries++
	if t := s.plan.Rule.Timeouts.PerTry; t > 0 {
		try := s.tries
		s.patience = time.AfterFunc(t, func() { s.tryTimeout(try, t) })
	}
	to.take(b, s)
}

// opened sends the request on a leg that it has got; the pool's link has it already (see link.open).
func (s *stream) opened(b *batch, g *leg) {
	s.up = g
	if !s.request.closed && (len(s.request.buf) > 0 || s.request.done) {
		s.push(b, &s.request, &s.down, g, nil)
	}
}

// noWait ends the waiting for a connection, if the stream waits.
func (s *stream) noWait() {
	if s.waiting != nil {
		s.waiting.forget(s)
		s.waiting = nil
	}
	if s.pending {
		s.plan.ReleasePending()
		s.pending = false
	}
}

// bodyless reports whether the head is all of the request.
func (s *stream) bodyless() bool {
	return s.request.done && s.request.total == 0 && s.request.trailers == nil
}

// unreached ends a try that got no connection.
func (s *stream) unreached(b *batch, err error) {
	status := http.StatusServiceUnavailable
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		status = http.StatusGatewayTimeout
	}
	f := failure{
		Failure: table.Failure{On: ir.OnConnectFailure, GRPC: -1, Untouched: true},
		outcome: table.Unreached, count: telemetry.Unreached, status: status,
		reason: "no connection: " + err.Error(), unreachable: true,
	}
	if refused := (*table.Refused)(nil); errors.As(err, &refused) {
		f.Untouched, f.outcome, f.reason = false, table.Canceled, refused.Reason
	}
	s.failed(b, f)
}

// failure is a try that has ended without a response that goes to the caller.
type failure struct {
	table.Failure
	outcome table.Outcome
	// count is what the request counts as when this was its first try; uncounted leaves that to the next.
	count     int
	uncounted bool
	// What the caller gets when there is no other try: an answer of this status and reason, or where reset
	// is set a reset with its code if that may be said. Unreachable tells the caller's proxy that it may try elsewhere.
	status      int
	reason      string
	reset       bool
	code        code
	unreachable bool
}

// failed decides what follows a try that has failed before any response went to the caller.
func (s *stream) failed(b *batch, f failure) {
	s.up.close(b, true, codeCancel)
	now := s.server.Now()
	s.endTry(f.outcome, now)
	wait, again := time.Duration(0), false
	if s.request.whole() && s.caller != nil {
		f.Idempotent = idempotent(s.head.method)
		if s.planned {
			wait, again = s.plan.Retry(f.Failure, s.tries, s.server.Random)
		} else {
			again = f.Untouched && !f.unreachable && s.tries < straightTries
		}
	}
	s.status, s.grpc = f.count, -1
	if again {
		s.touched = s.touched || !f.Untouched
		if !f.uncounted {
			s.count(f.count, now) // by the first try, whatever comes after it
		}
		s.repeat(b, wait)
		return
	}
	switch {
	case f.reset && (f.code != codeRefused || !s.touched): // or a caller would take it that nobody has seen it
		s.reason = f.reason
		s.abandon(b, f.code)
	case f.unreachable && s.unprocessed:
		s.explain(b, f.status, f.reason, field{Name: engine.Unprocessed, Value: engine.Unreachable})
	default:
		s.explain(b, f.status, f.reason)
	}
}

// repeat tries again after a while.
func (s *stream) repeat(b *batch, wait time.Duration) {
	s.repeated = s.planned
	s.up, s.status, s.grpc = nil, 0, -1
	s.response.done = false
	s.request.rewind()
	s.after(b, wait, (*stream).attempt)
}

func idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE":
		return true
	}
	return false
}

// tryTimeout ends a try whose response has not begun in time. Without patience it has ended by itself.
func (s *stream) tryTimeout(try int, t time.Duration) {
	s.later(func(s *stream, b *batch) {
		if s.tries != try || s.patience == nil || s.responded {
			return
		}
		s.noWait()
		s.failed(b, failure{
			Failure: table.Failure{On: ir.OnTimeout, GRPC: -1}, outcome: table.Failed,
			count: http.StatusGatewayTimeout, status: http.StatusGatewayTimeout,
			reason: fmt.Sprintf("no response within the try's timeout of %v", t),
		})
	})
}

// timeout ends a request that has taken too long, in whatever state it is.
func (s *stream) timeout(reason string) {
	s.later(func(s *stream, b *batch) { s.tooLate(b, reason) })
}

func (s *stream) tooLate(b *batch, reason string) {
	s.noWait()
	s.broke(http.StatusGatewayTimeout, reason)
	if s.responded {
		s.cut(b, http.StatusGatewayTimeout, reason)
	} else {
		s.explain(b, http.StatusGatewayTimeout, reason)
	}
}

// Close implements io.Closer for the drain of a revision: it ends a request that has lived longer than that.
func (s *stream) Close() error {
	s.later(func(s *stream, b *batch) {
		const reason = "the revision that it was drawn to is gone"
		s.noWait()
		s.endTry(table.Canceled, s.server.Now()) // which is not the endpoint's fault
		if s.responded {
			if s.head.grpc {
				s.grpc = 14
			}
			s.cut(b, http.StatusServiceUnavailable, reason)
		} else {
			s.broke(telemetry.Unreached, reason)
			s.explain(b, http.StatusServiceUnavailable, reason)
		}
	})
	return nil
}
