package h2_test

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
	"github.com/sluice-mesh/sluice/mesh/proxy/h2"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shopAddress is the service's in these tests. Nothing listens there: a client dials a door of the proxy, which
// is told that the connection was going to the service.
var shopAddress = netip.MustParseAddrPort("10.96.0.1:80")

// bench is one engine with its configuration.
type bench struct {
	*h2.Server
	t        testing.TB
	registry *prometheus.Registry
	compiler *table.Compiler
	table    atomic.Pointer[table.Table]
	doors    []net.Listener
	serving  sync.WaitGroup
}

func options(b *bench, change func(*engine.Options)) engine.Options {
	var dialer net.Dialer
	dial := func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return dialer.DialContext(ctx, "tcp", to.String())
	}
	o := engine.Options{
		Table: b.table.Load, Random: rand.Uint32N, Now: time.Now,
		Dial: func(ctx context.Context, e *table.Endpoint, _ string) (net.Conn, error) {
			return dial(ctx, e.Address)
		},
		DialAddress: dial,
		Logger:      slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if change != nil {
		change(&o)
	}
	return o
}

func newBench(t testing.TB, inbound bool, self netip.Addr, change func(*engine.Options)) *bench {
	b := &bench{t: t, registry: prometheus.NewRegistry()}
	b.table.Store(table.Empty())
	o := options(b, change)
	b.compiler = &table.Compiler{
		Recorder: telemetry.New(b.registry), Source: "front", SourceNamespace: "web", Self: self, Revision: o.Revision,
		Now: o.Now, Logger: o.Logger,
	}
	b.compiler.NewPools[table.HTTP2] = h2.NewPool(o)
	if inbound {
		b.Server = h2.NewInbound(o)
	} else {
		b.Server = h2.NewOutbound(o)
	}
	t.Cleanup(func() {
		for _, l := range b.doors {
			l.Close()
		}
		b.Close()
		b.serving.Wait()
		last := b.table.Load()
		b.apply() // retires all pools
		given(t, "connections", last, func(e table.EndpointDump) int64 { return e.Connections })
		given(t, "places", last, func(e table.EndpointDump) int64 { return e.InFlight })
	})
	return b
}

// outbound is an engine of the caller's side with one service of these endpoints by revision.
func outbound(t testing.TB, protocol ir.Protocol, split ir.Split, subsets revisions) *bench {
	b := newBench(t, false, netip.Addr{}, nil)
	b.apply(service("shop", shopAddress, protocol, split, subsets))
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

// door listens for connections that were going to dst.
func (b *bench) door(dst netip.AddrPort) string {
	l := listen(b.t, "127.0.0.1:0")
	b.doors = append(b.doors, l)
	b.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			b.serving.Go(func() { b.Serve(conn, dst) })
		}
	})
	return l.Addr().String()
}

func listen(t testing.TB, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// client speaks HTTP/2 with prior knowledge to a door.
func client(t testing.TB, door string) *http.Client {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{
		Protocols: &protocols, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", door)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// app serves HTTP/2 in cleartext.
func app(t testing.TB, handler http.HandlerFunc) netip.AddrPort {
	t.Helper()
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{Handler: handler, Protocols: &protocols}
	l := listen(t, podHost()+":0")
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-done })
	return l.Addr().(*net.TCPAddr).AddrPort()
}

var hosts atomic.Uint32

// podHost is an address of loopback of its own, as every pod has its own.
func podHost() string {
	n := hosts.Add(1)
	return netip.AddrFrom4([4]byte{127, 2, byte(n / 250), byte(1 + n%250)}).String()
}

type revisions = map[string][]netip.AddrPort

func service(name string, address netip.AddrPort, protocol ir.Protocol, split ir.Split, subsets revisions) ir.Service {
	s := ir.Service{
		Namespace: "demo", Name: name, Split: split, Addresses: []netip.Addr{address.Addr()},
		Ports: []ir.Port{{Name: "main", Number: address.Port(), Protocol: protocol}},
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

// release is a split of one Rollout.
func release(epoch int64, weight uint32) ir.Split {
	return ir.Split{Owner: "rollout", Epoch: epoch, Weight: weight, Stable: "v1", Canary: "v2"}
}

// total sums the requests counted with these labels; -1: none.
func (b *bench) total(labels ...string) float64 {
	b.t.Helper()
	families, err := b.registry.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	sum, found := 0.0, false
	for _, family := range families {
		if family.GetName() != "sluice_requests_total" {
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

// atRest waits until no request is in flight, and the table knows of none either.
func (b *bench) atRest(t testing.TB) {
	t.Helper()
	eventually(t, "nothing is in flight", func() bool { return b.Active() == 0 })
	given(t, "places", b.table.Load(), func(e table.EndpointDump) int64 { return e.InFlight })
}

// given waits until all that was taken of the table's endpoints and services has been given back.
func given(t testing.TB, what string, of *table.Table, taken func(table.EndpointDump) int64) {
	t.Helper()
	eventually(t, what+" have been given back", func() bool {
		for _, s := range of.Dump().Services {
			if s.InFlight != 0 || s.Repeating != 0 {
				return false
			}
			for _, revision := range s.Endpoints {
				for _, e := range revision.Each {
					if taken(e) != 0 {
						return false
					}
				}
			}
		}
		return true
	})
}

// eventually waits until the condition holds; what says what was waited for.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		case <-ticker.C:
		}
	}
}
