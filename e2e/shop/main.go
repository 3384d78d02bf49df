// Command shop is one service of the demo shop: an HTTP/1.1 server that answers with its version,
// asks the services behind it, and behaves as well or as badly as it is told. On demand it speaks gRPC and
// lines over TCP too, and WebSocket at /ws; /asked tells how many requests it was asked over HTTP. It does
// not know that there is a mesh.
//
// Every flag can also be given by environment: --error-rate as SHOP_ERROR_RATE. Flags win.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-mesh/sluice/e2e/environment"
)

func main() {
	if err := run(os.Args[1:], os.LookupEnv); err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

// options are the program's flags.
type options struct {
	listen        string
	grpc, tcp     string
	collector     bool
	behaviour     behaviour
	shutdownDelay time.Duration
	shutdownGrace time.Duration
}

func parse(args []string, lookup func(string) (string, bool)) (options, error) {
	var o options
	flags := flag.NewFlagSet("shop", flag.ContinueOnError)
	flags.StringVar(&o.listen, "listen", ":8080", "address to listen on")
	flags.StringVar(&o.grpc, "grpc-listen", "", "address to serve gRPC on; empty: none")
	flags.StringVar(&o.tcp, "tcp-listen", "", "address to serve lines over TCP on; empty: none")
	flags.BoolVar(&o.collector, "collector", false, "take OTLP's traces at /v1/traces, and show them at /spans")
	flags.StringVar(&o.behaviour.name, "name", "shop", "name of this service")
	flags.StringVar(&o.behaviour.version, "version", "v1", "version of this service, told to clients")
	flags.Var((*list)(&o.behaviour.upstreams), "upstream", "name=URL of a service behind this one; may be repeated, or separated by commas")
	flags.DurationVar(&o.behaviour.upstreamTimeout, "upstream-timeout", 5*time.Second, "how long a service behind this one may take")
	flags.Float64Var(&o.behaviour.errorRate, "error-rate", 0, "share of requests answered with 500, from 0 to 1")
	flags.DurationVar(&o.behaviour.latency, "latency", 0, "how long every answer takes")
	flags.DurationVar(&o.behaviour.jitter, "latency-jitter", 0, "how much longer it takes at most, at random")
	flags.DurationVar(&o.behaviour.startDelay, "start-delay", 0, "how long it takes until /healthz says that it is ready")
	flags.DurationVar(&o.shutdownDelay, "shutdown-delay", 3*time.Second, "how long it goes on as before after SIGTERM, while clients learn that it leaves")
	flags.DurationVar(&o.shutdownGrace, "shutdown-grace", 15*time.Second, "how long requests in flight may take after that")
	if err := environment.Parse(flags, "SHOP", args, lookup); err != nil {
		return o, err
	}
	return o, o.behaviour.validate()
}

func run(args []string, lookup func(string) (string, bool)) error {
	o, err := parse(args, lookup)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	s := newService(o.behaviour, time.Now, rand.Float64)
	if o.collector {
		s.traces = &traces{}
	}
	// Like HTTP, the others go on for a while after they are told to stop.
	leaving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(o.shutdownDelay, cancel) })()
	for _, other := range []struct {
		address string
		serve   func(net.Listener)
	}{
		{o.grpc, func(l net.Listener) { serveGRPC(leaving, newGRPC(s), l, o.shutdownGrace) }},
		{o.tcp, func(l net.Listener) { s.serveTCP(leaving, l) }},
	} {
		if other.address == "" {
			continue
		}
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", other.address)
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		go other.serve(l)
	}
	return serve(ctx, listener, s, o)
}

// serve answers until the context ends, then for the shutdown delay as before, then lets requests in
// flight finish.
func serve(ctx context.Context, listener net.Listener, handler http.Handler, o options) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 5 * time.Minute}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	slog.Info("listening", "address", listener.Addr().String(), "name", o.behaviour.name, "version", o.behaviour.version)
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	slog.Info("told to stop", "delay", o.shutdownDelay)
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-time.After(o.shutdownDelay):
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.shutdownGrace)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		return fmt.Errorf("shut down: %w", err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	slog.Info("stopped")
	return nil
}

// list is a flag that may be repeated or hold several values separated by commas.
type list []upstream

func (l *list) String() string { return fmt.Sprint(*l) }

func (l *list) Set(value string) error {
	for part := range strings.SplitSeq(value, ",") {
		if part == "" {
			continue
		}
		name, url, found := strings.Cut(part, "=")
		if !found || name == "" || !strings.HasPrefix(url, "http://") {
			return fmt.Errorf("%q is not name=http://host:port", part)
		}
		*l = append(*l, upstream{name: name, url: url})
	}
	return nil
}
