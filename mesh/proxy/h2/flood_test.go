package h2_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
)

// quiet is an application that never answers.
func quiet(t testing.TB) revisions {
	return revisions{"v1": {app(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })}}
}

// TestFloods sends what a proxy must not take without end, and wants the connection to end with the code.
func TestFloods(t *testing.T) {
	cases := map[string]struct {
		want  http2.ErrCode
		flood func(r *raw, i int) error
	}{
		"rapid reset": {http2.ErrCodeEnhanceYourCalm, func(r *raw, i int) error {
			r.request(uint32(2*i+1), true)
			return r.WriteRSTStream(uint32(2*i+1), http2.ErrCodeCancel)
		}},
		"streams made to be reset": {http2.ErrCodeEnhanceYourCalm, func(r *raw, i int) error {
			r.request(uint32(2*i+1), false)
			return r.WriteWindowUpdate(uint32(2*i+1), 1<<31-1)
		}},
		"malformed requests": {http2.ErrCodeEnhanceYourCalm, func(r *raw, i int) error {
			return r.WriteHeaders(http2.HeadersFrameParam{
				StreamID: uint32(2*i + 1), EndHeaders: true, EndStream: true, BlockFragment: r.encode(":method", "GET"),
			})
		}},
		"more streams than may be": {http2.ErrCodeEnhanceYourCalm, func(r *raw, i int) error {
			r.request(uint32(2*i+1), true)
			return nil
		}},
		"CONTINUATION": {http2.ErrCodeEnhanceYourCalm, func(r *raw, i int) error {
			if i == 0 {
				return r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: r.encode(":method", "GET")})
			}
			return r.WriteContinuation(1, false, nil)
		}},
		"large CONTINUATION": {http2.ErrCodeEnhanceYourCalm, func(r *raw, i int) error {
			if i == 0 {
				return r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: r.encode(":method", "GET")})
			}
			return r.WriteContinuation(1, false, make([]byte, 16<<10))
		}},
		"PING": {http2.ErrCodeEnhanceYourCalm, func(r *raw, _ int) error { return r.WritePing(false, [8]byte{}) }},
		"SETTINGS": {http2.ErrCodeEnhanceYourCalm, func(r *raw, _ int) error {
			return r.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100})
		}},
		"PRIORITY": {http2.ErrCodeEnhanceYourCalm, func(r *raw, _ int) error {
			return r.WritePriority(1, http2.PriorityParam{StreamDep: 3})
		}},
		"unknown frames": {http2.ErrCodeEnhanceYourCalm, func(r *raw, _ int) error { return r.WriteRawFrame(0x77, 0, 0, nil) }},
		"empty DATA": {http2.ErrCodeEnhanceYourCalm, func(r *raw, i int) error {
			if i == 0 {
				r.request(1, false)
			}
			return r.WriteData(1, false, nil)
		}},
		"tiny windows": {http2.ErrCodeEnhanceYourCalm, func(r *raw, _ int) error { return r.WriteWindowUpdate(0, 1) }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, false, shopAddress.Addr(), func(o *engine.Options) { o.Limits.Streams = 100 })
			b.Apply(service("shop", shopAddress, ir.HTTP2, ir.Split{}, quiet(t)))
			r := dialRaw(t, b.Door(shopAddress))
			done := make(chan struct{})
			go func() {
				defer close(done)
				for i := 0; i < 1_000_000 && c.flood(r, i) == nil; i++ {
				}
			}()
			for {
				f, err := r.ReadFrame()
				if err != nil {
					t.Fatalf("no GOAWAY before the end: %v", err)
				}
				if away, ok := f.(*http2.GoAwayFrame); ok {
					if away.ErrCode != c.want {
						t.Errorf("GOAWAY says %v, want %v", away.ErrCode, c.want)
					}
					break
				}
			}
			io.Copy(io.Discard, r.conn)
			r.conn.Close()
			<-done
			eventually(t, "no request is in flight", func() bool { return b.Active() == 0 })
		})
	}
}

