package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParseWrk(t *testing.T) {
	text := `Running 1s test @ http://127.0.0.1:18080/
  63991 requests in 1.00s, 9.28MB read
{"requests":63991,"bytes":9726332,"microseconds":1000586,"connect":0,"read":0,"write":0,"status":0,"timeout":0,"p50":90,"p99":1015}
`
	got, err := parseWrk(text)
	want := Outcome{
		Done: 63991, Bytes: 9726332, Took: 1000586 * time.Microsecond,
		P50: 90 * time.Microsecond, P99: 1015 * time.Microsecond,
	}
	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	bad := `{"requests":5,"bytes":9,"microseconds":1,"connect":1,"read":2,"write":3,"status":4,"timeout":5,"p50":1,"p99":1}`
	if got, err = parseWrk(bad); err != nil || got.Failed != 15 || !strings.Contains(got.Failures, "4 had a bad status") {
		t.Errorf("got %+v, %v; want 15 failures", got, err)
	}
	for _, text := range []string{"", "unable to connect to 127.0.0.1:1", `{"requests":"x"}`} {
		if _, err := parseWrk(text); err == nil {
			t.Errorf("parseWrk(%q): no error", text)
		}
	}
}

func TestParseH2load(t *testing.T) {
	const summary = `
finished in 504.64ms, 4000.00 req/s, 277.60KB/s
requests: %d total, %d started, %d done, %d succeeded, %d failed, %d errored, %d timeout
status codes: 2000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 138.80KB (142132) total, 93.75KB (96000) headers (space savings 51.02%%), 9.77KB (10000) data
                     min         max         mean         sd        +/- sd
`
	got, err := parseH2load(fmt.Sprintf(summary, 2006, 2007, 2000, 2000, 0, 0, 0))
	if want := (Outcome{Done: 2000, Bytes: 10000}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	got, err = parseH2load(fmt.Sprintf(summary, 2006, 2006, 2006, 2000, 6, 6, 0))
	if err != nil || got.Done != 2006 || got.Failed != 6 || !strings.Contains(got.Failures, "6 errored") {
		t.Errorf("got %+v, %v; want 6 failures", got, err)
	}
	if _, err := parseH2load("starting benchmark..."); err == nil {
		t.Error("no summary: no error")
	}
}

func TestCheck(t *testing.T) {
	cases := map[string]struct {
		outcome Outcome
		want    string
	}{
		"well":     {Outcome{Done: 2, Bytes: 68}, ""},
		"failed":   {Outcome{Done: 2, Bytes: 68, Failed: 1, Failures: "why"}, "1 of 2 requests failed: why"},
		"nothing":  {Outcome{}, "no request"},
		"too few":  {Outcome{Done: 2, Bytes: 67}, "67 bytes came back for 2 requests of 34"},
		"all fail": {Outcome{Failed: 3}, "3 of 0"},
	}
	for name, c := range cases {
		if err := c.outcome.Check(34); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestResponse(t *testing.T) {
	const whole = "HTTP/1.1 200 OK\r\nServer: x\r\ncontent-length: 5\r\n\r\nhello"
	for cut := range len(whole) {
		var r response
		for range 2 { // a connection is used again
			complete, err := r.add([]byte(whole[:cut]))
			if err != nil || complete {
				t.Fatalf("cut at %d: complete %v, %v", cut, complete, err)
			}
			if complete, err = r.add([]byte(whole[cut:])); err != nil || !complete {
				t.Fatalf("cut at %d, rest: complete %v, %v", cut, complete, err)
			}
			r.reset()
		}
	}
	for bad, want := range map[string]string{
		whole + "x":                                    "where the response has",
		"HTTP/1.1 503 No\r\n\r\n":                      "want 200",
		"HTTP/1.1 200 OK\r\nA: b\r\n\r\n":              "without Content-Length",
		"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n": "parse content length",
	} {
		var r response
		if _, err := r.add([]byte(bad)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", bad, err, want)
		}
	}
}

func TestQuantile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for share, want := range map[float64]time.Duration{.5: 50, .99: 99, .999: 100, 1: 100, 0: 1} {
		if got := quantile(hundred, share); got != want {
			t.Errorf("quantile %v of 1 to 100: %d, want %d", share, got, want)
		}
	}
	if got := quantile(nil, .5); got != 0 {
		t.Errorf("quantile of none: %v", got)
	}
}

// serve answers each request with a handler, and counts connections.
func serve(t *testing.T, handler http.HandlerFunc) (at netip.AddrPort, opened *atomic.Int64) {
	t.Helper()
	opened = &atomic.Int64{}
	server := httptest.NewUnstartedServer(handler)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	return netip.MustParseAddrPort(server.Listener.Addr().String()), opened
}

var get = []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

func TestPaced(t *testing.T) {
	at, opened := serve(t, hello)
	out, err := Paced{Address: at, Request: get, Rate: 200, Connections: 5, Duration: 500 * time.Millisecond}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if out.Done != 100 || opened.Load() != 5 || out.P99 < out.P50 || out.P50 <= 0 || out.Bytes < 500 {
		t.Errorf("got %+v on %d connections; want 100 requests on 5", out, opened.Load())
	}
}

// A server that stops for a while makes all requests late that were due in the meantime, not only those that
// were in flight.
func TestPacedCountsFromWhenRequestsWereDue(t *testing.T) {
	const pause = 300 * time.Millisecond
	var requests atomic.Int64
	at, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 {
			time.Sleep(pause)
		}
		hello(w, r)
	})
	out, err := Paced{Address: at, Request: get, Rate: 1000, Connections: 1, Duration: pause}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Due at 0 to 299 ms, answered after 300 ms: half of them waited for 150 ms or more.
	if out.Done != 300 || out.P50 < pause/2 || out.LateP99 < pause/2 {
		t.Errorf("got %+v; want a median of at least %v", out, pause/2)
	}
}

