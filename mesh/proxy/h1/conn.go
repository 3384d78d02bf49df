package h1

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-mesh/sluice/mesh/proxy/table"
)

// conn is a caller's connection.
type conn struct {
	socket
	server *Server
	dst    netip.AddrPort
	peer   netip.AddrPort

	x       *exchange // to be carried aside
	verdict verdict
	scanned int  // how much of an incomplete head has been looked at
	final   bool // read once more, without waiting
	linger  bool // the caller may still be sending
	abort   bool // the connection ends with a reset
	served  bool // a first request

	table *table.Table // that port was looked up in
	port  *table.Port
	pool  *pool // to dst, if it has been used

	// Looked at by others.
	state  atomic.Uint64            // phase and the tick that it began at
	up     atomic.Pointer[upstream] // that is waited for
	ended  atomic.Uint32            // reason
	wake   atomic.Uint32            // reason why the janitor interrupts reading
	mu     sync.Mutex
	cancel context.CancelFunc // ends waiting for anything else
}

type verdict uint8

const (
	more  verdict = iota // read on
	aside                // conn.x must be carried outside of a callback, for it reads from the caller itself
	over                 // the connection ends
)

// run serves until the connection ends.
func (c *conn) run() {
	serve := c.serve // once: a method value is made anew each time
	for {
		v := c.step()
		if v == more {
			v = c.next(serve)
		}
		if v == aside {
			x := c.x
			c.x = nil
			if v = over; x.run() {
				v = more
			}
			x.release()
		}
		if v == over {
			return
		}
	}
}

// next reads, and serves all requests that come whole.
func (c *conn) next(serve func(uintptr) bool) verdict {
	if c.raw == nil {
		switch err := c.await(); {
		case err == nil:
			c.final = false
			return more
		case errors.Is(err, os.ErrDeadlineExceeded):
			return c.woken()
		}
		return over
	}
	c.verdict = over
	err := c.raw.Read(serve)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return c.woken()
	}
	return c.verdict
}

// serve is a callback of raw.Read, and serves requests within it: the poller then tells of the next one
// without our asking the kernel in vain. It must ask at its first call, since what came before is not told of.
//
// What is not told of is the end of a caller that says it in the same breath as its request. Callers that do
// so have one request as a rule, so that is asked for after the first one; later the janitor sees it.
func (c *conn) serve(fd uintptr) bool {
	for {
		if !c.receive(fd) {
			return c.final
		}
		if c.err != nil {
			c.verdict = over
			return true
		}
		c.held, c.fd, c.final = true, fd, false
		c.verdict = c.step()
		c.held = false
		if c.verdict != more {
			return true
		}
		if c.verdict = over; c.ended.Load() != 0 {
			return true
		}
		if !c.full && c.served {
			return false
		}
		c.served = true
	}
}

// woken is what happens when the janitor has interrupted reading.
func (c *conn) woken() verdict {
	reason := c.wake.Swap(0)
	if !c.readBy(time.Time{}) {
		return over
	}
	switch p := c.phase(); { // a request may have come meanwhile
	case reason == headLate && p == inHead:
		c.refuse(&malformed{408, "the head did not come in time"})
		return over
	case reason == idleLong && p == looked:
		// A request may be there at this very moment.
		if c.final || c.raw == nil && c.quiet() {
			return over
		}
		c.final = true
	}
	return more
}

// step serves the requests that are there whole.
func (c *conn) step() verdict {
	for c.r < c.w {
		b := c.in.b[c.r:c.w]
		if c.scanned == 0 && b[0] == '\r' { // an empty line before a request is to be ignored
			if len(b) == 1 {
				return c.incomplete(0)
			}
			if b[1] == '\n' {
				c.skip(2)
				continue
			}
		}
		n, m := headEnd(b, c.scanned)
		if limit := c.server.Limits.HeaderBytes; m == nil && (n > limit || n == 0 && len(b) > limit) {
			m = errTooLarge
		}
		if m != nil {
			c.refuse(m)
			return over
		}
		if n == 0 {
			return c.incomplete(len(b))
		}
		x := newExchange(c)
		if m := x.request.parse(b[:n]); m != nil {
			c.refuse(m)
			x.release()
			return over
		}
		c.scanned = 0
		switch whole, m := x.takeBody(n); {
		case m != nil:
			c.refuse(m)
			x.release()
			return over
		case !whole && x.worthwhile(n):
			x.release()
			c.resize(largeBuffer)
			c.receive(c.fd) // where nothing comes, or the end, the pump sees to it
			continue
		case !whole || x.switches:
			x.keep()
			c.x = x
			return aside
		}
		good := x.run()
		x.release()
		if !good {
			return over
		}
	}
	if p := c.phase(); p == waiting || p == inHead {
		c.set(idle)
	}
	return more
}

// incomplete notes that a head's end is still to come.
func (c *conn) incomplete(scanned int) verdict {
	c.scanned = scanned
	if c.phase() != inHead {
		c.set(inHead)
	}
	return more
}

// refuse answers a request that was not understood; the connection ends, since nobody knows where the next
// request would begin.
func (c *conn) refuse(m *malformed) {
	a := ownAnswer{status: m.status, reason: m.reason, name: c.dst.String(), last: true}
	_ = c.write(a.text())
	c.linger = true
}

// lingeringClose lets the caller read what was answered before it was done sending: closing with something
// unread would reset the connection and take the answer away.
func (c *conn) lingeringClose() {
	if c.closeWrite() != nil || !c.readBy(time.Now().Add(time.Second)) {
		return
	}
	c.drop()
	for left := 4 << 20; left > 0; {
		if c.read() != nil {
			return
		}
		left -= len(c.buffered())
		c.drop()
	}
}

// readBy sets the time until reading may wait; zero: for ever. False: the connection has ended meanwhile.
func (c *conn) readBy(t time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended.Load() != 0 {
		return false
	}
	return c.conn.SetReadDeadline(t) == nil
}

// reason why somebody else ended an exchange.
const (
	gone   uint32 = 1 + iota // the caller has gone away
	killed                   // the proxy or a drain ends it
)

// end lets everything that the connection waits for end, from any goroutine.
func (c *conn) end(reason uint32) {
	c.ended.CompareAndSwap(0, reason)
	c.mu.Lock()
	if c.cancel != nil {
		c.cancel()
	}
	_ = c.conn.SetDeadline(past)
	c.mu.Unlock()
	c.interruptUpstream()
}

// interruptUpstream ends waiting for the endpoint. Whoever takes the pointer away owns the connection's
// deadline: an upstream that was interrupted is not used again.
func (c *conn) interruptUpstream() {
	if u := c.up.Swap(nil); u != nil {
		u.interrupt()
	}
}

// cancellable returns a context that ends with the connection; done must be called.
func (c *conn) cancellable(until time.Time) (ctx context.Context, done func()) {
	var cancel context.CancelFunc
	if until.IsZero() {
		ctx, cancel = context.WithCancel(context.Background())
	} else {
		ctx, cancel = context.WithDeadline(context.Background(), until)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel = cancel
	if c.ended.Load() != 0 {
		cancel()
	}
	return ctx, func() {
		c.mu.Lock()
		c.cancel = nil
		c.mu.Unlock()
		cancel()
	}
}

// pause waits; false when the connection ends first.
func (c *conn) pause(d time.Duration) bool {
	if d <= 0 {
		return c.ended.Load() == 0
	}
	ctx, done := c.cancellable(time.Time{})
	defer done()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
