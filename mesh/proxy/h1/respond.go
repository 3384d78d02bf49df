package h1

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/sluice-mesh/sluice/mesh/proxy/rawio"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

const (
	// spliced is from how many bytes on the kernel moves a body, which takes a pipe and more calls for the
	// first of them.
	spliced = 64 << 10
	// slice is how much the kernel moves until the janitor is told that something moves.
	slice = 1 << 20
)

// respond passes the response on whose head has come.
func (x *exchange) respond() {
	u, r := x.up, &x.response
	x.code, x.outcome = r.status, outcome(r.status)
	if x.c.server.draining.Load() || x.pump != nil && !x.pump.whole.Load() {
		// A caller that is still to send its body, or has been told not to, might go on with its next request:
		// nobody could tell those apart.
		x.last = true
	}
	if r.status == 101 {
		x.tunnel()
		return
	}
	x.rest.follow(r, x.request.method)
	x.last = x.last || x.rest.framing == byClose // only the end of the connection can tell the caller
	head := len(r.b)
	n, m := x.rest.take(u.buffered()[head:])
	if m != nil {
		x.outcome = table.Failed
		f := x.failed(u, m)
		x.dropUpstream()
		x.explain(f)
		return
	}
	x.responded = int64(n)
	x.complete()
	err := x.begin(u, head, n)
	u.skip(head + n)
	if err == nil && !x.rest.done {
		if u.bounded { // the time of a try is over
			x.until = x.deadline
			x.bound(u)
		}
		x.stream(u)
		return
	}
	if err != nil {
		x.broken(true, err)
	}
}

// complete counts a request whose response the endpoint has given whole, before the caller can know of it.
func (x *exchange) complete() {
	if x.rest.done {
		x.ended = x.c.server.Now()
		x.countAt(x.code, x.ended)
	}
}

// begin sends the head and the n bytes of the body that have come with it, in one piece if at all possible.
func (x *exchange) begin(u *upstream, head, n int) error {
	lent := borrow(smallBuffer)
	out, untouched := x.appendResponse(lent.b[:0])
	b, end := u.in.b, u.r+head+n
	var err error
	switch front := u.r + head - len(out); {
	case untouched:
		err = x.c.write(b[u.r:end])
	case front >= 0:
		copy(b[front:], out)
		err = x.c.write(b[front:end])
	default:
		if err = x.c.write(out); err == nil && n > 0 {
			err = x.c.write(b[u.r+head : end])
		}
	}
	lent.release()
	return err
}

// stream passes on the rest of the response's body as it comes.
func (x *exchange) stream(u *upstream) {
	c := x.c
	defer x.long()() // it may go on for long
	for !x.rest.done {
		c.set(waiting)
		if x.rest.framing == byLength && x.rest.left >= spliced && u.in == nil && x.splice(u) {
			continue
		}
		if x.cut {
			return
		}
		if len(u.buffered()) == 0 {
			if err := x.await(u); err != nil {
				if errors.Is(err, io.EOF) && x.rest.framing == byClose {
					x.rest.done = true
					x.complete()
					return
				}
				x.broken(false, err)
				return
			}
		}
		n, m := x.rest.take(u.buffered())
		if m != nil {
			x.broken(false, m)
			return
		}
		x.responded += int64(n)
		x.complete()
		if err := c.write(u.buffered()[:n]); err != nil {
			x.broken(true, err)
			return
		}
		u.skip(n)
		if x.rest.done {
			return
		}
	}
}

// splice lets the kernel move a piece of a body of known length. False: it cannot, or the response is
// broken.
func (x *exchange) splice(u *upstream) bool {
	to, _ := x.c.conn.(*net.TCPConn)
	from, _ := u.conn.(*net.TCPConn)
	if to == nil || from == nil || x.rule.Timeouts.Idle > 0 {
		return false
	}
	if !x.c.until.IsZero() {
		x.c.bound()
	}
	n, err := io.Copy(to, &io.LimitedReader{R: from, N: min(x.rest.left, slice)})
	x.rest.left -= n
	x.rest.done = x.rest.left == 0
	x.responded += n
	switch {
	case err == nil && n > 0:
		return true
	case err == nil:
		err = io.ErrUnexpectedEOF
	}
	x.broken(errors.Is(err, os.ErrDeadlineExceeded) || !closed(from) && closed(to), err)
	return false
}

// broken ends a response in its middle, so that the caller can tell.
func (x *exchange) broken(byCaller bool, err error) {
	x.haltPump()
	x.last = true
	code := telemetry.Canceled
	x.reason = "caller went away"
	switch {
	case x.c.ended.Load() == killed:
		x.reason = "cut off by the proxy"
	case x.c.ended.Load() != 0:
	case errors.Is(err, os.ErrDeadlineExceeded):
		code, x.reason = 504, x.timeout().reason
	case x.pump != nil && x.pump.fault != nil:
		code, x.reason = x.pump.fault.status, x.pump.fault.reason
	case !byCaller:
		code, x.reason = 502, "the response broke off"
		x.outcome = table.Failed
	}
	if code == telemetry.Canceled {
		x.outcome = table.Canceled
	}
	x.c.abort = x.rest.framing == byClose // an orderly end would be taken for the response's
	x.code, x.cut = code, true
}

// closed reports whether the kernel has given a connection up, as after a reset.
func closed(conn *net.TCPConn) bool {
	info := rawio.Info(conn)
	return info == nil || info.State == rawio.StateClosed
}

// settle ends the endpoint's part once the response has been passed on, or has broken off.
func (x *exchange) settle(now time.Time) {
	good := !x.cut && x.rest.done && x.body.done && !x.response.last() && x.rest.framing != byClose &&
		(x.request.minor == 1 || !x.request.last()) && // HTTP/1.0 goes on as it came
		(x.pump == nil || x.pump.done == nil)
	x.keepUpstream(good, now)
	x.leave(x.outcome, now)
}
