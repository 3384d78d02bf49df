package h2

import (
	"encoding/binary"
	"runtime"
	"sync/atomic"

	"golang.org/x/net/http2/hpack"
)

// reader is the part of a link that only its reading goroutine touches.
type reader struct {
	in       *[inputSize]byte
	from, to int // what is to be handled yet
	first    [1]byte
	got      int
	failed   error
	try      func(fd uintptr) bool

	dec      *hpack.Decoder
	fields   []field
	listSize int
	listMax  int
	block    []byte // of HEADERS without its CONTINUATIONs
	blockID  uint32
	blockEnd bool
	parts    int

	begun   bool   // the peer's first SETTINGS have come
	last    uint32 // highest stream of the peer's
	wasted  bucket // frames that bring nothing on
	resets  bucket
	changes bucket      // SETTINGS, which may concern every stream
	waits   atomic.Bool // for the rest of something
}

// run handles frames until the connection ends.
func (l *link) run(b *batch) error {
	for {
		for l.to-l.from >= frameHead {
			p := l.in[l.from:l.to]
			size := int(p[0])<<16 | int(p[1])<<8 | int(p[2])
			if size > maxFrame {
				return connError{codeFrameSize, "frame too large"}
			}
			if len(p) < frameHead+size {
				break
			}
			l.from += frameHead + size
			f := frame{
				kind: p[3], flags: p[4], id: binary.BigEndian.Uint32(p[5:]) & maxID,
				payload: p[frameHead : frameHead+size],
			}
			l.frames.Add(1)
			if err := l.frame(b, f); err != nil {
				return err
			}
		}
		if l.from == l.to {
			l.from, l.to = 0, 0
		}
		l.waits.Store(l.to > 0 || l.blockID != 0)
		if len(b.links) > 0 {
			// Whoever else has something for the same links adds it first: one system call for all.
			runtime.Gosched()
		}
		b.flush()
		if err := l.fill(); err != nil {
			return err
		}
	}
}

func (l *link) frame(b *batch, f frame) error {
	switch {
	case !l.begun && f.kind != typeSettings:
		return connError{codeProtocol, "no SETTINGS first"}
	case l.blockID != 0 && (f.kind != typeContinuation || f.id != l.blockID):
		return connError{codeProtocol, "header block interrupted"}
	}
	if f.kind <= typeHeaders && !l.brought.Load() {
		l.brought.Store(true)
	}
	switch f.kind {
	case typeData:
		return l.data(b, f)
	case typeHeaders:
		return l.headers(b, f)
	case typeContinuation:
		if l.blockID == 0 {
			return connError{codeProtocol, "CONTINUATION without HEADERS"}
		}
		return l.continued(b, f.payload, f.has(flagEndHeaders))
	case typePriority:
		if f.id == 0 {
			return connError{codeProtocol, "PRIORITY on stream 0"}
		}
		if len(f.payload) != 5 {
			return connError{codeFrameSize, "PRIORITY of a wrong size"}
		}
		if binary.BigEndian.Uint32(f.payload)&maxID == f.id {
			return connError{codeProtocol, "stream depends on itself"}
		}
	case typeReset:
		return l.resetFrame(b, f)
	case typeSettings:
		return l.settings(b, f)
	case typePushPromise:
		return connError{codeProtocol, "PUSH_PROMISE is not taken"}
	case typePing:
		return l.ping(b, f)
	case typeGoAway:
		if f.id != 0 {
			return connError{codeProtocol, "GOAWAY on a stream"}
		}
		if len(f.payload) < 8 {
			return connError{codeFrameSize, "GOAWAY too short"}
		}
		last := binary.BigEndian.Uint32(f.payload) & maxID
		l.role.goAway(b, last, code(binary.BigEndian.Uint32(f.payload[4:])))
	case typeWindowUpdate:
		return l.windowUpdate(b, f)
	}
	return l.waste() // PRIORITY, GOAWAY and what we do not know
}

// waste counts a frame of a client's that brings nothing on.
func (l *link) waste() error {
	if l.server && !l.wasted.take(l.now, 20_000, 10_000) {
		return connError{codeEnhanceYour, "too many frames that bring nothing on"}
	}
	return nil
}

// idle reports whether a stream of that id has never been opened.
func (l *link) idle(id uint32) bool {
	if l.server {
		return id > l.last || id%2 == 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return id >= l.next || id%2 == 0
}
