package h1_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
	"github.com/sluice-mesh/sluice/mesh/proxy/h1"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shopAddress is where the service is; nothing listens there.
var shopAddress = netip.MustParseAddrPort("10.96.0.1:80")

// bench is an engine in one direction under test, with a door that leads to dst.
type bench struct {
	*h1.Server
	t        testing.TB
	dst      netip.AddrPort
	door     string
	registry *prometheus.Registry
	compiler *table.Compiler
	table    atomic.Pointer[table.Table]
	serving  sync.WaitGroup
}

// outbound runs a caller's engine; calls through its door go to the shop.
func outbound(t testing.TB, change func(*engine.Options)) *bench {
	return newBench(t, shopAddress, false, netip.Addr{}, change)
}

// inbound runs a called pod's engine before an application.
func inbound(t testing.TB, app netip.AddrPort, revision string) *bench {
	return newBench(t, app, true, app.Addr(), func(o *engine.Options) { o.Revision = revision })
}

func newBench(t testing.TB, dst netip.AddrPort, in bool, self netip.Addr, change func(*engine.Options)) *bench {
	t.Helper()
	b := &bench{t: t, dst: dst, registry: prometheus.NewRegistry()}
	o := engine.Options{
		Table: b.table.Load, Random: rand.Uint32N, Now: time.Now,
		Dial: func(ctx context.Context, e *table.Endpoint, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", e.Address.String())
		},
		DialAddress: func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			return (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", to.String())
		},
		Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&o)
	}
	b.compiler = &table.Compiler{
		Recorder: telemetry.New(b.registry), Source: "front", SourceNamespace: "web", Revision: o.Revision, Self: self,
		Now: o.Now, Logger: o.Logger,
	}
	b.compiler.NewPools[table.HTTP1] = h1.NewPool(o)
	b.table.Store(table.Empty())
	if in {
		b.Server = h1.NewInbound(o)
	} else {
		b.Server = h1.NewOutbound(o)
	}
	l := listen(t, "127.0.0.1:0")
	b.door = l.Addr().String()
	b.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			b.serving.Go(func() { b.Serve(conn, dst) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		b.Close()
		b.serving.Wait()
		b.table.Load().Close()
	})
	return b
}

func (b *bench) apply(services ...ir.Service) {
	b.t.Helper()
	previous := b.table.Load()
	next, err := b.compiler.Compile(ir.Mesh{Services: services}, previous)
	if err != nil {
		b.t.Fatal(err)
	}
	b.table.Store(next)
	next.Supersede(previous)
}

func listen(t testing.TB, address string) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// client returns an HTTP client that reaches the service through the engine.
func (b *bench) client() *http.Client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", b.door)
		},
		DisableCompression:  true,
		MaxIdleConnsPerHost: 64,
	}
	b.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport: transport, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// dial opens a connection through the engine.
func (b *bench) dial() *net.TCPConn {
	b.t.Helper()
	conn, err := net.Dial("tcp", b.door)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn.(*net.TCPConn)
}

// say sends bytes on a new connection.
func (b *bench) say(text string) (net.Conn, *bufio.Reader) {
	b.t.Helper()
	conn := b.dial()
	if _, err := io.WriteString(conn, text); err != nil {
		b.t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// total is the sum of the requests counted with the labels; -1 when there is no such series.
func (b *bench) total(labels ...string) float64 {
	b.t.Helper()
	return b.metric("sluice_requests_total", labels...)
}

func (b *bench) metric(name string, labels ...string) float64 {
	b.t.Helper()
	families, err := b.registry.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	sum, found := 0.0, false
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
	series:
		for _, m := range family.GetMetric() {
			have := map[string]bool{}
			for _, l := range m.GetLabel() {
				have[l.GetName()+"="+l.GetValue()] = true
			}
			for _, want := range labels {
				if !have[want] {
					continue series
				}
			}
			found = true
			sum += m.GetCounter().GetValue()
		}
	}
	if !found {
		return -1
	}
	return sum
}

// eventually waits until the condition holds; what says what was waited for.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		case <-tick.C:
		}
	}
}

// serve runs an HTTP application of the standard library.
func serve(t testing.TB, handler http.HandlerFunc) netip.AddrPort {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Listener.Close()
	s.Listener = listen(t, podHost()+":0")
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).AddrPort()
}

// says is an application that answers with its name and what it was sent.
func says(t testing.TB, name string) netip.AddrPort {
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprint(w, name+string(body))
	})
}

// raw is a server that answers every connection with what respond writes.
func raw(t testing.TB, respond func(net.Conn, *bufio.Reader)) netip.AddrPort {
	l := listen(t, podHost()+":0")
	var open sync.WaitGroup
	open.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer conn.Close()
				respond(conn, bufio.NewReader(conn))
			})
		}
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func readHead(r *bufio.Reader) string {
	var head strings.Builder
	for {
		line, err := r.ReadString('\n')
		head.WriteString(line)
		if err != nil || line == "\r\n" {
			return head.String()
		}
	}
}

var hosts atomic.Uint32

// podHost is an address of loopback of its own, as every pod has its own.
func podHost() string {
	n := hosts.Add(1)
	return fmt.Sprintf("127.2.%d.%d", n/250, 1+n%250)
}

// closedPort is an address where nothing listens.
func closedPort(t testing.TB) netip.AddrPort {
	l := listen(t, podHost()+":0")
	l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

type revisions = map[string][]netip.AddrPort

// shop makes the service with endpoints by revision; one port, whose number on each pod is the endpoint's own.
func shop(split ir.Split, subsets revisions) ir.Service {
	s := ir.Service{
		Namespace: "demo", Name: "shop", Split: split, Addresses: []netip.Addr{shopAddress.Addr()},
		Ports: []ir.Port{{Name: "main", Number: shopAddress.Port(), Protocol: ir.HTTP}},
	}
	for revision, endpoints := range subsets {
		subset := ir.Subset{Name: revision}
		for _, e := range endpoints {
			subset.Endpoints = append(subset.Endpoints, ir.Endpoint{
				Address: e.Addr(), Ports: map[string]uint16{"main": e.Port()},
			})
		}
		s.Subsets = append(s.Subsets, subset)
	}
	s.Split = s.Split.WithShares(s.Subsets)
	return s.Normalise()
}

// plainShop is the service with one revision.
func plainShop(endpoints ...netip.AddrPort) ir.Service {
	return shop(ir.Split{}, revisions{"v1": endpoints})
}

// release is a split of one Rollout.
func release(epoch int64, weight uint32) ir.Split {
	return ir.Split{Owner: "rollout", Epoch: epoch, Weight: weight, Stable: "v1", Canary: "v2"}
}

// chain is a caller's engine before a called pod's engine before an application.
func chain(t testing.TB, app netip.AddrPort) (caller, called *bench) {
	t.Helper()
	called = inbound(t, app, "v1")
	called.apply(plainShop(app))
	caller = outbound(t, nil)
	caller.apply(plainShop(netip.MustParseAddrPort(called.door)))
	return caller, called
}

func get(t testing.TB, client *http.Client, path string) (int, string) {
	t.Helper()
	response, err := client.Get("http://shop.demo" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}
