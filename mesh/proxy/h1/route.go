package h1

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
)

var noRule = &table.Rule{}

// route has the request planned; false: it has been answered.
func (x *exchange) route() bool {
	c := x.c
	s := c.server
	if s.inbound {
		return x.routeInbound()
	}
	if t := s.Table(); t != c.table || t == nil {
		c.table, c.port = t, t.Outbound(c.dst)
	}
	if c.port == nil || !speaksHTTP(c.port.Protocol) { // it has left the mesh since the connection was opened
		x.direct, x.plan.Rule = true, noRule
		return true
	}
	c.port.Plan(&x.plan, x, s.Random, x.begun)
	return true
}

func (x *exchange) routeInbound() bool {
	c := x.c
	s := c.server
	x.direct, x.plan.Rule = true, noRule
	service, revision, mesh := strings.Cut(x.request.intended, ";")
	if mesh && revision != s.Revision {
		// Before anything of it is processed or counted.
		x.rule, x.counted, x.tally = noRule, true, 421
		x.answer(ownAnswer{
			status: 421, unprocessed: engine.WrongRevision, name: c.dst.String(),
			reason: fmt.Sprintf("request for %s came to a pod of revision %q", x.request.intended, s.Revision),
		}, 421)
		return false
	}
	if port := s.Table().Inbound(c.dst.Port(), service); port != nil {
		port.PlanInbound(&x.plan, x, mesh, x.begun)
	}
	return true
}

func speaksHTTP(p ir.Protocol) bool {
	return p == ir.HTTP || p == ir.Undeclared || p == ir.HTTP2 || p == ir.GRPC
}

// The exchange is the table.Request that rules look at. The texts are views of the head.

// Method implements table.Request.
func (x *exchange) Method() string { return x.request.method }

// Path implements table.Request.
func (x *exchange) Path() string { return x.request.path }

// Query implements table.Request.
func (x *exchange) Query() string { return x.request.query }

// Authority implements table.Request.
func (x *exchange) Authority() string { return x.request.authority }

// Header implements table.Request.
func (x *exchange) Header(name string) (string, bool) {
	value, found := x.request.find(name)
	if found && name == "cookie" {
		value = x.request.cookies(value)
	}
	return value, found
}

// GRPC implements table.Request: gRPC needs HTTP/2.
func (x *exchange) GRPC() bool { return false }

// Peer implements table.Request.
func (x *exchange) Peer() netip.Addr { return x.c.peer.Addr() }
