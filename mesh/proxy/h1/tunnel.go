package h1

import (
	"bytes"
	"sync"
	"time"

	"github.com/sluice-mesh/sluice/mesh/proxy/relay"
)

// tunnel joins caller and endpoint after a switch of protocols, until both directions have ended. The
// request is counted with its 101. One side's orderly end is passed on as a half-close, anything else ends
// both.
func (x *exchange) tunnel() {
	c, u := x.c, x.up
	x.last, x.cut = true, true // nothing of it is used again
	c.set(alone)
	head := len(x.response.b)
	if err := x.begin(u, head, len(u.buffered())-head); err != nil {
		x.broken(true, err)
		return
	}
	u.drop()
	x.unbound()
	x.count(101)
	defer x.long()()
	_ = u.conn.SetDeadline(time.Time{})
	if !c.readBy(time.Time{}) {
		return
	}
	pair := relay.New(c.conn.(relay.Conn), u.conn.(relay.Conn))
	pair.Ahead = bytes.Clone(c.buffered())
	c.drop()
	if idle := x.rule.Timeouts.Idle; idle > 0 {
		defer c.server.tunnels.Add(pair, idle)()
	}
	_ = pair.Run() // a side that broke off has been passed on
}

// longLived ends an exchange whose revision has had no weight for as long as the drain.
type longLived struct {
	c    *conn
	mu   sync.Mutex
	over bool // the connection belongs to another exchange
}

// Close implements io.Closer.
func (l *longLived) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		l.c.end(killed)
	}
	return nil
}

// long enters an exchange that may go on for long; leave must follow.
func (x *exchange) long() (leave func()) {
	streams := x.plan.Streams()
	if streams == nil {
		return func() {}
	}
	l := &longLived{c: x.c}
	streams.Enter(l)
	return func() {
		streams.Exit(l)
		l.mu.Lock()
		l.over = true
		l.mu.Unlock()
	}
}
