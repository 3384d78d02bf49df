package h1

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
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
	// waiters want a connection where the policy allows no more of them, first come first served. They get
	// one, or nil when one has been closed and another may be opened.
	waiters []chan *upstream
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
	u := p.pop()
	p.mu.Unlock()
	if u != nil && now.Sub(u.used) > engine.IdleUpstream {
		u.close() // as all others are old, which the sweeper sees to
		return nil
	}
	return u
}

// pop returns the connection that was used last, or nil.
func (p *pool) pop() *upstream {
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	u := p.idle[n-1]
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	return u
}

// give takes a connection back that is good for another request.
func (p *pool) give(u *upstream, now time.Time) {
	if !u.drained() {
		u.close()
		return
	}
	u.used, u.reused = now, true
	p.mu.Lock()
	if len(p.waiters) > 0 {
		p.serve(u)
		p.mu.Unlock()
		return
	}
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

// serve hands a connection to the first that waits, or nil for leave to open one.
func (p *pool) serve(u *upstream) {
	p.waiters[0] <- u
	p.waiters = p.waiters[1:]
}

// open reports whether a connection may be opened; released must follow when it has been closed.
func (p *pool) open() bool { return p.endpoint == nil || p.endpoint.AcquireConnection() }

// released notes that a connection has been closed, or could not be opened.
func (p *pool) released() {
	if p.endpoint == nil {
		return
	}
	p.endpoint.ReleaseConnection()
	p.mu.Lock()
	if len(p.waiters) > 0 {
		p.serve(nil)
	}
	p.mu.Unlock()
}

// wait waits for a connection, or nil for leave to open one, until the context ends.
func (p *pool) wait(ctx context.Context) (*upstream, error) {
	turn := make(chan *upstream, 1)
	p.mu.Lock()
	if u := p.pop(); u != nil { // given back before it was known that somebody waits
		p.mu.Unlock()
		return u, nil
	}
	p.waiters = append(p.waiters, turn)
	p.mu.Unlock()
	// Or one may have been closed.
	if p.open() {
		if u := p.unwait(turn); u != nil {
			p.released()
			return u, nil
		}
		return nil, nil
	}
	select {
	case u := <-turn:
		if u == nil && !p.open() {
			return p.wait(ctx)
		}
		return u, nil
	case <-ctx.Done():
		if u := p.unwait(turn); u != nil {
			p.give(u, p.options.Now())
		}
		return nil, ctx.Err()
	}
}

// unwait takes a waiter off, and returns the connection that it may have got meanwhile.
func (p *pool) unwait(turn chan *upstream) *upstream {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiters, turn); i >= 0 {
		p.waiters = slices.Delete(p.waiters, i, i+1)
		return nil
	}
	u := <-turn
	if u == nil && len(p.waiters) > 0 {
		p.serve(nil) // leave that is not made use of
	}
	return u
}

// dial opens a connection; open must have said yes.
func (p *pool) dial(ctx context.Context) (*upstream, error) {
	u, err := p.connect(ctx)
	if err != nil {
		p.released()
	}
	return u, err
}

func (p *pool) connect(ctx context.Context) (*upstream, error) {
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
