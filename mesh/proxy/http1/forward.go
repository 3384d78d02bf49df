package http1

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
)

const (
	intendedHeader    = "Sluice-Intended"
	unprocessedHeader = "Sluice-Unprocessed"
)

// Headers that ReverseProxy takes away and that are none of our business.
var kept = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Proxy-Authorization"}

type exchangeKey struct{}

// forwarder returns the part that both directions share: the standard library's ReverseProxy, held to
// changing nothing that it need not. It expects an exchange in the request's context.
func newForwarder(logger *slog.Logger) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:        rewrite,
		Transport:      roundTripper{},
		ModifyResponse: func(r *http.Response) error { exchangeOf(r.Request.Context()).answered(r); return nil },
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			exchangeOf(r.Context()).explain(w, err)
		},
		ErrorLog:   slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		BufferPool: &buffers,
	}
}

func exchangeOf(ctx context.Context) *exchange { return ctx.Value(exchangeKey{}).(*exchange) }

type roundTripper struct{}

func (roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	return exchangeOf(r.Context()).roundTrip(r)
}

func rewrite(r *httputil.ProxyRequest) {
	for _, name := range kept {
		if values, found := r.In.Header[name]; found {
			r.Out.Header[name] = values
		}
	}
	r.Out.Header.Del(intendedHeader)
	r.Out.Host = r.In.Host
	r.Out.Trailer = r.In.Trailer // filled in at the end of the body
	r.Out.URL = target(r.In)
}

// target is a URL that is written as the very request target that was received. The endpoint's address
// is filled in for every try.
func target(r *http.Request) *url.URL {
	if strings.HasPrefix(r.RequestURI, "//") { // which Opaque would take for an authority
		u := *r.URL
		u.Scheme = "http"
		return &u
	}
	return &url.URL{Scheme: "http", Opaque: r.RequestURI}
}

// unprocessedError says that the called pod's proxy did not hand the request to the application.
type unprocessedError struct{ reason string }

func (e unprocessedError) Error() string { return "request not processed: " + e.reason }

// What sluice-unprocessed says.
const (
	wrongRevision = "revision"
	unreachable   = "unreachable"
)

var errNoEndpoint = errors.New("no endpoint takes requests")

// explain answers a request that has no response, in few words that a person can use.
func (x *exchange) explain(w http.ResponseWriter, err error) {
	var dial dialError
	var unprocessed unprocessedError
	status := http.StatusBadGateway
	switch {
	case errors.As(err, &dial) && dial.timeout():
		status = http.StatusGatewayTimeout
	case errors.As(err, &dial), errors.As(err, &unprocessed), errors.Is(err, errNoEndpoint):
		status = http.StatusServiceUnavailable
	}
	x.failed()
	if x.unprocessed && errors.As(err, &dial) {
		w.Header().Set(unprocessedHeader, unreachable)
	}
	w.Header().Set("Server", "sluice")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintf(w, "sluice: %s: %v\n", x.name, err)
}

// buffers are lent for copying bodies.
var buffers bufferPool

type bufferPool struct{ pool sync.Pool }

const bufferSize = 32 << 10

func (b *bufferPool) Get() []byte {
	if buffer, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return buffer[:]
	}
	return make([]byte, bufferSize)
}

func (b *bufferPool) Put(buffer []byte) {
	if cap(buffer) >= bufferSize {
		b.pool.Put((*[bufferSize]byte)(buffer[:bufferSize]))
	}
}
