package proxy

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"time"

	"github.com/sluice-mesh/sluice/mesh/proxy/rawio"
	"github.com/sluice-mesh/sluice/mesh/proxy/sniff"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
)

// handshakeTime bounds a TLS handshake.
const handshakeTime = 10 * time.Second

// server carries the requests of a protocol (packages h1 and h2).
type server interface {
	// Serve returns when the connection has ended.
	Serve(conn net.Conn, dst netip.AddrPort)
	Drain()
	Active() int
	Close()
}

// engines of one direction.
type engines struct{ http1, http2 server }

func (e engines) drain()      { e.http1.Drain(); e.http2.Drain() }
func (e engines) active() int { return e.http1.Active() + e.http2.Active() }
func (e engines) close()      { e.http1.Close(); e.http2.Close() }

// serve carries a connection that was going to dst, and closes it.
type serve func(conn net.Conn, dst netip.AddrPort)

// detect listens to what a client of a service that speaks HTTP or TLS says first, and chooses who serves it;
// nil: it is to be carried as it is. A connection whose client has not spoken yet is open but not in flight.
func (p *Proxy) detect(ctx context.Context, c captured, port *table.Port, from engines) (captured, serve) {
	leave := p.silent.add(c.TCPConn)
	verdict, err := sniff.Head(c.TCPConn, firstBytes, moreBytes)
	leave()
	if err != nil {
		return c, p.dropping(c, err)
	}
	if verdict == sniff.Silent {
		return c, hangUp
	}
	return p.choose(ctx, c, port, verdict, from)
}

// choose takes the engine for what a client speaks. TLS is ended here where we have the certificate for it;
// otherwise it is known by the name that is asked for, and passes through.
func (p *Proxy) choose(ctx context.Context, c captured, port *table.Port, verdict sniff.Verdict, from engines) (captured, serve) {
	switch verdict {
	case sniff.HTTP1:
		return c, from.http1.Serve
	case sniff.HTTP2:
		return c, from.http2.Serve
	case sniff.TLS:
		leave := p.silent.add(c.TCPConn)
		hello, err := sniff.Hello(c.TCPConn, moreBytes)
		leave()
		switch {
		case ctx.Err() != nil:
			return c, p.dropping(c, ctx.Err())
		case err != nil:
			return c, nil // not our business
		}
		c.name = hello.ServerName
		if p.TLS == nil {
			return c, nil
		}
		config := p.TLS(hello)
		if config == nil {
			return c, nil
		}
		return p.terminate(ctx, c, port, config, from)
	default:
		return c, nil
	}
}

// terminate ends TLS.
func (p *Proxy) terminate(ctx context.Context, c captured, port *table.Port, config *tls.Config, from engines) (captured, serve) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	c.secure = tls.Server(c.TCPConn, config)
	if err := c.secure.HandshakeContext(ctx); err != nil {
		return c, p.dropping(c, err)
	}
	switch protocol := c.secure.ConnectionState().NegotiatedProtocol; {
	case protocol == "h2":
		return c, from.http2.Serve
	case protocol == "http/1.1", port.Protocol.SpeaksHTTP():
		return c, from.http1.Serve
	default:
		return c, nil
	}
}

// drop resets a connection that cannot be served.
func (p *Proxy) drop(c captured, why error) {
	p.Logger.Debug("connection dropped", "from", c.RemoteAddr(), "to", c.dst, "error", why)
	rawio.Reset(c.client())
}

func (p *Proxy) dropping(c captured, why error) serve {
	return func(net.Conn, netip.AddrPort) { p.drop(c, why) }
}

// hangUp serves clients that leave without a word, such as probes of a port: there is nothing to carry, and
// nothing that the service could be judged by.
func hangUp(conn net.Conn, _ netip.AddrPort) { _ = conn.Close() }
