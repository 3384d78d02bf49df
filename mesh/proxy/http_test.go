package proxy_test

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy"
)

// chain is a caller's proxy before a called pod's proxy before an application.
func chain(t *testing.T, app netip.AddrPort) (caller, called *bench) {
	t.Helper()
	called = newBench(t, func(o *proxy.Options) { o.Self, o.Revision = app.Addr(), "v1" }, nil, []netip.AddrPort{app})
	called.apply(service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v1": {app}}))
	caller = newBench(t, nil, nil, nil)
	caller.apply(service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v1": {netip.MustParseAddrPort(called.doors[app])}}))
	return caller, called
}

func TestChainCountsAtBothEnds(t *testing.T) {
	intended := make(chan string, 1)
	app := serve(t, func(_ http.ResponseWriter, r *http.Request) { intended <- r.Header.Get("Sluice-Intended") })
	caller, called := chain(t, app)
	get(t, caller.client(shopAddress), "/")
	eventually(t, "both ends to count", func() bool { return caller.total("code=200") == 1 && called.total("source=mesh") == 1 })
	if got := <-intended; got != "" {
		t.Errorf("the application saw sluice-intended %q", got)
	}
	if got := caller.total("reporter=source", "revision=v1", "code=200"); got != 1 {
		t.Errorf("source counts %v, want 1", got)
	}
	if got := called.total("reporter=destination", "source=mesh", "service=shop", "revision=v1", "weight=", "code=200"); got != 1 {
		t.Errorf("destination counts %v of the mesh, want 1:\n%s", got, called.exposition())
	}
	get(t, called.client(app), "/")
	<-intended
	eventually(t, "the destination to count an outsider", func() bool {
		return called.total("reporter=destination", "source=unknown", "code=200") == 1
	})
}

func TestWebSocket(t *testing.T) {
	app := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var upgrader websocket.Upgrader
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		for {
			kind, message, err := conn.ReadMessage()
			if err != nil {
				return
			}
			conn.WriteMessage(kind, append([]byte("v2 "), message...))
		}
	})
	const drain = 300 * time.Millisecond
	b := newBench(t, func(o *proxy.Options) { o.Drain = drain }, nil, nil)
	ends := revisions{"v1": {says(t, "v1")}, "v2": {app}}
	dialer := websocket.Dialer{NetDial: func(_, _ string) (net.Conn, error) { return net.Dial("tcp", b.doors[shopAddress]) }}
	var conn *websocket.Conn
	say := func() error {
		if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
			return err
		}
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, answer, err := conn.ReadMessage()
		if err == nil && string(answer) != "v2 hello" {
			err = fmt.Errorf("heard %q", answer)
		}
		return err
	}
	opened := 0.0
	var zero time.Time
	inTime(t, drain, func() error { // it is not cut at once
		b.apply(service("shop", shopAddress, ir.HTTP, release(2*int64(opened)+1, 100), ends))
		dialled, _, err := dialer.Dial("ws://shop.demo/chat", nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { dialled.Close() })
		conn = dialled
		if err := say(); err != nil {
			t.Fatal(err)
		}
		opened++
		if got := b.total("revision=v2", "code=101"); got != opened {
			t.Errorf("code 101 = %v while the connection is open, want %v", got, opened)
		}
		zero = time.Now()
		b.apply(service("shop", shopAddress, ir.HTTP, release(2*int64(opened), 0), ends))
		return say()
	})
	conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	_, _, err := conn.ReadMessage()
	if took := time.Since(zero); err == nil || took < drain || took > 20*time.Second {
		t.Errorf("ended after %v with %v, want a cut after the drain of %v", took, err, drain)
	}
	if got := b.total(); got != opened {
		t.Errorf("counted %v requests, want %v", got, opened)
	}
}
