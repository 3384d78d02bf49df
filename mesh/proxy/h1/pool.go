package h1

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
)

// pool keeps the idle connections to one address. The one used last is used next, so that those that are
// not needed grow old and are closed.
type pool struct {
	options  engine.Options
	endpoint *table.Endpoint // nil: an address outside the mesh
	to       netip.AddrPort
	users    int // of a direct pool, under the server's lock

	mu      sync.Mutex
	idle    []*upstream // oldest first
	retired bool
	sweeper *time.Timer // runs while there are idle connections
}

// maxIdle connections are kept to one address.
const maxIdle = 1024

func newPool(o engine.Options, e *table.Endpoint, to netip.AddrPort) *pool {
	return &pool{options: o, endpoint: e, to: to}
}

// take returns an idle connection, or nil.
func (p *pool) take(now time.Time) *upstream {
	p.mu.Lock()
	p.retired = false // until it is told again
	n := len(p.idle)
	if n == 0 {
		p.mu.Unlock()
		return nil
	}
	u := p.idle[n-1]
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	p.mu.Unlock()
	if now.Sub(u.used) > engine.IdleUpstream {
		u.close() // as all others are old, which the sweeper sees to
		return nil
	}
	u.reused = true
	return u
}

// give takes a connection back that is good for another request.
func (p *pool) give(u *upstream, now time.Time) {
	u.used = now
	p.mu.Lock()
	if p.retired || len(p.idle) >= maxIdle {
		p.mu.Unlock()
		u.close()
		return
	}
	p.idle = append(p.idle, u)
	if p.sweeper == nil {
		p.sweeper = time.AfterFunc(engine.IdleUpstream, p.sweep)
	}
	p.mu.Unlock()
}

// dial opens a connection.
func (p *pool) dial(ctx context.Context) (*upstream, error) {
	var conn net.Conn
	var err error
	if p.endpoint != nil {
		conn, err = p.options.Dial(ctx, p.endpoint, "http/1.1")
	} else {
		conn, err = p.options.DialAddress(ctx, p.to)
	}
	if err != nil {
		return nil, err
	}
	u := &upstream{pool: p}
	if err := u.init(conn, largeBuffer, headroom); err != nil {
		_ = conn.Close()
		return nil, err
	}
	u.onTurn = u.turn
	return u, nil
}

// sweep closes connections that have been idle for too long.
func (p *pool) sweep() {
	now := p.options.Now()
	p.mu.Lock()
	old := 0
	for old < len(p.idle) && now.Sub(p.idle[old].used) >= engine.IdleUpstream {
		old++
	}
	closing := append([]*upstream(nil), p.idle[:old]...)
	p.idle = append(p.idle[:0], p.idle[old:]...)
	clear(p.idle[len(p.idle):cap(p.idle)])
	if len(p.idle) > 0 {
		p.sweeper = time.AfterFunc(engine.IdleUpstream/4, p.sweep)
	} else {
		p.idle, p.sweeper = nil, nil
	}
	p.mu.Unlock()
	for _, u := range closing {
		u.close()
	}
}

// Retire implements table.Pool: idle connections close, and those in use when they become idle, until the
// next request.
func (p *pool) Retire() {
	p.mu.Lock()
	p.retired = true
	closing := p.idle
	p.idle = nil
	if p.sweeper != nil {
		p.sweeper.Stop()
		p.sweeper = nil
	}
	p.mu.Unlock()
	for _, u := range closing {
		u.close()
	}
}

// upstream is a connection to an endpoint.
type upstream struct {
	socket
	pool    *pool
	used    time.Time // when it became idle
	reused  bool      // it has carried a request before this one
	stale   bool      // it was no good before this request was sent
	bounded bool      // it has a deadline

	step   turnStep
	onTurn func(uintptr) bool
}

type turnStep uint8

const (
	ask turnStep = iota
	answer
)

// exchange sends what is the whole request or its beginning, and waits until something of the response has
// come. An error with u.stale says that nothing has been sent.
func (u *upstream) exchange(p []byte) error {
	u.stale, u.werr, u.err, u.out = false, nil, nil, p
	if u.raw == nil {
		if err := u.write(p); err != nil {
			return err
		}
		return u.read()
	}
	u.step = ask
	if err := u.raw.Read(u.onTurn); err != nil {
		return err
	}
	if len(u.out) > 0 && u.werr == nil && u.err == nil { // more than the kernel takes at once
		u.werr = u.write(u.out)
		if u.werr == nil {
			return u.read()
		}
	}
	if u.err == nil && u.werr != nil && len(u.buffered()) == 0 {
		// It may have answered before it closed.
		if err := u.read(); err != nil {
			return u.werr
		}
	}
	return u.err
}

// begin sends the beginning of a request. An error with u.stale says that nothing has been sent.
func (u *upstream) begin(p []byte) error {
	u.stale = false
	if u.raw != nil && u.reused {
		if err := u.raw.Control(func(fd uintptr) { u.stale = !u.clean(fd) }); err != nil {
			return err
		}
		if u.stale {
			return syscall.EPIPE
		}
	}
	return u.write(p)
}

// turn is a callback of raw.Read. It sends only once it is known that nothing has come: a response that
// nobody asked for would be taken for that to this request, and a connection that the endpoint has closed
// is no good. That also lets the poller tell of the response without asking the kernel before there is one.
func (u *upstream) turn(fd uintptr) bool {
	if u.step == answer {
		return u.receive(fd)
	}
	if u.reused && !u.clean(fd) {
		u.stale, u.err = true, syscall.EPIPE
		return true
	}
	u.step = answer
	if !u.send(fd) {
		return true
	}
	return u.werr != nil
}

// clean reports whether nothing has come, not even the end.
func (u *upstream) clean(fd uintptr) bool {
	var probe [1]byte
	_, errno := receive(fd, probe[:], syscall.MSG_PEEK)
	return errno == syscall.EAGAIN
}

func (u *upstream) close() {
	_ = u.conn.Close()
	u.drop()
}

// interrupt ends whatever waits on the connection, which is no good afterwards.
func (u *upstream) interrupt() { _ = u.conn.SetDeadline(past) }

// past is a deadline that has passed.
var past = time.Unix(1, 0)
