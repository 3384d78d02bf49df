package h1_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
)

// with is the shop with a policy.
func with(p ir.Policy, endpoints ...netip.AddrPort) ir.Service {
	s := plainShop(endpoints...)
	s.Policy = p
	return s
}

// hangs answers when it is let go.
func hangs(t *testing.T) (app netip.AddrPort, arrived chan struct{}, letGo chan struct{}) {
	arrived, letGo = make(chan struct{}, 100), make(chan struct{})
	app = serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		arrived <- struct{}{}
		select {
		case <-letGo:
		case <-r.Context().Done():
		}
		io.WriteString(w, "done")
	})
	return app, arrived, letGo
}

func TestRequestTimeout(t *testing.T) {
	app, _, _ := hangs(t)
	b := outbound(t, nil)
	b.Apply(with(ir.Policy{Timeouts: ir.Timeouts{Request: 50 * time.Millisecond}}, app))
	client := b.client()
	for range 2 {
		if code, body := get(t, client, "/"); code != 504 || !strings.Contains(body, "timeout") {
			t.Errorf("answer %d %q, want 504", code, body)
		}
	}
	if got := b.Total("code=504"); got != 2 {
		t.Errorf("code 504 = %v, want 2", got)
	}
}

// The answer also reaches a caller whose body is still on its way.
func TestRequestTimeoutDuringTheUpload(t *testing.T) {
	app, _, _ := hangs(t)
	b := outbound(t, nil)
	b.Apply(with(ir.Policy{Timeouts: ir.Timeouts{Request: 50 * time.Millisecond}}, app))
	_, r := b.say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
	if head := readHead(r); !strings.HasPrefix(head, "HTTP/1.1 504 ") || !strings.Contains(head, "Connection: close") {
		t.Errorf("heard %q, want 504 and the end", head)
	}
}

// An early refusal of an upload is passed on whole, whatever the rule would have repeated.
func TestEarlyRefusalWithRetries(t *testing.T) {
	app := raw(t, func(c net.Conn, r *bufio.Reader) {
		readHead(r)
		io.WriteString(c, "HTTP/1.1 503 no\r\nContent-Length: 6\r\n\r\nabc")
		time.Sleep(50 * time.Millisecond)
		io.WriteString(c, "def")
		io.Copy(io.Discard, r)
	})
	b := outbound(t, nil)
	b.Apply(with(ir.Policy{Retry: &ir.Retry{Attempts: 2, On: []ir.RetryOn{ir.On5xx}}}, app))
	_, r := b.say("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
	if got := answers(t, r); len(got) != 1 || got[0] != "503 abcdef" {
		t.Errorf("heard %q", got)
	}
}

// A repetition that there is no time for ends in an answer too.
func TestNoTimeToRepeat(t *testing.T) {
	app := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	b := outbound(t, nil)
	b.Apply(with(ir.Policy{
		Timeouts: ir.Timeouts{Request: time.Second},
		Retry:    &ir.Retry{Attempts: 50, On: []ir.RetryOn{ir.On5xx}, BackOff: 200 * time.Millisecond, MaxBackOff: time.Hour},
	}, app))
	if code, _ := get(t, b.client(), "/"); code != 503 && code != 504 {
		t.Errorf("answer %d", code)
	}
}

func TestRequestTimeoutInTheBody(t *testing.T) {
	t.Parallel()
	app := raw(t, func(c net.Conn, r *bufio.Reader) {
		readHead(r)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
		io.Copy(io.Discard, r)
	})
	b := outbound(t, nil)
	// Time for the head to come.
	b.Apply(with(ir.Policy{Timeouts: ir.Timeouts{Request: 500 * time.Millisecond}}, app))
	response, err := b.client().Get("http://shop.demo/")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(response.Body); err == nil {
		t.Error("the caller got a whole response")
	}
	response.Body.Close()
	eventually(t, "the count", func() bool { return b.Total("code=504") == 1 })
}

// A try that takes too long is repeated on another endpoint, and counts.
func TestPerTryTimeoutIsRetried(t *testing.T) {
	t.Parallel()
	app, _, _ := hangs(t)
	b := outbound(t, nil)
	b.Apply(with(ir.Policy{
		Balance: ir.Balance{Balancer: ir.RoundRobin}, Timeouts: ir.Timeouts{PerTry: 500 * time.Millisecond},
		Retry: &ir.Retry{Attempts: 1, On: []ir.RetryOn{ir.OnTimeout}},
	}, app, says(t, "v1")))
	client := b.client()
	for range 4 {
		if code, body := get(t, client, "/"); code != 200 || body != "v1" {
			t.Errorf("answer %d %q", code, body)
		}
	}
	if late, good := b.Total("code=504"), b.Total("code=200"); late < 1 || late+good != 4 {
		t.Errorf("code 504 = %v, code 200 = %v", late, good)
	}
}

// Per-try timeouts end with the head of the response.
func TestPerTryTimeoutSparesTheBody(t *testing.T) {
	t.Parallel()
	app := raw(t, func(c net.Conn, r *bufio.Reader) {
		for readHead(r) != "" {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
			time.Sleep(700 * time.Millisecond)
			io.WriteString(c, "def")
		}
	})
	b := outbound(t, nil)
	b.Apply(with(ir.Policy{Timeouts: ir.Timeouts{PerTry: 500 * time.Millisecond}}, app))
	client := b.client()
	for range 2 {
		if code, body := get(t, client, "/"); code != 200 || body != "abcdef" {
			t.Errorf("answer %d %q", code, body)
		}
	}
}

func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	app := raw(t, func(c net.Conn, r *bufio.Reader) {
		readHead(r)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
		for range 4 { // longer than the timeout in all
			time.Sleep(300 * time.Millisecond)
			io.WriteString(c, "a")
		}
		io.Copy(io.Discard, r)
	})
	b := outbound(t, nil)
	b.Apply(with(ir.Policy{Timeouts: ir.Timeouts{Idle: time.Second}}, app))
	response, err := b.client().Get("http://shop.demo/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err == nil || string(body) != "aaaa" {
		t.Errorf("heard %q, %v; want the pieces and then an end", body, err)
	}
	eventually(t, "the count", func() bool { return b.Total("code=504") == 1 })
}

