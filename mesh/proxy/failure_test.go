package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy"
)

func TestDeadEndpointCountsAgainstTheDrawnRevision(t *testing.T) {
	b := newBench(t, nil, nil, nil)
	b.apply(service("shop", shopAddress, ir.HTTP, release(1, 100), revisions{"v1": {says(t, "v1")}, "v2": {closedPort(t)}}))
	response, err := b.client(shopAddress).Get("http://shop.demo/")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(response.Body)
	response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Server") != "sluice" ||
		!strings.Contains(string(body), "demo/shop revision v2") {
		t.Errorf("answer %d %q, want 503 by sluice that names service and revision", response.StatusCode, body)
	}
	if got := b.total("revision=v2", "weight=100", "code=0"); got != 1 {
		t.Errorf("code 0 of the canary = %v, want 1", got)
	}
	if got := b.metric("sluice_request_duration_seconds", "revision=v2", "code=none"); got != 1 {
		t.Errorf("durations of class none = %v, want 1", got)
	}
}

// A second endpoint of the same revision saves the caller; the canary's failure counts all the same, and
// the request once.
func TestRetryStaysInTheRevisionAndHidesNothing(t *testing.T) {
	b := newBench(t, nil, nil, nil)
	b.apply(service("shop", shopAddress, ir.HTTP, release(1, 100), revisions{
		"v1": {says(t, "v1")}, "v2": {says(t, "v2"), closedPort(t)},
	}))
	client := b.client(shopAddress)
	const n = 60
	for range n {
		response, err := client.Post("http://shop.demo/", "text/plain", strings.NewReader("+body"))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != 200 || string(body) != "v2+body" {
			t.Fatalf("answer %d %q, want the canary's other endpoint", response.StatusCode, body)
		}
	}
	missed, ok := b.total("revision=v2", "code=0"), b.total("revision=v2", "code=200")
	if missed < 1 || ok < 1 || missed+ok != n { // 2^-60: a fair choice of two would avoid one for ever
		t.Errorf("code 0: %v, code 200: %v; want both, %d in all", missed, ok, n)
	}
	if got := b.total("revision=v1"); got != 0 {
		t.Errorf("%v requests spilled to stable", got)
	}
}

func TestNoEndpointAtAll(t *testing.T) {
	b := newBench(t, nil, nil, nil)
	s := service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v1": {says(t, "v1")}})
	s.Subsets[0].Endpoints[0].Draining = true
	b.apply(s)
	if code, body := get(t, b.client(shopAddress), "/"); code != 503 || !strings.Contains(body, "no endpoint") {
		t.Errorf("answer %d %q, want 503 with the reason", code, body)
	}
	if got := b.total("code=0"); got != 1 {
		t.Errorf("code 0 = %v, want 1", got)
	}
}

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

func TestClientsCancelIs499(t *testing.T) {
	reached := make(chan struct{})
	hangs := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		close(reached)
		<-r.Context().Done()
	})
	b := newBench(t, nil, nil, nil)
	b.apply(service("shop", shopAddress, ir.HTTP, release(1, 100), revisions{"v1": {says(t, "v1")}, "v2": {hangs}}))
	ctx, cancel := context.WithCancel(context.Background())
	request, _ := http.NewRequestWithContext(ctx, "GET", "http://shop.demo/", nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if response, err := b.client(shopAddress).Do(request); err == nil {
			response.Body.Close()
			t.Error("the request was answered")
		}
	}()
	<-reached
	if got := b.metric("sluice_requests_started_total", "revision=v2"); got != 1 {
		t.Errorf("started = %v while it hangs, want 1: exposure counts from the start", got)
	}
	cancel()
	<-done
	eventually(t, "the cancelled request to count", func() bool { return b.total("revision=v2", "code=499") == 1 })
}

