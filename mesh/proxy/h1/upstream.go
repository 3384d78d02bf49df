package h1

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// upstream is a connection to an endpoint.
type upstream struct {
	socket
	pool    *pool
	used    time.Time // when it became idle
	reused  bool      // it has carried a request before this one
	stale   bool      // it was no good before this request was sent
	bounded bool      // it has a deadline
	lent    *buffer   // that out is in

	step   turnStep
	onTurn func(uintptr) bool
}

type turnStep uint8

const (
	ask turnStep = iota
	answer
)

// exchange sends a request that is there whole, and waits until something of the response has come. The buffer
// that the request is in, if it is lent, goes back as soon as it has been sent. An error with u.stale says
// that nothing has been sent.
func (u *upstream) exchange(p []byte, lent *buffer) error {
	u.stale, u.werr, u.err, u.out, u.lent = false, nil, nil, p, lent
	defer u.returnLent()
	if u.raw == nil {
		if err := u.begin(p); err != nil {
			return err
		}
		u.returnLent()
		return u.await()
	}
	u.step = ask
	if err := u.raw.Read(u.onTurn); err != nil {
		return err
	}
	if len(u.out) > 0 && u.werr == nil && u.err == nil { // more than the kernel takes at once
		u.werr = u.write(u.out)
		if u.werr == nil {
			u.returnLent()
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
	if u.stale = u.reused && !u.quiet(); u.stale {
		return syscall.EPIPE
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
	if u.reused && !clean(fd) {
		u.stale, u.err = true, syscall.EPIPE
		return true
	}
	u.step = answer
	if !u.send(fd) || u.werr != nil {
		return true
	}
	u.returnLent()
	return false
}

func (u *upstream) returnLent() {
	u.lent.release()
	u.lent = nil
}

// drained reports whether TLS has read nothing that it has not handed out.
func (u *upstream) drained() bool {
	if u.raw != nil {
		return true
	}
	if u.conn.SetReadDeadline(past) != nil {
		return false
	}
	_, err := u.conn.Read(u.one[:])
	return errors.Is(err, os.ErrDeadlineExceeded) && u.conn.SetReadDeadline(time.Time{}) == nil
}

func (u *upstream) close() {
	_ = u.conn.Close()
	u.drop()
	u.pool.released()
}

// interrupt ends whatever waits on the connection, which is no good afterwards.
func (u *upstream) interrupt() { _ = u.conn.SetDeadline(past) }

// past is a deadline that has passed.
var past = time.Unix(1, 0)
