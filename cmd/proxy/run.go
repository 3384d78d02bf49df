package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/sluice-mesh/sluice/internal/version"
	"github.com/sluice-mesh/sluice/mesh/proxy"
	"github.com/sluice-mesh/sluice/mesh/proxy/capture"
	"github.com/sluice-mesh/sluice/mesh/xds/client"
)

// run carries connections until the context ends and everything has drained.
func run(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) error {
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
	options := proxy.Options{
		Source: s.source, Namespace: s.namespace, Revision: s.revision, Self: s.self,
		Origin: capture.OriginalDestination,
		Drain:  s.drain, StartupGrace: s.grace, MaxConnections: s.maxConnections, Profiling: s.profiling,
		Random: rand.Uint32N, Registry: registry, Logger: log,
	}
	if err := listenAll(ctx, &options, s); err != nil {
		return err
	}
	p, err := proxy.New(options)
	if err != nil {
		return err
	}

	// The configuration keeps coming until the drain is over.
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	var follower sync.WaitGroup
	if s.xds != "" {
		follow, err := newClient(s, p, log)
		if err != nil {
			stop()
			return err
		}
		follower.Go(func() {
			if err := follow.Run(following); !errors.Is(err, context.Canceled) {
				log.Error("cannot follow the control plane: passing everything through", "error", err)
			}
		})
	}
	if s.xds == "" {
		log.Warn("no control plane: everything passes through unseen and unsplit; name one with --xds or SLUICE_XDS_ADDRESS")
	}
	log.Info("running", "version", version.Version, "source", s.source, "revision", s.revision, "control_plane", s.xds)
	err = p.Run(ctx)
	stop()
	follower.Wait()
	return err
}

func newClient(s settings, consumer client.Consumer, log *slog.Logger) (*client.Client, error) {
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