func TestResponseThatBreaksOffIsNotASuccess(t *testing.T) {
	half := raw(t, func(c net.Conn, r *bufio.Reader) {
		readHead(r)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
	})
	b := newBench(t, nil, nil, nil)
	b.apply(service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v1": {half}}))
	response, err := b.client(shopAddress).Get("http://shop.demo/")
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(response.Body); err == nil {
		t.Errorf("the caller got %q as a whole response", body)
	}
	response.Body.Close()
	eventually(t, "the broken response to count", func() bool { return b.total("code=502") == 1 })
}

func TestEndpointThatHangsUpWithoutAnswer(t *testing.T) {
	mute := raw(t, func(c net.Conn, r *bufio.Reader) { readHead(r) })
	b := newBench(t, nil, nil, nil)
	b.apply(service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v1": {mute, says(t, "v1")}}))
	client := b.client(shopAddress)
	bad := 0
	for range 40 {
		if code, _ := get(t, client, "/"); code == http.StatusBadGateway {
			bad++
		}
	}
	// The request may have been processed, so it is not offered to the other endpoint.
	if got := b.total("code=0"); bad == 0 || got != float64(bad) {
		t.Errorf("%d answers of 502, code 0 = %v; want the same, above 0", bad, got)
	}
}

// A kept connection that the endpoint closes meanwhile costs nobody a request.
func TestKeptConnectionThatDiedIsReplaced(t *testing.T) {
	once := raw(t, func(c net.Conn, r *bufio.Reader) {
		readHead(r)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") // promises to stay, and closes
	})
	b := newBench(t, nil, nil, nil)
	b.apply(service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v1": {once}}))
	client := b.client(shopAddress)
	for i := range 50 {
		if code, body := get(t, client, "/"); code != 200 || body != "ok" {
			t.Fatalf("request %d: %d %q", i, code, body)
		}
	}
	if got := b.total("code=200"); got != 50 {
		t.Errorf("code 200 = %v, want 50", got)
	}
}

// Two proxies: the caller's and the called pod's. The address of a canary endpoint has passed to a pod of
// another revision, whose proxy refuses what is meant for the canary; the caller's proxy tries the other
// endpoint, and the body arrives whole.
func TestAddressThatPassedToAnotherRevision(t *testing.T) {
	for name, bodySize := range map[string]int{"small body": 100, "no body": 0} {
		t.Run(name, func(t *testing.T) {
			host := netip.MustParseAddr(podHost())
			appDoor := netip.AddrPortFrom(host, 9000)
			called := newBench(t, func(o *proxy.Options) { o.Self, o.Revision = host, "v3" }, nil, []netip.AddrPort{appDoor})
			door := netip.MustParseAddrPort(called.doors[appDoor])
			called.apply(service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v3": {appDoor}}))

			caller := newBench(t, nil, nil, nil)
			caller.apply(service("shop", shopAddress, ir.HTTP, release(1, 100), revisions{
				"v1": {says(t, "v1")}, "v2": {door, says(t, "v2")},
			}))
			client := caller.client(shopAddress)
			body := strings.Repeat("b", bodySize)
			for range 40 {
				response, err := client.Post("http://shop.demo/", "text/plain", strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				got, _ := io.ReadAll(response.Body)
				response.Body.Close()
				if response.StatusCode != 200 || string(got) != "v2"+body {
					t.Fatalf("answer %d %q", response.StatusCode, got)
				}
			}
			if got := caller.total("revision=v2", "code=200"); got != 40 {
				t.Errorf("code 200 = %v, want 40: a stale address is no failure of the canary", got)
			}
			if got := called.total("reporter=destination"); got != 0 {
				t.Errorf("the called pod counted %v requests that were not for it", got)
			}
		})
	}
}

func TestOnlyEndpointIsAnotherRevision(t *testing.T) {
	host := netip.MustParseAddr(podHost())
	appDoor := netip.AddrPortFrom(host, 9000)
	called := newBench(t, func(o *proxy.Options) { o.Self, o.Revision = host, "v3" }, nil, []netip.AddrPort{appDoor})
	called.apply(service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v3": {appDoor}}))
	caller := newBench(t, nil, nil, nil)
	caller.apply(service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v2": {netip.MustParseAddrPort(called.doors[appDoor])}}))
	if code, body := get(t, caller.client(shopAddress), "/"); code != 503 || !strings.Contains(body, "not processed") {
		t.Errorf("answer %d %q, want 503 that says the request was not processed", code, body)
	}
	if got := caller.total("code=0"); got != 1 {
		t.Errorf("code 0 = %v, want 1", got)
	}
}

// The application behind a proxy has gone (a pod that is ending): its proxy says that it did not hand the
// request on, and the caller's tries another endpoint. The failure counts.
func TestApplicationGoneBehindItsProxy(t *testing.T) {
	gone := closedPort(t)
	called := newBench(t, func(o *proxy.Options) { o.Self, o.Revision = gone.Addr(), "v1" }, nil, []netip.AddrPort{gone})
	called.apply(service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v1": {gone}}))
	caller := newBench(t, nil, nil, nil)
	caller.apply(service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{
		"v1": {netip.MustParseAddrPort(called.doors[gone]), says(t, "v1")},
	}))
	client := caller.client(shopAddress)
	for range 40 {
		if code, body := get(t, client, "/"); code != 200 || body != "v1" {
			t.Fatalf("answer %d %q", code, body)
		}
	}
	if missed, ok := caller.total("code=0"), caller.total("code=200"); missed < 1 || missed+ok != 40 {
		t.Errorf("code 0: %v, code 200: %v; want some of the first and 40 in all", missed, ok)
	}
	if got := called.total("reporter=destination", "source=mesh", "code=0"); got < 1 {
		t.Errorf("the called pod's proxy counts %v unreached, want some", got)
	}
	// To a caller outside the mesh it says nothing of the sort.
	response, err := called.client(gone).Get("http://shop.demo/")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != 503 || response.Header.Get("Sluice-Unprocessed") != "" {
		t.Errorf("answer to an outsider: %d, %v", response.StatusCode, response.Header)
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
