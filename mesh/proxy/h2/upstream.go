package h2

import (
	"errors"
	"net"
	"os"
	"slices"
	"time"
)

// upstream is a link to an endpoint.
type upstream struct {
	*link
	pool *pool
	// Under the link's lock:
	ready bool // the endpoint's settings are in force
	// Of the pool's janitor: for how long there was no stream.
	quiet   time.Duration
	handled uint64
	asking
}

func newUpstream(p *pool, conn net.Conn) *upstream {
	u := &upstream{pool: p}
	u.link = newLink(conn, false, p.Limits.ResponseHeaderBytes, p.Now)
	u.role, u.limit = u, ^uint32(0)
	return u
}

// serve carries the link until it ends.
func (u *upstream) serve() {
	if !u.pool.enlist(u) {
		u.close()
		u.pool.release()
		u.pool.opened(nil, errClosed)
		return
	}
	defer u.pool.delist(u)
	var b batch
	u.mu.Lock()
	if out := u.room(); out != nil {
		out.b = append(out.b, preface...)
		out.b = appendSettings(out.b, settingEnablePush, 0, settingInitialWindow, streamWindow,
			settingMaxList, uint32(u.pool.Limits.ResponseHeaderBytes))
		out.b = appendWindowUpdate(out.b, 0, connWindow-defaultWindow)
		u.mark(&b)
	}
	u.mu.Unlock()
	_ = u.conn.SetReadDeadline(time.Now().Add(settingsTime))
	b.flush()
	err := u.run(&b)
	u.pool.withdraw(u)
	var broken connError
	if errors.As(err, &broken) {
		u.mu.Lock()
		u.shut(&b, 0, broken.code, broken.why)
		u.mu.Unlock()
		b.flush()
	}
	if !u.ready {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = errors.New("it does not begin HTTP/2")
		}
		u.pool.opened(nil, err)
	}
	u.end(&b)
	u.releaseInput()
}

// open begins a stream if there are fewer than so many, and sends the request's head; nil: it cannot.
// The stream's lock is held.
func (u *upstream) open(b *batch, s *stream, most int) *leg {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := u.room()
	if out == nil || u.away || !u.ready || u.next > maxID || len(u.legs) >= min(int(u.limit), most) {
		return nil
	}
	g := &s.first
	if s.tries > 1 {
		g = new(leg)
	}
	*g = leg{link: u.link, stream: s, id: u.next, allowed: streamWindow}
	u.next += 2
	u.legs[g.id] = g
	s.request.closed = s.bodyless()
	var extra [1]field
	fields, more := s.requestFields(&extra)
	out.b = u.encode(out.b, g.id, s.request.closed, fields, more)
	u.mark(b)
	return g
}

func (u *upstream) settled(b *batch) {
	u.mu.Lock()
	if !u.halved { // else the time that the endpoint has for closing runs
		_ = u.conn.SetReadDeadline(time.Time{})
	}
	takes := u.limit > 0
	u.ready = takes
	u.mu.Unlock()
	if takes {
		u.pool.opened(u, nil)
		u.mu.Lock()
		if len(u.legs) == 0 && u.pool.retired.Load() { // nobody has waited for it
			u.shut(b, 0, codeNo, "")
		}
		u.mu.Unlock()
		return
	}
	u.pool.opened(nil, errLimit)
	u.mu.Lock()
	u.ready, u.away = true, true // dealt with
	u.abort()
	u.mu.Unlock()
}

func (u *upstream) headers(b *batch, id uint32, fields []field, tooLarge, end bool) error {
	g := u.leg(id)
	if g == nil {
		putFields(fields)
		if u.idle(id) {
			return connError{codeProtocol, "HEADERS on an idle stream"}
		}
		return u.waste()
	}
	if why := g.stream.respond(b, g, fields, tooLarge, end); why != "" {
		g.stream.broken(b, g, codeProtocol, string(why))
	}
	return nil
}

// goAway takes the link out of use. What the endpoint says it will not process goes elsewhere.
func (u *upstream) goAway(b *batch, last uint32, _ code) {
	u.pool.withdraw(u)
	u.mu.Lock()
	u.away = true
	var refused []*leg
	for id, g := range u.legs {
		if id > last {
			refused = append(refused, g)
		}
	}
	if len(u.legs) == 0 {
		u.shut(b, 0, codeNo, "")
	}
	u.mu.Unlock()
	for _, g := range refused {
		g.stream.lost(b, g, true, "the endpoint is closing its connection")
	}
}

// ended closes a link that will not be needed, and lets go on who waits for a stream; the link's lock is held.
func (u *upstream) ended(b *batch) {
	if len(u.legs) == 0 && (u.away || u.pool.retired.Load()) {
		u.shut(b, 0, codeNo, "")
	}
	if u.pool.waits.Load() > 0 && !slices.Contains(b.pools, u.pool) {
		b.pools = append(b.pools, u.pool)
	}
}

func (u *upstream) pong(*batch, []byte) {}

func (u *upstream) lost(b *batch, g *leg) {
	g.stream.lost(b, g, false, "the connection to the endpoint ended")
}

// tick closes the link when it has been without streams for long, and finds out whether the endpoint is alive
// when streams have waited for long.
func (u *upstream) tick(passed time.Duration) {
	var b batch
	u.mu.Lock()
	if len(u.legs) == 0 {
		u.quiet += passed
	} else {
		u.quiet = 0
	}
	if u.quiet >= idleUpstream {
		u.shut(&b, 0, codeNo, "")
	} else {
		u.checkAlive(&b, passed)
	}
	u.mu.Unlock()
	b.flush()
}
