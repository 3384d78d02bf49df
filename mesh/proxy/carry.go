package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/observe"
	"github.com/sluice-mesh/sluice/mesh/proxy/relay"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

const (
	// tries bounds how many endpoints a connection is offered to.
	tries = 3

	unreached = telemetry.Unreached
)

// upstream is a connection to a server, and the endpoint that it is, if it is one.
type upstream struct {
	relay.Conn
	endpoint *table.Endpoint
}

// straight carries a connection to where it was going. Port is nil where nothing is counted.
func (p *Proxy) straight(ctx context.Context, c captured, port *table.Port) {
	count := p.begin()
	if port != nil {
		count.as(port.As(ir.TCP).InboundSeries(false))
	}
	server, err := p.dial(ctx, c.dst, p.ConnectTimeout)
	if err != nil {
		count.end(unreached)
		p.drop(c, err)
		return
	}
	p.carry(c, upstream{Conn: server}, nil, count)
}

// connect offers a connection to one endpoint after the other of the revision that was drawn.
func (p *Proxy) connect(ctx context.Context, plan *table.Plan, count *counting) (upstream, error) {
	var tried []*table.Endpoint
	for {
		e, err := plan.Next(p.Random, tried, p.Now())
		if err != nil {
			count.end(unreached)
			return upstream{}, err
		}
		server, err := p.join(ctx, e)
		if err == nil {
			return server, nil
		}
		outcome := table.Unreached
		if errors.Is(err, errConnections) {
			outcome = table.Canceled // no word about its health
		}
		plan.Done(e, outcome, p.Now())
		count.end(unreached) // by the first try, whatever comes after it
		if tried = append(tried, e); len(tried) == tries {
			return upstream{}, err
		}
	}
}

var errConnections = errors.New("the policy's limit of connections to the endpoint is reached")

// join connects to one endpoint. Leave must follow.
func (p *Proxy) join(ctx context.Context, e *table.Endpoint) (upstream, error) {
	if !e.AcquireConnection() {
		return upstream{}, errConnections
	}
	conn, err := p.dialEndpoint(ctx, e, "")
	if err != nil {
		e.ReleaseConnection()
		return upstream{}, err
	}
	return upstream{conn.(relay.Conn), e}, nil
}

// leave ends what join began.
func (p *Proxy) leave(plan *table.Plan, server upstream, outcome table.Outcome) {
	server.endpoint.ReleaseConnection()
	plan.Done(server.endpoint, outcome, p.Now())
}

// dismiss gives back a connection that is not needed.
func (p *Proxy) dismiss(plan *table.Plan, server upstream) {
	_ = server.Close()
	p.leave(plan, server, table.Canceled)
}

// carry relays until both sides have ended. Plan is nil where nothing was drawn.
func (p *Proxy) carry(c captured, server upstream, plan *table.Plan, count *counting) {
	count.established()
	pair := relay.New(c.client(), server.Conn)
	defer p.open.add(pair)()
	outcome := table.Succeeded
	if plan != nil {
		streams := plan.Streams()
		streams.Enter(pair)
		defer streams.Exit(pair)
		if idle := plan.Rule.Timeouts.Idle; idle > 0 {
			defer p.idle.Add(pair, idle)()
		}
		defer func() { p.leave(plan, server, outcome) }()
	}
	err := pair.Run()
	if errors.Is(err, relay.ErrServer) {
		outcome = table.Failed
		count.end(http.StatusBadGateway)
	}
	count.end(http.StatusOK)
	p.record(c, server, plan, count, err)
}

// record tells of a connection that has ended.
func (p *Proxy) record(c captured, server upstream, plan *table.Plan, count *counting, err error) {
	if p.Observer == nil {
		return
	}
	r := observe.Record{
		Begun: count.begun, Duration: p.Now().Sub(count.begun), Inbound: plan == nil, Protocol: "TCP",
		Authority: c.name, Caller: c.from(), Code: count.code, GRPC: -1, Tries: 1,
	}
	if plan != nil {
		r.Endpoint, r.Service, r.Revision = server.endpoint.Address, plan.Port.Service, plan.Revision
	}
	if err != nil {
		r.Reason = err.Error()
	}
	p.Observer.End(nil, &r)
}

func (p *Proxy) dial(ctx context.Context, to netip.AddrPort, timeout time.Duration) (*net.TCPConn, error) {
	dialer := net.Dialer{Timeout: timeout}
	conn, err := dialer.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// dialAddress is dial for the engines.
func (p *Proxy) dialAddress(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	conn, err := p.dial(ctx, to, p.ConnectTimeout)
	if err != nil {
		return nil, err // and not a nil connection in an interface
	}
	return conn, nil
}

// dialEndpoint connects to an endpoint as its service's policy says, over TLS with this protocol offered
// where the policy wants that.
func (p *Proxy) dialEndpoint(ctx context.Context, e *table.Endpoint, alpn string) (net.Conn, error) {
	policy := e.Policy()
	timeout := p.ConnectTimeout
	if policy.Timeouts.Connect > 0 {
		timeout = policy.Timeouts.Connect
	}
	conn, err := p.dial(ctx, e.Address, timeout)
	if err != nil {
		return nil, err
	}
	if policy.TLS == nil {
		return conn, nil
	}
	config, err := p.upstreamTLS.config(policy.TLS, alpn)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("TLS to %s as %s: %w", e.Address, policy.TLS.ServerName, err)
	}
	return secure, nil
}

// counting counts one connection as a request (see package telemetry).
type counting struct {
	series *telemetry.Series
	now    func() time.Time
	begun  time.Time
	took   time.Duration
	ended  bool
	code   int
}

func (p *Proxy) begin() *counting { return &counting{now: p.Now, begun: p.Now()} }

// as says what to count on; nil: nothing. What has ended before is counted at once.
func (c *counting) as(series *telemetry.Series) {
	if c.series = series; series == nil {
		return
	}
	series.Begin()
	if c.ended {
		series.End(c.code, c.took)
	}
}

// established notes that an endpoint has taken the connection.
func (c *counting) established() { c.took = c.now().Sub(c.begun) }

// end counts the outcome, the first time it is called.
func (c *counting) end(code int) {
	if c.ended {
		return
	}
	c.ended, c.code = true, code
	if c.took == 0 {
		c.established()
	}
	if c.series != nil {
		c.series.End(code, c.took)
	}
}
