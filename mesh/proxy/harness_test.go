package proxy_test

import (
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
	"github.com/prometheus/common/expfmt"
	"go.uber.org/goleak"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The addresses that services have in these tests. Nothing listens there: a test's client dials a
// listener of the proxy instead, and the proxy is told that the connection was going to the service.
var (
	shopAddress  = netip.MustParseAddrPort("10.96.0.1:80")
	cacheAddress = netip.MustParseAddrPort("10.96.0.2:6379")
)

// bench is a proxy under test with a door for every destination.
type bench struct {
	*proxy.Proxy
	t        testing.TB
	registry *prometheus.Registry
	admin    string
	doors    map[netip.AddrPort]string // where to dial for a destination
	stop     func()                    // asks the proxy to end
	done     chan struct{}             // closed when it has
}

// newBench runs a proxy whose doors lead to the given destinations.
func newBench(t testing.TB, change func(*proxy.Options), outbound, inbound []netip.AddrPort) *bench {
	t.Helper()
	b := &bench{t: t, registry: prometheus.NewRegistry(), doors: map[netip.AddrPort]string{}, done: make(chan struct{})}
	origin := map[int]netip.AddrPort{}
	open := func(dst netip.AddrPort) *net.TCPListener {
		l := listen(t, "127.0.0.1:0")
		origin[l.Addr().(*net.TCPAddr).Port] = dst
		b.doors[dst] = l.Addr().String()
		return l
	}
	admin := listen(t, "127.0.0.1:0")
	b.admin = "http://" + admin.Addr().String()
	var random lockedRand
	random.seeded = rand.New(rand.NewPCG(1, 2))
	o := proxy.Options{
		Source: "front", Namespace: "web", Admin: []net.Listener{admin},
		Drain: 2 * time.Second, ConnectTimeout: time.Second,
		Random: random.below, Registry: b.registry,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if len(outbound) == 0 {
		outbound = []netip.AddrPort{shopAddress}
	}
	for _, dst := range outbound {
		o.Outbound = append(o.Outbound, open(dst))
	}
	if len(inbound) == 0 {
		inbound = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}
	}
	for _, dst := range inbound {
		o.Inbound = append(o.Inbound, open(dst))
	}
	o.Origin = func(c *net.TCPConn) (netip.AddrPort, error) {
		return origin[c.LocalAddr().(*net.TCPAddr).Port], nil
	}
	if change != nil {
		change(&o)
	}
	p, err := proxy.New(o)
	if err != nil {
		t.Fatal(err)
	}
	b.Proxy = p
	ctx, cancel := context.WithCancel(context.Background())
	b.stop = cancel
	go func() {
		defer close(b.done)
		if err := p.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-b.done })
	return b
}

// lockedRand makes a seeded source safe for concurrent use.
type lockedRand struct {
	mu     sync.Mutex
	seeded *rand.Rand
}

func (r *lockedRand) below(n uint32) uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seeded.Uint32N(n)
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

func (b *bench) apply(services ...ir.Service) {
	b.t.Helper()
	if err := b.Apply(ir.Mesh{Services: services}); err != nil {
		b.t.Fatal(err)
	}
}

// client returns an HTTP client that reaches dst through the proxy.
func (b *bench) client(dst netip.AddrPort) *http.Client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", b.doors[dst])
		},
		DisableCompression:  true,
		MaxIdleConnsPerHost: 64,
	}
	b.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// dial opens a TCP connection to dst through the proxy.
func (b *bench) dial(dst netip.AddrPort) *net.TCPConn {
	b.t.Helper()
	conn, err := net.Dial("tcp", b.doors[dst])
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn.(*net.TCPConn)
}

// refuses reports whether a connection to dst is reset; that may come before dialling has returned.
func (b *bench) refuses(dst netip.AddrPort) bool {
	conn, err := net.Dial("tcp", b.doors[dst])
	if err != nil {
		return true
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, err = io.ReadAll(conn)
	return err != nil
}

// metric returns the sum of the series with a name and labels; -1 when there is none.
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
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	if !found {
		return -1
	}
	return sum
}

func (b *bench) total(labels ...string) float64 { return b.metric("sluice_requests_total", labels...) }

func (b *bench) exposition() string {
	families, err := b.registry.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	var text strings.Builder
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&text, family); err != nil {
			b.t.Fatal(err)
		}
	}
	return text.String()
}

// eventually waits until the condition holds; what says what was waited for.
func eventually(t *testing.T, what string, condition func() bool) {
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

// serve runs an HTTP application and returns its address.
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
func says(t *testing.T, name string) netip.AddrPort {
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprint(w, name+string(body))
	})
}

var hosts atomic.Uint32

// podHost is an address of loopback of its own, as every pod has its own.
func podHost() string {
	n := hosts.Add(1)
	return fmt.Sprintf("127.1.%d.%d", n/250, 1+n%250)
}

// closedPort is an address where nothing listens.
func closedPort(t *testing.T) netip.AddrPort {
	l := listen(t, podHost()+":0")
	l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// service makes a service with endpoints by revision; one port, whose number on each pod is the
// endpoint's own.
func service(name string, address netip.AddrPort, protocol ir.Protocol, split ir.Split, subsets map[string][]netip.AddrPort) ir.Service {
	s := ir.Service{
		Namespace: "demo", Name: name, Split: split,
		Ports: []ir.Port{{Name: "main", Number: address.Port(), Protocol: protocol}},
	}
	if address.Addr().IsValid() {
		s.Addresses = []netip.Addr{address.Addr()}
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
	return ir.Mesh{Services: []ir.Service{s}}.Services[0].Normalise()
}

// release is a split of one Rollout.
func release(epoch int64, weight uint32) ir.Split {
	return ir.Split{Owner: "rollout", Epoch: epoch, Weight: weight, Stable: "v1", Canary: "v2"}
}

type revisions = map[string][]netip.AddrPort

func get(t *testing.T, client *http.Client, path string) (int, string) {
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
