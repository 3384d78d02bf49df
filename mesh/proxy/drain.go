package proxy

import (
	"io"
	"sync"
	"time"
)

// BeginDrain begins to send callers away: every inbound response is the last of its connection. Requests
// and connections are still taken, and what the application itself calls is left alone, but for DrainOutbound.
func (p *Proxy) BeginDrain() {
	if p.draining.CompareAndSwap(false, true) {
		p.in.drain()
		if p.DrainOutbound {
			p.out.drain()
		}
		p.Logger.Info("draining", "deadline", p.Drain, "in_flight", p.inFlight())
	}
}

// inFlight counts requests and relayed connections.
func (p *Proxy) inFlight() int {
	return p.out.active() + p.in.active() + p.open.len()
}

// waitIdle returns when nothing is in flight or the drain deadline has passed.
func (p *Proxy) waitIdle() {
	deadline := time.NewTimer(p.Drain)
	defer deadline.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for p.inFlight() > 0 {
		select {
		case <-deadline.C:
			p.Logger.Warn("drain deadline passed: cutting what is open", "in_flight", p.inFlight())
			return
		case <-look.C:
		}
	}
}

// tracker knows connections, so that they can be counted and cut.
type tracker struct {
	mu     sync.Mutex
	open   map[io.Closer]struct{}
	closed bool
}

// add enters a connection; leave must follow. After closeAll connections are closed as they come.
func (t *tracker) add(c io.Closer) (leave func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		t.open = map[io.Closer]struct{}{}
	}
	t.open[c] = struct{}{}
	if t.closed {
		_ = c.Close()
	}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.open, c)
	}
}

func (t *tracker) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open)
}

func (t *tracker) closeAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for c := range t.open {
		_ = c.Close()
	}
}
