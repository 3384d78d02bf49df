package h2_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// routed is an outbound engine whose service is changed before it is put in force.
func routed(t testing.TB, protocol ir.Protocol, subsets revisions, change func(*ir.Service)) *bench {
	b := newBench(t, false, netip.Addr{}, nil)
	s := service("shop", shopAddress, protocol, ir.Split{}, subsets)
	change(&s)
	b.apply(s)
	return b
}

func get(t testing.TB, c *http.Client, path string) (*http.Response, string) {
	t.Helper()
	response, err := c.Get("http://shop.demo" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func TestHeadersAreChanged(t *testing.T) {
	seen := make(chan *http.Request, 1)
	pod := app(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r
		w.Header().Set("Server", "app")
		w.Header().Set("X-Secret", "1")
		w.Header()["Date"] = nil
	})
	b := routed(t, ir.HTTP2, revisions{"v1": {pod}}, func(s *ir.Service) {
		s.Routes = []ir.Route{{
			Name:    "r",
			Matches: []ir.Match{{Path: ir.PathMatch{Kind: ir.Prefix, Value: "/old"}}},
			Backends: []ir.Backend{{
				Service: "demo/shop", Port: 80, Weight: 1,
				RequestHeaders: ir.HeaderChanges{Set: []ir.Header{{Name: "x-backend", Value: "yes"}}},
			}},
			Rewrite:         &ir.Rewrite{Host: "inside", Path: ir.Path{Prefix: "/new", ReplacePrefix: true}},
			RequestHeaders:  ir.HeaderChanges{Set: []ir.Header{{Name: "x-a", Value: "set"}}, Add: []ir.Header{{Name: "x-b", Value: "2"}}, Remove: []string{"x-c"}},
			ResponseHeaders: ir.HeaderChanges{Set: []ir.Header{{Name: "server", Value: "other"}}, Remove: []string{"x-secret"}},
		}}
	})
	r, _ := http.NewRequest("GET", "http://shop.demo/old/x?y=z", nil)
	r.Header = http.Header{"X-A": {"1"}, "X-B": {"1"}, "X-C": {"1"}, "Sluice-Intended": {"demo/shop;v9"}}
	response, err := client(t, b.door(shopAddress)).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	got := <-seen
	if got.Host != "inside" || got.RequestURI != "/new/x?y=z" {
		t.Errorf("the application saw %s %s", got.Host, got.RequestURI)
	}
	for name, want := range map[string]string{"X-A": "set", "X-B": "1 2", "X-C": "", "X-Backend": "yes", "Sluice-Intended": "demo/shop;v1"} {
		if have := strings.Join(got.Header[name], " "); have != want {
			t.Errorf("%s is %q, want %q", name, have, want)
		}
	}
	if response.Header.Get("Server") != "other" || response.Header.Get("X-Secret") != "" {
		t.Errorf("response fields: %v", response.Header)
	}
	if len(response.Header["Date"]) > 0 {
		t.Error("a Date was made up")
	}
}

func TestAnswersOfOurOwn(t *testing.T) {
	pod := app(t, func(http.ResponseWriter, *http.Request) {})
	b := routed(t, ir.HTTP2, revisions{"v1": {pod}}, func(s *ir.Service) {
		at := func(path string) []ir.Match { return []ir.Match{{Path: ir.PathMatch{Kind: ir.Exact, Value: path}}} }
		s.Routes = []ir.Route{
			{Name: "redirect", Matches: at("/moved"), Redirect: &ir.Redirect{Host: "other", Status: 302}},
			{Name: "fault", Matches: at("/fault"), Fault: &ir.Fault{
				Delay: 20 * time.Millisecond, DelayShare: ir.Million, AbortStatus: 429, AbortShare: ir.Million,
			}},
		}
	})
	door := b.door(shopAddress)
	c := client(t, door)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if r, _ := get(t, c, "/moved"); r.StatusCode != 302 || r.Header.Get("Location") != "http://other/moved" {
		t.Errorf("redirect: %v %v", r.Status, r.Header)
	}
	if r, body := get(t, c, "/fault"); r.StatusCode != 429 || !strings.HasPrefix(body, "sluice: demo/shop") || r.Header.Get("Server") != "sluice" {
		t.Errorf("fault: %v %q", r.Status, body)
	}
	if r, err := c.Head("http://shop/fault"); err != nil || r.StatusCode != 429 {
		t.Errorf("HEAD: %v", err)
	} else {
		r.Body.Close()
	}
	// A large body is not waited for.
	r, err := c.Post("http://shop/fault", "text/plain", bytes.NewReader(make([]byte, 1<<20)))
	if err != nil || r.StatusCode != 429 {
		t.Errorf("POST: %v", err)
	} else {
		r.Body.Close()
	}
	var none []byte
	err = grpcClient(t, door).Invoke(with(t), "/fault", &none, &none)
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "sluice: demo/shop") {
		t.Errorf("gRPC: %v", err)
	}
	eventually(t, "no request is in flight", func() bool { return b.Active() == 0 })
}

