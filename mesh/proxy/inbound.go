package proxy

import (
	"context"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/sniff"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
)

// inbound serves a connection to the pod. It goes to the address that it was sent to, whatever it speaks;
// requests of HTTP are counted one by one, and refused when meant for another revision.
func (p *Proxy) inbound(ctx context.Context, c captured) {
	port := p.table.Load().Inbound(c.dst.Port(), "")
	switch {
	case port == nil:
		p.straight(ctx, c, nil)
	case port.Protocol == ir.TCP:
		p.straight(ctx, c, port)
	case port.Protocol == ir.Undeclared:
		p.undeclaredInbound(ctx, c, port)
	default:
		if c, serve := p.detect(ctx, c, port, p.in); serve != nil {
			serve(c.client(), c.dst)
		} else {
			p.straight(ctx, c, p.table.Load().Inbound(c.dst.Port(), "")) // it may have changed meanwhile
		}
	}
}

// undeclaredInbound is undeclared for the pod's own application.
func (p *Proxy) undeclaredInbound(ctx context.Context, c captured, port *table.Port) {
	count := p.begin()
	server, err := p.dial(ctx, c.dst, p.ConnectTimeout)
	if err != nil {
		count.as(port.As(ir.TCP).InboundSeries(false))
		count.end(unreached)
		p.drop(c, err)
		return
	}
	leave := p.silent.add(c.TCPConn)
	verdict, err := sniff.First(c.TCPConn, server, firstBytes, moreBytes)
	leave()
	if err != nil {
		_ = server.Close()
		p.drop(c, err)
		return
	}
	c, serve := p.choose(ctx, c, port, verdict, p.in)
	if serve != nil {
		_ = server.Close()
		serve(c.client(), c.dst)
		return
	}
	count.as(port.As(ir.TCP).InboundSeries(false))
	p.carry(c, upstream{Conn: server}, nil, count)
}
