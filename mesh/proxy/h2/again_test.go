package h2_test

import (
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
)

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
				time.Sleep(200 * time.Millisecond) // the request is locked, and the timer fires
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
	s.Routes = []ir.Route{{Name: "r", Timeouts: ir.Timeouts{PerTry: 100 * time.Millisecond}}}
	b.apply(s)
	r := dialRaw(t, b.door(shopAddress))
	r.request(1, true)
	r.until("the end", func(f http2.Frame) bool {
		h, ok := f.(*http2.MetaHeadersFrame)
		if ok {
			t.Errorf("answered %s after %d tries", h.PseudoValue("status"), seen.Load())
		}
		_, reset := f.(*http2.RSTStreamFrame)
		return ok || reset
	})
	b.atRest(t)
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
	b.apply(s)
	r := dialRaw(t, b.door(shopAddress), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
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
	b.atRest(t)
}

// TestRefusalAfterAnotherTry: the caller must not hear that nothing has processed its request, once something may
// have.
func TestRefusalAfterAnotherTry(t *testing.T) {
	var seen atomic.Int64
	pod := resets(t, &seen, http2.ErrCodeInternal, http2.ErrCodeRefusedStream)
	b := routed(t, ir.HTTP2, revisions{"v1": {pod}}, func(s *ir.Service) {
		s.Policy.Retry = &ir.Retry{Attempts: 1, On: []ir.RetryOn{ir.OnReset}, NonIdempotent: true, BackOff: time.Microsecond}
	})
	r := dialRaw(t, b.door(shopAddress))
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
	b.atRest(t)
}
