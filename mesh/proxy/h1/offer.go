package h1

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

// maxInterim responses may come before the final one.
const maxInterim = 32

// offer sends the request to one endpoint and waits for the head of the final response, which is then in
// x.response and at the start of what x.up has buffered.
//
// A kept connection that turns out to have been closed is replaced by another one without much ado, as long
// as nobody can have processed the request, or it may be repeated.
func (x *exchange) offer(p *pool, now time.Time) *failure {
	x.until = x.deadline
	if d := x.rule.Timeouts.PerTry; d > 0 {
		if t := time.Now().Add(d); x.until.IsZero() || t.Before(x.until) {
			x.until = t
		}
	}
	for fresh := false; ; {
		var u *upstream
		if !fresh {
			u = p.take(now)
		}
		if u == nil {
			var f *failure
			if u, f = x.connect(p); f != nil {
				return f
			}
		}
		err := x.ask(u)
		if err == nil {
			err = x.readHead(u)
		}
		if err == nil {
			return nil
		}
		f := x.failed(u, err)
		again := u.reused && !f.final && f.On == ir.OnReset && len(u.buffered()) == 0 &&
			(u.stale || x.request.idempotent()) && x.replayable()
		x.up = u
		x.dropUpstream()
		if !again {
			return f
		}
		fresh = !u.stale
	}
}

// assemble builds what is sent at first: the head and what there is of the body, in a buffer that is lent if
// it suffices.
func (x *exchange) assemble(p *pool) ([]byte, *buffer) {
	intended := ""
	if p.endpoint != nil {
		intended = p.endpoint.Intended
	}
	var record []byte
	if x.pump != nil {
		record = x.pump.record
	}
	lent := borrow(len(x.request.b) + len(x.first) + len(record) + headroom)
	out := x.appendRequest(lent.b[:0], intended)
	out = append(out, x.first...)
	return append(out, record...), lent
}

// connect opens a connection, or waits for one where the policy allows no more of them.
func (x *exchange) connect(p *pool) (*upstream, *failure) {
	ctx, done := x.c.cancellable(x.until)
	defer done()
	if !p.open() {
		if !x.plan.AcquirePending() {
			return nil, &failure{
				status: 503, code: telemetry.Unreached, reason: table.ErrPending.Reason, outcome: table.Canceled, final: true,
			}
		}
		u, err := p.wait(ctx)
		x.plan.ReleasePending()
		switch {
		case u != nil:
			return u, nil
		case err == nil:
		case x.c.ended.Load() != 0:
			return nil, canceled(table.Canceled)
		default:
			f := x.timeout()
			f.outcome = table.Canceled // it is our limit that kept the request waiting
			return nil, f
		}
	}
	u, err := p.dial(ctx)
	if err == nil {
		return u, nil
	}
	f := &failure{
		status: 503, code: telemetry.Unreached, reason: err.Error(), outcome: table.Unreached, counts: true, unreached: true,
	}
	f.On, f.GRPC, f.Untouched, f.Idempotent = ir.OnConnectFailure, -1, true, x.request.idempotent()
	var timeout net.Error
	switch {
	case x.c.ended.Load() != 0:
		return nil, canceled(table.Canceled)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, x.timeout()
	case errors.As(err, &timeout) && timeout.Timeout():
		f.status = 504
	}
	return nil, f
}

// timeout is the failure of a try that took too long.
func (x *exchange) timeout() *failure {
	f := &failure{status: 504, code: 504, outcome: table.Failed, counts: true}
	f.On, f.GRPC, f.Idempotent = ir.OnTimeout, -1, x.request.idempotent()
	switch now := time.Now(); {
	case !x.deadline.IsZero() && !now.Before(x.deadline):
		f.final, f.reason = true, "the request took longer than its timeout"
	case !x.until.IsZero() && !now.Before(x.until):
		f.reason = "the endpoint took longer than the timeout of a try"
	default:
		f.final, f.reason = true, "nothing moved for longer than the idle timeout"
	}
	return f
}

// ask sends the request, or its beginning, and waits for a response.
func (x *exchange) ask(u *upstream) error {
	c := x.c
	u.until, u.idle = x.until, x.rule.Timeouts.Idle
	if !x.body.done {
		u.until = x.deadline // the pump may go on when the time of the try is over
	}
	c.up.Store(u)
	x.bound(u)
	if c.ended.Load() != 0 {
		return net.ErrClosed
	}
	out, lent := x.assemble(u.pool)
	if x.body.done {
		return x.patiently(u, u.exchange(out, lent))
	}
	err := u.begin(out)
	lent.release()
	if err != nil {
		return err
	}
	x.startPump(u)
	return x.await(u)
}

