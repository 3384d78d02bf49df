// Package backend is what stands behind the proxies: nginx for HTTP/1.1, and lean servers of its own for HTTP/2
// (gRPC included) and for bulk. They count what reaches them, so that a proxy which answers by itself is
// found out. All listen on the same addresses of loopback, one for each endpoint of a service.
package backend

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
)

// Small, Kilobyte and Large are the bodies: 34 bytes, 1 KB and 16 KB.
var (
	Small    = []byte("thirty-four bytes are a short text")
	Kilobyte = []byte(strings.Repeat("0123456789abcde.", 64))
	Large    = bytes.Repeat(Kilobyte, 16)
	// Message is Small as a gRPC message: a byte for no compression, the length, the bytes.
	Message = append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(Small))), Small...)
)

// Paths of the bodies at the HTTP/1.1 backend. The HTTP/2 backend knows the first, and Method for gRPC.
const (
	SmallPath    = "/small"
	KilobytePath = "/1k"
	LargePath    = "/16k"
	Method       = "/bench.Echo/Small"
)

// Hosts that backends listen on.
func Hosts() []netip.Addr {
	hosts := make([]netip.Addr, 10)
	for i := range hosts {
		hosts[i] = netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 1)})
	}
	return hosts
}

// listeners are open on one port of all hosts; each connection is carried by a goroutine.
type listeners struct {
	open    []net.Listener
	running sync.WaitGroup
	mu      sync.Mutex
	conns   map[net.Conn]bool // nil once closed
}

// listen opens the port and serves until close.
func listen(ctx context.Context, port uint16, serve func(net.Conn)) (*listeners, error) {
	l := &listeners{conns: map[net.Conn]bool{}}
	for _, host := range Hosts() {
		var config net.ListenConfig
		listener, err := config.Listen(ctx, "tcp", netip.AddrPortFrom(host, port).String())
		if err != nil {
			l.close()
			return nil, fmt.Errorf("open backend: %w", err)
		}
		l.open = append(l.open, listener)
		l.running.Go(func() { l.accept(listener, serve) })
	}
	return l, nil
}

func (l *listeners) accept(listener net.Listener, serve func(net.Conn)) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		l.mu.Lock()
		closed := l.conns == nil
		if !closed {
			l.conns[conn] = true
			l.running.Go(func() {
				serve(conn)
				conn.Close()
				l.mu.Lock()
				delete(l.conns, conn)
				l.mu.Unlock()
			})
		}
		l.mu.Unlock()
		if closed {
			conn.Close()
		}
	}
}

// close ends everything and returns when it has ended.
func (l *listeners) close() {
	for _, listener := range l.open {
		listener.Close()
	}
	l.mu.Lock()
	for conn := range l.conns {
		conn.Close()
	}
	l.conns = nil
	l.mu.Unlock()
	l.running.Wait()
}