// TestUnreadAnswersAreBounded pings without reading: the answers must not pile up.
func TestUnreadAnswersAreBounded(t *testing.T) {
	b := newBench(t, false, shopAddress.Addr(), func(o *engine.Options) {
		var seconds atomic.Int64 // a clock so fast that the rate of PINGs is low
		o.Now = func() time.Time { return time.Unix(seconds.Add(10), 0) }
	})
	b.Apply(service("shop", shopAddress, ir.HTTP2, ir.Split{}, quiet(t)))
	r := dialRaw(t, b.Door(shopAddress))
	pings := bytes.Repeat(append([]byte{0, 0, 8, 6, 0, 0, 0, 0, 0}, make([]byte, 8)...), 1000)
	for i := 0; ; i++ {
		if _, err := r.conn.Write(pings); err != nil {
			return
		}
		if i > 3_000 {
			t.Fatal("three million PINGs were taken")
		}
	}
}

func TestRequestsBeyondTheLimitAreRefused(t *testing.T) {
	b := newBench(t, false, shopAddress.Addr(), func(o *engine.Options) { o.Limits.Streams = 3 })
	b.Apply(service("shop", shopAddress, ir.HTTP2, ir.Split{}, quiet(t)))
	r := dialRaw(t, b.Door(shopAddress))
	for id := uint32(1); id <= 7; id += 2 {
		r.request(id, true)
	}
	r.until("the refusal", func(f http2.Frame) bool {
		reset, ok := f.(*http2.RSTStreamFrame)
		if ok && (reset.StreamID != 7 || reset.ErrCode != http2.ErrCodeRefusedStream) {
			t.Errorf("%v", reset)
		}
		return ok
	})
	// One that ends makes room.
	r.WriteRSTStream(1, http2.ErrCodeCancel)
	r.request(9, true)
	eventually(t, "three requests are in flight", func() bool { return b.Active() == 3 })
}

func TestLargeHeadsAreAnswered(t *testing.T) {
	b := outbound(t, ir.HTTP2, ir.Split{}, quiet(t))
	r := dialRaw(t, b.Door(shopAddress))
	value := strings.Repeat("x", 10_000)
	block := append([]byte(nil), r.encode(":method", "GET", ":scheme", "http", ":path", "/", ":authority", "shop",
		"a", value, "b", value+"1", "c", value+"2", "d", value+"3", "e", value+"4", "f", value+"5", "g", value+"6")...)
	r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true, BlockFragment: block[:16000]})
	for rest := block[16000:]; len(rest) > 0; {
		n := min(len(rest), 16000)
		r.WriteContinuation(1, n == len(rest), rest[:n])
		rest = rest[n:]
	}
	r.until("431", func(f http2.Frame) bool {
		h, ok := f.(*http2.MetaHeadersFrame)
		if ok && h.PseudoValue("status") != "431" {
			t.Errorf("answered %s", h.PseudoValue("status"))
		}
		return ok
	})
	// HPACK's table is still in step.
	r.request(3, true, "e", value+"4")
	eventually(t, "the next request is in flight", func() bool { return b.Active() == 1 })
}

func TestIncompleteHeadsEndInTime(t *testing.T) {
	heads := map[string]func(*raw){
		"no preface":      nil,
		"half a frame":    func(r *raw) { r.conn.Write([]byte{0, 0, 100, 1}) },
		"no CONTINUATION": func(r *raw) { r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}}) },
	}
	for name, send := range heads {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, false, shopAddress.Addr(), func(o *engine.Options) { o.Limits.HeaderTime = time.Second })
			var conn io.Reader
			if send == nil {
				c := dialDoor(t, b.Door(shopAddress))
				io.WriteString(c, http2.ClientPreface[:10])
				conn = c
			} else {
				r := dialRaw(t, b.Door(shopAddress))
				send(r)
				conn = r.conn
			}
			io.Copy(io.Discard, conn) // ends
		})
	}
}

func TestIdleConnectionsEnd(t *testing.T) {
	b := newBench(t, false, shopAddress.Addr(), func(o *engine.Options) { o.Limits.IdleTime = time.Second })
	r := dialRaw(t, b.Door(shopAddress))
	r.until("GOAWAY", func(f http2.Frame) bool { _, ok := f.(*http2.GoAwayFrame); return ok })
	if _, err := io.Copy(io.Discard, r.conn); err != nil {
		t.Error(err)
	}
}

