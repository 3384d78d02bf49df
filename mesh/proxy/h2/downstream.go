package h2

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
)

// downstream is a caller's link.
type downstream struct {
	*link
	server *Server
	dst    netip.AddrPort
	peer   netip.AddrPort

	// Of the reader: the port that dst leads to in a table.
	table *table.Table
	port  *table.Port

	// Under the link's lock: the steps of sending the caller away.
	told, final bool
	taken       bool // had a request
	lastTaken   uint32
	// Of the janitor, in ticks.
	quiet, stuck, sinceTold int
	handled                 uint64
}

// drainPing marks the PING that tells when the caller knows of the first GOAWAY.
var drainPing = []byte("sluicebye")[:8]

func (d *downstream) serve() {
	var b batch
	d.waits.Store(true)
	err := d.handshake(&b)
	if err == nil {
		err = d.run(&b)
	}
	var broken connError
	if errors.As(err, &broken) {
		d.server.Logger.Debug("HTTP/2 connection ended", "from", d.peer, "to", d.dst, "error", err)
		d.mu.Lock()
		d.shut(&b, d.lastTaken, broken.code, broken.why)
		d.mu.Unlock()
		b.flush()
		d.linger()
	}
	d.end(&b)
	d.releaseInput()
}

// handshake reads the client's preface and tells our settings.
func (d *downstream) handshake(b *batch) error {
	d.mu.Lock()
	out := d.room()
	if out == nil {
		d.mu.Unlock()
		return io.EOF
	}
	out.b = appendSettings(out.b, settingMaxStreams, d.server.Limits.Streams,
		settingInitialWindow, streamWindow, settingMaxList, uint32(d.server.Limits.HeaderBytes))
	out.b = appendWindowUpdate(out.b, 0, connWindow-defaultWindow)
	d.mark(b)
	d.mu.Unlock()
	b.flush()
	for d.to < len(preface) {
		if err := d.fill(); err != nil {
			return err
		}
		if n := min(d.to, len(preface)); string(d.in[:n]) != preface[:n] {
			return connError{codeProtocol, "not HTTP/2's preface"}
		}
	}
	d.from = len(preface)
	return nil
}

// linger reads what the peer still sends, so that it gets to see our GOAWAY.
func (l *link) linger() {
	_ = l.conn.SetReadDeadline(time.Now().Add(lingerTime))
	for {
		l.from, l.to = 0, 0
		if l.fill() != nil {
			return
		}
	}
}

func (d *downstream) headers(b *batch, id uint32, fields []field, tooLarge, end bool) error {
	if id%2 == 0 {
		return connError{codeProtocol, "stream of the wrong side"}
	}
	if g := d.leg(id); g != nil {
		c, why := g.stream.requestTrailers(b, g, fields, tooLarge, end)
		if why != "" {
			g.stream.broken(b, g, c, why)
			return d.abused()
		}
		return nil
	}
	if id <= d.last {
		putFields(fields)
		byUs, found := d.lately(id)
		switch {
		case byUs:
			return d.waste()
		case found:
			return connError{codeStreamClosed, "HEADERS on a closed stream"}
		}
		return connError{codeProtocol, "stream id not higher than those before"}
	}
	d.last = id
	d.mu.Lock()
	d.taken = true
	full, final := len(d.legs) >= int(d.maxStreams), d.final || d.away
	if !full && !final {
		d.lastTaken = id
	}
	d.mu.Unlock()
	switch {
	case final: // said before that it would not be taken
		putFields(fields)
		return d.waste()
	case full:
		putFields(fields)
		d.refuse(b, id, codeRefused)
		return d.abused()
	}
	h := head{length: -1}
	if !tooLarge {
		var why malformed
		if fields, why = h.parse(fields, true); why != "" || end && h.length > 0 {
			d.refuse(b, id, codeProtocol)
			return d.abused()
		}
	}
	d.begin(b, id, h, fields, tooLarge, end)
	if d.server.draining.Load() {
		d.sendAway(b)
	}
	return nil
}

