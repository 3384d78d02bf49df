package h2_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

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
	b.Apply(s, service("test", netip.MustParseAddrPort("10.96.0.2:81"), ir.HTTP2, ir.Split{}, revisions{"v1": {shadow}}))
	c := client(t, b.Door(shopAddress))
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
	if got := b.Total(); got != 3 {
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
	b.Apply(s,
		service("one", netip.MustParseAddrPort("10.96.0.2:81"), ir.HTTP2, ir.Split{}, revisions{"v1": {shadow}}),
		service("two", netip.MustParseAddrPort("10.96.0.3:81"), ir.HTTP2, ir.Split{}, revisions{"v1": {shadow}}))
	r, err := client(t, b.Door(shopAddress)).Post("http://shop/", "text/plain", bytes.NewReader(want))
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
