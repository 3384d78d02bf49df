package h1_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
)

func TestDeadEndpointCountsAgainstTheDrawnRevision(t *testing.T) {
	b := outbound(t, nil)
	b.Apply(shop(release(1, 100), revisions{"v1": {says(t, "v1")}, "v2": {closedPort(t)}}))
	response, err := b.client().Get("http://shop.demo/")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(response.Body)
	response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Server") != "sluice" ||
		!strings.Contains(string(body), "demo/shop revision v2") {
		t.Errorf("answer %d %q, want 503 by sluice that names service and revision", response.StatusCode, body)
	}
	if got := b.Total("revision=v2", "weight=100", "code=0"); got != 1 {
		t.Errorf("code 0 of the canary = %v, want 1", got)
	}
	if got := b.Metric("sluice_request_duration_seconds", "revision=v2", "code=none"); got != 1 {
		t.Errorf("durations of class none = %v, want 1", got)
	}
}

// A second endpoint of the same revision saves the caller; the canary's failure counts all the same, and
// the request once.
func TestRetryStaysInTheRevisionAndHidesNothing(t *testing.T) {
	b := outbound(t, nil)
	b.Apply(shop(release(1, 100), revisions{
		"v1": {says(t, "v1")}, "v2": {says(t, "v2"), closedPort(t)},
	}))
	client := b.client()
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
	missed, ok := b.Total("revision=v2", "code=0"), b.Total("revision=v2", "code=200")
	if missed < 1 || ok < 1 || missed+ok != n { // 2^-60: a fair choice of two would avoid one for ever
		t.Errorf("code 0: %v, code 200: %v; want both, %d in all", missed, ok, n)
	}
	if got := b.Total("revision=v1"); got != 0 {
		t.Errorf("%v requests spilled to stable", got)
	}
}

func TestNoEndpointAtAll(t *testing.T) {
	b := outbound(t, nil)
	s := shop(ir.Split{}, revisions{"v1": {says(t, "v1")}})
	s.Subsets[0].Endpoints[0].Draining = true
	b.Apply(s)
	if code, body := get(t, b.client(), "/"); code != 503 || !strings.Contains(body, "no endpoint") {
		t.Errorf("answer %d %q, want 503 with the reason", code, body)
	}
	if got := b.Total("code=0"); got != 1 {
		t.Errorf("code 0 = %v, want 1", got)
	}
}

func TestClientsCancelIs499(t *testing.T) {
	reached := make(chan struct{})
	hangs := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		close(reached)
		<-r.Context().Done()
	})
	b := outbound(t, nil)
	b.Apply(shop(release(1, 100), revisions{"v1": {says(t, "v1")}, "v2": {hangs}}))
	ctx, cancel := context.WithCancel(context.Background())
	request, _ := http.NewRequestWithContext(ctx, "GET", "http://shop.demo/", nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if response, err := b.client().Do(request); err == nil {
			response.Body.Close()
			t.Error("the request was answered")
		}
	}()
	<-reached
	if got := b.Metric("sluice_requests_started_total", "revision=v2"); got != 1 {
		t.Errorf("started = %v while it hangs, want 1: exposure counts from the start", got)
	}
	cancel()
	<-done
	eventually(t, "the cancelled request to count", func() bool { return b.Total("revision=v2", "code=499") == 1 })
}

func TestResponseThatBreaksOffIsNotASuccess(t *testing.T) {
	half := raw(t, func(c net.Conn, r *bufio.Reader) {
		readHead(r)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
	})
	b := outbound(t, nil)
	b.Apply(shop(ir.Split{}, revisions{"v1": {half}}))
	response, err := b.client().Get("http://shop.demo/")
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(response.Body); err == nil {
		t.Errorf("the caller got %q as a whole response", body)
	}
	response.Body.Close()
	eventually(t, "the broken response to count", func() bool { return b.Total("code=502") == 1 })
}

func TestEndpointThatHangsUpWithoutAnswer(t *testing.T) {
	mute := raw(t, func(c net.Conn, r *bufio.Reader) { readHead(r) })
	b := outbound(t, nil)
	b.Apply(shop(ir.Split{}, revisions{"v1": {mute, says(t, "v1")}}))
	client := b.client()
	bad := 0
	for range 40 {
		if code, _ := get(t, client, "/"); code == http.StatusBadGateway {
			bad++
		}
	}
	// The request may have been processed, so it is not offered to the other endpoint.
	if got := b.Total("code=0"); bad == 0 || got != float64(bad) {
		t.Errorf("%d answers of 502, code 0 = %v; want the same, above 0", bad, got)
	}
}

// A kept connection that the endpoint closes meanwhile costs nobody a request.
func TestKeptConnectionThatDiedIsReplaced(t *testing.T) {
	once := raw(t, func(c net.Conn, r *bufio.Reader) {
		readHead(r)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") // promises to stay, and closes
	})
	b := outbound(t, nil)
	b.Apply(shop(ir.Split{}, revisions{"v1": {once}}))
	client := b.client()
	for i := range 50 {
		if code, body := get(t, client, "/"); code != 200 || body != "ok" {
			t.Fatalf("request %d: %d %q", i, code, body)
		}
	}
	if got := b.Total("code=200"); got != 50 {
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
			called := inbound(t, appDoor, "v3")
			door := netip.MustParseAddrPort(called.door)
			called.Apply(shop(ir.Split{}, revisions{"v3": {appDoor}}))

			caller := outbound(t, nil)
			caller.Apply(shop(release(1, 100), revisions{
				"v1": {says(t, "v1")}, "v2": {door, says(t, "v2")},
			}))
			client := caller.client()
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
			if got := caller.Total("revision=v2", "code=200"); got != 40 {
				t.Errorf("code 200 = %v, want 40: a stale address is no failure of the canary", got)
			}
			if got := called.Total("reporter=destination"); got != 0 {
				t.Errorf("the called pod counted %v requests that were not for it", got)
			}
		})
	}
}

