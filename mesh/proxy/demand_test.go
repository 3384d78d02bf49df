package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy"
)

// clock is moved by hand.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// A service that is known, because another's route leads to it, is asked for all the same when it is called:
// what its own routes lead to is not known yet.
func TestKnownServiceIsAskedForWhenCalled(t *testing.T) {
	shop := service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v1": {says(t, "shop")}})
	shop.Routes = []ir.Route{{Name: "all", Backends: []ir.Backend{{Service: "demo/cache", Port: cacheAddress.Port(), Weight: 1}}}}
	cache := service("cache", cacheAddress, ir.HTTP, ir.Split{}, revisions{"v1": {says(t, "cache")}})
	var running atomic.Pointer[bench]
	b := newBench(t, func(o *proxy.Options) {
		o.Resolve = func(context.Context, netip.Addr) { running.Load().apply(cache, shop) }
	}, nil, nil)
	running.Store(b)
	b.apply(shop)
	if status, body := get(t, b.client(shopAddress), "/"); status != http.StatusOK || body != "cache" {
		t.Errorf("%d %q", status, body)
	}
}

// What a connection is open to is not released, so that whatever is asked on it at last is drawn.
func TestNothingIsReleasedUnderAnOpenConnection(t *testing.T) {
	var time clock
	var mu sync.Mutex
	var released []netip.Addr
	called := make(chan struct{}, 1)
	var running atomic.Pointer[bench]
	shop := service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v1": {says(t, "v1")}})
	cache := service("cache", cacheAddress, ir.HTTP, ir.Split{}, revisions{"v1": {says(t, "cache")}})
	b := newBench(t, func(o *proxy.Options) {
		o.Now = time.now
		o.Resolve = func(context.Context, netip.Addr) {
			running.Load().apply(cache, shop)
			called <- struct{}{}
		}
		o.Release = func(addresses ...netip.Addr) {
			mu.Lock()
			defer mu.Unlock()
			released = append(released, addresses...)
			if slices.Contains(addresses, shopAddress.Addr()) {
				running.Load().apply()
			}
		}
	}, nil, nil)
	running.Store(b)
	has := func(address netip.AddrPort) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return slices.Contains(released, address.Addr())
		}
	}
	conn := b.dial(shopAddress)
	<-called
	time.advance(2 * 3600e9)
	eventually(t, "what is not used to be released", has(cacheAddress))
	if has(shopAddress)() {
		t.Error("released under an open connection")
	}
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "v1" {
		t.Errorf("%q, %v", body, err)
	}
	if n := b.total("service=shop", "code=200"); n != 1 {
		t.Errorf("%v requests counted", n)
	}
	conn.Close()
	eventually(t, "the connection to end", func() bool { return b.metric("sluice_proxy_open_connections", "direction=outbound") == 0 })
	time.advance(2 * 3600e9)
	eventually(t, "the rest to be released", has(shopAddress))
}

// A series that comes into use again while long unused ones are dropped stays.
func TestSeriesInUseAgainIsNotDropped(t *testing.T) {
	var time clock
	var running atomic.Pointer[bench]
	var releases atomic.Int32
	mesh := func(epoch int64, weight uint32) []ir.Service {
		return []ir.Service{
			service("cache", cacheAddress, ir.HTTP, ir.Split{}, revisions{"v1": {cacheAddress}}),
			service("shop", shopAddress, ir.HTTP, release(epoch, weight), revisions{"v1": {closedPort(t)}, "v2": {says(t, "v2")}}),
		}
	}
	first := mesh(1, 100)
	b := newBench(t, func(o *proxy.Options) {
		o.Now = time.now
		o.Release = func(...netip.Addr) {
			if releases.Add(1) == 2 {
				running.Load().apply(mesh(3, 100)...)
			}
		}
	}, nil, nil)
	running.Store(b)
	b.apply(first...)
	b.apply(mesh(2, 50)...)
	for n := range int32(3) { // the last shows that the one before it is over
		time.advance(2 * 3600e9)
		eventually(t, "services to be released", func() bool { return releases.Load() > n })
	}
	if status, body := get(t, b.client(shopAddress), "/"); status != http.StatusOK || body != "v2" {
		t.Fatalf("%d %q", status, body)
	}
	if n := b.total("service=shop", "revision=v2", "weight=100", "code=200"); n != 1 {
		t.Errorf("%v requests counted", n)
	}
}

