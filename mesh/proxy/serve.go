package proxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/relay"
	"github.com/sluice-mesh/sluice/mesh/proxy/sniff"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

const (
	// firstBytes is how long a client of an HTTP service may stay silent.
	firstBytes = time.Hour
	// moreBytes is how long it may take to say enough to tell HTTP from anything else.
	moreBytes = 5 * time.Second
	// tries bounds how many endpoints a connection is offered to.
	tries = 3
)

var errNoEndpoint = errors.New("no endpoint takes connections")

// outbound serves one of the pod's own connections.
func (p *Proxy) outbound(ctx context.Context, c captured) {
	port := p.table.Load().Outbound(c.dst)
	if port == nil {
		p.metrics.passed.Inc()
		p.straight(ctx, c, nil)
		return
	}
	if port.Protocol != ir.HTTP || !p.serveHTTP(c, p.outboundHTTP.Serve) {
		p.drawn(ctx, c, port)
	}
}

// inbound serves a connection to the pod.
func (p *Proxy) inbound(ctx context.Context, c captured) {
	port := p.table.Load().Inbound(c.dst.Port(), "")
	if port == nil {
		p.straight(ctx, c, nil)
		return
	}
	if port.Protocol != ir.HTTP || !p.serveHTTP(c, p.inboundHTTP.Serve) {
		p.straight(ctx, c, port.InboundSeries(false))
	}
}

// serveHTTP hands a connection to an HTTP server if its client speaks HTTP/1.x. True: it is taken care
// of. A connection whose client has not spoken yet is open but not in flight.
func (p *Proxy) serveHTTP(c captured, serve func(*net.TCPConn, netip.AddrPort, func())) bool {
	leave := p.silent.add(c.TCPConn)
	verdict, err := sniff.Head(c.TCPConn, firstBytes, moreBytes)
	leave()
	switch {
	case err != nil:
		p.drop(c, err)
	case verdict == sniff.HTTP1:
		serve(c.TCPConn, c.dst, c.release)
	default:
		return false
	}
	return true
}

// straight carries a connection to where it was going.
func (p *Proxy) straight(ctx context.Context, c captured, series *telemetry.Series) {
	count := p.begin(series)
	server, err := p.dial(ctx, c.dst)
	if err != nil {
		count.end(telemetry.Unreached)
		p.drop(c, err)
		return
	}
	p.carry(c, server, nil, count)
}

// drawn carries a connection to an endpoint of the revision that is drawn for it.
func (p *Proxy) drawn(ctx context.Context, c captured, port *table.Port) {
	draw := port.Draw(p.Random)
	count := p.begin(draw.Series)
	last := errNoEndpoint
	var tried []*table.Endpoint
	for range tries {
		endpoint := draw.Pick(p.Random, tried)
		if endpoint == nil {
			break
		}
		tried = append(tried, endpoint)
		endpoint.Enter()
		server, err := p.dial(ctx, endpoint.Address)
		if err == nil {
			p.carry(c, server, draw.Streams(), count)
			endpoint.Leave()
			return
		}
		endpoint.Leave()
		count.end(telemetry.Unreached) // by the first try, whatever comes after it
		last = err
	}
	count.end(telemetry.Unreached)
	p.drop(c, last)
}

// carry relays until both sides have ended.
func (p *Proxy) carry(c captured, server *net.TCPConn, streams *table.Streams, count *counting) {
	defer c.release()
	count.established()
	pair := relay.New(c.TCPConn, server)
	defer p.open.add(pair)()
	defer streams.Add(pair)()
	if err := pair.Run(); errors.Is(err, relay.ErrServer) {
		count.end(http.StatusBadGateway)
	}
	count.end(http.StatusOK)
}

// drop resets a connection that cannot be served.
func (p *Proxy) drop(c captured, why error) {
	p.Logger.Debug("connection dropped", "from", c.RemoteAddr(), "to", c.dst, "error", why)
	reset(c.TCPConn)
	c.release()
}

func (p *Proxy) dial(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
	dialer := net.Dialer{Timeout: p.ConnectTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// dialConn is dial for the HTTP engine.
func (p *Proxy) dialConn(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return p.dial(ctx, to)
}

// counting counts one connection as a request (see package telemetry).
type counting struct {
	series *telemetry.Series
	now    func() time.Time
	begun  time.Time
	took   time.Duration
	ended  bool
}

func (p *Proxy) begin(series *telemetry.Series) *counting {
	c := &counting{series: series, now: p.Now, begun: p.Now()}
	if series != nil {
		series.Begin()
	}
	return c
}

// established notes that an endpoint has taken the connection.
func (c *counting) established() { c.took = c.now().Sub(c.begun) }

// end counts the outcome, the first time it is called.
func (c *counting) end(code int) {
	if c.ended {
		return
	}
	c.ended = true
	if c.took == 0 {
		c.established()
	}
	if c.series != nil {
		c.series.End(code, c.took)
	}
}
