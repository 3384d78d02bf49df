package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
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
	dst     netip.AddrPort
	release func() // once, when the connection has ended
}

// accept takes connections until the listener closes, and returns when each has been served or handed on.
func (p *Proxy) accept(ctx context.Context, l *net.TCPListener, d direction, serve func(context.Context, captured)) {
	var serving sync.WaitGroup
	defer serving.Wait()
	open := p.metrics.open.WithLabelValues(string(d))
	refused := p.metrics.refused.WithLabelValues(string(d))
	var count atomic.Int64
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
			reset(conn)
			continue
		}
		count.Add(1)
		open.Inc()
		release := sync.OnceFunc(func() { count.Add(-1); open.Dec() })
		serving.Go(func() {
			dst, err := p.destination(conn)
			if err != nil {
				p.Logger.Debug("connection refused", "direction", d, "from", conn.RemoteAddr(), "error", err)
				refused.Inc()
				reset(conn)
				release()
				return
			}
			serve(ctx, captured{conn, dst, release})
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

// reset closes a connection such that its client knows at once that it was not served.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}
