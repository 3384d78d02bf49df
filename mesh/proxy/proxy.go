// Package proxy is the data plane that runs beside an application: it takes over the connections that
// capture turns aside, and carries them by the configuration in force.
//
//	outbound   the pod's own connections. A service of the mesh: HTTP request by request, anything else
//	           connection by connection, each drawn over the service's split. Unknown destinations, and all
//	           of them before there is a configuration: straight on to where they were going.
//	inbound    connections to the pod. Straight on to the address they were sent to; HTTP of a service of
//	           the mesh is counted, and refused when meant for another revision.
//
// The package owns accepting, telling protocols apart, swapping configuration and draining. What it leaves
// to others: what a configuration means (table), the protocols (h1, h2, relay, sniff), what is told of it
// (telemetry, observe, admin), the kernel (capture), where the configuration comes from (whoever calls Apply).
//
// The configuration is one immutable value behind an atomic pointer, read once per request or connection;
// what is in flight when it changes ends as it began. While no new one comes, the last one serves.
package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/admin"
	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
	"github.com/sluice-mesh/sluice/mesh/proxy/h1"
	"github.com/sluice-mesh/sluice/mesh/proxy/h2"
	"github.com/sluice-mesh/sluice/mesh/proxy/observe"
	"github.com/sluice-mesh/sluice/mesh/proxy/relay"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

// Options of a Proxy. Listeners, Origin, Random and Registry are required.
type Options struct {
	// Source and Namespace say who calls, in the metrics: the application's name and its namespace.
	Source, Namespace string
	// Revision is the pod's pod-template-hash; "" for a pod without one.
	Revision string
	// Self is the pod's address.
	Self netip.Addr

	// Outbound, Inbound and Admin accept for the respective port, for each address family that there is.
	// The proxy closes them.
	Outbound, Inbound []*net.TCPListener
	Admin             []net.Listener
	// Origin tells where a captured connection was going; capture.OriginalDestination.
	Origin func(*net.TCPConn) (netip.AddrPort, error)

	// Drain is the one drain deadline: what is still open so long after the end was asked for, or after
	// its revision lost all weight, is cut. 10 s by default.
	Drain time.Duration
	// DrainOutbound: who calls through the outbound ports is not the application beside us, which ends
	// before we do, so it is sent away too when the end is asked for.
	DrainOutbound bool
	// StartupGrace is how long the application waits for a first configuration; then it starts without
	// one and everything passes through. 5 s by default.
	StartupGrace time.Duration
	// ConnectTimeout bounds the establishing of a connection to an endpoint; 3 s by default.
	ConnectTimeout time.Duration
	// MaxConnections bounds the connections open at a time in each direction; 16384 by default. More are
	// closed at once.
	MaxConnections int
	// SeriesRetention is how long the series of a revision that is gone are kept; 15 min by default.
	SeriesRetention time.Duration
	// HTTP bounds what HTTP clients may ask.
	HTTP engine.Limits
	// Zone that the pod runs in; "" when unknown.
	Zone string
	// TLS returns how to end TLS for a client; nil, itself or what it returns, lets TLS pass through.
	TLS func(*tls.ClientHelloInfo) *tls.Config
	// Resolve asks the control plane for an address that is called, and returns when all that calls to it need
	// has been applied, or nothing is to be expected. It is called for every connection. Release takes back
	// what it asked for. Nil where the whole mesh is applied.
	Resolve func(context.Context, netip.Addr)
	Release func(...netip.Addr)
	// Observer writes access logs and spans; nil: neither.
	Observer *observe.Observer
	// Profiling serves net/http/pprof on the admin port.
	Profiling bool
	// Version of the program and Control, the state of the connection to the control plane, are shown there;
	// Control may be nil.
	Version string
	Control func() admin.Control

	// Random draws; math/rand/v2.Uint32N.
	Random table.Rand
	// Now is the clock; time.Now by default.
	Now func() time.Time
	// Registry takes the metrics and is served on the admin port.
	Registry *prometheus.Registry
	// Logger; slog.Default() by default.
	Logger *slog.Logger
}

