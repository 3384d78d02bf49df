package http1

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// replayable is how much of a request's body is remembered, so that the request can be offered to another
// endpoint after one has refused it without processing it. The body is not held back for it.
const replayable = 16 << 10

var errNotReplayable = errors.New("request body is gone")

// replay lets a body be read again from its start while little enough of it has been read.
type replay struct {
	mu      sync.Mutex
	source  io.Reader
	record  []byte
	spilled bool  // more was read than is remembered
	ended   error // what the source ended with
	current *replayReader
}

func newReplay(source io.Reader) *replay { return &replay{source: source} }

// reader returns a reader from the start and makes that of an earlier try end. Only when rewind allows,
// or for the first time.
func (p *replay) reader() io.ReadCloser {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current = &replayReader{replay: p}
	return p.current
}

// again is an http.Request's GetBody.
func (p *replay) again() (io.ReadCloser, error) {
	if !p.rewind() {
		return nil, errNotReplayable
	}
	return p.reader(), nil
}

// rewind reports whether the body can be read from its start, and lets no earlier reader spoil it. It
// does not wait for one that waits for the caller.
func (p *replay) rewind() bool {
	if !p.mu.TryLock() {
		return false
	}
	defer p.mu.Unlock()
	p.current = nil
	return !p.spilled
}

type replayReader struct {
	replay *replay
	offset int
}

func (r *replayReader) Read(b []byte) (int, error) {
	p := r.replay
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != r {
		return 0, errNotReplayable
	}
	if !p.spilled && r.offset < len(p.record) {
		n := copy(b, p.record[r.offset:])
		r.offset += n
		return n, nil
	}
	if p.ended != nil {
		return 0, p.ended
	}
	if len(p.record) >= replayable {
		p.spilled, p.record = true, nil
	}
	n, err := p.source.Read(b)
	p.ended = err
	if !p.spilled {
		p.record = append(p.record, b[:n]...)
		r.offset += n
	}
	return n, err
}

// Close ends this reader only: the body belongs to the server.
func (r *replayReader) Close() error {
	return nil
}

// responseBody notes how a response's body ends, and passes on what has come before waiting for more.
type responseBody struct {
	io.ReadCloser
	exchange *exchange
	length   int64 // declared, or -1
	read     int64
	once     sync.Once
	leave    func()
}

func (b *responseBody) Read(p []byte) (int, error) {
	if b.read > 0 && b.read < b.length {
		_ = http.NewResponseController(b.exchange.w).Flush()
	}
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	if err == io.EOF {
		b.exchange.whole = true
	}
	return n, err
}

func (b *responseBody) Close() error {
	b.once.Do(b.leave)
	return b.ReadCloser.Close()
}

// upgraded is the endpoint's side of an upgraded connection.
type upgraded struct {
	io.ReadWriteCloser
	once  sync.Once
	leave func()
}

func (u *upgraded) Close() error {
	u.once.Do(u.leave)
	return u.ReadWriteCloser.Close()
}

// CloseWrite passes a half-close on where the connection has one.
func (u *upgraded) CloseWrite() error {
	if half, ok := u.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return u.Close()
}
