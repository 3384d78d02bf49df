package http1

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strings"
	"sync/atomic"
)

type inbound struct {
	Options
	draining  *atomic.Bool
	forwarder *httputil.ReverseProxy
	transport *http.Transport
}

// NewInbound makes the server of requests to the pod: each goes on to the address it was sent to, and is
// counted as the destination's.
func NewInbound(o Options) *Server {
	h := &inbound{Options: o, draining: new(atomic.Bool), forwarder: newForwarder(o.Logger), transport: newTransport(o.Dial)}
	return newServer(h, h.draining, h.transport.CloseIdleConnections, o)
}

func (h *inbound) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	dst := r.Context().Value(destinationKey{}).(netip.AddrPort)
	intended := r.Header.Get(intendedHeader)
	service, revision, mesh := strings.Cut(intended, ";")
	if mesh && revision != h.Revision {
		misdirected(w, intended, h.Revision)
		return
	}
	x := &exchange{
		w: w, r: r, now: h.Now, close: h.draining.Load(),
		name: dst.String(), next: straight(dst, h.transport), unprocessed: mesh,
	}
	if port := h.Table().Inbound(dst.Port(), service); port != nil {
		x.series = port.InboundSeries(mesh)
	}
	serve(h.forwarder, x)
}

// misdirected refuses a request for another revision before anything of it is processed.
func misdirected(w http.ResponseWriter, intended, revision string) {
	w.Header().Set(unprocessedHeader, wrongRevision)
	w.Header().Set("Server", "sluice")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusMisdirectedRequest)
	fmt.Fprintf(w, "sluice: request for %s came to a pod of revision %q\n", intended, revision)
}