func (o *Options) complete() error {
	var missing []error
	require := func(there bool, name string) {
		if !there {
			missing = append(missing, fmt.Errorf("option %s is required", name))
		}
	}
	require(len(o.Outbound) > 0, "Outbound")
	require(len(o.Inbound) > 0, "Inbound")
	require(len(o.Admin) > 0, "Admin")
	require(o.Origin != nil, "Origin")
	require(o.Random != nil, "Random")
	require(o.Registry != nil, "Registry")
	if len(missing) > 0 {
		return fmt.Errorf("make proxy: %w", errors.Join(missing...))
	}
	fill(&o.Drain, 10*time.Second)
	fill(&o.StartupGrace, 5*time.Second)
	fill(&o.ConnectTimeout, 3*time.Second)
	fill(&o.MaxConnections, 16384)
	fill(&o.SeriesRetention, 15*time.Minute)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return nil
}

func fill[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}

// Proxy carries connections. Apply and BeginDrain may be called at any time from any goroutine.
type Proxy struct {
	Options
	own      map[uint16]bool // ports that we listen on
	metrics  *metrics
	recorder *telemetry.Recorder
	compiler *table.Compiler
	table    atomic.Pointer[table.Table]
	settings atomic.Pointer[ir.Settings]
	apply    sync.Mutex // serialises Apply and sweep

	configured chan struct{} // closed with the first configuration
	grace      chan struct{} // closed when the startup grace is over
	draining   atomic.Bool

	taken       map[direction]*atomic.Int64 // connections, over all listeners
	out, in     engines
	open        tracker // relayed connections
	silent      tracker // connections whose clients have not spoken yet
	idle        relay.Idlers
	called      called
	upstreamTLS upstreamTLS
}

// New makes a proxy, which accepts nothing before Run.
func New(o Options) (*Proxy, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	p := &Proxy{
		Options:    o,
		own:        map[uint16]bool{},
		metrics:    newMetrics(o.Registry),
		recorder:   telemetry.New(o.Registry),
		configured: make(chan struct{}),
		grace:      make(chan struct{}),
		taken:      map[direction]*atomic.Int64{outward: {}, inward: {}},
	}
	for _, l := range append(append([]*net.TCPListener(nil), o.Outbound...), o.Inbound...) {
		p.own[uint16(l.Addr().(*net.TCPAddr).Port)] = true
	}
	carried := engine.Options{
		Table: p.table.Load, Random: o.Random, Dial: p.dialEndpoint, DialAddress: p.dialAddress, Revision: o.Revision,
		Now: o.Now, Limits: o.HTTP, Logger: o.Logger, Observer: o.Observer,
	}
	p.compiler = &table.Compiler{
		Recorder: p.recorder, Source: o.Source, SourceNamespace: o.Namespace, Revision: o.Revision, Self: o.Self,
		Zone: o.Zone, Now: o.Now, Logger: o.Logger,
	}
	p.compiler.NewPools[table.HTTP1], p.compiler.NewPools[table.HTTP2] = h1.NewPool(carried), h2.NewPool(carried)
	p.table.Store(table.Empty())
	p.settings.Store(&ir.Settings{})
	p.out = engines{h1.NewOutbound(carried), h2.NewOutbound(carried)}
	p.in = engines{h1.NewInbound(carried), h2.NewInbound(carried)}
	return p, nil
}

