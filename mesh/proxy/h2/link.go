package h2

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/http2/hpack"
)

// role is what a link does with the frames that mean something else at each end. Its methods are called by
// the link's reader without a lock.
type role interface {
	// headers handles a whole block. The fields are the callee's.
	headers(b *batch, id uint32, fields []field, tooLarge, end bool) error
	// settled says that the peer's first SETTINGS are in force.
	settled(b *batch)
	goAway(b *batch, last uint32, c code)
	pong(b *batch, data []byte)
	// ended is told, with the lock held, that a stream has ended.
	ended(b *batch)
	// lost tells a stream that the link has ended.
	lost(b *batch, g *leg)
}

// link is one HTTP/2 connection.
type link struct {
	conn   net.Conn
	raw    syscall.RawConn // nil: the connection is written and read by conn alone
	role   role
	server bool // the peer is the client
	now    func() time.Time

	reader
	frames  atomic.Uint64 // read so far
	brought atomic.Bool   // HEADERS or DATA have come since it was last reset
	// allowed is what the peer may still send on the connection, owed what it has sent and has not got back.
	allowed, owed atomic.Int64
	writers       sync.WaitGroup

	mu         sync.Mutex
	out        *buffer
	enc        encoder
	window     int64  // that we may send on the connection
	initial    int64  // of new streams to the peer
	limit      uint32 // streams that the peer takes
	earned     int    // see pay
	legs       map[uint32]*leg
	next       uint32 // id of the next stream that we open
	past       ring
	blocked    []*leg // that wait for the connection's window or room in the buffer
	dirty      bool   // in somebody's batch
	writing    bool
	closing    bool // nothing more is queued; closed when all is written
	halved     bool // is closed for writing
	broken     bool
	away       bool   // no new streams: the peer has said GOAWAY, or we have
	maxStreams uint32 // that the peer may open

	write struct { // of the one who is writing
		p   []byte
		n   int
		err error
		try func(fd uintptr) bool
	}
}

func newLink(conn net.Conn, server bool, list int, now func() time.Time) *link {
	l := &link{
		conn: conn, server: server, now: now,
		enc: newEncoder(), window: defaultWindow, initial: defaultWindow, next: 1,
		legs: map[uint32]*leg{},
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		l.raw, _ = tcp.SyscallConn()
	}
	l.write.try = l.tryWrite
	l.try = l.tryRead
	l.listMax = list
	l.dec = hpack.NewDecoder(minTableSize, l.emit)
	l.allowed.Store(connWindow)
	return l
}

// room returns the buffer to append to, nil when nothing may be sent any more; mu is held.
func (l *link) room() *buffer {
	if l.closing || l.broken {
		return nil
	}
	if l.out == nil {
		l.out = getBuffer()
	}
	return l.out
}

// mark notes that something was appended; mu is held.
func (l *link) mark(b *batch) {
	l.nudge(b)
	if len(l.out.b) > maxQueued {
		l.abort()
	}
}

// abort ends the link at once; mu is held.
func (l *link) abort() {
	l.broken = true
	l.close()
}

// close ends the connection without a word. (That of TLS would wait for the socket to take its alert.)
func (l *link) close() {
	if secure, ok := l.conn.(interface{ NetConn() net.Conn }); ok {
		_ = secure.NetConn().Close()
		return
	}
	_ = l.conn.Close()
}

// flush writes what is queued, as far as the socket takes it now; the rest is left to a goroutine.
func (l *link) flush(b *batch) {
	l.mu.Lock()
	l.dirty = false
	for !l.writing && !l.broken && l.out != nil {
		out := l.out
		l.out, l.writing = nil, true
		l.mu.Unlock()
		n, err := l.writeSome(out.b)
		l.mu.Lock()
		if err == nil && n < len(out.b) && !l.broken {
			l.writers.Add(1) // with the lock held, so that end waits for it
			go l.writeRest(out, n)
			break
		}
		putBuffer(out)
		l.written(b, err)
	}
	if l.closing && !l.writing && !l.broken {
		l.written(b, nil)
	}
	l.mu.Unlock()
}

// written notes the end of one write and lets streams go on that waited for it; mu is held.
func (l *link) written(b *batch, err error) {
	l.writing = false
	switch {
	case err != nil, l.broken:
		l.abort()
	case l.closing && l.out == nil:
		switch {
		case l.halved:
		case l.raw != nil:
			l.halfClose()
		default: // TLS may wait for the socket to take its alert
			l.writers.Go(l.halfClose)
		}
		l.halved = true
	case len(l.blocked) > 0 && l.window > 0:
		l.writing = true // or another's flush would write before this one goes on
		l.mu.Unlock()
		l.wake(b)
		l.mu.Lock()
		l.writing = false
	}
}

// writeRest writes what flush could not, and what is queued meanwhile.
func (l *link) writeRest(out *buffer, n int) {
	defer l.writers.Done()
	var b batch
	for {
		_ = l.conn.SetWriteDeadline(time.Now().Add(writeTime))
		_, err := l.conn.Write(out.b[n:])
		_ = l.conn.SetWriteDeadline(time.Time{})
		putBuffer(out)
		l.mu.Lock()
		l.written(&b, err)
		out, n = l.out, 0
		if out == nil || l.broken {
			l.mu.Unlock()
			b.flush()
			return
		}
		l.out, l.writing = nil, true
		l.mu.Unlock()
		b.flush()
	}
}

// wake lets the streams go on that waited for window or room.
func (l *link) wake(b *batch) {
	l.mu.Lock()
	list := l.blocked
	l.blocked = nil
	for _, g := range list {
		g.waiting = false
	}
	l.mu.Unlock()
	for _, g := range list {
		g.stream.woken(b, g)
	}
}

// shut says GOAWAY and closes the connection once that is written; mu is held.
func (l *link) shut(b *batch, last uint32, c code, why string) {
	out := l.room()
	if out == nil {
		return
	}
	out.b = appendGoAway(out.b, last, c, why)
	l.mark(b)
	l.closing, l.away = true, true
}

// halfClose says that nothing more will come, and gives the peer a moment to close. Closing at once, with
// frames of the peer's unread, would reset the connection, and what we said could be lost.
func (l *link) halfClose() {
	half, ok := l.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		l.close()
		return
	}
	_ = l.conn.SetReadDeadline(time.Now().Add(lingerTime))
}

// leg finds a stream; nil when it has ended.
func (l *link) leg(id uint32) *leg {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.legs[id]
}

// credit gives n bytes of the connection's window back to the peer, in few frames.
func (l *link) credit(b *batch, n int64) {
	if n == 0 || l.owed.Add(n) < connWindow/4 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if out := l.room(); out != nil {
		if n = l.owed.Swap(0); n > 0 {
			l.allowed.Add(n)
			out.b = appendWindowUpdate(out.b, 0, n)
			l.mark(b)
		}
	}
}

// end fails what is still open, after the reader has ended.
func (l *link) end(b *batch) {
	l.mu.Lock()
	l.away = true
	l.abort()
	legs := l.legs
	l.legs = map[uint32]*leg{}
	l.blocked = nil
	l.mu.Unlock()
	for _, g := range legs {
		l.role.lost(b, g)
	}
	b.flush()
	l.writers.Wait()
}
