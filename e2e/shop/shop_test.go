package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-mesh/sluice/e2e/hop"
)

func never() float64 { return 0.999 }

// start serves the behaviour and returns its URL.
func start(t *testing.T, b behaviour, random func() float64) string {
	t.Helper()
	if b.upstreamTimeout == 0 {
		b.upstreamTimeout = 5 * time.Second
	}
	server := httptest.NewServer(newService(b, time.Now, random))
	t.Cleanup(server.Close)
	return server.URL
}

func get(t *testing.T, url string) (int, []hop.Hop) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	hops, err := hop.Parse(resp.Header.Get(hop.HeaderTrace))
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, hops
}

func TestAnswersWithAllHops(t *testing.T) {
	checkout := start(t, behaviour{name: "checkout", version: "v7"}, never)
	catalog := start(t, behaviour{name: "catalog", version: "v2", upstreams: []upstream{{"checkout", checkout}}}, never)
	frontend := start(t, behaviour{name: "frontend", version: "v1", upstreams: []upstream{{"catalog", catalog}}}, never)
	status, hops := get(t, frontend)
	if status != 200 {
		t.Errorf("status %d, want 200", status)
	}
	want := []hop.Hop{{Service: "frontend", Version: "v1", Status: 200}, {Service: "catalog", Version: "v2", Status: 200}, {Service: "checkout", Version: "v7", Status: 200}}
	if diff := cmp.Diff(want, hops); diff != "" {
		t.Error(diff)
	}
}

