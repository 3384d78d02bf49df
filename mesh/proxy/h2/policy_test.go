package h2_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
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
	b.Apply(s)
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
	response, err := client(t, b.Door(shopAddress)).Do(r)
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
	door := b.Door(shopAddress)
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
	const (
		short = 30 * time.Millisecond
		long  = time.Second // for the head to come first
	)
	cases := map[string]struct {
		timeouts ir.Timeouts
		head     bool
		breaks   bool
	}{
		"request":             {ir.Timeouts{Request: short}, false, false},
		"request in its body": {ir.Timeouts{Request: long}, true, true},
		"per try":             {ir.Timeouts{PerTry: short}, false, false},
		"idle":                {ir.Timeouts{Idle: short}, false, false},
		"idle in its body":    {ir.Timeouts{Idle: long}, true, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := routed(t, ir.HTTP2, slow(t, c.head), func(s *ir.Service) { s.Policy.Timeouts = c.timeouts })
			door := b.Door(shopAddress)
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
			eventually(t, "counted", func() bool { return b.Total("code=504") == 2 && b.Active() == 0 })
		})
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
	c := client(t, b.Door(shopAddress))
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
	came, gone := make(chan struct{}, 10), make(chan struct{}, 10)
	pod := app(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/begun" {
			w.(http.Flusher).Flush()
		}
		came <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	})
	b := outbound(t, ir.HTTP2, ir.Split{}, revisions{"v1": {pod}})
	c := client(t, b.Door(shopAddress))
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
		<-came
		cancel()
		<-done
		<-gone
		eventually(t, "counted", func() bool { return b.Total("code=499") == float64(i+1) })
	}
	// The whole connection.
	raw := dialRaw(t, b.Door(shopAddress))
	raw.request(1, true)
	<-came
	raw.conn.Close()
	<-gone
	eventually(t, "counted", func() bool { return b.Total("code=499") == 3 && b.Active() == 0 })
}

// TestWaitingOutlivesAConnection has streams wait for the only connection that there may be, and it ends.
func TestWaitingOutlivesAConnection(t *testing.T) {
	var conns atomic.Int64
	var full atomic.Bool
	first := make(chan struct{})
	pod := rawApp(t, func(r *raw) {
		r.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
		doomed := conns.Add(1) == 1
		for requests, acks := 0, 0; ; {
			f, err := r.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *http2.SettingsFrame:
				if f.IsAck() {
					acks++
				}
			case *http2.MetaHeadersFrame:
				requests++
				if !doomed {
					r.WriteHeaders(http2.HeadersFrameParam{StreamID: f.StreamID, EndHeaders: true, EndStream: true, BlockFragment: r.encode(":status", "204")})
				}
			}
			if doomed && requests == 1 && acks == 2 { // the second is of the limit: before, others are sent here too
				full.Store(true)
				<-first
				return
			}
		}
	})
	b := routed(t, ir.HTTP2, revisions{"v1": {pod}}, func(s *ir.Service) { s.Policy.Limits = ir.Limits{MaxConnections: 1} })
	r := dialRaw(t, b.Door(shopAddress))
	r.request(1, true)
	eventually(t, "a full connection", full.Load)
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
