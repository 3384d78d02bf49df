package h1

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
)

// pump carries the rest of a request's body in a goroutine of its own while the response is waited for, so
// that caller and endpoint may both talk at once. What it knows may be looked at once it has stopped.
type pump struct {
	x        *exchange
	to       *upstream
	done     chan struct{} // closed when it has stopped
	stopping atomic.Bool
	moved    atomic.Int64 // pieces carried
	whole    atomic.Bool  // the body has been read to its end
	fault    *malformed   // of the body
	failed   bool         // the caller broke off
	most     int          // is remembered of the body
	record   []byte       // what is remembered besides exchange.first
	spilled  bool         // there was more than is remembered
}

// grace is how long a response that has ended waits for the end of the request's body.
const grace = 100 * time.Millisecond

func (x *exchange) startPump(to *upstream) {
	if x.pump == nil {
		x.pump = &pump{x: x, most: engine.MaxReplay}
		if len(x.rule.Mirrors) > 0 {
			x.pump.most = engine.MaxMirrored
		}
		x.pump.spilled = len(x.first) > x.pump.most
	}
	p := x.pump
	p.to, p.done = to, make(chan struct{})
	x.c.set(pumping)
	x.c.server.running.Go(p.run)
}

func (p *pump) run() {
	defer close(p.done)
	c := p.x.c
	defer c.set(waiting)
	for !p.x.body.done {
		if p.splices() {
			if !p.splice() {
				return
			}
			continue
		}
		if len(c.buffered()) == 0 {
			c.size = largeBuffer
			err := c.read()
			c.size = smallBuffer
			if err != nil {
				if p.stopping.Load() {
					return
				}
				if errors.Is(err, os.ErrDeadlineExceeded) && c.readBy(time.Time{}) {
					continue // the janitor meant what was before
				}
				p.failed = true
				c.end(gone)
				return
			}
		}
		n, fault := p.x.body.take(c.buffered())
		if fault != nil {
			p.fault = fault
			c.interruptUpstream()
			return
		}
		p.moved.Add(1)
		p.whole.Store(p.x.body.done)
		p.x.requested += int64(n)
		piece := c.buffered()[:n]
		p.remember(piece)
		if p.to.write(piece) != nil {
			c.skip(n)
			return // the endpoint may have answered, which the reader sees
		}
		c.skip(n)
	}
}

// splices reports whether the kernel may move the next piece: of a long body of which nothing is remembered.
func (p *pump) splices() bool {
	b := &p.x.body
	return b.framing == byLength && b.left >= spliced && p.spilled && len(p.x.c.buffered()) == 0 &&
		p.x.c.raw != nil && p.to.raw != nil && p.to.until.IsZero() && p.to.idle == 0
}

// splice lets the kernel move a piece. False: it is over.
func (p *pump) splice() bool {
	c, b := p.x.c, &p.x.body
	from := c.conn.(*net.TCPConn)
	n, err := io.Copy(p.to.conn, &io.LimitedReader{R: from, N: min(b.left, slice)})
	b.left -= n
	b.done = b.left == 0
	p.x.requested += n
	p.moved.Add(1)
	p.whole.Store(b.done)
	switch {
	case err == nil && n > 0:
		return true
	case p.stopping.Load():
	case errors.Is(err, os.ErrDeadlineExceeded) && p.x.c.up.Load() == p.to && c.readBy(time.Time{}):
		return true // the janitor meant what was before
	case err == nil || closed(from):
		p.failed = true
		c.end(gone)
	}
	return false // the endpoint may have answered, which the reader sees
}

// remember keeps the beginning of the body, so that it can be offered to another endpoint or to mirrors.
func (p *pump) remember(piece []byte) {
	if p.spilled {
		return
	}
	if len(p.x.first)+len(p.record)+len(piece) > p.most {
		p.record, p.spilled = nil, true
		return
	}
	p.record = append(p.record, piece...)
}

// haltPump stops the pump in mid-body, the endpoint's connection being given up.
func (x *exchange) haltPump() {
	p := x.pump
	if p == nil || p.done == nil {
		return
	}
	p.stopping.Store(true)
	p.to.interrupt()
	for stopped := false; !stopped; {
		x.c.mu.Lock()
		_ = x.c.conn.SetReadDeadline(past)
		x.c.mu.Unlock()
		select {
		case <-p.done:
			stopped = true
		case <-time.After(10 * time.Millisecond): // the deadline may have been taken for the janitor's
		}
	}
	p.stopping.Store(false)
	p.done = nil
	x.c.readBy(time.Time{})
}

// stopPump ends the pump after the response has, and reports whether the request's body was read to its end.
func (x *exchange) stopPump() bool {
	if p := x.pump; p != nil && p.done != nil {
		timer := time.NewTimer(grace)
		select {
		case <-p.done:
			p.done = nil
		case <-timer.C:
			x.haltPump()
			x.cut = true // the endpoint may still wait for what was read of the body
		}
		timer.Stop()
	}
	if !x.body.done {
		x.c.linger = true
		return false
	}
	return x.pump == nil || !x.pump.failed && x.pump.fault == nil
}

// pumped reports whether nothing of the body is still on its way.
func (x *exchange) pumped() bool {
	p := x.pump
	if p == nil || p.done == nil {
		return true
	}
	select {
	case <-p.done:
		p.done = nil
		return x.body.done
	default:
		return false
	}
}

// replayable reports whether the request can be offered again. It stops the pump to know.
func (x *exchange) replayable() bool {
	if x.pump == nil {
		return true
	}
	x.haltPump()
	return !x.pump.spilled && !x.pump.failed && x.pump.fault == nil
}
