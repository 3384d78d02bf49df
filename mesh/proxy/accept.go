package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/sluice-mesh/sluice/mesh/proxy/rawio"
	"github.com/sluice-mesh/sluice/mesh/proxy/relay"
)

// direction of a connection, as the metrics call it.
type direction string

const (
	outward direction = "outbound"
	inward  direction = "inbound"
)

// captured is a connection that was turned aside.
type captured struct {
	*net.TCPConn
	dst netip.AddrPort
	// name that a TLS client asked for; "" where there is none or it is not known.
	name string
	// secure is the connection without its TLS, where that ends here; nil elsewhere.
	secure *tls.Conn
}

// client is what to read from and to write to.
func (c captured) client() relay.Conn {
	if c.secure != nil {
		return c.secure
	}
	return c.TCPConn
}

// from is the client's address.
func (c captured) from() netip.AddrPort {
	from := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// accept takes connections until the listener closes, and returns when each has ended. Serve closes its
// connection.
func (p *Proxy) accept(ctx context.Context, l *net.TCPListener, d direction, serve func(context.Context, captured)) {
	var serving sync.WaitGroup
	defer serving.Wait()
	open := p.metrics.open.WithLabelValues(string(d))
	refused := p.metrics.refused.WithLabelValues(string(d))
	count := p.taken[d]
	for {
		conn, err := l.AcceptTCP()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of file descriptors or memory: others may end meanwhile.
			p.Logger.Warn("cannot accept", "direction", d, "error", err)
			if !pause(ctx, 50*time.Millisecond) {
				return
			}
			continue
		}
		if count.Load() >= int64(p.MaxConnections) {
			refused.Inc()
			rawio.Reset(conn)
			continue
		}
		count.Add(1)
		open.Inc()
		serving.Go(func() {
			defer func() { count.Add(-1); open.Dec() }()
			dst, err := p.destination(conn)
			if err != nil {
				p.Logger.Debug("connection refused", "direction", d, "from", conn.RemoteAddr(), "error", err)
				refused.Inc()
				rawio.Reset(conn)
				return
			}
			serve(ctx, captured{TCPConn: conn, dst: dst})
		})
	}
}

var (
	errNotCaptured = errors.New("connection was made to the proxy itself")
	errLoop        = errors.New("connection leads back to the proxy")
)

// destination tells where a connection was going, and refuses those that would come back.
func (p *Proxy) destination(conn *net.TCPConn) (netip.AddrPort, error) {
	dst, err := p.Origin(conn)
	if err != nil {
		return netip.AddrPort{}, err
	}
	dst = netip.AddrPortFrom(dst.Addr().Unmap(), dst.Port())
	local := conn.LocalAddr().(*net.TCPAddr).AddrPort()
	local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	if dst == local {
		return netip.AddrPort{}, errNotCaptured
	}
	if p.own[dst.Port()] && (dst.Addr().IsLoopback() || dst.Addr().IsUnspecified() ||
		dst.Addr() == p.Self.Unmap() || dst.Addr() == local.Addr()) {
		return netip.AddrPort{}, errLoop
	}
	return dst, nil
}

// pause waits; false when the context ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
