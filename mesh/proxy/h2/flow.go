package h2

import "github.com/sluice-mesh/sluice/mesh/proxy/engine"

// flow is one direction of a stream's body. All is under the stream's lock.
type flow struct {
	// buf[sent:] waits to be sent. While keep is set nothing has been dropped before it, and buf[:sent] can be
	// sent again to another endpoint.
	buf  []byte
	sent int
	keep bool
	// credited of the bytes sent, since a repetition gives no window back; total came, and length were
	// announced (-1: not said).
	credited, dropped, total, length int64
	// done: the end has come, with trailers or without. closed: it has been sent.
	done, closed bool
	trailers     []field
}

// hold keeps data that cannot be sent yet, or may have to be sent again.
func (f *flow) hold(data []byte) {
	f.buf = append(f.buf, data...)
}

// drop lets go of what has been sent.
func (f *flow) drop() {
	f.keep = false
	if f.sent == 0 {
		return
	}
	f.dropped += int64(f.sent)
	f.buf = f.buf[:copy(f.buf, f.buf[f.sent:])]
	f.sent = 0
}

// whole reports whether all that has come can be sent again.
func (f *flow) whole() bool { return f.dropped == 0 }

// rewind begins anew for another endpoint; only while it is whole.
func (f *flow) rewind() { f.sent, f.closed = 0, false }

// data takes what came in a DATA frame of some size on a leg. A reason says that the peer broke the rules.
func (s *stream) data(b *batch, g *leg, data []byte, size int64, end bool) (code, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, to := &s.request, s.up
	if g != &s.down {
		f, to = &s.response, &s.down
	}
	if g.closed {
		g.link.credit(b, size)
		return 0, ""
	}
	s.still = 0
	if f.done || f == &s.response && !s.responded {
		g.link.credit(b, size)
		if f.done {
			return codeStreamClosed, "DATA after the end"
		}
		return codeProtocol, "DATA before a response"
	}
	f.total += int64(len(data))
	if g.allowed -= size; g.allowed < 0 {
		return codeFlowControl, "more DATA than the stream's window"
	}
	if f.length >= 0 && (f.total > f.length || end && f.total < f.length) {
		return codeProtocol, "DATA differs from content-length"
	}
	if padding := size - int64(len(data)); padding > 0 {
		g.link.credit(b, padding)
		g.grant(b, padding)
	}
	f.done = end
	if f == &s.request {
		s.copyForMirrors(data)
	}
	s.push(b, f, g, to, data)
	if end {
		s.settle(b)
	}
	return 0, ""
}

// push sends what waits and then data, as far as that is possible, keeps the rest, and gives the window back for
// what was sent. From is nil for data of our own.
func (s *stream) push(b *batch, f *flow, from, to *leg, data []byte) {
	if to != nil && to.link == nil { // a mirror's response goes nowhere
		f.credited += int64(len(data))
		s.credit(b, from, int64(len(data)))
		f.closed = f.done
		s.settle(b)
		return
	}
	if f.keep && len(f.buf)+len(data) > engine.MaxReplay {
		f.drop()
	}
	src, own := data, false
	if f.keep || to == nil || f.sent < len(f.buf) {
		f.hold(data)
		src, own = f.buf[f.sent:], true
	}
	if to == nil || f.closed || f == &s.response && !s.responded {
		return
	}
	n, ended := to.send(b, src, f.done, f.trailers)
	switch {
	case own:
		f.sent += n
		if !f.keep && (f.sent == len(f.buf) || f.sent > maxFrame) {
			f.drop()
		}
	case n < len(src):
		f.dropped += int64(n)
		f.hold(src[n:])
	default:
		f.dropped += int64(n)
	}
	if fresh := f.dropped + int64(f.sent) - f.credited; fresh > 0 {
		f.credited += fresh
		s.still = 0
		s.credit(b, from, fresh)
	}
	if ended {
		f.closed = true
		s.settle(b)
	}
}

// credit gives window back to the sender.
func (s *stream) credit(b *batch, from *leg, n int64) {
	if from == nil || from.link == nil || n == 0 {
		return
	}
	from.link.credit(b, n)
	from.grant(b, n)
}

// release gives the connection's window back for what will not be sent any more.
func (s *stream) release(b *batch, f *flow, from *leg) {
	if held := f.total - f.credited; held > 0 && from != nil && from.link != nil {
		f.credited = f.total
		from.link.credit(b, held)
	}
	f.buf, f.sent, f.keep, f.trailers = nil, 0, false, nil
}

// woken sends on what waited for a leg.
func (s *stream) woken(b *batch, to *leg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case to.closed:
	case to == &s.down:
		if !s.response.closed {
			s.push(b, &s.response, s.up, to, nil)
		}
	case to == s.up && !s.request.closed:
		s.push(b, &s.request, &s.down, to, nil)
	}
}