func TestPacedFails(t *testing.T) {
	at, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	load := Paced{Address: at, Request: get, Rate: 100, Connections: 1, Duration: 100 * time.Millisecond}
	if _, err := load.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("a server that refuses: %v", err)
	}
	load.Address, _ = serve(t, hello)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := load.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	load.Address = netip.MustParseAddrPort("127.0.0.1:1")
	if _, err := load.Run(t.Context()); err == nil {
		t.Error("nobody listens: no error")
	}
}

func TestHold(t *testing.T) {
	var asked atomic.Int64
	at, opened := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		hello(w, r)
	})
	release, err := Hold(t.Context(), at.String(), 20, 3, get)
	if err != nil {
		t.Fatal(err)
	}
	release()
	if opened.Load() != 20 || asked.Load() != 60 {
		t.Errorf("%d connections and %d requests, want 20 and 60", opened.Load(), asked.Load())
	}
	if _, err := Hold(t.Context(), "127.0.0.1:1", 1, 1, get); err == nil {
		t.Error("nobody listens: no error")
	}
}

func TestBulk(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for {
					if _, err := io.WriteString(conn, "pattern"); err != nil {
						return
					}
				}
			}()
		}
	}()
	load := Bulk{Address: listener.Addr().String(), Connections: 2, Duration: 200 * time.Millisecond, Begin: []byte("patternpattern")}
	if out, err := load.Run(t.Context()); err != nil || out.Done != 2 || out.Bytes < 28 {
		t.Errorf("got %+v, %v", out, err)
	}
	load.Begin = []byte("something else")
	if _, err := load.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "other bytes") {
		t.Errorf("other bytes: %v", err)
	}
}

func TestProbe(t *testing.T) {
	at, _ := serve(t, hello)
	good := Probe{URL: "http://" + at.String() + "/", Want: []byte("hello")}
	if err := good.Run(t.Context()); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*Probe){
		"other body": func(p *Probe) { p.Want = []byte("hullo") },
		"protocol":   func(p *Probe) { p.HTTP2 = true },
	} {
		bad := good
		spoil(&bad)
		if err := bad.Run(t.Context()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
