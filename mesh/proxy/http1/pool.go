package http1

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/sluice-mesh/sluice/mesh/proxy/table"
)

// Dial connects to an address. It must give up by itself after a reasonable time.
type Dial func(context.Context, netip.AddrPort) (net.Conn, error)

// idleTime is how long an idle connection to an endpoint is kept. Servers that close idle connections
// themselves do so after 5 s and more as a rule; who closes first does not lose a request to the other's
// closing.
const idleTime = 4 * time.Second

// dialError says that no connection could be established, so nothing was sent.
type dialError struct{ error }

func (e dialError) Unwrap() error { return e.error }

// timeout reports whether the connection was not refused but not answered.
func (e dialError) timeout() bool {
	var timeout net.Error
	return errors.As(e.error, &timeout) && timeout.Timeout()
}

// transport carries requests to the address that their URL names.
func newTransport(dial Dial) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return nil, dialError{err}
			}
			conn, err := dial(ctx, to)
			if err != nil {
				return nil, dialError{err}
			}
			return conn, nil
		},
		DisableCompression:     true,
		MaxIdleConnsPerHost:    1024,
		IdleConnTimeout:        idleTime,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 256 << 10,
	}
}

// pool is an endpoint's transport.
type pool struct{ *http.Transport }

// Retire implements table.Pool: a Transport told to close its idle connections also closes those that
// become idle later, until the next request.
func (p pool) Retire() { p.CloseIdleConnections() }

// NewPool returns what makes the pools of endpoints for Outbound.
func NewPool(dial Dial) func(netip.AddrPort) table.Pool {
	return func(netip.AddrPort) table.Pool { return pool{newTransport(dial)} }
}