func TestRetries(t *testing.T) {
	var calls atomic.Int64
	flaky := app(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if calls.Add(1)%2 == 1 {
			w.WriteHeader(503)
		}
		w.Write(body)
	})
	b := routed(t, ir.HTTP2, revisions{"v1": {flaky}}, func(s *ir.Service) {
		s.Policy.Retry = &ir.Retry{Attempts: 1, On: []ir.RetryOn{ir.On5xx}, NonIdempotent: true, BackOff: time.Millisecond}
	})
	c := client(t, b.door(shopAddress))
	for _, size := range []int{0, 100, 15_000} {
		want := strings.Repeat("x", size)
		r, err := c.Post("http://shop/", "text/plain", strings.NewReader(want))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if r.StatusCode != 200 || string(body) != want {
			t.Errorf("size %d: %s, %d bytes", size, r.Status, len(body))
		}
	}
	if got := b.total("code=503"); got != 3 {
		t.Errorf("%v requests counted by their first try, want 3", got)
	}
	// A body too large to be remembered is not repeated.
	calls.Store(0)
	r, err := c.Post("http://shop/", "text/plain", strings.NewReader(strings.Repeat("x", 100_000)))
	if err != nil || r.StatusCode != 503 {
		t.Errorf("large body: %v %v", r, err)
	}
	io.Copy(io.Discard, r.Body)
	r.Body.Close()
}

func TestGRPCRetries(t *testing.T) {
	var calls atomic.Int64
	pod := rawApp(t, func(r *raw) {
		for {
			f, err := r.ReadFrame()
			if err != nil {
				return
			}
			h, ok := f.(*http2.MetaHeadersFrame)
			if !ok {
				continue
			}
			status := "14"
			if calls.Add(1) > 1 {
				status = "7"
			}
			r.WriteHeaders(http2.HeadersFrameParam{StreamID: h.StreamID, EndHeaders: true, EndStream: true,
				BlockFragment: r.encode(":status", "200", "content-type", "application/grpc", "grpc-status", status)})
		}
	})
	b := routed(t, ir.GRPC, revisions{"v1": {pod}}, func(s *ir.Service) {
		s.Policy.Retry = &ir.Retry{Attempts: 2, On: []ir.RetryOn{ir.OnGRPC}, GRPCStatuses: []int{14}, BackOff: time.Millisecond}
	})
	var none []byte
	if err := grpcClient(t, b.door(shopAddress)).Invoke(with(t), "/a/b", &none, &none); status.Code(err) != codes.PermissionDenied {
		t.Errorf("got %v", err)
	}
	if b.total("code=200", "grpc_status=14") != 1 {
		t.Error("not counted by the first try")
	}
}