// begin makes a stream of a request's head, plans it and lets it go.
func (d *downstream) begin(b *batch, id uint32, h head, fields []field, tooLarge, end bool) {
	s := &stream{server: d.server, caller: d, peer: d.peer, head: h, fields: fields, grpc: -1}
	s.request = flow{done: end, keep: true, length: h.length}
	s.response.length = -1
	s.down = leg{link: d.link, stream: s, id: id, allowed: streamWindow}
	s.plan.Rule = &noRule
	d.mu.Lock()
	d.legs[id] = &s.down
	d.mu.Unlock()
	d.server.enter()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun = d.server.Now()
	switch {
	case tooLarge:
		s.status = http.StatusRequestHeaderFieldsTooLarge
		s.explain(b, s.status, "request header fields too large")
		return
	case h.method == http.MethodConnect:
		s.status = http.StatusMethodNotAllowed
		s.explain(b, s.status, "CONNECT is not served")
		return
	}
	if d.server.Observer != nil {
		s.span = d.server.Observer.Begin(s)
	}
	if d.server.inbound {
		if !d.planInbound(b, s) {
			return
		}
	} else {
		d.planOutbound(s)
	}
	if s.plan.Series != nil {
		s.plan.Series.Begin()
	}
	s.prepare()
	s.start(b)
}

var noRule table.Rule

func (d *downstream) planOutbound(s *stream) {
	if t := d.server.Table(); t != d.table {
		d.table, d.port = t, carried(t.Outbound(d.dst))
	}
	if d.port == nil {
		s.straight = d.server.to(d.dst) // the service has left the mesh since the connection was opened
		return
	}
	d.port.Plan(&s.plan, s, d.server.Random, s.begun)
	s.planned = true
	s.drawMirrors()
}

// planInbound returns false when the request is for another pod.
func (d *downstream) planInbound(b *batch, s *stream) bool {
	service, revision, mesh := strings.Cut(s.head.intended, ";")
	s.unprocessed = mesh
	if mesh && revision != d.server.Revision {
		s.misdirected(b, s.head.intended)
		return false
	}
	if port := carried(d.server.Table().Inbound(d.dst.Port(), service)); port != nil {
		port.PlanInbound(&s.plan, s, mesh, s.begun)
	}
	s.straight = d.server.to(d.dst)
	return true
}

// carried returns the port as that of an HTTP/2 connection; nil where it is none that we may read.
func carried(p *table.Port) *table.Port {
	if p == nil {
		return nil
	}
	switch p = p.As(ir.HTTP2); p.Protocol {
	case ir.HTTP, ir.HTTP2, ir.GRPC:
		return p
	}
	return nil
}

// requestTrailers ends a request.
func (s *stream) requestTrailers(b *batch, g *leg, fields []field, tooLarge, end bool) (code, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer putFields(fields)
	switch {
	case g.closed:
		return 0, ""
	case s.request.done:
		return codeStreamClosed, "HEADERS after the end"
	case !end:
		return codeProtocol, "trailers that do not end the stream"
	case tooLarge:
		return codeProtocol, "trailers too large"
	case s.request.length > s.request.total:
		return codeProtocol, "DATA differs from content-length"
	}
	kept, why := checkTrailers(fields)
	if why != "" {
		return codeProtocol, string(why)
	}
	s.still = 0
	s.request.done = true
	s.request.trailers = append([]field{}, kept...)
	s.sendMirrors()
	s.push(b, &s.request, g, s.up, nil)
	s.settle(b)
	return 0, ""
}

func (d *downstream) settled(*batch)              {}
func (d *downstream) goAway(*batch, uint32, code) {}

func (d *downstream) lost(b *batch, g *leg) {
	g.stream.mu.Lock()
	defer g.stream.mu.Unlock()
	g.closed = true
	g.stream.gone(b, codeCancel, "the caller's connection ended")
}