// Apply puts a mesh in force and returns when it is: the next request is drawn by it. When the mesh
// cannot be, the error says why and the one before stays in force.
func (p *Proxy) Apply(mesh ir.Mesh) error {
	p.apply.Lock()
	defer p.apply.Unlock()
	previous := p.table.Load()
	next, err := p.compiler.Compile(mesh, previous)
	if err != nil {
		p.metrics.rejected.Inc()
		return fmt.Errorf("apply mesh: %w", err)
	}
	p.table.Store(next)
	next.Supersede(previous)
	p.settings.Store(&mesh.Settings)
	p.Observer.Configure(mesh.Settings)
	p.metrics.applied.Set(float64(next.Applied.UnixNano()) / 1e9)
	if p.leaving(mesh) {
		p.BeginDrain()
	}
	if !previous.Configured() {
		close(p.configured)
		p.Logger.Info("first configuration in force", "services", len(mesh.Services))
	}
	return nil
}

// leaving tells whether this very pod is being deleted: callers are sent away from then on, though the
// kubelet stops a sidecar only after the application.
func (p *Proxy) leaving(mesh ir.Mesh) bool {
	for _, service := range mesh.Services {
		subset, found := service.Subset(p.Revision)
		if found && slices.ContainsFunc(subset.Endpoints, func(e ir.Endpoint) bool {
			return e.Draining && e.Address.Unmap() == p.Self.Unmap()
		}) {
			return true
		}
	}
	return false
}

// Run accepts until the context ends, then drains, and returns when all is closed: as soon as nothing is
// in flight, at the latest after the drain deadline. A proxy runs once.
func (p *Proxy) Run(ctx context.Context) error {
	var background, accepting sync.WaitGroup
	life, end := context.WithCancel(context.Background())
	background.Go(func() { p.waitGrace(life) })
	background.Go(func() { p.housekeep(life) })
	admin := p.serveAdmin(&background)
	for _, l := range p.Outbound {
		accepting.Go(func() { p.accept(life, l, outward, p.outbound) })
	}
	for _, l := range p.Inbound {
		accepting.Go(func() { p.accept(life, l, inward, p.inbound) })
	}

	<-ctx.Done()
	p.BeginDrain()
	p.waitIdle()

	end()
	for _, l := range append(append([]*net.TCPListener(nil), p.Outbound...), p.Inbound...) {
		_ = l.Close()
	}
	p.silent.closeAll()
	p.open.closeAll()
	p.out.close()
	p.in.close()
	accepting.Wait()
	p.table.Load().Close()
	_ = admin.Close()
	background.Wait()
	return nil
}

// serviceRetention is how long the configuration of a service is kept that is not called, and to which no
// connection is open.
const serviceRetention = time.Hour

func (p *Proxy) waitGrace(ctx context.Context) {
	timer := time.NewTimer(p.StartupGrace)
	defer timer.Stop()
	select {
	case <-timer.C:
		select {
		case <-p.configured:
		default:
			p.Logger.Warn("no configuration within the startup grace: passing everything through", "grace", p.StartupGrace)
		}
		close(p.grace)
	case <-ctx.Done():
	}
}

// housekeep does what time brings about: streams of revisions without weight end, as do relayed connections
// that are idle for too long; series of revisions long gone are dropped, and services that nobody calls any
// more.
func (p *Proxy) housekeep(ctx context.Context) {
	ticker := time.NewTicker(min(max(p.Drain/10, 10*time.Millisecond), time.Second))
	defer ticker.Stop()
	var swept time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		t, now := p.table.Load(), p.Now()
		if n := t.CloseOverdue(now, p.Drain); n > 0 {
			p.Logger.Info("closed streams of revisions without weight", "streams", n, "drain", p.Drain)
		}
		p.idle.Cut(now)
		if now.Sub(swept) >= p.SeriesRetention/15 {
			swept = now
			if p.Release != nil {
				p.called.release(t.Unused(now.Add(-serviceRetention)), p.Release)
			}
			p.sweep(now)
		}
	}
}

// sweep drops series of revisions long gone. Meanwhile no configuration may come into force that counts on
// one of them again.
func (p *Proxy) sweep(now time.Time) {
	p.apply.Lock()
	defer p.apply.Unlock()
	p.recorder.Sweep(p.table.Load().Live(), now, p.SeriesRetention)
}
