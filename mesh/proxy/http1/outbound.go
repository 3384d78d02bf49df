package http1

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
)

// Options of either direction. All are required but Limits.
type Options struct {
	// Table returns the configuration in force; it is called once per request.
	Table func() *table.Table
	// Random draws.
	Random table.Rand
	// Dial connects to what is not an endpoint of the mesh.
	Dial Dial
	// Revision of the pod that we serve (inbound).
	Revision string
	// Now is the clock.
	Now    func() time.Time
	Limits Limits
	Logger *slog.Logger
}

type outbound struct {
	Options
	draining  *atomic.Bool
	forwarder *httputil.ReverseProxy
	pass      *http.Transport
}

// NewOutbound makes the server of the pod's own requests: each is drawn over its service's split and
// counted as the source's. The pools of the table's endpoints must come from NewPool.
func NewOutbound(o Options) *Server {
	h := &outbound{Options: o, draining: new(atomic.Bool), forwarder: newForwarder(o.Logger), pass: newTransport(o.Dial)}
	return newServer(h, h.draining, h.pass.CloseIdleConnections, o)
}

func (h *outbound) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	dst := r.Context().Value(destinationKey{}).(netip.AddrPort)
	x := &exchange{w: w, r: r, now: h.Now, close: h.draining.Load()}
	port := h.Table().Outbound(dst)
	if port == nil || port.Protocol != ir.HTTP {
		// The service has left the mesh since the connection was opened.
		x.name, x.next = dst.String(), straight(dst, h.pass)
	} else {
		draw := port.Draw(h.Random)
		x.name, x.series, x.streams = port.Service, draw.Series, draw.Streams()
		if draw.Revision != "" {
			x.name += " revision " + draw.Revision
		}
		x.next = func(tried []*table.Endpoint) (hop, error) {
			endpoint := draw.Pick(h.Random, tried)
			if endpoint == nil {
				return hop{}, errNoEndpoint
			}
			return hop{
				address: endpoint.Address.String(), intended: endpoint.Intended,
				transport: endpoint.Pool().(pool), endpoint: endpoint,
			}, nil
		}
	}
	serve(h.forwarder, x)
}

// straight is the only hop to an address that there is no choice about.
func straight(dst netip.AddrPort, transport http.RoundTripper) func([]*table.Endpoint) (hop, error) {
	return func([]*table.Endpoint) (hop, error) {
		return hop{address: dst.String(), transport: transport}, nil
	}
}

func serve(forwarder *httputil.ReverseProxy, x *exchange) {
	// Caller and application may talk in both directions at once.
	_ = http.NewResponseController(x.w).EnableFullDuplex() // net/http's HTTP/1.x always can
	x.begin()
	defer x.finish() // also when the response breaks off, which is a panic to net/http
	forwarder.ServeHTTP(x.w, x.r.WithContext(context.WithValue(x.r.Context(), exchangeKey{}, x)))
}
