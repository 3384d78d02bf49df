// Package observe tells people of single requests: access logs as JSON lines, and spans to a collector. It
// knows nothing of how requests are carried; metrics are package telemetry's.
package observe

import (
	"net/netip"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// Observer writes access logs and sends spans as the settings in force say. A nil Observer observes nothing.
// It is safe for concurrent use.
type Observer struct{}

// Configure puts settings in force.
func (o *Observer) Configure(ir.Settings) {}

// Headers is how a request's header is read, name in lower case.
type Headers interface {
	Header(name string) (value string, found bool)
}

// Begin decides whether a request gets a span; nil: it does not, and its trace headers pass untouched.
func (o *Observer) Begin(Headers) *Span { return nil }

// End of a request: writes it where the settings ask for it, and ends its span (may be nil). The record is
// the caller's again afterwards.
func (o *Observer) End(*Span, *Record) {}

// Span is one request's part of a trace.
type Span struct{}

// Propagate calls set for each header field that the request to the endpoint must have, in place of those of
// that name that came.
func (s *Span) Propagate(set func(name, value string)) {}

// Record is one request as it ended. Texts are good until End returns.
type Record struct {
	Begun    time.Time
	Duration time.Duration
	// Inbound: the pod was called; else it called.
	Inbound bool
	// Protocol is "HTTP/1.1", "HTTP/2" or "TCP".
	Protocol                    string
	Method, Path, Authority     string
	UserAgent, RequestID        string
	Caller                      netip.AddrPort
	Endpoint                    netip.AddrPort // of the last try; invalid: none was reached
	Service, Revision, Rule     string
	Code                        int // as package telemetry counts it
	GRPC                        int // -1: not gRPC
	Tries                       int
	RequestBytes, ResponseBytes int64
	// Reason in few words where the proxy answered itself or the request broke off; "" otherwise.
	Reason string
}