func TestRetriesByStatus(t *testing.T) {
	var calls atomic.Int32
	app := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if calls.Add(1)%2 == 1 {
			w.WriteHeader(503)
		}
		w.Write(body)
	})
	b := outbound(t, nil)
	b.Apply(with(ir.Policy{Retry: &ir.Retry{
		Attempts: 2, On: []ir.RetryOn{ir.OnGatewayError}, BackOff: time.Millisecond,
	}}, app))
	client := b.client()
	for _, size := range []int{0, 100, 12 << 10} {
		request, _ := http.NewRequest("PUT", "http://shop.demo/", strings.NewReader(strings.Repeat("b", size)))
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != 200 || len(body) != size || err != nil {
			t.Errorf("size %d: %d, %d bytes, %v", size, response.StatusCode, len(body), err)
		}
	}
	response, err := client.Post("http://shop.demo/", "", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != 503 {
		t.Errorf("POST got %d, want the endpoint's own 503: it must not be repeated", response.StatusCode)
	}
	if got := b.Total("code=503"); got != 4 {
		t.Errorf("code 503 = %v, want 4: the first try counts", got)
	}
}

// A body that is on its way is offered again when it is short, and not when it is long.
func TestRetryWithABodyOnItsWay(t *testing.T) {
	for _, c := range []struct{ size, want int }{{8 << 10, 200}, {64 << 10, 503}} {
		t.Run(fmt.Sprint(c.size), func(t *testing.T) {
			refuses := raw(t, func(c net.Conn, r *bufio.Reader) {
				readHead(r)
				io.ReadFull(r, make([]byte, 4<<10))
				io.WriteString(c, "HTTP/1.1 503 no\r\nSluice-Unprocessed: unreachable\r\nContent-Length: 0\r\n\r\n")
				io.Copy(io.Discard, r)
			})
			b := outbound(t, nil)
			b.Apply(with(ir.Policy{Balance: ir.Balance{Balancer: ir.RoundRobin}}, refuses, says(t, "v1")))
			ok, failed := 0, 0
			for range 6 {
				conn, r := b.say(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", c.size))
				half := strings.Repeat("a", c.size/2)
				io.WriteString(conn, half)
				time.Sleep(10 * time.Millisecond)
				io.WriteString(conn, half)
				response, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(response.Body)
				response.Body.Close()
				switch {
				case response.StatusCode == 200 && string(body) == "v1"+half+half:
					ok++
				case response.StatusCode == c.want:
					failed++
				default:
					t.Fatalf("answer %d %.100q", response.StatusCode, body)
				}
			}
			if c.want == 200 && failed > 0 || c.want == 503 && (ok == 0 || failed == 0) {
				t.Errorf("%d served, %d refused", ok, failed)
			}
		})
	}
}

func TestConnectionLimit(t *testing.T) {
	app, arrived, letGo := hangs(t)
	b := outbound(t, nil)
	b.Apply(with(ir.Policy{Limits: ir.Limits{MaxConnections: 2, MaxPending: 3}}, app))
	client := b.client()
	var served, refused atomic.Int32
	var all sync.WaitGroup
	one := func() {
		all.Go(func() {
			code, _ := get(t, client, "/")
			switch code {
			case 200:
				served.Add(1)
			case 503:
				refused.Add(1)
			}
		})
	}
	one()
	<-arrived
	one()
	<-arrived
	for range 5 {
		one()
	}
	eventually(t, "those that may not wait to be refused", func() bool { return refused.Load() == 2 })
	close(letGo)
	all.Wait()
	if served.Load() != 5 {
		t.Errorf("%d served, want 5", served.Load())
	}
}

// Those that wait for a connection give up with their callers.
func TestWaitingForAConnectionEnds(t *testing.T) {
	app, arrived, letGo := hangs(t)
	b := outbound(t, nil)
	b.Apply(with(ir.Policy{Limits: ir.Limits{MaxConnections: 1}}, app))
	client := b.client()
	var first sync.WaitGroup
	first.Go(func() { get(t, client, "/") })
	<-arrived
	conn, _ := b.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	eventually(t, "the second", func() bool { return b.Active() == 2 })
	conn.Close()
	eventually(t, "its end", func() bool { return b.Total("code=499") == 1 })
	close(letGo)
	first.Wait()
	if code, _ := get(t, client, "/"); code != 200 {
		t.Errorf("afterwards: %d", code)
	}
}

func TestFaultsRedirectsAndHeaders(t *testing.T) {
	heads := make(chan string, 10)
	app := raw(t, func(c net.Conn, r *bufio.Reader) {
		for head := readHead(r); head != ""; head = readHead(r) {
			heads <- head
			io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Gone: 1\r\nX-Stays: 1\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	b := outbound(t, nil)
	s := plainShop(app)
	s.Routes = []ir.Route{
		{
			Name: "redirect", Matches: []ir.Match{{Path: ir.PathMatch{Kind: ir.Exact, Value: "/old"}}},
			Redirect: &ir.Redirect{Host: "new.example", Status: 301},
		},
		{
			Name: "abort", Matches: []ir.Match{{Path: ir.PathMatch{Kind: ir.Exact, Value: "/abort"}}},
			Fault: &ir.Fault{AbortStatus: 418, AbortShare: ir.Million},
		},
		{
			Name: "delay", Matches: []ir.Match{{Path: ir.PathMatch{Kind: ir.Exact, Value: "/slow"}}},
			Fault: &ir.Fault{Delay: 30 * time.Millisecond, DelayShare: ir.Million},
		},
		{
			Name: "headers", Matches: []ir.Match{{Path: ir.PathMatch{Kind: ir.Prefix, Value: "/api"}}},
			Rewrite: &ir.Rewrite{Host: "inner", Path: ir.Path{Prefix: "/v2", ReplacePrefix: true}},
			RequestHeaders: ir.HeaderChanges{
				Set: []ir.Header{{Name: "x-set", Value: "s"}}, Add: []ir.Header{{Name: "x-add", Value: "a"}}, Remove: []string{"x-drop"},
			},
			ResponseHeaders: ir.HeaderChanges{Remove: []string{"x-gone"}, Set: []ir.Header{{Name: "x-new", Value: "n"}}},
		},
	}
	b.Apply(s)
	_, r := b.say("GET /old HTTP/1.1\r\nHost: a\r\n\r\n" + "GET /abort HTTP/1.1\r\nHost: a\r\n\r\n" + "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" +
		"GET /api/x?q HTTP/1.1\r\nHost: a\r\nX-Drop: 1\r\nX-Set: old\r\nX-Add: old\r\n\r\n")
	for _, want := range []int{301, 418, 200, 200} {
		response, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("status %d %q, want %d", response.StatusCode, body, want)
		}
		switch want {
		case 301:
			if l := response.Header.Get("Location"); !strings.Contains(l, "new.example") || response.Header.Get("Server") != "sluice" {
				t.Errorf("redirect to %q", l)
			}
		case 418:
			if !strings.HasPrefix(string(body), "sluice: demo/shop: ") {
				t.Errorf("abort says %q", body)
			}
		}
		if response.Header.Get("X-New") == "n" && (response.Header.Get("X-Gone") != "" || response.Header.Get("X-Stays") == "") {
			t.Errorf("header %v", response.Header)
		}
	}
	<-heads
	if got, want := <-heads, "GET /v2/x?q HTTP/1.1\r\nHost: inner\r\nX-Add: old\r\nx-set: s\r\nx-add: a\r\nsluice-intended: demo/shop;v1\r\n\r\n"; got != want {
		t.Errorf("forwarded\n%q\nwant\n%q", got, want)
	}
}

func TestMirror(t *testing.T) {
	got := make(chan string, 10)
	mirror := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- r.Method + " " + r.URL.String() + " " + string(body)
	})
	b := outbound(t, nil)
	s := plainShop(says(t, "v1"))
	s.Routes = []ir.Route{{Name: "m", Mirrors: []ir.Mirror{{Service: "demo/copy", Port: 80, Share: ir.Million}}}}
	copied := plainShop(mirror)
	copied.Name, copied.Addresses = "copy", []netip.Addr{netip.MustParseAddr("10.96.0.9")}
	b.Apply(copied, s)
	conn, r := b.say("POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbodyPOST /c HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nlat")
	time.Sleep(10 * time.Millisecond)
	io.WriteString(conn, "er!")
	for range 2 {
		response, err := http.ReadResponse(r, nil)
		if err != nil || response.StatusCode != 200 {
			t.Fatal(response, err)
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
	seen := map[string]bool{<-got: true, <-got: true}
	if !seen["POST /a?b body"] || !seen["POST /c later!"] {
		t.Errorf("the mirror got %v", seen)
	}
	if n := b.Total("service=copy"); n > 0 {
		t.Errorf("the copy was counted: %v", n)
	}
}

// The janitor's times, shortened.
func TestHeadThatDoesNotCome(t *testing.T) {
	b := outbound(t, func(o *engine.Options) { o.Limits.HeaderTime = 200 * time.Millisecond })
	b.Apply(plainShop(says(t, "v1")))
	conn, r := b.say("GET / HTTP/1.1\r\nHo")
	if head := readHead(r); !strings.HasPrefix(head, "HTTP/1.1 408 ") {
		t.Errorf("heard %q, want 408", head)
	}
	if _, err := r.ReadByte(); err == nil {
		conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err = io.Copy(io.Discard, r); err != nil {
			t.Errorf("the connection stays: %v", err)
		}
	}
}

func TestIdleConnectionEnds(t *testing.T) {
	b := outbound(t, func(o *engine.Options) { o.Limits.IdleTime = 300 * time.Millisecond })
	b.Apply(plainShop(says(t, "v1")))
	_, r := b.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if head := readHead(r); !strings.HasPrefix(head, "HTTP/1.1 200 ") {
		t.Fatal(head)
	}
	if rest, err := io.ReadAll(r); err != nil || string(rest) != "v1" {
		t.Errorf("%q, %v; want an orderly end", rest, err)
	}
}

func TestDrain(t *testing.T) {
	app := says(t, "v1")
	called := inbound(t, app, "v1")
	called.Apply(plainShop(app))
	_, idle := called.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if head := readHead(idle); strings.Contains(head, "close") {
		t.Fatalf("before: %q", head)
	}
	silent, _ := called.say("")
	called.Drain()
	_, r := called.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if head := readHead(r); !strings.HasPrefix(head, "HTTP/1.1 200 ") || !strings.Contains(head, "Connection: close\r\n") {
		t.Errorf("heard %q", head)
	}
	if rest, err := io.ReadAll(r); string(rest) != "v1" || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
	if rest, err := io.ReadAll(idle); string(rest) != "v1" || err != nil {
		t.Errorf("idle: %q, %v; want an orderly end", rest, err)
	}
	if _, err := io.ReadAll(silent); err != nil {
		t.Errorf("silent: %v", err)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	app, arrived, _ := hangs(t)
	b := outbound(t, nil)
	b.Apply(plainShop(app))
	conn, r := b.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-arrived
	idle := b.dial()
	eventually(t, "one in flight", func() bool { return b.Active() == 1 })
	b.Close()
	if b.Active() != 0 {
		t.Error("something is still in flight")
	}
	if _, err := r.ReadByte(); err == nil {
		t.Error("the request was answered")
	}
	if _, err := idle.Read(make([]byte, 1)); err == nil {
		t.Error("an idle connection is still open")
	}
	conn.Close()
}

// Configurations change under load and nothing is lost.
func TestSwapsUnderLoad(t *testing.T) {
	b := outbound(t, nil)
	first, second, third, canary := says(t, "x"), says(t, "x"), says(t, "x"), says(t, "x")
	b.Apply(plainShop(first))
	ctx, cancel := context.WithCancel(context.Background())
	var load sync.WaitGroup
	var served atomic.Int64
	for i := range 8 {
		load.Go(func() {
			client := b.client()
			for ctx.Err() == nil {
				method, body := "GET", ""
				if i%2 == 1 {
					method, body = "POST", strings.Repeat("b", 1000*i)
				}
				request, _ := http.NewRequest(method, "http://shop.demo/", strings.NewReader(body))
				response, err := client.Do(request)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(response.Body)
				response.Body.Close()
				if response.StatusCode != 200 || string(got) != "x"+body || err != nil {
					t.Errorf("%s: %d %.100q %v", method, response.StatusCode, got, err)
					return
				}
				served.Add(1)
			}
		})
	}
	sets := [][]netip.AddrPort{{first, second}, {second}, {second, third}, {third, first}, {first}}
	for i := range 200 {
		before := served.Load()
		b.Apply(shop(release(int64(i+1), uint32(i%100)), revisions{"v1": sets[i%5], "v2": {canary}}))
		eventually(t, "requests to go on", func() bool { return served.Load() > before+3 || t.Failed() })
	}
	cancel()
	load.Wait()
}

// A response that goes on and on is cut at the drain of its revision, and what comes after it is not.
func TestStreamsAreCutAtTheDrain(t *testing.T) {
	app := raw(t, func(c net.Conn, r *bufio.Reader) {
		for head := readHead(r); head != ""; head = readHead(r) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
			if strings.Contains(head, "/short") {
				io.WriteString(c, "0\r\n\r\n")
			}
		}
	})
	b := outbound(t, nil)
	ends := revisions{"v1": {says(t, "v1")}, "v2": {app}}
	b.Apply(shop(release(1, 100), ends))
	client := b.client()
	get(t, client, "/short")
	response, err := client.Get("http://shop.demo/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	io.ReadFull(response.Body, make([]byte, 3))
	b.Apply(shop(release(2, 0), ends))
	eventually(t, "the cut", func() bool {
		return b.Table().CloseOverdue(time.Now().Add(time.Hour), time.Minute) == 1
	})
	if _, err := io.ReadAll(response.Body); err == nil {
		t.Error("it came to an orderly end")
	}
	if code, body := get(t, client, "/"); code != 200 || body != "v1" {
		t.Errorf("afterwards: %d %q", code, body)
	}
}

// A caller that was refused its body may not be taken for one that sends it: its connection ends.
func TestRefusedExpectationEndsTheConnection(t *testing.T) {
	app := raw(t, func(c net.Conn, r *bufio.Reader) {
		for readHead(r) != "" {
			io.WriteString(c, "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
		}
	})
	b := outbound(t, nil)
	b.Apply(plainShop(app))
	conn, r := b.say("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 30\r\n\r\n")
	if head := readHead(r); !strings.Contains(head, "Connection: close\r\n") {
		t.Errorf("heard %q", head)
	}
	io.WriteString(conn, "GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
	if rest, _ := io.ReadAll(r); len(rest) > 0 {
		t.Errorf("heard %q", rest)
	}
}
