package h2

import (
	"net/http"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

// respond takes a header block of the endpoint's: an interim response, the response's head or its trailers.
// A reason says that the endpoint broke the rules.
func (s *stream) respond(b *batch, g *leg, fields []field, tooLarge, end bool) malformed {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer putFields(fields)
	s.still = 0
	switch {
	case g.closed:
		return ""
	case tooLarge:
		return "response header fields too large"
	case s.response.done:
		return "HEADERS after the end"
	case s.responded:
		return s.trailers(b, fields, end)
	}
	var h head
	kept, why := h.parse(fields, false)
	if why != "" {
		return why
	}
	if h.status < 200 {
		if end {
			return "interim response that ends"
		}
		s.interim(b, kept)
		return ""
	}
	if end && h.length > 0 && h.status != http.StatusNotModified && s.head.method != http.MethodHead {
		return "content-length without content"
	}
	s.response.done = end
	if s.again(b, &h, kept, end) {
		return ""
	}
	s.commit(b, &h, kept, end)
	return ""
}

// interim passes a 1xx response on.
func (s *stream) interim(b *batch, fields []field) {
	if s.caller != nil {
		s.down.headers(b, false, fields)
	}
}

// again reports whether the response was a reason to end the try.
func (s *stream) again(b *batch, h *head, fields []field, end bool) bool {
	if h.unprocessed != "" && s.endpoint != nil && s.endpoint.Intended != "" {
		s.failed(b, failure{
			Failure: table.Failure{On: ir.OnConnectFailure, Status: h.status, GRPC: -1, Untouched: true},
			outcome: table.Unreached, count: telemetry.Unreached, uncounted: h.unprocessed == engine.WrongRevision,
			status: http.StatusServiceUnavailable, reason: "request not processed: " + h.unprocessed,
		})
		return true
	}
	retry := s.plan.Rule.Retry
	if retry == nil || !s.planned || !s.request.whole() || s.caller == nil || s.tries > int(retry.Attempts) {
		return false
	}
	f := table.Failure{On: ir.OnStatus, Status: h.status, GRPC: -1, Idempotent: idempotent(s.head.method)}
	if s.head.grpc && end {
		f.On, f.GRPC = ir.OnGRPC, grpcStatus(fields)
	}
	if h.status < 400 && f.GRPC <= 0 {
		return false
	}
	wait, again := s.plan.Retry(f, s.tries, s.server.Random)
	if !again {
		return false
	}
	outcome := table.Succeeded
	if h.status >= 500 || badGRPC(f.GRPC) {
		outcome = table.Failed
	}
	now := s.server.Now()
	s.up.close(b, !end || !s.request.closed, codeCancel)
	s.endTry(outcome, now)
	s.grpc = f.GRPC
	s.count(h.status, now)
	s.touched = true
	s.repeat(b, wait)
	return true
}

// commit lets the response's head go to the caller: from now on it is this one.
func (s *stream) commit(b *batch, h *head, fields []field, end bool) {
	if s.patience != nil {
		s.patience.Stop()
	}
	s.responded, s.status = true, h.status
	if h.length >= 0 && s.head.method != http.MethodHead && h.status != http.StatusNotModified {
		s.response.length = h.length
	}
	s.request.drop()
	if s.head.grpc && end {
		s.noteGRPC(fields)
	}
	if s.caller != nil {
		s.down.headers(b, end, s.responseFields(fields))
	}
	if end {
		s.response.closed = true
		s.settle(b)
	}
}

// noteGRPC notes the status of a gRPC response that ends. Without one it is what gRPC's libraries make of that.
func (s *stream) noteGRPC(fields []field) {
	s.grpc = grpcStatus(fields)
	if s.grpc < 0 && s.status == http.StatusOK {
		s.grpc = 2
	}
}

// trailers end the response.
func (s *stream) trailers(b *batch, fields []field, end bool) malformed {
	kept, why := checkTrailers(fields)
	switch {
	case why != "":
		return why
	case !end:
		return "trailers that do not end the stream"
	case s.response.length > s.response.total:
		return "DATA differs from content-length"
	}
	if s.head.grpc {
		s.noteGRPC(kept)
	}
	s.response.done = true
	s.response.trailers = kept
	if s.push(b, &s.response, s.up, &s.down, nil); !s.response.closed {
		s.response.trailers = append([]field{}, kept...) // the list goes back
	}
	return ""
}

// reset handles RST_STREAM from either side.
func (s *stream) reset(b *batch, g *leg, c code) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.closed {
		return
	}
	g.close(b, false, 0)
	if g == &s.down {
		s.gone(b, c, "the caller reset the stream")
		return
	}
	switch {
	case s.response.done: // the endpoint wants no more of the request
		s.hangUp = true
		s.settle(b)
	case s.responded:
		s.broke(http.StatusBadGateway, "the endpoint reset the stream")
		s.abandon(b, c)
	default:
		f := failure{
			Failure: table.Failure{On: ir.OnReset, GRPC: -1, Untouched: c == codeRefused},
			outcome: table.Failed, count: telemetry.Unreached, status: http.StatusServiceUnavailable,
			reason: "the endpoint reset the stream", reset: true, code: c,
		}
		s.failed(b, f)
	}
}

// gone ends a request whose caller has gone away.
func (s *stream) gone(b *batch, c code, reason string) {
	s.noWait()
	if !s.over {
		s.broke(telemetry.Canceled, reason)
	}
	s.abandon(b, c)
}

// broken ends a stream on which a peer broke the rules.
func (s *stream) broken(b *batch, g *leg, c code, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.closed {
		return
	}
	g.close(b, true, c)
	switch {
	case g == &s.down:
		s.gone(b, codeCancel, why)
	case s.response.done:
		s.hangUp = true
		s.settle(b)
	case s.responded:
		s.broke(http.StatusBadGateway, why)
		s.cut(b, http.StatusBadGateway, why)
	default:
		s.failed(b, failure{
			Failure: table.Failure{On: ir.OnReset, GRPC: -1}, outcome: table.Failed, count: telemetry.Unreached,
			status: http.StatusBadGateway, reason: "the endpoint broke HTTP/2's rules: " + why,
		})
	}
}

// lost ends a stream whose link to the endpoint has ended. Untouched: the endpoint has certainly not begun.
func (s *stream) lost(b *batch, g *leg, untouched bool, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.closed {
		return
	}
	g.close(b, false, 0)
	switch {
	case s.response.done:
		s.hangUp = true
		s.settle(b)
	case s.responded:
		s.broke(http.StatusBadGateway, why)
		s.cut(b, http.StatusBadGateway, why)
	default:
		s.failed(b, failure{
			Failure: table.Failure{On: ir.OnReset, GRPC: -1, Untouched: untouched || g.id > 1 && idempotent(s.head.method)},
			outcome: table.Failed, count: telemetry.Unreached, status: http.StatusBadGateway, reason: why,
		})
	}
}
