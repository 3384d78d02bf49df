package h2

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
)

// pool has the links to one endpoint.
type pool struct {
	engine.Options
	endpoint *table.Endpoint // nil: an address that is no endpoint's
	dial     func(context.Context) (net.Conn, error)
	retired  atomic.Bool
	running  sync.WaitGroup
	waits    atomic.Int64 // how many wait

	mu          sync.Mutex
	links       []*upstream // that take streams
	all         []*upstream
	waiting     []*stream
	dialing     bool
	cancel      context.CancelFunc // of the dialling
	closed      bool
	timer       *time.Timer // runs while there are links
	unusedTicks int
}

// NewPool returns what makes the pools of endpoints for Outbound.
func NewPool(o engine.Options) func(*table.Endpoint) table.Pool {
	o.Limits = o.Limits.Complete()
	return func(e *table.Endpoint) table.Pool {
		p := newPool(o, func(ctx context.Context) (net.Conn, error) { return o.Dial(ctx, e, "h2") })
		p.endpoint = e
		return p
	}
}

func newPool(o engine.Options, dial func(context.Context) (net.Conn, error)) *pool {
	return &pool{Options: o, dial: dial}
}

var (
	errClosed = errors.New("the proxy is closing")
	errLimit  = errors.New("the endpoint takes no streams (SETTINGS_MAX_CONCURRENT_STREAMS is 0)")
)

// take gives the stream, whose lock is held, a leg on a link: at once, or when there is one.
func (p *pool) take(b *batch, s *stream) {
	p.retired.Store(false)
	p.mu.Lock()
	g := p.pick(b, s)
	var err error
	switch {
	case g != nil:
	case p.closed:
		err = errClosed
	case p.connect():
		g = p.park(b, s)
	case !s.plan.AcquirePending():
		err = table.ErrPending
	default:
		s.pending = true
		g = p.park(b, s)
	}
	p.mu.Unlock()
	p.taken(b, s, g, err)
}

// park has the stream wait, unless a link has got room just now; mu is held.
func (p *pool) park(b *batch, s *stream) *leg {
	p.waits.Add(1) // from now on a stream that ends has us told
	if g := p.pick(b, s); g != nil {
		p.waits.Add(-1)
		return g
	}
	s.waiting = p
	p.waiting = append(p.waiting, s)
	p.arm()
	return nil
}

// taken lets a stream go on that has got a leg, or never will.
func (p *pool) taken(b *batch, s *stream, g *leg, err error) {
	if g == nil && err == nil {
		return
	}
	s.noWait()
	if err != nil {
		s.unreached(b, err)
	} else {
		s.opened(b, g)
	}
}

// serve lets those go on who wait, as many as there is room for, or all with an error.
func (p *pool) serve(b *batch, err error) {
	p.mu.Lock()
	waiting := p.waiting
	p.waiting = nil
	p.waits.Store(0)
	p.mu.Unlock()
	for _, s := range waiting {
		s.mu.Lock()
		if s.waiting == p {
			var g *leg
			if err == nil {
				p.mu.Lock()
				if g = p.park(b, s); g == nil {
					p.connect()
				}
				p.mu.Unlock()
			}
			p.taken(b, s, g, err)
		}
		s.mu.Unlock()
	}
}

// pick opens a stream on a link that has room; mu is held. It fills one link after the other, since few full
// links are written with fewer system calls than many.
func (p *pool) pick(b *batch, s *stream) *leg {
	for _, u := range p.links {
		if g := u.open(b, s, enoughStreams); g != nil {
			return g
		}
	}
	for _, u := range p.links {
		if g := u.open(b, s, maxID); g != nil {
			p.connect() // the next may have room of its own
			return g
		}
	}
	return nil
}

// forget takes a stream out that waits no more.
func (p *pool) forget(s *stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiting, s); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
		p.waits.Add(-1)
	}
}

// connect opens another link, one at a time, and reports whether one is on its way; mu is held.
func (p *pool) connect() bool {
	if p.dialing || p.closed {
		return p.dialing
	}
	if p.endpoint != nil && !p.endpoint.AcquireConnection() {
		return false
	}
	p.dialing = true
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.running.Add(1)
	go func() {
		defer p.running.Done()
		defer cancel()
		conn, err := p.dial(ctx)
		if err != nil {
			p.release()
			p.opened(nil, err)
			return
		}
		newUpstream(p, conn).serve()
	}()
	return true
}

// release gives the connection back to the endpoint's limit.
func (p *pool) release() {
	if p.endpoint != nil {
		p.endpoint.ReleaseConnection()
	}
}

// opened ends what connect began: with a link that takes streams or an error.
func (p *pool) opened(u *upstream, err error) {
	p.mu.Lock()
	p.dialing = false
	if u != nil {
		p.links = append(p.links, u)
	}
	p.mu.Unlock()
	var b batch
	p.serve(&b, err)
	b.flush()
}
