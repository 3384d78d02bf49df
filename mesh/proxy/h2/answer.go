package h2

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
)

// grpcOf translates an HTTP status of ours for callers that speak gRPC.
func grpcOf(status int) int {
	switch status {
	case http.StatusBadRequest:
		return 13 // INTERNAL
	case http.StatusUnauthorized:
		return 16
	case http.StatusForbidden:
		return 7
	case http.StatusNotFound:
		return 12 // UNIMPLEMENTED
	case http.StatusTooManyRequests, http.StatusRequestHeaderFieldsTooLarge:
		return 8 // RESOURCE_EXHAUSTED
	case http.StatusGatewayTimeout:
		return 4 // DEADLINE_EXCEEDED
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusMisdirectedRequest:
		return 14 // UNAVAILABLE
	}
	return 2 // UNKNOWN
}

// answer responds with an answer of the plan's own, and counts it as the caller gets it.
func (s *stream) answer(b *batch, local table.Local) {
	s.status, s.grpc, s.reason = local.Status, -1, local.Reason
	if s.head.grpc {
		if local.GRPC == 0 {
			local.GRPC = grpcOf(local.Status)
		}
		s.status, s.grpc = http.StatusOK, local.GRPC
	}
	s.respondLocally(b, local)
}

// explain answers a request that got no response, in few words that a person can use. What it counts as
// has been noted before.
func (s *stream) explain(b *batch, status int, reason string, extra ...field) {
	s.reason = reason
	s.respondLocally(b, table.Local{Status: status, GRPC: grpcOf(status), Reason: reason}, extra...)
}

func (s *stream) respondLocally(b *batch, local table.Local, extra ...field) {
	s.responded, s.ours, s.hangUp = true, true, true
	s.up.close(b, true, codeCancel)
	if s.caller == nil { // of a mirror nobody waits for it
		s.response.done, s.response.closed = true, true
		s.request.done = true
		s.settle(b)
		return
	}
	text := fmt.Sprintf("sluice: %s: %s\n", s.name(), local.Reason)
	f := &s.response
	f.buf, f.done = nil, true
	if s.head.grpc {
		f.closed = true
		s.down.headers(b, true, append([]field{
			{Name: ":status", Value: "200"}, {Name: "content-type", Value: "application/grpc"},
			{Name: "server", Value: "sluice"}, {Name: "grpc-status", Value: strconv.Itoa(local.GRPC)},
			{Name: "grpc-message", Value: percent(strings.TrimSpace(text))},
		}, extra...))
		s.settle(b)
		return
	}
	fields := append([]field{
		{Name: ":status", Value: strconv.Itoa(local.Status)}, {Name: "server", Value: "sluice"},
		{Name: "content-type", Value: "text/plain; charset=utf-8"},
		{Name: "content-length", Value: strconv.Itoa(len(text))},
	}, extra...)
	if local.Location != "" {
		fields = append(fields, field{Name: "location", Value: local.Location})
	}
	if s.head.method == http.MethodHead {
		f.closed = true
		s.down.headers(b, true, fields)
		s.settle(b)
		return
	}
	s.down.headers(b, false, fields)
	s.push(b, f, nil, &s.down, []byte(text))
}

// cut ends a response that has begun: for gRPC with trailers, which say what a code cannot, else by a reset.
// What it counts as has been noted before.
func (s *stream) cut(b *batch, status int, reason string) {
	s.reason = reason
	if !s.head.grpc || s.caller == nil {
		s.abandon(b, codeInternal)
		return
	}
	s.finish()
	s.ours, s.hangUp = true, true
	s.up.close(b, true, codeCancel)
	s.response.done = true
	s.response.trailers = []field{
		{Name: "grpc-status", Value: strconv.Itoa(grpcOf(status))},
		{Name: "grpc-message", Value: percent("sluice: " + s.name() + ": " + reason)},
	}
	s.push(b, &s.response, s.up, &s.down, nil)
}

// percent encodes a grpc-message (gRPC over HTTP/2, Responses).
func percent(text string) string {
	var out strings.Builder
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&out, "%%%02X", c)
		} else {
			out.WriteByte(c)
		}
	}
	return out.String()
}

// misdirected refuses a request for another revision before anything of it is processed.
func (s *stream) misdirected(b *batch, intended string) {
	s.status, s.head.grpc = http.StatusMisdirectedRequest, false // a proxy has asked
	s.explain(b, s.status, fmt.Sprintf("request for %s came to a pod of revision %q", intended, s.server.Revision),
		field{Name: engine.Unprocessed, Value: engine.WrongRevision})
}
