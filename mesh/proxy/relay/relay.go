// Package relay owns the carrying of bytes between two TCP connections, in both directions, with
// half-close. It knows nothing of where they lead.
package relay

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrServer says that the server's side broke off (a reset, a time-out of the network).
var ErrServer = errors.New("server broke off")

// ErrClient says that the client's side broke off.
var ErrClient = errors.New("client broke off")

// ErrClosed says that Close ended the pair.
var ErrClosed = errors.New("closed by proxy")

// Pair is two connections joined. Run carries, Close ends it from outside.
type Pair struct {
	client, server *net.TCPConn

	mu    sync.Mutex
	ended bool
	why   error
}

// New joins two connections, which belong to the pair from now on.
func New(client, server *net.TCPConn) *Pair { return &Pair{client: client, server: server} }

// Run carries until both directions have ended, and closes both connections. One side's orderly end is
// passed on as a half-close, a side that broke off as a reset of the other. The kernel moves the bytes
// where it can (splice). The error is nil or wraps one of this package's.
func (p *Pair) Run() error {
	up := make(chan struct{})
	go func() {
		defer close(up)
		p.carry(p.server, p.client)
	}()
	p.carry(p.client, p.server)
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

func (p *Pair) carry(to, from *net.TCPConn) {
	_, err := io.Copy(to, from)
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

// breakOff resets both connections the first time.
func (p *Pair) breakOff(why func() error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	p.ended, p.why = true, why()
	for _, conn := range []*net.TCPConn{p.client, p.server} {
		_ = conn.SetLinger(0)
		_ = conn.Close()
	}
}

// closed reports whether the kernel has given a connection up, as after a reset.
func closed(conn *net.TCPConn) bool {
	const tcpClose = 7 // TCP_CLOSE of linux/tcp_states.h
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	state := uint8(0)
	err = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO); err == nil {
			state = info.State
		}
	})
	return err == nil && state == tcpClose
}
