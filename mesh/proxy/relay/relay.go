// Package relay owns the carrying of bytes between two connections, in both directions, with half-close. It
// knows nothing of where they lead.
package relay

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/sluice-mesh/sluice/mesh/proxy/rawio"
)

// ErrServer says that the server's side broke off (a reset, a time-out of the network).
var ErrServer = errors.New("server broke off")

// ErrClient says that the client's side broke off.
var ErrClient = errors.New("client broke off")

// ErrClosed says that Close ended the pair.
var ErrClosed = errors.New("closed by proxy")

// Conn is a connection that can be half-closed: a *net.TCPConn or a *tls.Conn.
type Conn interface {
	net.Conn
	CloseWrite() error
}

// Pair is two connections joined. Run carries, Close ends it from outside.
type Pair struct {
	// Ahead is what the client has said already, which goes to the server first.
	Ahead []byte

	client, server Conn

	mu    sync.Mutex
	ended bool
	why   error
}

// New joins two connections, which belong to the pair from now on.
func New(client, server Conn) *Pair { return &Pair{client: client, server: server} }

// Run carries until both directions have ended, and closes both connections. One side's orderly end is
// passed on as a half-close, a side that broke off as a reset of the other. The kernel moves the bytes
// where it can (splice). The error is nil or wraps one of this package's.
func (p *Pair) Run() error {
	up := make(chan struct{})
	go func() {
		defer close(up)
		p.carry(p.server, p.client, p.Ahead)
	}()
	p.carry(p.client, p.server, nil)
	<-up
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.ended = true
		_ = p.client.Close()
		_ = p.server.Close()
	}
	return p.why
}

// Close resets both connections, so that Run returns. It may be called at any time.
func (p *Pair) Close() error {
	p.breakOff(func() error { return ErrClosed })
	return nil
}

// moved counts the bytes that have come from the two sides and those that they have taken. The kernel knows.
func (p *Pair) moved() (bytes uint64) {
	for _, conn := range []Conn{p.client, p.server} {
		if info := rawio.Info(conn); info != nil {
			bytes += info.Bytes_received + info.Bytes_acked
		}
	}
	return bytes
}

func (p *Pair) carry(to, from Conn, ahead []byte) {
	var err error
	if len(ahead) > 0 {
		_, err = to.Write(ahead)
	}
	if err == nil {
		err = copyAll(to, from)
	}
	if err == nil {
		err = to.CloseWrite()
		if errors.Is(err, unix.ENOTCONN) {
			err = nil // the other side has closed meanwhile
		}
	}
	if err != nil {
		p.breakOff(func() error {
			// A copy between sockets does not say which of them failed; their states do.
			if closed(p.server) {
				return fmt.Errorf("%w: %w", ErrServer, err)
			}
			return fmt.Errorf("%w: %w", ErrClient, err)
		})
	}
}

// copyAll copies until the source ends.
func copyAll(to, from Conn) error {
	source, plain := from.(*net.TCPConn)
	sink, plainToo := to.(*net.TCPConn)
	if plain && plainToo {
		return stream(sink, source)
	}
	_, err := io.Copy(to, from)
	return err
}

// breakOff resets both connections the first time.
func (p *Pair) breakOff(why func() error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	p.ended, p.why = true, why()
	for _, conn := range []Conn{p.client, p.server} {
		rawio.Reset(conn)
	}
}

// closed reports whether the kernel has given a connection up, as after a reset.
func closed(conn Conn) bool {
	info := rawio.Info(conn)
	return info != nil && info.State == rawio.StateClosed
}
