// Command benchproxy measures our proxy beside its peers: requests per CPU-second, the latency and the memory
// that one hop adds, allocations, and what fails while the configuration changes. It prints one line a figure:
// name, value, unit; and at the end what is held to a bar. docs/bench-proxy.md says how it is measured.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-mesh/sluice/e2e/benchproxy/contender"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchproxy:", err)
		os.Exit(1)
	}
}

// options say what to measure and for how long.
type options struct {
	bin, out, profile string
	only              *regexp.Regexp
	proxies           []contender.Contender
	rounds, swaps     int
	duration          time.Duration
	strict            bool
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("benchproxy", flag.ContinueOnError)
	flags.StringVar(&o.bin, "bin", "build/bin", "folder of the proxies that are built")
	flags.StringVar(&o.out, "out", "", "file for the results as JSON; empty: none")
	flags.StringVar(&o.profile, "pgo", "", "instead of measuring, write a profile of our proxy under load to this file")
	only := flags.String("only", "", "regular expression of what to measure ("+strings.Join(measurable(), ", ")+"); empty: all")
	proxies := flags.String("proxies", strings.Join(contender.Default, ","), "which proxies, comma-separated")
	flags.IntVar(&o.rounds, "rounds", 5, "how often each proxy gets each load; medians are printed")
	flags.DurationVar(&o.duration, "duration", 3*time.Second, "how long each load is on, in whole seconds")
	flags.IntVar(&o.swaps, "swaps", 1000, "configurations to publish, one every 60 ms")
	flags.BoolVar(&o.strict, "strict", false, "fail when a bar is missed")
	if err := flags.Parse(args); err != nil {
		return o, err //nolint:wrapcheck // it says all there is to say
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, fmt.Errorf("parse only: %w", err)
	}
	if !slices.ContainsFunc(measurable(), o.only.MatchString) {
		return o, fmt.Errorf("--only %q is none of what there is to measure: %s", *only, strings.Join(measurable(), ", "))
	}
	if o.proxies, err = contender.Find(strings.Split(*proxies, ",")); err != nil {
		return o, err //nolint:wrapcheck // it says all there is to say
	}
	if o.rounds < 1 || o.duration < time.Second || o.duration%time.Second != 0 || o.swaps < 1 {
		return o, errors.New("rounds and swaps must be at least 1, duration whole seconds: wrk knows no fractions")
	}
	return o, nil
}

func run(ctx context.Context, args []string) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	b := &bench{options: o, log: slog.New(slog.NewTextHandler(os.Stderr, nil)), stdout: os.Stdout, broken: map[string]error{}}
	defer b.close()
	if err := b.open(ctx); err != nil {
		return err
	}
	if o.profile != "" {
		return b.writeProfile(ctx)
	}
	for _, part := range parts {
		if err := part(b, ctx); err != nil {
			return err
		}
	}
	return b.report()
}

// parts of the benchmark, in order. Each leaves out what is not asked for, and returns an error only when
// nothing further can be measured.
var parts = []func(*bench, context.Context) error{
	(*bench).matrix, (*bench).memory, (*bench).manyServices, (*bench).allocations, (*bench).swap,
}

// measurable are the names that --only selects from.
func measurable() []string {
	names := []string{"memory", "services", "allocs", "swap"}
	for _, l := range loads {
		names = append(names, l.name)
	}
	return names
}
