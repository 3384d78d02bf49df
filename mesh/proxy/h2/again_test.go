package h2_test

import (
	"io"
	"net"
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
	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
)

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
	c := client(t, b.Door(shopAddress))
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
	if got := b.Total("code=503"); got != 3 {
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
	if err := grpcClient(t, b.Door(shopAddress)).Invoke(with(t), "/a/b", &none, &none); status.Code(err) != codes.PermissionDenied {
		t.Errorf("got %v", err)
	}
	if b.Total("code=200", "grpc_status=14") != 1 {
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
	cases := map[string]netip.AddrPort{
		"refuses streams": rawApp(t, refuses), "says GOAWAY": rawApp(t, leaves),
		"refuses connections": nobody(t),
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
			c := client(t, b.Door(shopAddress))
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
			err := grpcClient(t, b.Door(shopAddress)).Invoke(with(t), "/a/b", &none, &none)
			if status.Code(err) != codes.Unavailable {
				t.Errorf("got %v", err)
			}
		})
	}
}

// resets serves raw connections: it resets the streams of requests with these codes, one after the other.
func resets(t testing.TB, seen *atomic.Int64, codes ...http2.ErrCode) netip.AddrPort {
	return rawApp(t, func(r *raw) {
		for {
			f, err := r.ReadFrame()
			if err != nil {
				return
			}
			if h, ok := f.(*http2.MetaHeadersFrame); ok {
				n := int(seen.Add(1))
				r.WriteRSTStream(h.StreamID, codes[min(n, len(codes))-1])
			}
		}
	})
}

// TestTryThatFailsAsItsTimeEnds: a try's timeout that has fired while its failure was handled ends nothing more.
func TestTryThatFailsAsItsTimeEnds(t *testing.T) {
	var slow atomic.Bool
	b := newBench(t, false, netip.Addr{}, func(o *engine.Options) {
		o.Random = func(n uint32) uint32 { return n - 1 } // the longest back-off
		o.Now = func() time.Time {
			if slow.Swap(false) {
				time.Sleep(700 * time.Millisecond) // the request is locked, and the timer fires
			}
			return time.Now()
		}
	})
	var seen atomic.Int64
	pod := rawApp(t, func(r *raw) {
		var writing sync.Mutex
		for {
			f, err := r.ReadFrame()
			if err != nil {
				return
			}
			if h, ok := f.(*http2.MetaHeadersFrame); ok {
				if seen.Add(1) == 1 {
					slow.Store(true)
					r.WriteRSTStream(h.StreamID, http2.ErrCodeInternal)
					continue
				}
				time.AfterFunc(50*time.Millisecond, func() { // there is time for another try at once
					writing.Lock()
					defer writing.Unlock()
					r.WriteRSTStream(h.StreamID, http2.ErrCodeInternal)
				})
			}
		}
	})
	s := service("shop", shopAddress, ir.HTTP2, ir.Split{}, revisions{"v1": {pod}})
	s.Policy.Retry = &ir.Retry{
		Attempts: 3, On: []ir.RetryOn{ir.OnReset, ir.OnTimeout}, NonIdempotent: true, BackOff: 20 * time.Millisecond,
	}
	s.Routes = []ir.Route{{Name: "r", Timeouts: ir.Timeouts{PerTry: 500 * time.Millisecond}}}
	b.Apply(s)
	r := dialRaw(t, b.Door(shopAddress))
	r.request(1, true)
	r.until("the end", func(f http2.Frame) bool {
		h, ok := f.(*http2.MetaHeadersFrame)
		if ok {
			t.Errorf("answered %s after %d tries", h.PseudoValue("status"), seen.Load())
		}
		_, reset := f.(*http2.RSTStreamFrame)
		return ok || reset
	})
	b.AtRest(t)
	if got := seen.Load(); got != 4 {
		t.Errorf("%d tries, want 4", got)
	}
}

// TestNoTryAfterTheAnswer: a request that was answered while it paused before another try, goes nowhere any more,
// although the caller takes its time to read the answer.
func TestNoTryAfterTheAnswer(t *testing.T) {
	var seen atomic.Int64
	pod := resets(t, &seen, http2.ErrCodeInternal)
	b := newBench(t, false, netip.Addr{}, func(o *engine.Options) {
		o.Random = func(n uint32) uint32 { return n - 1 }
	})
	s := service("shop", shopAddress, ir.HTTP2, ir.Split{}, revisions{"v1": {pod}})
	s.Policy.Retry = &ir.Retry{Attempts: 3, On: []ir.RetryOn{ir.OnReset}, NonIdempotent: true, BackOff: 200 * time.Millisecond}
	s.Policy.Timeouts.Request = 50 * time.Millisecond
	b.Apply(s)
	r := dialRaw(t, b.Door(shopAddress), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	r.request(1, true)
	r.until("the answer's head", func(f http2.Frame) bool {
		h, ok := f.(*http2.MetaHeadersFrame)
		if ok && h.PseudoValue("status") != "504" {
			t.Errorf("answered %s", h.PseudoValue("status"))
		}
		return ok
	})
	<-time.After(300 * time.Millisecond) // the pause would be over
	r.WritePing(false, [8]byte{})
	r.until("the PING's answer", func(f http2.Frame) bool { _, ok := f.(*http2.PingFrame); return ok })
	if got := seen.Load(); got != 1 {
		t.Errorf("%d tries, want 1", got)
	}
	r.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1000})
	b.AtRest(t)
}

// TestRefusalAfterAnotherTry: the caller must not hear that nothing has processed its request, once something may
// have.
func TestRefusalAfterAnotherTry(t *testing.T) {
	var seen atomic.Int64
	pod := resets(t, &seen, http2.ErrCodeInternal, http2.ErrCodeRefusedStream)
	b := routed(t, ir.HTTP2, revisions{"v1": {pod}}, func(s *ir.Service) {
		s.Policy.Retry = &ir.Retry{Attempts: 1, On: []ir.RetryOn{ir.OnReset}, NonIdempotent: true, BackOff: time.Microsecond}
	})
	r := dialRaw(t, b.Door(shopAddress))
	r.request(1, true)
	r.until("the end", func(f http2.Frame) bool {
		switch f := f.(type) {
		case *http2.RSTStreamFrame:
			if f.ErrCode == http2.ErrCodeRefusedStream {
				t.Errorf("reset with %v after %d tries", f.ErrCode, seen.Load())
			}
			return true
		case *http2.DataFrame:
			if !strings.Contains(string(f.Data()), "reset the stream") {
				t.Errorf("answered %q", f.Data())
			}
			return f.StreamEnded()
		}
		return false
	})
	b.AtRest(t)
}
