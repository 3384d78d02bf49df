package h2

import "time"

// sendAway begins to send the caller away: GOAWAY for all ids first, and as soon as the caller has answered the
// PING behind it, so that all it had sent has come, GOAWAY with the last that was taken (RFC 9113, 6.8).
// A caller that has not asked for anything yet is told with its first request.
func (d *downstream) sendAway(b *batch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.room()
	if d.told || !d.taken || out == nil {
		return
	}
	d.told = true
	out.b = appendGoAway(out.b, maxID, codeNo, "")
	out.b = appendPing(out.b, false, drainPing)
	d.mark(b)
}

func (d *downstream) pong(b *batch, data []byte) {
	if string(data) == string(drainPing) {
		d.sendFinal(b)
	}
}

func (d *downstream) sendFinal(b *batch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.room()
	if !d.told || d.final || out == nil {
		return
	}
	d.final = true
	if len(d.legs) == 0 {
		d.shut(b, d.lastTaken, codeNo, "")
		return
	}
	out.b = appendGoAway(out.b, d.lastTaken, codeNo, "")
	d.mark(b)
}

// ended closes a connection that was sent away, when its last stream has ended; the link's lock is held.
func (d *downstream) ended(b *batch) {
	if d.final && len(d.legs) == 0 {
		d.closing = true
		d.nudge(b)
	}
}

// nudge has the link flushed although there may be nothing to write, so that closing takes effect; the lock is
// held.
func (l *link) nudge(b *batch) {
	if !l.dirty && !l.writing {
		l.dirty = true
		b.links = append(b.links, l)
	}
}

// tick looks after what depends on time.
func (d *downstream) tick() {
	var b batch
	handled := d.frames.Load()
	d.mu.Lock()
	limits := d.server.Limits
	if handled == d.handled && d.waits.Load() {
		d.stuck++
	} else {
		d.stuck = 0
	}
	d.handled = handled
	if len(d.legs) == 0 {
		d.quiet++
	} else {
		d.quiet = 0
	}
	if d.told {
		d.sinceTold++
	}
	legs := make([]*leg, 0, len(d.legs))
	for _, g := range d.legs {
		legs = append(legs, g)
	}
	idle, slow := d.quiet > int(limits.IdleTime/tick), d.stuck > int(limits.HeaderTime/tick)
	switch {
	case idle, slow && handled > 0:
		d.shut(&b, d.lastTaken, codeNo, "")
	case slow:
		d.abort()
	}
	d.mu.Unlock()
	if d.sinceTold > int(lingerTime/tick) {
		d.sendFinal(&b) // although the PING was not answered
	}
	for _, g := range legs {
		g.stream.tick(&b)
	}
	b.flush()
}

// tick enters a stream that lives long where its revision's drain will find it, and ends one on which nothing
// moves.
func (s *stream) tick(b *batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.age++
	s.still++
	if s.age == 2 && !s.over && s.planned {
		if streams := s.plan.Streams(); streams != nil {
			streams.Enter(s)
			s.entered = true
		}
	}
	idle := s.plan.Rule.Timeouts.Idle
	switch {
	case !s.over && idle > 0 && time.Duration(s.still-1)*tick >= idle:
		s.tooLate(b, "nothing has moved for the idle timeout of "+idle.String())
	case s.still > int(stallTime/tick) && (s.over || s.stalled()):
		if !s.over {
			s.broke(499, "the caller takes no data")
		}
		s.abandon(b, codeCancel)
	}
}

// stalled reports whether data waits for the caller.
func (s *stream) stalled() bool {
	return s.responded && !s.response.closed && (s.response.done || s.response.sent < len(s.response.buf))
}