// FuzzFrames sends anything to a proxy, after a preface and SETTINGS, and as what an endpoint says.
func FuzzFrames(f *testing.F) {
	frame := func(kind, flags byte, id uint32, payload string) string {
		head := []byte{0, byte(len(payload) >> 8), byte(len(payload)), kind, flags}
		return string(binary.BigEndian.AppendUint32(head, id)) + payload
	}
	get := "\x82\x86\x84\x41\x04shop"
	f.Add([]byte(frame(1, 5, 1, get)), []byte(frame(1, 5, 1, "\x88")))
	f.Add([]byte(frame(1, 4, 1, get)+frame(0, 1, 1, "hello")), []byte(frame(1, 4, 1, "\x88")+frame(0, 1, 1, "world")))
	f.Add([]byte(frame(1, 4, 1, get)+frame(0, 9, 1, "\x02hello")+frame(3, 0, 1, "\x00\x00\x00\x08")), []byte(frame(7, 0, 0, "\x00\x00\x00\x00\x00\x00\x00\x00")))
	f.Add([]byte(frame(4, 0, 0, "\x00\x04\x00\x00\x00\x01")+frame(1, 0x2c, 1, "\x00\x00\x00\x00\x00\x00"+get)+frame(8, 0, 1, "\x00\x00\x00\x09")),
		[]byte(frame(1, 4, 1, "\x88")+frame(0, 0, 1, "some more")+frame(1, 5, 1, "\x40\x0bgrpc-status\x010")))
	f.Add([]byte(frame(1, 1, 1, get[:2])+frame(9, 4, 1, get[2:])), []byte(frame(1, 4, 1, "\x48\x03103")+frame(1, 5, 1, "\x88")))
	f.Add([]byte(frame(6, 0, 0, "12345678")+frame(2, 0, 1, "\x00\x00\x00\x03\x00")+frame(1, 5, 1, get)), []byte(frame(3, 0, 1, "\x00\x00\x00\x07")))
	b := newBench(f, false, shopAddress.Addr(), nil)
	answers := make(chan []byte, 1)
	pod := rawApp(f, func(r *raw) {
		var answer []byte
		for {
			frame, err := r.ReadFrame()
			if err != nil {
				return
			}
			if _, ok := frame.(*http2.MetaHeadersFrame); ok && answer == nil {
				select {
				case answer = <-answers:
				default:
					answer = []byte{}
				}
				r.conn.Write(answer)
			}
		}
	})
	s := service("shop", shopAddress, ir.HTTP2, ir.Split{}, revisions{"v1": {pod}})
	s.Policy.Retry = &ir.Retry{
		Attempts: 2, On: []ir.RetryOn{ir.OnReset, ir.OnTimeout, ir.On5xx}, NonIdempotent: true, BackOff: time.Microsecond,
	}
	s.Policy.Timeouts = ir.Timeouts{PerTry: 2 * time.Millisecond, Request: 4 * time.Millisecond}
	s.Routes = []ir.Route{{Name: "m", Mirrors: []ir.Mirror{{Service: "demo/test", Port: 81, Share: ir.Million / 2}}}}
	mirror := service("test", netip.MustParseAddrPort("10.96.0.2:81"), ir.HTTP2, ir.Split{}, revisions{"v1": {pod}})
	mirror.Policy.Timeouts = s.Policy.Timeouts
	b.Apply(s, mirror)
	door := b.Door(shopAddress)
	f.Fuzz(func(t *testing.T, ask, answer []byte) {
		select {
		case <-answers:
		default:
		}
		answers <- bytes.Clone(answer) // the fuzzer overwrites its own
		c := dialDoor(t, door)
		c.Write([]byte(http2.ClientPreface + frame(4, 0, 0, "") + string(ask)))
		c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		io.Copy(io.Discard, c)
		c.Close()
		b.AtRest(t)
	})
}
