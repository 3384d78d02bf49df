package proxy_test

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"go.uber.org/goleak"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy"
	"github.com/sluice-mesh/sluice/mesh/proxy/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The addresses that services have in these tests. Nothing listens there: a test's client dials a
// listener of the proxy instead, and the proxy is told that the connection was going to the service.
var (
	shopAddress  = proxytest.ShopAddress
	cacheAddress = netip.MustParseAddrPort("10.96.0.2:6379")
)

var (
	closedPort = proxytest.ClosedPort
	eventually = proxytest.Eventually
	get        = proxytest.Get
	inTime     = proxytest.InTime
	listen     = proxytest.Listen
	podHost    = proxytest.PodHost
	raw        = proxytest.Raw
	readHead   = proxytest.ReadHead
	release    = proxytest.Release
	says       = proxytest.Says
	serve      = proxytest.Serve
	service    = proxytest.Service
)

type revisions = proxytest.Revisions

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

func (b *bench) apply(services ...ir.Service) {
	b.t.Helper()
	if err := b.Apply(ir.Mesh{Services: services}); err != nil {
		b.t.Fatal(err)
	}
}

// client returns an HTTP client that reaches dst through the proxy.
func (b *bench) client(dst netip.AddrPort) *http.Client {
	return proxytest.Client(b.t, b.doors[dst], nil)
}

// dial opens a TCP connection to dst through the proxy.
func (b *bench) dial(dst netip.AddrPort) *net.TCPConn {
	b.t.Helper()
	return proxytest.Dial(b.t, b.doors[dst])
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
	return proxytest.Metric(b.t, b.registry, name, labels...)
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