func TestTellsWhoFailed(t *testing.T) {
	failing := start(t, behaviour{name: "catalog", version: "v2", errorRate: 1}, never)
	mesh := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no endpoint", http.StatusServiceUnavailable)
	}))
	defer mesh.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	tests := map[string]struct {
		upstream string
		want     hop.Hop
	}{
		"application": {failing, hop.Hop{Service: "catalog", Version: "v2", Status: 500}},
		"mesh":        {mesh.URL, hop.Hop{Service: "catalog", Status: 503}},
		"nobody":      {gone.URL, hop.Hop{Service: "catalog"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			status, hops := get(t, start(t, behaviour{name: "frontend", version: "v1", upstreams: []upstream{{"catalog", test.upstream}}}, never))
			if status != http.StatusBadGateway {
				t.Errorf("status %d, want 502", status)
			}
			want := []hop.Hop{{Service: "frontend", Version: "v1", Status: 502}, test.want}
			if diff := cmp.Diff(want, hops); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestErrorRateAndLatency(t *testing.T) {
	draws := 0.25
	url := start(t, behaviour{name: "s", version: "v1", errorRate: 0.5, latency: 20 * time.Millisecond, jitter: 40 * time.Millisecond},
		func() float64 { return draws })
	began := time.Now()
	if status, _ := get(t, url); status != 500 {
		t.Errorf("status %d at a draw below the error rate, want 500", status)
	}
	if took := time.Since(began); took < 30*time.Millisecond {
		t.Errorf("took %v, want at least 20ms and a quarter of 40ms", took)
	}
	draws = 0.75
	if status, _ := get(t, url); status != 200 {
		t.Errorf("status %d at a draw above the error rate, want 200", status)
	}
}

func TestHealthAfterStartDelay(t *testing.T) {
	now := time.Now()
	s := newService(behaviour{name: "s", version: "v1", startDelay: time.Minute}, func() time.Time { return now }, never)
	ask := func() int {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
		return w.Code
	}
	if got := ask(); got != 503 {
		t.Errorf("before the delay: %d, want 503", got)
	}
	now = now.Add(time.Minute)
	if got := ask(); got != 200 {
		t.Errorf("after the delay: %d, want 200", got)
	}
}

func TestFinishesWhatItHasOnShutdown(t *testing.T) {
	o := options{behaviour: behaviour{name: "s", version: "v1", latency: 200 * time.Millisecond}, shutdownDelay: time.Millisecond, shutdownGrace: 5 * time.Second}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	entered := make(chan struct{})
	inner := newService(o.behaviour, time.Now, never)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		inner.ServeHTTP(w, r)
	})
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- serve(ctx, listener, handler, o) }()
	status := make(chan int, 1)
	go func() {
		resp, err := http.Get("http://" + listener.Addr().String())
		if err != nil {
			status <- 0
			return
		}
		defer resp.Body.Close()
		status <- resp.StatusCode
	}()
	<-entered
	stop()
	if got := <-status; got != 200 {
		t.Errorf("request in flight at shutdown: %d, want 200", got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestParse(t *testing.T) {
	env := map[string]string{"SHOP_VERSION": "v2", "SHOP_ERROR_RATE": "0.5", "SHOP_UPSTREAM": "a=http://a,b=http://b"}
	o, err := parse([]string{"--error-rate", "0.1"}, func(k string) (string, bool) { v, ok := env[k]; return v, ok })
	if err != nil {
		t.Fatal(err)
	}
	if o.behaviour.version != "v2" || o.behaviour.errorRate != 0.1 || len(o.behaviour.upstreams) != 2 {
		t.Errorf("got %+v", o.behaviour)
	}
	none := func(string) (string, bool) { return "", false }
	for _, args := range []string{"--error-rate=2", "--upstream=x", "--version=a/b", "--latency=-1s", "more"} {
		if _, err := parse([]string{args}, none); err == nil || strings.Contains(err.Error(), "help") {
			t.Errorf("parse(%s): %v, want an error", args, err)
		}
	}
}

// What the shop says in its other protocols, as e2e/load asks for it.
func TestOtherProtocols(t *testing.T) {
	failing := 0.999
	s := newService(behaviour{name: "shop", version: "v1", errorRate: 0.5}, time.Now, func() float64 { return failing })
	ctx, stop := context.WithCancel(t.Context())
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	lines, calls := listen(), listen()
	var serving sync.WaitGroup
	serving.Go(func() { s.serveTCP(ctx, lines) })
	serving.Go(func() { serveGRPC(ctx, newGRPC(s), calls, time.Second) })
	t.Cleanup(func() { stop(); serving.Wait() })

	conn, err := net.Dial("tcp", lines.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	from := bufio.NewReader(conn)
	if greeting, err := from.ReadString('\n'); err != nil || greeting != "220 shop/v1=200\n" {
		t.Errorf("greeting %q, %v", greeting, err)
	}
	io.WriteString(conn, "who?\n")
	if answer, err := from.ReadString('\n'); err != nil || answer != "shop/v1=200\n" {
		t.Errorf("answer %q, %v", answer, err)
	}

	web := httptest.NewServer(s)
	defer web.Close()
	socket, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(web.URL, "http")+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	socket.WriteMessage(websocket.TextMessage, []byte("who?"))
	if _, answer, err := socket.ReadMessage(); err != nil || string(answer) != "shop/v1=200" {
		t.Errorf("answer %q, %v", answer, err)
	}

	client, err := grpc.NewClient("passthrough:///"+calls.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ask := func() (string, error) {
		answer, header := &wrapperspb.StringValue{}, metadata.MD{}
		err := client.Invoke(t.Context(), "/shop.Shop/Ask", wrapperspb.String("who?"), answer, grpc.Header(&header))
		if got := header.Get(hop.HeaderVersion); len(got) != 1 || got[0] != "v1" {
			t.Errorf("version %q in the header", got)
		}
		return answer.Value, err
	}
	if answer, err := ask(); err != nil || answer != "shop/v1=200" {
		t.Errorf("answer %q, %v", answer, err)
	}
	failing = 0
	if _, err := ask(); status.Code(err) != codes.Internal {
		t.Errorf("error %v, want Internal", err)
	}
}

func TestCollectsTraces(t *testing.T) {
	s := newService(behaviour{name: "s", version: "v1"}, time.Now, never)
	ask := func(method, path, body string) (int, string) {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		return w.Code, strings.TrimSpace(w.Body.String())
	}
	if _, got := ask(http.MethodGet, "/spans?x=1", ""); !strings.Contains(got, `"path":"/spans?x=1"`) {
		t.Errorf("without a collector: %s, want an answer like any other", got)
	}
	s.traces = &traces{}
	for message, want := range map[string]int{`{"resourceSpans":[]}`: 200, "no JSON": 400} {
		if code, _ := ask(http.MethodPost, "/v1/traces", message); code != want {
			t.Errorf("posted %s: %d, want %d", message, code, want)
		}
	}
	if _, got := ask(http.MethodGet, "/spans", ""); got != `[{"resourceSpans":[]}]` {
		t.Errorf("spans: %s", got)
	}
	if _, got := ask(http.MethodGet, "/asked", ""); got != "1" {
		t.Errorf("asked %s times, want once", got)
	}
}
