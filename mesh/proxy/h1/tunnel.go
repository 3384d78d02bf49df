package h1

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// tunnel joins caller and endpoint after a switch of protocols, until both directions have ended. The
// request is counted with its 101. One side's orderly end is passed on as a half-close, anything else ends
// both.
func (x *exchange) tunnel() {
	c, u := x.c, x.up
	x.last, x.cut = true, true // nothing of it is used again
	head := len(x.response.b)
	if err := x.begin(u, head, len(u.buffered())-head); err != nil {
		x.broken(true, err)
		return
	}
	u.drop()
	x.unbound()
	x.count(101)
	defer x.long()()
	c.set(alone)
	t := &tunnel{x: x, idle: x.rule.Timeouts.Idle}
	_ = u.conn.SetDeadline(time.Time{})
	if c.ended.Load() != 0 || !c.readBy(time.Time{}) {
		return
	}
	up := make(chan struct{})
	c.server.running.Go(func() {
		defer close(up)
		t.carry(&u.socket, &c.socket)
	})
	t.carry(&c.socket, &u.socket)
	<-up
	if t.broken.Load() {
		c.reset()
		u.reset()
	}
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

type tunnel struct {
	x      *exchange
	idle   time.Duration
	moved  atomic.Int64 // pieces, in both directions
	broken atomic.Bool
}

// carry moves bytes in one direction until its end.
func (t *tunnel) carry(to, from *socket) {
	var err error
	if b := from.buffered(); len(b) > 0 {
		_, err = to.conn.Write(b)
	}
	from.drop()
	switch {
	case err != nil:
	case t.idle > 0:
		err = t.copy(to, from)
	default:
		_, err = io.Copy(to.conn, from.conn) // by the kernel, where it can
	}
	if err == nil {
		err = to.closeWrite()
		if errors.Is(err, syscall.ENOTCONN) {
			err = nil // the other side has closed meanwhile
		}
	}
	if err != nil {
		t.broken.Store(true)
		t.x.c.end(killed)
		t.x.up.interrupt()
	}
}

// copy is io.Copy that ends when nothing has moved in either direction for the idle time.
func (t *tunnel) copy(to, from *socket) error {
	for {
		moved := t.moved.Load()
		_ = from.conn.SetReadDeadline(time.Now().Add(t.idle))
		if t.x.c.ended.Load() != 0 {
			return os.ErrDeadlineExceeded
		}
		switch err := from.read(); {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded) && t.moved.Load() != moved:
			continue
		case err != nil:
			return err
		}
		t.moved.Add(1)
		_ = to.conn.SetWriteDeadline(time.Now().Add(t.idle))
		if _, err := to.conn.Write(from.buffered()); err != nil {
			return err
		}
		t.moved.Add(1)
		from.drop()
	}
}