// TestUntouchedRequestsGoElsewhere has endpoints that do not take requests beside one that does.
func TestUntouchedRequestsGoElsewhere(t *testing.T) {
	good := app(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	refuses := func(r *raw) {
		for {
			f, err := r.ReadFrame()
			if err != nil {
				return
			}
			if h, ok := f.(*http2.MetaHeadersFrame); ok {
				r.WriteRSTStream(h.StreamID, http2.ErrCodeRefusedStream)
			}
		}
	}
	leaves := func(r *raw) {
		for {
			f, err := r.ReadFrame()
			if err != nil {
				return
			}
			if _, ok := f.(*http2.MetaHeadersFrame); ok {
				r.WriteGoAway(0, http2.ErrCodeNo, nil)
			}
		}
	}
	closed := listen(t, podHost()+":0")
	closed.Close()
	cases := map[string]netip.AddrPort{
		"refuses streams": rawApp(t, refuses), "says GOAWAY": rawApp(t, leaves),
		"refuses connections": netip.MustParseAddrPort(closed.Addr().String()),
		"does not speak it":   tcpApp(t, func(c net.Conn) { io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }),
		"closes at once":      tcpApp(t, func(net.Conn) {}),
		"is another revision": app(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Sluice-Unprocessed", "revision")
			w.WriteHeader(421)
		}),
		"could not be reached": app(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Sluice-Unprocessed", "unreachable")
			w.WriteHeader(503)
		}),
	}
	for name, bad := range cases {
		t.Run(name, func(t *testing.T) {
			b := outbound(t, ir.HTTP2, ir.Split{}, revisions{"v1": {bad, good}})
			c := client(t, b.door(shopAddress))
			for i := range 10 {
				r, err := c.Post("http://shop/", "text/plain", strings.NewReader("hello"))
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(r.Body)
				r.Body.Close()
				if r.StatusCode != 200 || string(body) != "hello" || err != nil {
					t.Fatalf("request %d: %s %q %v", i, r.Status, body, err)
				}
			}
		})
		t.Run(name+" alone", func(t *testing.T) {
			b := outbound(t, ir.GRPC, ir.Split{}, revisions{"v1": {bad}})
			var none []byte
			err := grpcClient(t, b.door(shopAddress)).Invoke(with(t), "/a/b", &none, &none)
			if status.Code(err) != codes.Unavailable {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestTimeouts(t *testing.T) {
	slow := func(t *testing.T, head bool) revisions {
		return revisions{"v1": {app(t, func(w http.ResponseWriter, r *http.Request) {
			if head {
				w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
				w.WriteHeader(200)
				w.(http.Flusher).Flush()
			}
			<-r.Context().Done()
		})}}
	}
	const short = 30 * time.Millisecond
	cases := map[string]struct {
		timeouts ir.Timeouts
		head     bool
		breaks   bool
	}{
		"request":             {ir.Timeouts{Request: short}, false, false},
		"request in its body": {ir.Timeouts{Request: short}, true, true},
		"per try":             {ir.Timeouts{PerTry: short}, false, false},
		"idle":                {ir.Timeouts{Idle: short}, false, false},
		"idle in its body":    {ir.Timeouts{Idle: short}, true, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := routed(t, ir.HTTP2, slow(t, c.head), func(s *ir.Service) { s.Policy.Timeouts = c.timeouts })
			door := b.door(shopAddress)
			r, err := client(t, door).Get("http://shop/")
			if err != nil {
				t.Fatal(err)
			}
			_, err = io.ReadAll(r.Body)
			r.Body.Close()
			if c.breaks && err == nil || !c.breaks && (err != nil || r.StatusCode != 504) {
				t.Errorf("%s, body: %v", r.Status, err)
			}
			var none []byte
			if err := grpcClient(t, door).Invoke(with(t), "/a/b", &none, &none); status.Code(err) != codes.DeadlineExceeded {
				t.Errorf("gRPC: %v", err)
			}
			eventually(t, "counted", func() bool { return b.total("code=504") == 2 && b.Active() == 0 })
		})
	}
}

func TestMirrors(t *testing.T) {
	var mu sync.Mutex
	var copies []string
	shadow := app(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		copies = append(copies, fmt.Sprintln(r.Method, r.URL, len(body)))
		w.Write(make([]byte, 300_000)) // goes nowhere
	})
	pod := app(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	b := newBench(t, false, netip.Addr{}, nil)
	s := service("shop", shopAddress, ir.HTTP2, ir.Split{}, revisions{"v1": {pod}})
	s.Routes = []ir.Route{{Name: "m", Mirrors: []ir.Mirror{{Service: "demo/test", Port: 81, Share: ir.Million}}}}
	b.apply(s, service("test", netip.MustParseAddrPort("10.96.0.2:81"), ir.HTTP2, ir.Split{}, revisions{"v1": {shadow}}))
	c := client(t, b.door(shopAddress))
	get(t, c, "/a")
	for _, size := range []int{40_000, 70_000} { // the second is too large
		r, err := c.Post("http://shop/b", "text/plain", bytes.NewReader(make([]byte, size)))
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
	}
	eventually(t, "two copies", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(copies) == 2
	})
	slices.Sort(copies)
	if copies[0] != "GET /a 0\n" || copies[1] != "POST /b 40000\n" {
		t.Errorf("copies: %v", copies)
	}
	if got := b.total(); got != 3 {
		t.Errorf("%v requests counted, want 3", got)
	}
}

// TestMirrorsShareNoBody has two mirrors take their copies in pieces, one after the other.
func TestMirrorsShareNoBody(t *testing.T) {
	want := make([]byte, 60_000)
	for i := range want {
		want[i] = byte(i / 100)
	}
	first := make(chan struct{}) // the first mirror has all
	copies := make(chan []byte, 2)
	var (
		mirrors atomic.Int64
		once    sync.Once
	)
	shadow := tcpApp(t, func(conn net.Conn) {
		io.ReadFull(conn, make([]byte, len(http2.ClientPreface)))
		r := newRaw(t, conn)
		r.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 20_000})
		var got []byte
		for {
			f, err := r.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *http2.MetaHeadersFrame:
				if mirrors.Add(1) == 2 {
					<-first
				}
			case *http2.DataFrame:
				got = append(got, f.Data()...)
				if n := uint32(len(f.Data())); n > 0 {
					r.WriteWindowUpdate(0, n)
					r.WriteWindowUpdate(f.StreamID, n)
				}
				if f.StreamEnded() {
					copies <- got
					once.Do(func() { close(first) })
					return
				}
			}
		}
	})
	pod := app(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	b := newBench(t, false, netip.Addr{}, nil)
	s := service("shop", shopAddress, ir.HTTP2, ir.Split{}, revisions{"v1": {pod}})
	s.Routes = []ir.Route{{Name: "m", Mirrors: []ir.Mirror{
		{Service: "demo/one", Port: 81, Share: ir.Million}, {Service: "demo/two", Port: 81, Share: ir.Million},
	}}}
	b.apply(s,
		service("one", netip.MustParseAddrPort("10.96.0.2:81"), ir.HTTP2, ir.Split{}, revisions{"v1": {shadow}}),
		service("two", netip.MustParseAddrPort("10.96.0.3:81"), ir.HTTP2, ir.Split{}, revisions{"v1": {shadow}}))
	r, err := client(t, b.door(shopAddress)).Post("http://shop/", "text/plain", bytes.NewReader(want))
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	for range 2 {
		if got := <-copies; !bytes.Equal(got, want) {
			t.Errorf("a copy of %d bytes is not the original of %d", len(got), len(want))
		}
	}
}

