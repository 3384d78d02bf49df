package proxytest

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

// Engine serves the connections of a protocol: a server of package h1 or h2.
type Engine interface {
	Serve(conn net.Conn, dst netip.AddrPort)
	Drain()
	Active() int
	Close()
}

// Factory makes the engines of a protocol.
type Factory struct {
	Kind              table.Kind
	Inbound, Outbound func(engine.Options) Engine
	NewPool           func(engine.Options) func(*table.Endpoint) table.Pool
}

// Bench is an engine of one direction under test, with its configuration.
type Bench struct {
	Engine
	t        testing.TB
	registry *prometheus.Registry
	compiler *table.Compiler
	table    atomic.Pointer[table.Table]
	doors    []net.Listener
	serving  sync.WaitGroup
}

// New runs an engine until the test ends. By then all that it took of the table must have been given back.
// Inbound: the engine of the pod at self. Change may be nil.
func New(t testing.TB, factory Factory, inbound bool, self netip.Addr, change func(*engine.Options)) *Bench {
	t.Helper()
	b := &Bench{t: t, registry: prometheus.NewRegistry()}
	b.table.Store(table.Empty())
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
		Logger:      slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&o)
	}
	b.compiler = &table.Compiler{
		Recorder: telemetry.New(b.registry), Source: "front", SourceNamespace: "web", Revision: o.Revision, Self: self,
		Now: o.Now, Logger: o.Logger,
	}
	b.compiler.NewPools[factory.Kind] = factory.NewPool(o)
	if inbound {
		b.Engine = factory.Inbound(o)
	} else {
		b.Engine = factory.Outbound(o)
	}
	t.Cleanup(func() {
		for _, l := range b.doors {
			l.Close()
		}
		b.Close()
		b.serving.Wait()
		last := b.Table()
		b.Apply() // retires all pools
		given(t, "connections", last, func(e table.EndpointDump) int64 { return e.Connections })
		given(t, "places", last, func(e table.EndpointDump) int64 { return e.InFlight })
	})
	return b
}

// Table is the one in force.
func (b *Bench) Table() *table.Table { return b.table.Load() }

// Apply puts services into force instead of those before.
func (b *Bench) Apply(services ...ir.Service) {
	b.t.Helper()
	previous := b.Table()
	next, err := b.compiler.Compile(ir.Mesh{Services: services}, previous)
	if err != nil {
		b.t.Fatal(err)
	}
	b.table.Store(next)
	next.Supersede(previous)
}

// Door listens for connections that were going to dst.
func (b *Bench) Door(dst netip.AddrPort) string {
	b.t.Helper()
	l := Listen(b.t, "127.0.0.1:0")
	b.Behind(l, dst)
	return l.Addr().String()
}

// Behind serves what a listener accepts as going to dst.
func (b *Bench) Behind(l net.Listener, dst netip.AddrPort) {
	b.doors = append(b.doors, l)
	Accept(l, &b.serving, func(conn net.Conn) { b.Serve(conn, dst) })
}

// Metric is the sum of what the engine has counted under a name; see [Metric].
func (b *Bench) Metric(name string, labels ...string) float64 {
	b.t.Helper()
	return Metric(b.t, b.registry, name, labels...)
}

// Total is the sum of the requests that the engine has counted with the labels; -1 without any such series.
func (b *Bench) Total(labels ...string) float64 {
	b.t.Helper()
	return b.Metric("sluice_requests_total", labels...)
}

// AtRest waits until no request is in flight, and the table knows of none either.
func (b *Bench) AtRest(t testing.TB) {
	t.Helper()
	Eventually(t, "nothing is in flight", func() bool { return b.Active() == 0 })
	given(t, "places", b.Table(), func(e table.EndpointDump) int64 { return e.InFlight })
}

// given waits until all that was taken of the table's endpoints and services has been given back.
func given(t testing.TB, what string, of *table.Table, taken func(table.EndpointDump) int64) {
	t.Helper()
	Eventually(t, what+" have been given back", func() bool {
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
