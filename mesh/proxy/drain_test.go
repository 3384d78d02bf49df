package proxy_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
)

func (b *bench) adminGet(path string) (int, string) {
	b.t.Helper()
	response, err := adminClient.Get(b.admin + path)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(body)
}

var adminClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// gate is an application whose requests wait until they are let go.
func gate(t *testing.T) (app netip.AddrPort, arrived, letGo chan struct{}) {
	arrived, letGo = make(chan struct{}, 8), make(chan struct{})
	app = serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			arrived <- struct{}{}
			select {
			case <-letGo:
			case <-r.Context().Done():
			}
		}
		io.WriteString(w, "done")
	})
	return app, arrived, letGo
}

// A pod that is being deleted sends its callers away at once, while its application still serves.
func TestDeletedPodDrains(t *testing.T) {
	app, _, _ := gate(t)
	b := newBench(t, func(o *proxy.Options) { o.Self, o.Revision = app.Addr(), "v1" }, nil, []netip.AddrPort{app})
	s := service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v1": {app}})
	b.apply(s)
	closes := func() bool {
		t.Helper()
		answer, err := b.client(app).Get("http://shop.demo/")
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != 200 {
			t.Fatalf("status %d, want 200", answer.StatusCode)
		}
		return answer.Close
	}
	if closes() {
		t.Error("it sends callers away before it is deleted")
	}
	s.Subsets[0].Endpoints[0].Draining = true
	b.apply(s)
	if !closes() {
		t.Error("it keeps its callers' connections")
	}
}

// Drain: inbound responses become their connections' last, requests are still taken, the one in flight
// ends, then the proxy does.
func TestDrain(t *testing.T) {
	app, arrived, letGo := gate(t)
	b := newBench(t, func(o *proxy.Options) { o.Self, o.Drain = app.Addr(), 20*time.Second }, nil, []netip.AddrPort{app})
	b.apply(service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"": {app}}))
	if code, _ := b.adminGet("/ready"); code != 200 {
		t.Errorf("/ready = %d before draining", code)
	}
	result := make(chan string, 1)
	go func() {
		_, body := get(t, b.client(app), "/wait")
		result <- body
	}()
	<-arrived
	response, err := http.Post(b.admin+"/drain", "", nil)
	if err != nil || response.StatusCode != 200 {
		t.Fatalf("POST /drain: %v %v", response, err)
	}
	response.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if code, _ := b.adminGet("/ready"); code != 503 {
		t.Errorf("/ready = %d while draining, want 503", code)
	}
	inbound, outbound := b.client(app), b.client(shopAddress)
	answer, err := inbound.Get("http://shop.demo/")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != 200 || !answer.Close {
		t.Errorf("inbound while draining: %d, close %v; want 200 and the connection's end", answer.StatusCode, answer.Close)
	}
	answer, err = outbound.Get("http://shop.demo/")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != 200 || answer.Close {
		t.Errorf("outbound while draining: %d, close %v; want it left alone", answer.StatusCode, answer.Close)
	}
	b.stop()
	select {
	case <-b.done:
		t.Fatal("ended with a request in flight")
	case <-time.After(100 * time.Millisecond):
	}
	close(letGo)
	if body := <-result; body != "done" {
		t.Errorf("the request in flight got %q", body)
	}
	select {
	case <-b.done:
	case <-time.After(10 * time.Second):
		t.Fatal("did not end with nothing in flight")
	}
}

func TestDrainDeadlineCuts(t *testing.T) {
	app, arrived, _ := gate(t)
	const drain = 200 * time.Millisecond
	b := newBench(t, func(o *proxy.Options) { o.Drain = drain }, []netip.AddrPort{shopAddress, cacheAddress}, nil)
	b.apply(service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v1": {app}}),
		service("cache", cacheAddress, ir.TCP, ir.Split{}, revisions{"v1": {echo(t, "hello")}}))
	survived := make(chan bool, 1) // cut off, or told so in time
	go func() {
		response, err := b.client(shopAddress).Get("http://shop.demo/wait")
		if err == nil {
			response.Body.Close()
		}
		survived <- err == nil && response.StatusCode < 500
	}()
	<-arrived
	conn := b.dial(cacheAddress)
	io.ReadFull(conn, make([]byte, 5))
	silent := b.dial(shopAddress) // an HTTP client that has not said anything
	begun := time.Now()
	b.stop()
	select {
	case <-b.done:
	case <-time.After(10 * time.Second):
		t.Fatal("did not end at the drain deadline")
	}
	if took := time.Since(begun); took < drain {
		t.Errorf("ended after %v, before the deadline of %v", took, drain)
	}
	if <-survived {
		t.Error("a hanging request survived the deadline")
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("a TCP connection survived the deadline")
	}
	if _, err := silent.Read(make([]byte, 1)); err == nil {
		t.Error("a silent connection survived the deadline")
	}
}