func TestOnlyEndpointIsAnotherRevision(t *testing.T) {
	host := netip.MustParseAddr(podHost())
	appDoor := netip.AddrPortFrom(host, 9000)
	called := inbound(t, appDoor, "v3")
	called.Apply(shop(ir.Split{}, revisions{"v3": {appDoor}}))
	caller := outbound(t, nil)
	caller.Apply(shop(ir.Split{}, revisions{"v2": {netip.MustParseAddrPort(called.door)}}))
	if code, body := get(t, caller.client(), "/"); code != 503 || !strings.Contains(body, "not processed") {
		t.Errorf("answer %d %q, want 503 that says the request was not processed", code, body)
	}
	if got := caller.Total("code=0"); got != 1 {
		t.Errorf("code 0 = %v, want 1", got)
	}
}

// The application behind a proxy has gone (a pod that is ending): its proxy says that it did not hand the
// request on, and the caller's tries another endpoint. The failure counts.
func TestApplicationGoneBehindItsProxy(t *testing.T) {
	gone := closedPort(t)
	called := inbound(t, gone, "v1")
	called.Apply(shop(ir.Split{}, revisions{"v1": {gone}}))
	caller := outbound(t, nil)
	caller.Apply(shop(ir.Split{}, revisions{
		"v1": {netip.MustParseAddrPort(called.door), says(t, "v1")},
	}))
	client := caller.client()
	for range 40 {
		if code, body := get(t, client, "/"); code != 200 || body != "v1" {
			t.Fatalf("answer %d %q", code, body)
		}
	}
	if missed, ok := caller.Total("code=0"), caller.Total("code=200"); missed < 1 || missed+ok != 40 {
		t.Errorf("code 0: %v, code 200: %v; want some of the first and 40 in all", missed, ok)
	}
	if got := called.Total("reporter=destination", "source=mesh", "code=0"); got < 1 {
		t.Errorf("the called pod's proxy counts %v unreached, want some", got)
	}
	// To a caller outside the mesh it says nothing of the sort.
	response, err := called.client().Get("http://shop.demo/")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != 503 || response.Header.Get("Sluice-Unprocessed") != "" {
		t.Errorf("answer to an outsider: %d, %v", response.StatusCode, response.Header)
	}
}

// A fault of ours ends the connection that it happened on, and nothing else.
func TestFaultOfTheProxy(t *testing.T) {
	var faulty atomic.Bool
	b := outbound(t, func(o *engine.Options) {
		o.Random = func(n uint32) uint32 {
			if faulty.CompareAndSwap(true, false) {
				panic("drawn")
			}
			return rand.Uint32N(n)
		}
	})
	b.Apply(shop(release(1, 50), revisions{"v1": {says(t, "v")}, "v2": {says(t, "v")}}))
	other, r := b.say("")
	served := func() {
		t.Helper()
		io.WriteString(other, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
		response, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(response.Body); err != nil || string(body) != "v" {
			t.Errorf("another connection heard %q, %v", body, err)
		}
	}
	served()
	for _, body := range []string{"Content-Length: 0\r\n\r\n", "Content-Length: 100000\r\n\r\nbegun"} {
		faulty.Store(true)
		conn, _ := b.say("POST / HTTP/1.1\r\nHost: shop\r\n" + body)
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if got, err := io.ReadAll(conn); len(got) > 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("heard %q, %v; want a reset", got, err)
		}
	}
	eventually(t, "the end of its requests", func() bool { return b.Active() == 0 })
	served()
}

// One in the middle of a request gives back what it holds: the only connection and the only place at the endpoint.
func TestFaultInTheMiddle(t *testing.T) {
	var faulty atomic.Bool
	b := outbound(t, func(o *engine.Options) {
		o.Now = func() time.Time {
			if faulty.CompareAndSwap(true, false) {
				panic("asked for the time")
			}
			return time.Now()
		}
	})
	var once sync.Once
	app := raw(t, func(c net.Conn, r *bufio.Reader) {
		for readHead(r) != "" {
			once.Do(func() { faulty.Store(true) })
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	b.Apply(with(ir.Policy{Limits: ir.Limits{MaxConnections: 1, MaxRequests: 1}}, app))
	conn, _ := b.say("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 100000\r\n\r\nbegun") // and the pump waits for more
	if got, err := io.ReadAll(conn); len(got) > 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("heard %q, %v; want a reset", got, err)
	}
	eventually(t, "the end of the request", func() bool { return b.Active() == 0 })
	if code, body := get(t, b.client(), "/"); code != 200 || body != "ok" {
		t.Errorf("afterwards %d %q", code, body)
	}
	if got := b.Total("code=500"); got != 1 {
		t.Errorf("code 500 = %v, want 1", got)
	}
}
