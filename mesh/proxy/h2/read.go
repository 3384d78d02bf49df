package h2

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2/hpack"
)

// reader is the part of a link that only its reading goroutine touches.
type reader struct {
	in       *[inputSize]byte
	from, to int // what is to be handled yet
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

	begun  bool   // the peer's first SETTINGS have come
	last   uint32 // highest stream of the peer's
	wasted bucket // frames that bring nothing on
	resets bucket
	waits  atomic.Bool // for the rest of something
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

// waste counts a frame that brings nothing on. BDP probes of gRPC are such frames too, as many as round trips.
func (l *link) waste() error {
	if !l.wasted.take(l.now, 20_000, 10_000) {
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

func (l *link) resetFrame(b *batch, f frame) error {
	switch {
	case f.id == 0 || l.idle(f.id):
		return connError{codeProtocol, "RST_STREAM on an idle stream"}
	case len(f.payload) != 4:
		return connError{codeFrameSize, "RST_STREAM of a wrong size"}
	}
	g := l.leg(f.id)
	if g == nil {
		return l.waste()
	}
	g.stream.reset(b, g, code(binary.BigEndian.Uint32(f.payload)))
	return l.abused()
}

// abused counts a stream that the client has reset or made us reset. Each costs work at an endpoint, so that a
// client must not begin and abandon without end; the limit lets it abandon all that it may have open, twice.
func (l *link) abused() error {
	if limit := float64(l.maxStreams); l.server && !l.resets.take(l.now, 2*limit, limit) {
		return connError{codeEnhanceYour, "too many streams reset"}
	}
	return nil
}

func (l *link) ping(b *batch, f frame) error {
	switch {
	case f.id != 0:
		return connError{codeProtocol, "PING on a stream"}
	case len(f.payload) != 8:
		return connError{codeFrameSize, "PING of a wrong size"}
	case f.has(flagAck):
		l.role.pong(b, f.payload)
		return l.waste()
	}
	l.mu.Lock()
	if out := l.room(); out != nil {
		out.b = appendPing(out.b, true, f.payload)
		l.mark(b)
	}
	l.mu.Unlock()
	return l.waste()
}

func (l *link) settings(b *batch, f frame) error {
	switch {
	case f.id != 0:
		return connError{codeProtocol, "SETTINGS on a stream"}
	case f.has(flagAck) && len(f.payload) != 0, len(f.payload)%6 != 0:
		return connError{codeFrameSize, "SETTINGS of a wrong size"}
	case f.has(flagAck):
		if !l.begun {
			return connError{codeProtocol, "no SETTINGS first"}
		}
		return l.waste()
	}
	l.mu.Lock()
	err := l.apply(f.payload)
	if out := l.room(); out != nil && err == nil {
		out.b = appendHead(out.b, 0, typeSettings, flagAck, 0)
		l.mark(b)
	}
	var all []*leg
	for _, g := range l.legs { // those that wait for their own window are on no list
		all = append(all, g)
	}
	l.mu.Unlock()
	if err != nil {
		return err
	}
	for _, g := range all {
		g.stream.woken(b, g)
	}
	if !l.begun {
		l.begun = true
		l.role.settled(b)
	}
	return l.waste()
}

// apply puts the peer's settings in force; mu is held.
func (l *link) apply(p []byte) error {
	for ; len(p) > 0; p = p[6:] {
		value := binary.BigEndian.Uint32(p[2:])
		switch binary.BigEndian.Uint16(p) {
		case settingTableSize:
			l.enc.resize(value)
		case settingEnablePush:
			if value > 1 || value == 1 && !l.server {
				return connError{codeProtocol, "bad ENABLE_PUSH"}
			}
		case settingMaxStreams:
			l.limit = value
		case settingInitialWindow:
			if value > maxWindow {
				return connError{codeFlowControl, "INITIAL_WINDOW_SIZE too large"}
			}
			l.initial = int64(value)
			for _, g := range l.legs {
				if l.initial+g.window > maxWindow {
					return connError{codeFlowControl, "window too large"}
				}
			}
		case settingMaxFrame:
			if value < maxFrame || value >= 1<<24 {
				return connError{codeProtocol, "bad MAX_FRAME_SIZE"}
			}
		}
	}
	return nil
}

func (l *link) windowUpdate(b *batch, f frame) error {
	if len(f.payload) != 4 {
		return connError{codeFrameSize, "WINDOW_UPDATE of a wrong size"}
	}
	n := int64(binary.BigEndian.Uint32(f.payload) & maxID)
	if f.id == 0 {
		l.mu.Lock()
		l.window += n
		window := l.window
		l.mu.Unlock()
		switch {
		case n == 0:
			return connError{codeProtocol, "WINDOW_UPDATE of nothing"}
		case window > maxWindow:
			return connError{codeFlowControl, "window too large"}
		}
		l.wake(b)
		return l.small(n)
	}
	if l.idle(f.id) {
		return connError{codeProtocol, "WINDOW_UPDATE on an idle stream"}
	}
	l.mu.Lock()
	g := l.legs[f.id]
	var bad code
	if g != nil {
		if g.window += n; n == 0 {
			bad = codeProtocol
		} else if l.initial+g.window > maxWindow {
			bad = codeFlowControl
		}
	}
	l.mu.Unlock()
	switch {
	case g == nil:
		return l.waste()
	case bad != 0:
		g.stream.broken(b, g, bad, "bad WINDOW_UPDATE")
		return l.abused()
	}
	g.stream.woken(b, g)
	return l.small(n)
}

// small counts a WINDOW_UPDATE that is not worth a frame. Large ones bound themselves: windows have an end.
func (l *link) small(n int64) error {
	if n >= 1024 {
		return nil
	}
	return l.waste()
}

// bucket is a token bucket.
type bucket struct {
	used float64
	at   time.Time
}

// take reports whether there was a token, of so many at once and so many a second. Time is read only when
// tokens run low.
func (k *bucket) take(clock func() time.Time, burst, rate float64) bool {
	k.used++
	if k.used < burst/2 {
		return true
	}
	now := clock()
	if !k.at.IsZero() {
		k.used = max(0, k.used-now.Sub(k.at).Seconds()*rate)
	}
	k.at = now
	return k.used <= burst
}