// An upgraded connection of which one side has already closed does not outlive the deadline either.
func TestDrainDeadlineCutsUpgraded(t *testing.T) {
	app := raw(t, func(c net.Conn, r *bufio.Reader) {
		readHead(r)
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: words\r\n\r\nbye")
	})
	b := newBench(t, func(o *proxy.Options) { o.Drain = 100 * time.Millisecond }, nil, nil)
	b.apply(service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v1": {app}}))
	conn := b.dial(shopAddress)
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: words\r\n\r\n")
	if said, err := io.ReadAll(conn); err != nil || !strings.HasSuffix(string(said), "\r\n\r\nbye") {
		t.Fatalf("heard %q, %v; want the application's last word and end", said, err)
	}
	b.stop() // the client has not closed its side
	select {
	case <-b.done:
	case <-time.After(10 * time.Second):
		t.Fatal("a half-closed connection held up the end")
	}
}

// Idle connections hold nobody up.
func TestIdleEndsAtOnce(t *testing.T) {
	b := newBench(t, func(o *proxy.Options) { o.Drain = time.Hour }, nil, nil)
	b.apply(service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v1": {says(t, "v1")}}))
	get(t, b.client(shopAddress), "/")
	b.stop()
	select {
	case <-b.done:
	case <-time.After(10 * time.Second):
		t.Fatal("an idle connection held up the end")
	}
}

func TestStartup(t *testing.T) {
	waiting := newBench(t, func(o *proxy.Options) { o.StartupGrace = time.Hour }, nil, nil)
	for _, path := range []string{"/startup", "/ready"} {
		if code, _ := waiting.adminGet(path); code != 503 {
			t.Errorf("%s = %d without a configuration, want 503", path, code)
		}
	}
	if code, _ := waiting.adminGet("/healthz"); code != 200 {
		t.Errorf("/healthz = %d, want 200", code)
	}
	waiting.apply()
	for _, path := range []string{"/startup", "/ready"} {
		if code, _ := waiting.adminGet(path); code != 200 {
			t.Errorf("%s = %d with a configuration, want 200", path, code)
		}
	}
	alone := newBench(t, func(o *proxy.Options) { o.StartupGrace = time.Millisecond }, nil, nil)
	eventually(t, "the startup grace", func() bool { code, _ := alone.adminGet("/startup"); return code == 200 })
}

func TestConfigTellsWhatIsInForceAndSinceWhen(t *testing.T) {
	b := newBench(t, nil, nil, nil)
	dump := func() table.Dump {
		t.Helper()
		var d table.Dump
		code, body := b.adminGet("/config")
		if err := json.Unmarshal([]byte(body), &d); err != nil || code != 200 {
			t.Fatalf("/config: %d, %v in %s", code, err, body)
		}
		return d
	}
	if d := dump(); d.Applied != nil || len(d.Services) != 0 {
		t.Errorf("before a configuration: %+v", d)
	}
	v1, v2 := says(t, "v1"), says(t, "v2")
	ends := revisions{"v1": {v1}, "v2": {v2}}
	begun := time.Now()
	b.apply(service("shop", shopAddress, ir.HTTP, release(7, 20), ends))
	first := dump().Services[0]
	if s := first.Split; s.Owner != "rollout" || s.Epoch != 7 || s.Weight != 20 || s.Shares["v1"] != 80 || s.Shares["v2"] != 20 {
		t.Errorf("split = %+v", s)
	}
	if since := first.Split.Since; since.Before(begun.Round(0)) || since.After(time.Now()) {
		t.Errorf("in force since %v, want between %v and now", since, begun)
	}
	// Endpoints change, the split does not.
	b.apply(service("shop", shopAddress, ir.HTTP, release(7, 20), revisions{"v1": {v1, says(t, "v1")}, "v2": {v2}}))
	if second := dump().Services[0]; !second.Split.Since.Equal(first.Split.Since) || second.Endpoints["v1"].Ready != 2 {
		t.Errorf("after a change of endpoints: %+v, want 2 ready of v1 and since %v", second, first.Split.Since)
	}
	b.apply(service("shop", shopAddress, ir.HTTP, release(8, 40), ends))
	if third := dump().Services[0].Split; !third.Since.After(first.Split.Since) || third.Epoch != 8 {
		t.Errorf("after a change of the split: %+v", third)
	}
}

func TestMetricsAreServed(t *testing.T) {
	b := newBench(t, nil, nil, nil)
	b.apply(service("shop", shopAddress, ir.HTTP, release(1, 20), revisions{"v1": {says(t, "v1")}, "v2": {says(t, "v2")}}))
	code, body := b.adminGet("/metrics")
	want := `sluice_requests_total{code="200",grpc_status="",namespace="demo",protocol="http",reporter="source",revision="v2",` +
		`service="shop",source="front",source_namespace="web",weight="20"} 0`
	if code != 200 || !strings.Contains(body, want) {
		t.Errorf("/metrics: %d, want the line\n%s\nin\n%s", code, want, body)
	}
}

// The application's own calls go on while the pod drains; other callers of the outbound ports are sent away.
func TestDrainOutbound(t *testing.T) {
	for _, others := range []bool{false, true} {
		b := newBench(t, func(o *proxy.Options) { o.DrainOutbound = others }, nil, nil)
		b.apply(service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v1": {says(t, "v1")}}))
		b.BeginDrain()
		response, err := b.client(shopAddress).Get("http://shop.demo/")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.Close != others {
			t.Errorf("connection closes: %v, want %v", response.Close, others)
		}
	}
}
