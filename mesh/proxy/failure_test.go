package proxy_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy"
)

// A node that does not answer at all is not waited for longer than the connect timeout.
func TestEndpointThatDoesNotAnswerTimesOut(t *testing.T) {
	// A listener whose backlog is full answers no further SYN.
	full := fullBacklog(t)
	b := newBench(t, func(o *proxy.Options) { o.ConnectTimeout = 100 * time.Millisecond }, nil, nil)
	b.apply(service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v1": {full}}))
	if code, body := get(t, b.client(shopAddress), "/"); code != http.StatusGatewayTimeout {
		t.Errorf("answer %d %q, want 504", code, body)
	}
	if got := b.total("code=0"); got != 1 {
		t.Errorf("code 0 = %v, want 1", got)
	}
}

// An application that does not listen is said to be gone, in either protocol.
func TestApplicationThatIsGone(t *testing.T) {
	gone := closedPort(t)
	b := newBench(t, func(o *proxy.Options) { o.Self, o.Revision = gone.Addr(), "v1" }, nil, []netip.AddrPort{gone})
	b.apply(service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v1": {gone}}))
	for _, http2 := range []bool{false, true} {
		if code, body := get(t, b.speaking(gone, http2, nil), "/"); code != http.StatusServiceUnavailable {
			t.Errorf("HTTP/2 %v: answer %d %q, want 503", http2, code, body)
		}
	}
	if got := b.total("reporter=destination", "code=0"); got != 2 {
		t.Errorf("code 0 = %v, want 2", got)
	}
}

func TestLoopsAreRefused(t *testing.T) {
	b := newBench(t, func(o *proxy.Options) {
		origin := o.Origin
		o.Origin = func(c *net.TCPConn) (netip.AddrPort, error) {
			if dst, err := origin(c); dst != shopAddress {
				return dst, err
			}
			return c.LocalAddr().(*net.TCPAddr).AddrPort(), nil // nobody redirected it
		}
	}, []netip.AddrPort{shopAddress, cacheAddress}, nil)
	if !b.refuses(shopAddress) {
		t.Error("a connection to the proxy itself was not refused")
	}

	var self netip.AddrPort
	looped := newBench(t, func(o *proxy.Options) {
		self = o.Outbound[0].Addr().(*net.TCPAddr).AddrPort()
		o.Origin = func(c *net.TCPConn) (netip.AddrPort, error) { return self, nil }
	}, []netip.AddrPort{shopAddress, cacheAddress}, nil)
	if !looped.refuses(cacheAddress) { // by another door, so that the destination is not its own address
		t.Error("a connection back to the proxy was not refused")
	}
	for name, bench := range map[string]*bench{"itself": b, "loop": looped} {
		if got := bench.metric("sluice_proxy_refused_connections_total", "direction=outbound"); got != 1 {
			t.Errorf("%s: refused = %v, want 1", name, got)
		}
	}
}

func TestTooManyConnections(t *testing.T) {
	b := newBench(t, func(o *proxy.Options) { o.MaxConnections = 2 }, []netip.AddrPort{cacheAddress}, nil)
	b.apply(service("cache", cacheAddress, ir.TCP, ir.Split{}, revisions{"v1": {echo(t, "")}}))
	for range 2 {
		conn := b.dial(cacheAddress)
		fmt.Fprint(conn, "x")
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if !b.refuses(cacheAddress) {
		t.Error("a third connection was taken")
	}
	if got := b.metric("sluice_proxy_refused_connections_total", "direction=outbound"); got != 1 {
		t.Errorf("refused = %v, want 1", got)
	}
}
