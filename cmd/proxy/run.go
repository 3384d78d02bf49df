package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/sluice-mesh/sluice/internal/version"
	"github.com/sluice-mesh/sluice/mesh/proxy"
	"github.com/sluice-mesh/sluice/mesh/proxy/admin"
	"github.com/sluice-mesh/sluice/mesh/proxy/capture"
	"github.com/sluice-mesh/sluice/mesh/proxy/observe"
	"github.com/sluice-mesh/sluice/mesh/xds/client"
)

// run carries connections until the context ends and everything has drained.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	var s settings
	set := flag.NewFlagSet("proxy run", flag.ContinueOnError)
	set.SetOutput(stderr)
	if err := s.parse(set, args, getenv); err != nil {
		return err
	}
	log := logger(stderr, s.logLevel)
	slog.SetDefault(log)

	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewGoCollector(),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sluice_proxy_build_info", Help: "1, by version.", ConstLabels: prometheus.Labels{"version": version.Version},
		}, func() float64 { return 1 }))
	observer := observe.New(observe.Options{
		Resource: observe.Resource{Service: s.source, Namespace: s.namespace, Pod: s.pod, Version: version.Version},
		Writer:   stdout, Registerer: registry, Logger: log,
	})
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
		defer cancel()
		observer.Close(ctx)
	}()
	options := proxy.Options{
		Source: s.source, Namespace: s.namespace, Revision: s.revision, Self: s.self, Zone: s.zone,
		Origin: capture.OriginalDestination,
		Drain:  s.drain, DrainOutbound: len(s.listen) > 0, StartupGrace: s.grace, MaxConnections: affordable(s.maxConnections, log), Profiling: s.profiling,
		Random: rand.Uint32N, Registry: registry, Observer: observer, Version: version.Version, Logger: log,
	}
	if s.certificate != "" {
		loaded, err := loadCertificate(s.certificate, s.key, log)
		if err != nil {
			return err
		}
		options.TLS = loaded.config
	}
	if s.xds == "" {
		log.Warn("no control plane: everything passes through unseen and unsplit; name one with --xds or SLUICE_XDS_ADDRESS")
	}
	var consumer late
	follow, err := newClient(s, &consumer, log)
	if err != nil {
		return err
	}
	if follow != nil {
		options.Resolve, options.Release = follow.Resolve, follow.Release
		options.Control = func() admin.Control {
			status := follow.Status()
			return admin.Control{
				Address: s.xds, Connected: status.Connected, Rejected: status.Rejected, Rejections: status.Rejections,
				Names: status.Names, Idle: status.Idle,
			}
		}
	}
	if err := listenAll(ctx, &options, s); err != nil {
		return err
	}
	p, err := proxy.New(options)
	if err != nil {
		return err
	}
	consumer.Proxy = p

	// The configuration keeps coming until the drain is over.
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	var follower sync.WaitGroup
	if follow != nil {
		follower.Go(func() {
			if err := follow.Run(following); !errors.Is(err, context.Canceled) {
				log.Error("cannot follow the control plane: passing everything through", "error", err)
			}
		})
	}
	log.Info("running", "version", version.Version, "source", s.source, "revision", s.revision, "control_plane", s.xds)
	err = p.Run(ctx)
	stop()
	follower.Wait()
	return err
}

// flushTime bounds how long the end waits for access logs and spans to be taken.
const flushTime = 2 * time.Second

// late is the consumer of a client that is made before its proxy, which asks it for addresses.
type late struct{ *proxy.Proxy }

// newClient returns nil where there is no control plane.
func newClient(s settings, consumer client.Consumer, log *slog.Logger) (*client.Client, error) {
	if s.xds == "" {
		return nil, nil
	}
	options := client.Options{
		Address: s.xds,
		Node: client.Node{
			ID: s.pod + "." + s.namespace, Cluster: s.source,
			Metadata: map[string]string{"pod_uid": s.uid, "revision": s.revision, "version": version.Version},
		},
		Self:     s.self,
		Consumer: consumer,
		Logger:   log,
	}
	if s.state != "" {
		options.Store = client.NewStore(filepath.Join(s.state, "configuration"))
	}
	return client.New(options)
}

// descriptors that a captured connection may need: its own, its server's, and two pipes for each direction.
const descriptors = 6

// affordable lowers the connections in each direction to what the limit of open files lets be served, so that
// too many are refused in order and nothing else fails for lack of a descriptor.
func affordable(connections int, log *slog.Logger) int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return connections
	}
	most := int(min(limit.Cur, math.MaxInt32)) / (2 * descriptors)
	if connections <= most {
		return connections
	}
	log.Warn("fewer connections than asked for: the limit of open files is low; raise it (ulimit -n)",
		"asked", connections, "served", most, "open_files", limit.Cur)
	return max(most, 1)
}

// listenAll opens the ports, IPv6's where there is any. Outbound connections are redirected to loopback,
// so nobody else needs to reach that port.
func listenAll(ctx context.Context, o *proxy.Options, s settings) error {
	var config net.ListenConfig
	config.SetMultipathTCP(false) // sockets must tell their original destination and splice
	for _, l := range []struct {
		network, host string
		port          uint
		add           func(*net.TCPListener)
	}{
		{"tcp4", "127.0.0.1", s.outbound, func(l *net.TCPListener) { o.Outbound = append(o.Outbound, l) }},
		{"tcp6", "::1", s.outbound, func(l *net.TCPListener) { o.Outbound = append(o.Outbound, l) }},
		{"tcp4", "0.0.0.0", s.inbound, func(l *net.TCPListener) { o.Inbound = append(o.Inbound, l) }},
		{"tcp6", "::", s.inbound, func(l *net.TCPListener) { o.Inbound = append(o.Inbound, l) }},
		{"tcp4", "0.0.0.0", s.admin, func(l *net.TCPListener) { o.Admin = append(o.Admin, l) }},
		{"tcp6", "::", s.admin, func(l *net.TCPListener) { o.Admin = append(o.Admin, l) }},
	} {
		listener, err := config.Listen(ctx, l.network, net.JoinHostPort(l.host, fmt.Sprint(l.port)))
		if l.network == "tcp6" && (errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)) {
			continue // no IPv6 on this node
		}
		if err != nil {
			return fmt.Errorf("open ports: %w", err)
		}
		l.add(listener.(*net.TCPListener))
	}
	return listenFor(ctx, config, o, s.listen)
}

// listenFor opens the addresses that stand for destinations.
func listenFor(ctx context.Context, config net.ListenConfig, o *proxy.Options, all []listen) error {
	stands := map[netip.AddrPort]netip.AddrPort{}
	for _, l := range all {
		listener, err := config.Listen(ctx, "tcp", l.at.String())
		if err != nil {
			return fmt.Errorf("open ports: %w", err)
		}
		o.Outbound = append(o.Outbound, listener.(*net.TCPListener))
		stands[listener.Addr().(*net.TCPAddr).AddrPort()] = l.to
	}
	captured := o.Origin
	o.Origin = func(c *net.TCPConn) (netip.AddrPort, error) {
		local := c.LocalAddr().(*net.TCPAddr).AddrPort()
		for _, addr := range []netip.Addr{local.Addr().Unmap(), netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
			if to, found := stands[netip.AddrPortFrom(addr, local.Port())]; found {
				return to, nil
			}
		}
		return captured(c)
	}
	return nil
}