// A client that is silent at first is drawn by the split of the time when it speaks.
func TestSilentClientIsDrawnWhenItSpeaks(t *testing.T) {
	v1, v2 := echo(t, "v1"), echo(t, "v2")
	called := make(chan struct{}, 2)
	b := newBench(t, func(o *proxy.Options) {
		o.Resolve = func(context.Context, netip.Addr) { called <- struct{}{} }
	}, []netip.AddrPort{shopAddress, v1}, nil)
	b.apply(service("shop", shopAddress, ir.HTTP, release(1, 0), revisions{"v1": {v1}, "v2": {v2}}))
	conn := b.dial(shopAddress)
	<-called
	other := b.dial(v1) // takes as long as the first one needs to come to its wait
	if _, err := io.ReadFull(other, make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	b.apply(service("shop", shopAddress, ir.HTTP, release(2, 100), revisions{"v1": {v1}, "v2": {v2}}))
	fmt.Fprint(conn, "PING\r\n")
	got := make([]byte, 2)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "v2" {
		t.Errorf("%q, %v", got, err)
	}
}

// A connection that nobody has spoken on yet is cut like others when its revision has lost its weight.
func TestSilentConnectionIsCutAtTheDrain(t *testing.T) {
	canary := listen(t, podHost()+":0")
	b := newBench(t, nil, nil, nil)
	mesh := func(epoch int64, weight uint32) ir.Service {
		return service("shop", shopAddress, ir.Undeclared, release(epoch, weight),
			revisions{"v1": {echo(t, "")}, "v2": {canary.Addr().(*net.TCPAddr).AddrPort()}})
	}
	b.apply(mesh(1, 100))
	conn := b.dial(shopAddress)
	server, err := canary.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	b.apply(mesh(2, 0))
	if _, err := conn.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("not cut: %v", err)
	}
}

// A client that leaves without a word is no request, and nothing to be judged by.
func TestWordlessConnectionsDoNotCount(t *testing.T) {
	app := says(t, "v1")
	b := newBench(t, func(o *proxy.Options) { o.Self = app.Addr() }, nil, []netip.AddrPort{app})
	b.apply(service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v1": {app}}))
	for _, dst := range []netip.AddrPort{shopAddress, app} {
		conn := b.dial(dst)
		conn.CloseWrite()
		if rest, err := io.ReadAll(conn); err != nil || len(rest) > 0 {
			t.Errorf("%q, %v", rest, err)
		}
	}
	eventually(t, "all to end", func() bool { return b.metric("sluice_proxy_open_connections") == 0 })
	if n := b.metric("sluice_requests_started_total"); n > 0 {
		t.Errorf("%v requests counted", n)
	}
}

// The limit holds for all listeners of a direction together.
func TestConnectionsAreBoundedByDirection(t *testing.T) {
	b := newBench(t, func(o *proxy.Options) { o.MaxConnections = 1 }, []netip.AddrPort{cacheAddress, shopAddress}, nil)
	b.apply(service("cache", cacheAddress, ir.TCP, ir.Split{}, revisions{"v1": {echo(t, "ready")}}))
	conn := b.dial(cacheAddress)
	if _, err := io.ReadFull(conn, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if !b.refuses(shopAddress) || b.metric("sluice_proxy_refused_connections_total", "direction=outbound") != 1 {
		t.Error("one more than there may be")
	}
}