func TestLimitsOfConnections(t *testing.T) {
	release := make(chan struct{})
	pod := rawApp(t, func(r *raw) {
		r.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
		for {
			f, err := r.ReadFrame()
			if err != nil {
				return
			}
			if h, ok := f.(*http2.MetaHeadersFrame); ok {
				<-release
				r.WriteHeaders(http2.HeadersFrameParam{StreamID: h.StreamID, EndHeaders: true, EndStream: true, BlockFragment: r.encode(":status", "204")})
			}
		}
	})
	b := routed(t, ir.HTTP2, revisions{"v1": {pod}}, func(s *ir.Service) {
		s.Policy.Limits = ir.Limits{MaxConnections: 1, MaxPending: 2}
	})
	c := client(t, b.door(shopAddress))
	var all sync.WaitGroup
	var served atomic.Int64
	ask := func() {
		r, err := c.Get("http://shop/")
		if err != nil {
			t.Error(err)
			return
		}
		r.Body.Close()
		if r.StatusCode == 204 {
			served.Add(1)
		}
	}
	all.Go(ask)
	eventually(t, "one in flight", func() bool { return b.Active() == 1 })
	// While the connection is being made anybody may wait for it; afterwards two may wait for the stream.
	first := make(chan struct{})
	go func() { release <- struct{}{}; close(first) }()
	<-first
	all.Wait()
	for range 3 {
		all.Go(ask)
	}
	eventually(t, "three in flight", func() bool { return b.Active() == 3 })
	r, body := get(t, c, "/")
	if r.StatusCode != 503 || !strings.Contains(body, "wait") {
		t.Errorf("beyond the limit: %s %q", r.Status, body)
	}
	close(release)
	all.Wait()
	if served.Load() != 4 {
		t.Errorf("%d served, want 4", served.Load())
	}
}

