package h2

import (
	"io"
	"sync"
	"syscall"

	"github.com/sluice-mesh/sluice/mesh/proxy/rawio"
)

// buffer is lent for what waits to be written.
type buffer struct{ b []byte }

var buffers = sync.Pool{New: func() any { return new(buffer) }}

func getBuffer() *buffer { return buffers.Get().(*buffer) }

func putBuffer(p *buffer) {
	if cap(p.b) <= 2*maxBuffered {
		p.b = p.b[:0]
		buffers.Put(p)
	}
}

const inputSize = 64 << 10

var inputs = sync.Pool{New: func() any { return new([inputSize]byte) }}

// writeSome writes as much as the socket takes without waiting; where we cannot know, nothing.
func (l *link) writeSome(p []byte) (int, error) {
	if l.raw == nil || len(p) == 0 {
		return 0, nil
	}
	w := &l.write
	w.p, w.n, w.err = p, 0, nil
	err := l.raw.Write(w.try)
	w.p = nil
	if err == nil {
		err = w.err
	}
	return w.n, err
}

func (l *link) tryWrite(fd uintptr) bool {
	w := &l.write
	for w.n < len(w.p) {
		n, errno := rawio.Send(fd, w.p[w.n:], 0)
		if errno != 0 {
			if errno != syscall.EAGAIN {
				w.err = errno
			}
			break
		}
		w.n += n
	}
	return true
}

// fill reads more. A link whose peer is silent holds no input buffer where that can be had.
func (l *link) fill() error {
	if l.from > 0 {
		l.to = copy(l.in[:], l.in[l.from:l.to])
		l.from = 0
	}
	if l.raw == nil {
		return l.fillSlowly()
	}
	l.got, l.failed = 0, nil
	if err := l.raw.Read(l.try); err != nil {
		return err
	}
	if l.failed != nil {
		return l.failed
	}
	if l.got == 0 {
		return io.EOF
	}
	l.to += l.got
	return nil
}

// fillSlowly waits for the first byte without a buffer.
func (l *link) fillSlowly() error {
	p := l.first[:]
	if l.to > 0 {
		p = l.in[l.to:]
	} else {
		l.releaseInput()
	}
	n, err := l.conn.Read(p)
	if n == 0 {
		return err
	}
	if l.to == 0 {
		l.in = inputs.Get().(*[inputSize]byte)
		l.in[0] = l.first[0]
	}
	l.to += n
	return nil
}

func (l *link) tryRead(fd uintptr) bool {
	if l.in == nil {
		l.in = inputs.Get().(*[inputSize]byte)
	}
	n, errno := rawio.Receive(fd, l.in[l.to:], 0)
	switch errno {
	case 0:
		l.got = n
	case syscall.EAGAIN:
		if l.to == 0 {
			l.releaseInput()
		}
		return false
	default:
		l.failed = errno
	}
	return true
}

func (l *link) releaseInput() {
	if l.in != nil {
		inputs.Put(l.in)
		l.in = nil
	}
}
