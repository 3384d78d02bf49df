package proxy

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/sniff"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
)

const (
	// firstBytes is how long a client of an HTTP service may stay silent, and how long a connection that nobody
	// declared is listened to before it is carried as it is.
	firstBytes = time.Hour
	// moreBytes is how long it may take to say enough to tell what it speaks.
	moreBytes = 5 * time.Second
	// resolveTime bounds how long the first connection to an address waits for what the mesh knows of it.
	// Then it goes on with what is known.
	resolveTime = time.Second
)

// outbound serves one of the pod's own connections.
func (p *Proxy) outbound(ctx context.Context, c captured) {
	p.called.enter(c.dst.Addr())
	defer p.called.leave(c.dst.Addr())
	p.resolve(ctx, c.dst.Addr())
	port := p.table.Load().Outbound(c.dst)
	switch {
	case port == nil:
		p.metrics.passed.Inc()
		p.straight(ctx, c, nil)
	case port.Protocol == ir.TCP:
		p.drawn(ctx, c, port)
	case port.Protocol == ir.Undeclared:
		p.undeclared(ctx, c, port)
	default:
		if c, serve := p.detect(ctx, c, port, p.out); serve != nil {
			serve(c.client(), c.dst)
		} else if port = p.table.Load().Outbound(c.dst); port != nil { // the client may have been silent for long
			p.drawn(ctx, c, port)
		} else {
			p.straight(ctx, c, nil)
		}
	}
}

// resolve has the control plane asked for an address. It is so for known ones too: a service may be known only
// because another leads to it, or because this pod is behind it, and then what its own routes lead to is not.
func (p *Proxy) resolve(ctx context.Context, address netip.Addr) {
	if p.Resolve == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	p.Resolve(ctx, address)
}

// drawn carries a connection to an endpoint of the revision that is drawn for it.
func (p *Proxy) drawn(ctx context.Context, c captured, port *table.Port) {
	count := p.begin()
	var plan table.Plan
	port.As(ir.TCP).PlanConnection(&plan, c.from().Addr(), p.Random, count.begun)
	count.as(plan.Series)
	if server, err := p.connect(ctx, &plan, count); err != nil {
		p.drop(c, err)
	} else {
		p.carry(c, server, &plan, count)
	}
}

// undeclared carries a connection of which nobody said what it speaks. Its server is dialled at once, since
// it may be the one to speak first; a client that proves to speak HTTP has its requests drawn one by one
// instead.
func (p *Proxy) undeclared(ctx context.Context, c captured, port *table.Port) {
	count := p.begin()
	var plan table.Plan
	port.As(ir.TCP).PlanConnection(&plan, c.from().Addr(), p.Random, count.begun)
	server, err := p.connect(ctx, &plan, count)
	if err != nil {
		count.as(plan.Series)
		p.drop(c, err)
		return
	}
	verdict := sniff.Other
	if tcp, plain := server.Conn.(*net.TCPConn); plain {
		leave, exit := p.silent.add(c.TCPConn), plan.Streams().Add(c.TCPConn)
		verdict, err = sniff.First(c.TCPConn, tcp, firstBytes, moreBytes)
		exit()
		leave()
	}
	if err != nil {
		p.dismiss(&plan, server)
		p.drop(c, err)
		return
	}
	c, serve := p.choose(ctx, c, port, verdict, p.out)
	if serve != nil {
		p.dismiss(&plan, server)
		serve(c.client(), c.dst)
		return
	}
	count.as(plan.Series)
	p.carry(c, server, &plan, count)
}
