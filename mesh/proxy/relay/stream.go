package relay

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sluice-mesh/sluice/mesh/proxy/rawio"
)

const (
	// piece is the size of the buffers that few bytes are copied through.
	piece = 16 << 10
	// bulk is from how many bytes on the kernel moves them, which takes a pipe.
	bulk = 256 << 10
	// pipeSize is how much a pipe holds, and the most that is moved at once. With more, one connection would
	// keep the others waiting; and pipes of all programs of a user together have a limit (64 MB by default).
	pipeSize = 512 << 10
)

// stream copies from one TCP connection to another until its end. A connection that waits holds neither
// buffer nor pipe. The calls do not block, therefore they go to the kernel without telling Go's scheduler,
// which would take a long one for a blocked one and set another thread to work.
func stream(to, from *net.TCPConn) error {
	source, err := from.SyscallConn()
	if err != nil {
		return err
	}
	sink, err := to.SyscallConn()
	if err != nil {
		return err
	}
	s := &streaming{source: source, sink: sink}
	onReadable, onWritable := s.receive, s.send
	for s.moved < bulk {
		if err := s.step(onReadable, onWritable); err != nil {
			return ended(err)
		}
	}
	onReadable, onWritable = s.fill, s.drain
	for {
		if err := s.step(onReadable, onWritable); err != nil {
			return ended(err)
		}
	}
}

// hush keeps arrivals from waking the proxy while they cannot be passed on: Go's poller is told of each one,
// wanted or not. It is told again from a quarter of the kernel's buffer on; asking for more than the window that
// the buffer allows would make it grow.
func hush(fd uintptr) {
	if size, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF); err == nil {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, size/4)
	}
}

// unhush is to be told of every byte, and of those that are there.
func unhush(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, 1) }

func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// streaming is one direction: what has been taken and not been passed on is in a buffer, or in a pipe.
type streaming struct {
	source, sink syscall.RawConn

	moved  int64
	buffer *[piece]byte
	pipe   *kernelPipe
	start  int // of what is left in the buffer
	left   int
	hushed bool // the source, while the sink takes nothing
	err    error
}

// step takes what is there and passes all of it on. io.EOF: the source has ended.
func (s *streaming) step(onReadable, onWritable func(uintptr) bool) error {
	defer s.release()
	if err := errors.Join(s.source.Read(onReadable), s.err); err != nil {
		return err
	}
	s.moved += int64(s.left)
	err := errors.Join(s.sink.Write(onWritable), s.err)
	if s.hushed {
		s.hushed = false
		_ = s.source.Control(unhush)
	}
	return err
}

// release gives back what is not needed until there is more; a pipe only when it is empty.
func (s *streaming) release() {
	if s.buffer != nil {
		buffers.Put(s.buffer)
		s.buffer = nil
	}
	if s.pipe != nil {
		s.pipe.release(s.left)
		s.pipe = nil
	}
}

// receive is a callback of a RawConn's Read: false to be called when there is something to read.
func (s *streaming) receive(fd uintptr) bool {
	if s.buffer == nil {
		s.buffer = buffers.Get().(*[piece]byte)
	}
	n, errno := rawio.Receive(fd, s.buffer[:], 0)
	s.start = 0
	return s.took(n, errno)
}

// send is a callback of a RawConn's Write: false to be called when there is room.
func (s *streaming) send(fd uintptr) bool {
	for s.left > 0 {
		n, errno := rawio.Send(fd, s.buffer[s.start:s.start+s.left], 0)
		if !s.gave(n, errno) {
			return s.err != nil
		}
		s.start += n
	}
	return true
}

// fill is receive into a pipe, where one can be had.
func (s *streaming) fill(fd uintptr) bool {
	if s.pipe == nil {
		made, err := newPipe()
		if err != nil {
			return s.receive(fd)
		}
		s.pipe = made
	}
	n, errno := splice(fd, s.pipe.write)
	return s.took(n, errno)
}

// drain is send of what fill took.
func (s *streaming) drain(fd uintptr) bool {
	if s.pipe == nil {
		return s.send(fd)
	}
	for s.left > 0 {
		n, errno := splice(s.pipe.read, fd)
		if !s.gave(n, errno) {
			return s.err != nil
		}
	}
	return true
}

// took notes what came. False: nothing yet.
func (s *streaming) took(n int, errno syscall.Errno) bool {
	s.left, s.err = 0, nil
	switch {
	case errno == unix.EAGAIN:
		s.release()
		return false
	case errno != 0:
		s.err = errno
	case n == 0:
		s.err = io.EOF
	default:
		s.left = n
	}
	return true
}

// gave notes what went. False: no more now, or s.err.
func (s *streaming) gave(n int, errno syscall.Errno) bool {
	s.err = nil
	switch {
	case errno == unix.EAGAIN:
		if !s.hushed {
			s.hushed = true
			_ = s.source.Control(hush)
		}
		return false
	case errno != 0:
		s.err = errno
		return false
	case n == 0:
		s.err = io.ErrUnexpectedEOF
		return false
	}
	s.left -= n
	return true
}

// splice moves what is there without waiting: EAGAIN when that is nothing, or when there is no room.
func splice(from, to uintptr) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_SPLICE, from, 0, to, 0, pipeSize, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}

var buffers = sync.Pool{New: func() any { return new([piece]byte) }}

// kernelPipe is where the kernel keeps what it moves.
type kernelPipe struct{ read, write uintptr }

// spare pipes are kept for the next in need.
var spare = make(chan *kernelPipe, 16)

func newPipe() (*kernelPipe, error) {
	select {
	case p := <-spare:
		return p, nil
	default:
	}
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	// Refused where the user's pipes have too much already: a small one does as well.
	_, _ = unix.FcntlInt(uintptr(ends[0]), unix.F_SETPIPE_SZ, pipeSize)
	return &kernelPipe{uintptr(ends[0]), uintptr(ends[1])}, nil
}

// release gives the pipe back. One that still holds something is of no use to others.
func (p *kernelPipe) release(holds int) {
	if holds == 0 {
		select {
		case spare <- p:
			return
		default:
		}
	}
	_ = unix.Close(int(p.read))
	_ = unix.Close(int(p.write))
}
