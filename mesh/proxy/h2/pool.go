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

// maxPending requests wait for a connection to one endpoint, maxLinks connections are kept to it.
const (
	maxPending = 1024
	maxLinks   = 1024
)

// pool has the links to one endpoint.
type pool struct {
	engine.Options
	dial    func(context.Context) (net.Conn, error)
	retired atomic.Bool
	running sync.WaitGroup

	mu          sync.Mutex
	links       []*upstream // that take streams
	all         []*upstream
	waiting     []waiter
	dialing     bool
	cancel      context.CancelFunc // of the dialling
	closed      bool
	timer       *time.Timer // runs while there are links
	unusedTicks int
}

// lookTime is how often the links are looked after.
const lookTime = time.Second

// waiter is a try that waits for a connection.
type waiter struct {
	s   *stream
	try int
}

// NewPool returns what makes the pools of endpoints for Outbound.
func NewPool(o engine.Options) func(*table.Endpoint) table.Pool {
	o.Limits = o.Limits.Complete()
	return func(e *table.Endpoint) table.Pool {
		return newPool(o, func(ctx context.Context) (net.Conn, error) { return o.Dial(ctx, e, "h2") })
	}
}

func newPool(o engine.Options, dial func(context.Context) (net.Conn, error)) *pool {
	return &pool{Options: o, dial: dial}
}

var (
	errPending = errors.New("too many requests wait for a connection to the endpoint")
	errClosed  = errors.New("the proxy is closing")
	errLimit   = errors.New("the endpoint takes no streams (SETTINGS_MAX_CONCURRENT_STREAMS is 0)")
)

// take gives the stream, whose lock is held, a leg on a link: at once, or when there is a connection.
// It fills one link after the other, since few full links are written with fewer system calls than many.
func (p *pool) take(b *batch, s *stream) {
	p.retired.Store(false)
	p.mu.Lock()
	for _, most := range [...]int{enoughStreams, maxID} {
		for _, u := range p.links {
			if g := u.open(b, s, most); g != nil {
				if most == maxID {
					p.connect() // the next may have room of its own
				}
				p.mu.Unlock()
				s.opened(b, g)
				return
			}
		}
	}
	var err error
	switch {
	case p.closed:
		err = errClosed
	case len(p.waiting) >= maxPending:
		err = errPending
	default:
		p.waiting = append(p.waiting, waiter{s, s.tries})
		p.connect()
	}
	p.mu.Unlock()
	if err != nil {
		s.unreached(b, err)
	}
}

// connect opens another link, one at a time; mu is held.
func (p *pool) connect() {
	if p.dialing || p.closed || len(p.all) >= maxLinks {
		return
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
			p.opened(nil, err)
			return
		}
		newUpstream(p, conn).serve()
	}()
}

// opened ends what connect began: with a link that takes streams or an error.
func (p *pool) opened(u *upstream, err error) {
	p.mu.Lock()
	p.dialing = false
	waiting := p.waiting
	p.waiting = nil
	if u != nil {
		p.links = append(p.links, u)
	}
	p.mu.Unlock()
	var b batch
	for _, w := range waiting {
		w.s.mu.Lock()
		if w.s.waiting && w.s.tries == w.try {
			if err != nil {
				w.s.unreached(&b, err)
			} else {
				p.take(&b, w.s)
			}
		}
		w.s.mu.Unlock()
	}
	b.flush()
}

// withdraw takes a link from those that take streams.
func (p *pool) withdraw(u *upstream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.links = slices.DeleteFunc(p.links, func(x *upstream) bool { return x == u })
}

// enlist starts looking after a link; false: the pool is closed.
func (p *pool) enlist(u *upstream) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.all = append(p.all, u)
	if len(p.all) == 1 {
		p.timer = time.AfterFunc(lookTime, p.look)
	}
	return true
}

func (p *pool) delist(u *upstream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = slices.DeleteFunc(p.all, func(x *upstream) bool { return x == u })
	if len(p.all) == 0 {
		p.timer.Stop()
	}
}

// look looks after the links, from time to time while there are any.
func (p *pool) look() {
	p.mu.Lock()
	all := slices.Clone(p.all)
	if len(all) > 0 {
		p.timer.Reset(lookTime)
	}
	p.mu.Unlock()
	for _, u := range all {
		u.tick(lookTime)
	}
}

// Retire implements table.Pool.
func (p *pool) Retire() {
	p.retired.Store(true)
	p.mu.Lock()
	all := slices.Clone(p.all)
	p.mu.Unlock()
	var b batch
	for _, u := range all {
		u.mu.Lock()
		if len(u.legs) == 0 {
			u.shut(&b, 0, codeNo, "")
		}
		u.mu.Unlock()
	}
	b.flush()
}

// close ends all links, and returns when they have ended.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	if p.cancel != nil {
		p.cancel()
	}
	all := slices.Clone(p.all)
	p.mu.Unlock()
	for _, u := range all {
		u.mu.Lock()
		u.abort()
		u.mu.Unlock()
	}
	p.running.Wait()
}

// unused reports whether nobody has needed the pool for a while; it is asked at every tick.
func (p *pool) unused() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.all) > 0 || p.dialing || len(p.waiting) > 0 {
		p.unusedTicks = 0
	}
	p.unusedTicks++
	return p.unusedTicks > int(time.Minute/tick)
}