func TestCallersThatGoAway(t *testing.T) {
	gone := make(chan struct{}, 10)
	pod := app(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/begun" {
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
		gone <- struct{}{}
	})
	b := outbound(t, ir.HTTP2, ir.Split{}, revisions{"v1": {pod}})
	c := client(t, b.door(shopAddress))
	for i, path := range []string{"/", "/begun"} {
		ctx, cancel := context.WithCancel(t.Context())
		r, _ := http.NewRequestWithContext(ctx, "GET", "http://shop"+path, nil)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if response, err := c.Do(r); err == nil {
				io.Copy(io.Discard, response.Body)
				response.Body.Close()
			}
		}()
		eventually(t, "the request is in flight", func() bool { return b.Active() == 1 })
		cancel()
		<-done
		<-gone
		eventually(t, "counted", func() bool { return b.total("code=499") == float64(i+1) })
	}
	// The whole connection.
	raw := dialRaw(t, b.door(shopAddress))
	raw.request(1, true)
	eventually(t, "the request is in flight", func() bool { return b.Active() == 1 })
	raw.conn.Close()
	<-gone
	eventually(t, "counted", func() bool { return b.total("code=499") == 3 && b.Active() == 0 })
}

// TestWaitingOutlivesAConnection has streams wait for the only connection that there may be, and it ends.
func TestWaitingOutlivesAConnection(t *testing.T) {
	var conns atomic.Int64
	first := make(chan struct{})
	pod := rawApp(t, func(r *raw) {
		r.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
		doomed := conns.Add(1) == 1
		for {
			f, err := r.ReadFrame()
			if err != nil {
				return
			}
			if h, ok := f.(*http2.MetaHeadersFrame); ok {
				if doomed {
					<-first
					return
				}
				r.WriteHeaders(http2.HeadersFrameParam{StreamID: h.StreamID, EndHeaders: true, EndStream: true, BlockFragment: r.encode(":status", "204")})
			}
		}
	})
	b := routed(t, ir.HTTP2, revisions{"v1": {pod}}, func(s *ir.Service) { s.Policy.Limits = ir.Limits{MaxConnections: 1} })
	r := dialRaw(t, b.door(shopAddress))
	r.request(1, true)
	eventually(t, "a connection", func() bool { return conns.Load() == 1 })
	for id := uint32(3); id <= 9; id += 2 {
		r.request(id, true)
	}
	eventually(t, "all wait", func() bool { return b.Active() == 5 })
	close(first)
	got := map[uint32]string{}
	r.until("five responses", func(f http2.Frame) bool {
		if h, ok := f.(*http2.MetaHeadersFrame); ok {
			got[h.StreamID] = h.PseudoValue("status")
		}
		return len(got) == 5
	})
	if fmt.Sprint(got) != "map[1:502 3:204 5:204 7:204 9:204]" {
		t.Errorf("got %v", got)
	}
}
