package h2

import "slices"

// leg is a stream on one of its two links.
type leg struct {
	link   *link
	stream *stream
	id     uint32

	// Under the link's lock:
	window  int64 // that we may send, beyond the link's initial window
	waiting bool  // is in the link's blocked

	// Under the stream's lock:
	closed  bool
	allowed int64 // that the peer may still send
	owed    int64 // that it has sent, was passed on and has not been given back
}

// ring remembers which streams have ended lately, and how.
type ring struct {
	ids [64]uint32 // id<<1, and 1 where we have reset it
	at  int
}

func (r *ring) note(id uint32, byUs bool) {
	entry := id << 1
	if byUs {
		entry |= 1
	}
	r.ids[r.at%len(r.ids)] = entry
	r.at++
}

func (r *ring) find(id uint32) (byUs, found bool) {
	for _, entry := range r.ids {
		if entry>>1 == id && entry != 0 {
			return entry&1 == 1, true
		}
	}
	return false, false
}

// lately reports whether a stream has ended lately, and whether we have reset it: then frames that its peer had
// sent before it knew are no error.
func (l *link) lately(id uint32) (byUs, found bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.past.find(id)
}

// refuse resets a stream that never became one.
func (l *link) refuse(b *batch, id uint32, c code) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.past.note(id, true)
	if out := l.room(); out != nil {
		out.b = appendReset(out.b, id, c)
		l.mark(b)
	}
}

// close ends the stream on its link; the stream's lock is held. With reset the peer is told so.
func (g *leg) close(b *batch, reset bool, c code) {
	if g == nil || g.closed || g.link == nil {
		return
	}
	g.closed = true
	l := g.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.legs[g.id] != g {
		return // the link has ended
	}
	delete(l.legs, g.id)
	l.past.note(g.id, reset)
	if g.waiting { // or the list would grow for as long as the peer grants no window
		i := slices.Index(l.blocked, g)
		l.blocked = slices.Delete(l.blocked, i, i+1)
		g.waiting = false
	}
	if out := l.room(); out != nil && reset {
		out.b = appendReset(out.b, g.id, c)
		l.mark(b)
	}
	l.role.ended(b)
}

// headers sends a block; the stream's lock is held.
func (g *leg) headers(b *batch, end bool, lists ...[]field) {
	l := g.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if out := l.room(); out != nil {
		out.b = l.encode(out.b, g.id, end, lists...)
		l.mark(b)
	}
}

// encode writes fields into HEADERS; the link's lock is held.
func (l *link) encode(out []byte, id uint32, end bool, lists ...[]field) []byte {
	start := len(out)
	out = l.enc.begin(appendHead(out, 0, typeHeaders, 0, id))
	for _, list := range lists {
		for i := range list {
			out = l.enc.append(out, list[i])
		}
	}
	return closeHeaders(out, start, id, end)
}

// send queues data as far as the windows and the buffer allow, and with it the end of the stream; the stream's
// lock is held. It returns how much of the data was taken.
func (g *leg) send(b *batch, data []byte, end bool, trailers []field) (n int, ended bool) {
	l := g.link
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.room()
	if out == nil || g.closed {
		return 0, false
	}
	for n < len(data) && len(out.b) < maxBuffered {
		size := int(min(int64(len(data)-n), l.window, l.initial+g.window, maxFrame))
		if size <= 0 {
			break
		}
		ended = end && trailers == nil && n+size == len(data)
		out.b = appendData(out.b, g.id, data[n:n+size], ended)
		l.window -= int64(size)
		g.window -= int64(size)
		l.earned = min(l.earned+3, 1<<20)
		n += size
	}
	if n < len(data) {
		if !g.waiting && (l.window <= 0 || len(out.b) >= maxBuffered) {
			g.waiting = true
			l.blocked = append(l.blocked, g)
		}
	} else if end && !ended {
		ended = true
		if trailers == nil {
			out.b = appendData(out.b, g.id, nil, true)
		} else {
			out.b = l.encode(out.b, g.id, true, trailers)
		}
	}
	if n > 0 || ended {
		l.mark(b)
	}
	return n, ended
}

// grant gives the stream's window back to the peer; the stream's lock is held.
func (g *leg) grant(b *batch, n int64) {
	if g.owed += n; g.owed < streamWindow/2 || g.closed {
		return
	}
	l := g.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if out := l.room(); out != nil {
		out.b = appendWindowUpdate(out.b, g.id, g.owed)
		l.mark(b)
		g.allowed += g.owed
		g.owed = 0
	}
}
