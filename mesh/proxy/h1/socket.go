package h1

import (
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/sluice-mesh/sluice/mesh/proxy/rawio"
)

// socket is a connection with what has been read of it and not been used yet, in in.b[r:w].
//
// A TCP connection is read when it is readable, into a buffer that is borrowed at that moment, so that a
// connection that waits holds none. The calls do not block, therefore they go to the kernel without telling
// Go's scheduler, which costs as much as the shortest of them. One goroutine may read while another writes.
type socket struct {
	conn net.Conn
	raw  syscall.RawConn // nil: TLS
	size int             // of the buffer to borrow
	room int             // to leave free at the front of a buffer

	in   *buffer
	r, w int
	full bool // there may be more to read
	err  error
	one  [1]byte // to wait for TLS with

	out  []byte // what is to be written
	held bool   // by a callback of raw.Read: the descriptor is good
	fd   uintptr
	werr error // of the last write: what the other side has got is not known
	// until and idle bound waiting for the other side to take what is written; zero: no bound.
	until time.Time
	idle  time.Duration

	onReadable, onWritable func(uintptr) bool
}

func (s *socket) init(conn net.Conn, size, room int) error {
	s.conn, s.size, s.room = conn, size, room
	if tcp, ok := conn.(*net.TCPConn); ok {
		raw, err := tcp.SyscallConn()
		if err != nil {
			return err
		}
		s.raw = raw
		s.onReadable, s.onWritable = s.receive, s.send
	}
	return nil
}

// buffered is what has been read and not used.
func (s *socket) buffered() []byte {
	if s.in == nil {
		return nil
	}
	return s.in.b[s.r:s.w]
}

// drop gives the buffer back, and what is in it.
func (s *socket) drop() {
	s.in.release()
	s.in, s.r, s.w = nil, 0, 0
}

// skip marks n bytes as used, and gives the buffer back when nothing is left.
func (s *socket) skip(n int) {
	if s.r += n; s.r == s.w && s.in != nil {
		s.drop()
	}
}

// prepare makes room to read into: a buffer that is full doubles, unless at least half of it has been used.
func (s *socket) prepare() {
	switch {
	case s.in == nil:
		s.in = borrow(s.size)
		s.r, s.w = s.room, s.room
	case s.w < len(s.in.b):
	case 2*(s.w-s.r) <= len(s.in.b):
		s.w = s.room + copy(s.in.b[s.room:], s.buffered())
		s.r = s.room
	default:
		s.resize(2 * len(s.in.b))
	}
}

// resize moves what is buffered to a buffer of the size.
func (s *socket) resize(size int) {
	next := borrow(size)
	n := copy(next.b[s.room:], s.buffered())
	s.in.release()
	s.in, s.r, s.w = next, s.room, s.room+n
}

// read waits until something has been added to what is buffered. io.EOF: the other side has ended.
func (s *socket) read() error {
	if s.raw == nil {
		return s.readTLS()
	}
	if err := s.raw.Read(s.onReadable); err != nil {
		return err
	}
	return s.err
}

// receive is a callback of raw.Read: true when something has come, or s.err.
func (s *socket) receive(fd uintptr) bool {
	borrowed := s.in == nil
	s.prepare()
	n, errno := rawio.Receive(fd, s.in.b[s.w:], 0)
	s.err, s.full = nil, n == len(s.in.b)-s.w
	switch {
	case n > 0:
		s.w += n
		return true
	case errno == syscall.EAGAIN:
		if borrowed {
			s.drop()
		}
		return false
	case errno != 0:
		s.err = errno
	default:
		s.err = io.EOF
	}
	if borrowed {
		s.drop()
	}
	return true
}

// await is read for a connection that may be silent for long. With TLS nobody knows whether there is something
// before it has been read, so that is waited for with room for one byte.
func (s *socket) await() error {
	if s.raw != nil || s.in != nil {
		return s.read()
	}
	if _, err := s.conn.Read(s.one[:]); err != nil {
		return err
	}
	s.prepare()
	s.in.b[s.w] = s.one[0]
	s.w++
	return nil
}

func (s *socket) readTLS() error {
	s.prepare()
	n, err := s.conn.Read(s.in.b[s.w:])
	s.w += n
	if n > 0 {
		return nil
	}
	s.skip(0)
	if errors.Is(err, net.ErrClosed) {
		return io.EOF
	}
	return err
}

// write writes all of p.
func (s *socket) write(p []byte) error {
	if s.raw == nil {
		s.bound()
		_, s.werr = s.conn.Write(p)
		return s.werr
	}
	s.out, s.werr = p, nil
	if s.held && s.send(s.fd) {
		return s.werr
	}
	s.bound()
	if err := s.raw.Write(s.onWritable); err != nil {
		s.werr = err
	}
	return s.werr
}

// bound sets the time that the next write may wait.
func (s *socket) bound() {
	until := s.until
	if s.idle > 0 {
		if next := time.Now().Add(s.idle); until.IsZero() || next.Before(until) {
			until = next
		}
	}
	if !until.IsZero() {
		_ = s.conn.SetWriteDeadline(until)
	}
}

// send is a callback of raw.Write: true when everything has been taken, or s.werr.
func (s *socket) send(fd uintptr) bool {
	for len(s.out) > 0 {
		n, errno := rawio.Send(fd, s.out, 0)
		switch {
		case errno == syscall.EAGAIN:
			return false
		case errno != 0:
			s.werr = errno
			return true
		}
		s.out = s.out[n:]
	}
	return true
}

// clean reports whether nothing has come, not even the end.
func clean(fd uintptr) bool {
	var probe [1]byte
	_, errno := rawio.Receive(fd, probe[:], syscall.MSG_PEEK)
	return errno == syscall.EAGAIN
}

// quiet is clean outside of a callback, with TLS too.
func (s *socket) quiet() bool {
	tcp := rawio.TCP(s.conn)
	if tcp == nil {
		return true
	}
	nothing := false
	raw, err := tcp.SyscallConn()
	return err == nil && raw.Control(func(fd uintptr) { nothing = clean(fd) }) == nil && nothing
}

func (s *socket) closeWrite() error {
	if half, ok := s.conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return s.conn.Close()
}