// bound sets the time that reading from the endpoint may wait, where the rule says one.
func (x *exchange) bound(u *upstream) {
	until := x.until
	if idle := x.rule.Timeouts.Idle; idle > 0 {
		if t := time.Now().Add(idle); until.IsZero() || t.Before(until) {
			until = t
		}
	}
	if until.IsZero() && !u.bounded {
		return
	}
	u.bounded = !until.IsZero()
	_ = u.conn.SetReadDeadline(until)
	if x.c.up.Load() != u { // interrupted meanwhile
		u.interrupt()
	}
}

// await reads from the endpoint.
func (x *exchange) await(u *upstream) error {
	x.bound(u)
	return x.patiently(u, u.read())
}

// patiently goes on reading after an idle timeout if the request's body has moved meanwhile.
func (x *exchange) patiently(u *upstream, err error) error {
	moved := int64(0)
	for x.pump != nil && errors.Is(err, os.ErrDeadlineExceeded) && x.c.ended.Load() == 0 && x.c.up.Load() == u {
		now := x.pump.moved.Load()
		if now == moved || !x.until.IsZero() && !time.Now().Before(x.until) {
			break
		}
		moved = now
		x.bound(u)
		err = u.read()
	}
	return err
}

// readHead reads until the final response's head is there whole, passing on those that come before it.
func (x *exchange) readHead(u *upstream) error {
	scanned, interim := 0, 0
	for {
		n, m := headEnd(u.buffered(), scanned)
		if limit := x.c.server.Limits.ResponseHeaderBytes; m == nil && (n > limit || n == 0 && len(u.buffered()) > limit) {
			m = errTooLargeUp
		}
		if m != nil {
			return m
		}
		if n == 0 {
			scanned = len(u.buffered())
			if err := x.await(u); err != nil {
				return err
			}
			continue
		}
		r := &x.response
		if m := r.parse(u.buffered()[:n]); m != nil {
			return m
		}
		switch {
		case r.status == 101 && !x.switches:
			return errSwitched
		case r.chunked && x.request.minor == 0 && !r.bodyless(x.request.method):
			return errCoding10
		case !r.interim():
			x.up = u
			return nil
		}
		if interim++; interim > maxInterim {
			return errTooLargeUp
		}
		if err := x.passInterim(); err != nil {
			return err
		}
		u.skip(n)
		scanned = 0
	}
}

// passInterim passes on a response that comes before the final one, to callers that know such.
func (x *exchange) passInterim() error {
	if x.request.minor == 0 {
		return nil
	}
	lent := borrow(smallBuffer)
	defer lent.release()
	out, untouched := x.appendResponse(lent.b[:0])
	if untouched {
		out = x.response.b
	}
	if x.c.write(out) != nil {
		x.c.end(gone)
		return net.ErrClosed
	}
	return nil
}

// failed says what it means that a response's head has not come.
func (x *exchange) failed(u *upstream, err error) *failure {
	x.haltPump()
	f := &failure{status: 502, code: telemetry.Unreached, outcome: table.Failed, counts: true}
	f.On, f.GRPC, f.Untouched, f.Idempotent = ir.OnReset, -1, u.stale, x.request.idempotent()
	var m *malformed
	switch {
	case x.c.ended.Load() != 0:
		return canceled(table.Canceled)
	case x.pump != nil && x.pump.fault != nil:
		x.last = true
		return &failure{status: x.pump.fault.status, code: x.pump.fault.status, reason: x.pump.fault.reason, outcome: table.Canceled, final: true}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return x.timeout()
	case errors.As(err, &m):
		f.final, f.reason = true, "the response is not valid: "+m.reason
	case errors.Is(err, io.EOF) && len(u.buffered()) == 0:
		f.reason = "the endpoint closed the connection without an answer"
	case errors.Is(err, io.EOF):
		f.reason = "the endpoint closed the connection in the head of its response"
	default:
		f.reason = "the endpoint broke off: " + err.Error()
	}
	return f
}

// dropUpstream closes the connection of a try that has failed, or whose response is not passed on.
func (x *exchange) dropUpstream() {
	u := x.up
	if u == nil {
		return
	}
	x.haltPump()
	x.up = nil
	x.c.up.CompareAndSwap(u, nil)
	u.close()
}

// keepUpstream ends the use of a connection after its response; it is kept where it is good for another one.
func (x *exchange) keepUpstream(good bool, now time.Time) {
	u := x.up
	if u == nil {
		return
	}
	x.up = nil
	if !x.c.up.CompareAndSwap(u, nil) || !good || u.werr != nil || len(u.buffered()) > 0 {
		u.close()
		return
	}
	if u.bounded || !u.until.IsZero() || u.idle > 0 {
		u.bounded, u.until, u.idle = false, time.Time{}, 0
		_ = u.conn.SetDeadline(time.Time{})
	}
	u.pool.give(u, now)
}
