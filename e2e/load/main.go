// Command load sends requests to one URL at a constant rate, whatever the answers (an open loop), and
// keeps account of what a client sees: which version answered, how fast, how well, and which requests
// were lost on the way. It never sends a request twice. It does not know that there is a mesh.
//
// On --stats it serves:
//
//	GET  /stats            what was seen, as JSON; ?since=<RFC 3339 time> adds the timeline from there on
//	POST /cut              ends the window and begins the next one; answers with the snapshot before
//	POST /rate?rps=<n>     changes the rate
//	POST /ask?url=<url>    makes one request besides, not counted, and tells its answer as JSON; header.<name>=<value>
//	                       adds a header to it
//	GET  /healthz
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sluice-mesh/sluice/e2e/environment"
	"github.com/sluice-mesh/sluice/e2e/load/ledger"
)

func main() {
	if err := run(os.Args[1:], os.LookupEnv); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// options are the program's flags; each can also be given by environment, --rps as LOAD_RPS.
type options struct {
	stats string
	plan  plan
	slow  time.Duration
}

func parse(args []string, lookup func(string) (string, bool)) (options, error) {
	var o options
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	flags.StringVar(&o.stats, "stats", ":8090", "address to serve what was seen on")
	flags.StringVar(&o.plan.url, "url", "", "where requests go, http://host:port/path, grpc://host:port, ws://host:port/path or tcp://host:port")
	flags.StringVar(&o.plan.service, "service", "", "name of the service on the way whose version is counted; empty: the one that answers")
	flags.Float64Var(&o.plan.rate, "rps", 50, "requests a second")
	flags.DurationVar(&o.plan.duration, "duration", 0, "how long to send; 0: until told to stop")
	flags.Uint64Var(&o.plan.count, "count", 0, "how many requests to send; 0: no limit")
	flags.DurationVar(&o.plan.timeout, "timeout", 10*time.Second, "how long a request may take before it counts as lost")
	flags.IntVar(&o.plan.inFlight, "in-flight", 2000, "how many requests may be on the way at once; those beyond are skipped and counted")
	flags.IntVar(&o.plan.cookies, "cookies", 0, "how many clients there are that keep cookies, each with its own; 0: one that keeps none")
	flags.IntVar(&o.plan.visits, "visits", 0, "requests after which a client with cookies goes, and a new one comes; 0: it stays")
	flags.DurationVar(&o.slow, "slow", 0, "an answer that takes longer is a bad one; 0: none is for its time")
	if err := environment.Parse(flags, "LOAD", args, lookup); err != nil {
		return o, err
	}
	return o, o.plan.validate()
}

func run(args []string, lookup func(string) (string, bool)) error {
	o, err := parse(args, lookup)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	book := ledger.New(o.slow, time.Now)
	generator, err := newGenerator(o.plan, book)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", o.stats)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{Handler: statsHandler(book, generator), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	slog.Info("sending", "url", o.plan.url, "rps", o.plan.rate)
	generator.run(ctx)
	if o.plan.bounded() && ctx.Err() == nil {
		// Done before told to stop: what was seen stays to be read, and a pod does not start again.
		slog.Info("sent all; waiting to be told to stop")
		<-ctx.Done()
	}
	book.Snapshot(time.Time{}).Total.Write(os.Stdout)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := server.Shutdown(grace); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("shut down: %w", err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}
