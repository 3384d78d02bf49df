package h2_test

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// TestSlowReceiver reads nothing of one response: others on the same connections go on.
func TestSlowReceiver(t *testing.T) {
	pod := app(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/large" {
			w.Write(make([]byte, 8<<20))
		}
	})
	b := outbound(t, ir.HTTP2, ir.Split{}, revisions{"v1": {pod}})
	r := dialRaw(t, b.Door(shopAddress))
	r.WriteWindowUpdate(0, 1<<30)
	for id := uint32(1); id < 40; id += 2 { // their windows stay at 64 KiB
		r.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, EndStream: true,
			BlockFragment: r.encode(":method", "GET", ":scheme", "http", ":path", "/large", ":authority", "shop")})
	}
	r.request(101, true)
	got := map[uint32]int{}
	r.until("the small response", func(f http2.Frame) bool {
		if d, ok := f.(*http2.DataFrame); ok {
			got[d.StreamID] += len(d.Data())
		}
		h, ok := f.(*http2.MetaHeadersFrame)
		return ok && h.StreamID == 101
	})
	// One of them goes on when it is given window.
	r.WriteWindowUpdate(1, 8<<20)
	r.until("the end of a large response", func(f http2.Frame) bool {
		d, ok := f.(*http2.DataFrame)
		if ok {
			got[d.StreamID] += len(d.Data())
		}
		return ok && d.StreamID == 1 && d.StreamEnded()
	})
	if got[1] != 8<<20 {
		t.Errorf("%d bytes came", got[1])
	}
	for id := uint32(3); id < 40; id += 2 {
		if got[id] > 65535 {
			t.Errorf("stream %d got %d bytes", id, got[id])
		}
	}
}

// TestSlowSocket stops reading altogether: what is buffered is bounded, and all comes in the end.
func TestSlowSocket(t *testing.T) {
	var sent atomic.Int64
	pod := app(t, func(w http.ResponseWriter, r *http.Request) {
		for range 1024 {
			n, _ := w.Write(make([]byte, 64<<10))
			sent.Add(int64(n))
		}
	})
	b := outbound(t, ir.HTTP2, ir.Split{}, revisions{"v1": {pod}})
	r := dialRaw(t, b.Door(shopAddress), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	r.WriteWindowUpdate(0, 1<<30)
	r.request(1, true)
	before := int64(-1)
	for n := sent.Load(); n != before || n == 0; n = sent.Load() { // until it has come to rest
		before = n
		time.Sleep(100 * time.Millisecond)
	}
	if before > 32<<20 {
		t.Errorf("%d bytes were taken from the endpoint", before)
	}
	total := 0
	r.until("the end", func(f http2.Frame) bool {
		d, ok := f.(*http2.DataFrame)
		if ok {
			total += len(d.Data())
		}
		return ok && d.StreamEnded()
	})
	if total != 64<<20 {
		t.Errorf("%d bytes came", total)
	}
}

func TestManyStreams(t *testing.T) {
	b, called := chain(t, grpcApp(t, "one"))
	c := grpcClient(t, b.Door(shopAddress))
	var all sync.WaitGroup
	for range 300 { // more than one connection's worth
		all.Go(func() {
			stream := talk(t, c)
			big, back := bytes.Repeat([]byte("y"), 200_000), []byte(nil)
			if err := stream.SendMsg(&big); err != nil {
				t.Error(err)
			}
			if err := stream.RecvMsg(&back); err != nil || !bytes.Equal(big, back) {
				t.Errorf("%d bytes, %v", len(back), err)
			}
			hangUp(t, stream)
		})
	}
	all.Wait()
	eventually(t, "no request is in flight", func() bool { return b.Active() == 0 && called.Active() == 0 })
}

// TestWindowsSurviveWhatIsNotPassedOn: data that goes nowhere, since its stream has ended, gives the connection's
// window back. Else the last exchange would wait for ever.
func TestWindowsSurviveWhatIsNotPassedOn(t *testing.T) {
	const exchanges = 300 // each of more than a stream's window: several times a connection's
	body := make([]byte, 200<<10)
	t.Run("uploads", func(t *testing.T) {
		b := outbound(t, ir.HTTP2, ir.Split{}, revisions{"v1": {nobody(t)}})
		c := client(t, b.Door(shopAddress))
		for range exchanges {
			r, err := c.Post("http://shop/", "text/plain", bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, r.Body)
			r.Body.Close()
			if r.StatusCode != http.StatusServiceUnavailable {
				t.Fatal(r.Status)
			}
		}
		b.Apply(service("shop", shopAddress, ir.HTTP2, ir.Split{}, revisions{"v1": {app(t, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(w, r.Body)
		})}}))
		r, err := c.Post("http://shop/", "text/plain", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if got, err := io.ReadAll(r.Body); err != nil || len(got) != len(body) {
			t.Errorf("%d bytes: %v", len(got), err)
		}
	})
	t.Run("downloads", func(t *testing.T) {
		b := outbound(t, ir.HTTP2, ir.Split{}, revisions{"v1": {app(t, func(w http.ResponseWriter, _ *http.Request) { w.Write(body) })}})
		door := b.Door(shopAddress)
		r := dialRaw(t, door, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})
		for i := range uint32(exchanges) {
			r.request(2*i+1, true)
			r.until("data", func(f http2.Frame) bool {
				d, ok := f.(*http2.DataFrame)
				return ok && d.StreamID == 2*i+1
			})
			r.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
		}
		if _, got := get(t, client(t, door), "/"); len(got) != len(body) {
			t.Errorf("%d bytes", len(got))
		}
		b.AtRest(t)
	})
}
