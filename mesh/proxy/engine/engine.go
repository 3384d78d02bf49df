// Package engine is what the protocol engines share: what they are given, and the two header fields that
// belong to the mesh. An engine parses requests on connections it is given, has each one planned by the
// compiled configuration (package table), and carries it to an endpoint. It knows nothing of how connections
// are accepted or captured.
package engine

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/sluice-mesh/sluice/mesh/proxy/observe"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
)

// Options of an engine in one direction. All are required but Limits and Observer.
type Options struct {
	// Table returns the configuration in force; it is called once per request.
	Table func() *table.Table
	// Random draws.
	Random table.Rand
	// Dial connects to an endpoint and gives up by itself after the policy's time. Where the policy says
	// TLS, the connection speaks it, with this protocol offered by ALPN ("http/1.1" or "h2").
	Dial func(ctx context.Context, e *table.Endpoint, alpn string) (net.Conn, error)
	// DialAddress connects to what is not an endpoint of the mesh: for inbound requests the application.
	DialAddress func(context.Context, netip.AddrPort) (net.Conn, error)
	// Revision of the pod that we serve (inbound).
	Revision string
	// Now is the clock.
	Now    func() time.Time
	Limits Limits
	Logger *slog.Logger
	// Observer writes access logs and spans; nil observes nothing.
	Observer *observe.Observer
}

// Limits bound what a client may ask of an engine. The zero value of a field means its default; see
// Complete.
type Limits struct {
	// HeaderBytes bounds a request's head; 64 KiB by default. Beyond it the answer is 431.
	HeaderBytes int
	// HeaderTime bounds the time from a head's first byte to its end; 60 s by default.
	HeaderTime time.Duration
	// IdleTime closes a connection without a request; one hour by default, so that clients, whose own
	// limits are shorter, are the ones to close: a proxy that closes first breaks a request now and then.
	IdleTime time.Duration
	// Streams that an HTTP/2 client may have open on one connection; 1000 by default.
	Streams uint32
	// ResponseHeaderBytes bounds a response's head; 256 KiB by default.
	ResponseHeaderBytes int
}

// Complete fills in the defaults.
func (l Limits) Complete() Limits {
	return Limits{
		HeaderBytes:         cmp.Or(l.HeaderBytes, 64<<10),
		HeaderTime:          cmp.Or(l.HeaderTime, 60*time.Second),
		IdleTime:            cmp.Or(l.IdleTime, time.Hour),
		Streams:             cmp.Or(l.Streams, 1000),
		ResponseHeaderBytes: cmp.Or(l.ResponseHeaderBytes, 256<<10),
	}
}

// The header fields that belong to the mesh and never leave it.
const (
	// Intended is on requests to endpoints: "<namespace>/<name>;<revision>" that the caller drew. The called
	// pod's proxy takes it off and answers 421 when the pod is another revision, since an address may have
	// passed to another pod.
	Intended = "sluice-intended"
	// Unprocessed is on the answers of a called pod's proxy that did not hand the request to the
	// application: the caller's proxy may try another endpoint.
	Unprocessed = "sluice-unprocessed"
)

// What Unprocessed says.
const (
	WrongRevision = "revision"
	Unreachable   = "unreachable"
)

// IdleUpstream is how long an idle connection to an endpoint is kept. Servers that close idle connections
// themselves do so after 5 s and more as a rule; who closes first does not lose a request to the other's
// closing.
const IdleUpstream = 4 * time.Second

// MaxReplay is how much of a request's body is remembered, so that the request can be offered to another
// endpoint. The body is not held back for it.
const MaxReplay = 16 << 10

// MaxMirrored is the largest body of a request that is mirrored.
const MaxMirrored = 64 << 10
