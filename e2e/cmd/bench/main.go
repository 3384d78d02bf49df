// Command bench measures releases on a real cluster with real pods, as clients and proxies see them,
// and prints one line a figure: name, value, unit. It measures only; what each figure means and which
// value is asked for is in measures.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/sluice-mesh/sluice/e2e/figure"
	"github.com/sluice-mesh/sluice/e2e/harness"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	name := flags.String("cluster", "e2e", "name of the cluster, as e2e/cluster knows it")
	out := flags.String("out", "", "file for the results as JSON")
	only := flags.String("only", "", "regular expression of the measurements to make; empty: all")
	strict := flags.Bool("strict", false, "fail when a bar is missed")
	limit := flags.Duration("timeout", 30*time.Minute, "how long all of it may take")
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("parse only: %w", err)
	}
	kubeconfig, err := harness.KubeconfigOf(*name)
	if err != nil {
		return err
	}
	cluster, err := harness.Connect(kubeconfig)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	if err := cluster.LoadImages(ctx); err != nil {
		return err
	}
	if err := cluster.Install(ctx); err != nil {
		return err
	}
	b := &bench{cluster: cluster, log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	for _, m := range measurements {
		if !wanted.MatchString(m.name) {
			continue
		}
		b.log.Info("measuring", "what", m.name)
		if err := b.in(ctx, m); err != nil {
			return fmt.Errorf("measure %s: %w", m.name, err)
		}
	}
	b.results.WriteBars(os.Stdout)
	if *out != "" {
		if err := b.results.Save(*out, "release"); err != nil {
			return err
		}
	}
	if missed := b.results.Missed(); *strict && len(missed) > 0 {
		return fmt.Errorf("check bars: missed %v", missed)
	}
	return nil
}

// measurement is one run in a namespace of its own, which gives one or several figures.
type measurement struct {
	name   string
	inject bool
	run    func(*bench, context.Context, *harness.Space) error
}

var measurements = []measurement{
	{"operator-memory", false, (*bench).operatorMemory},
	{"weight-live", true, (*bench).weightLive},
	{"promote", true, (*bench).promote},
	{"detect", true, (*bench).detect},
	{"split", true, (*bench).split},
}

// bench collects results as they come.
type bench struct {
	cluster *harness.Cluster
	log     *slog.Logger
	results figure.Results
}

// in runs one measurement in a namespace of its own, and dumps its state when it fails.
func (b *bench) in(ctx context.Context, m measurement) (err error) {
	space, err := b.cluster.NewSpace(ctx, "bench-"+m.name, m.inject)
	if err != nil {
		return err
	}
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Minute)
		defer cancel()
		if err != nil {
			folder := b.cluster.Root + "/build/e2e/bench-" + m.name
			if dumpErr := space.Dump(clean, folder); dumpErr != nil {
				b.log.Error("dump is not complete", "error", dumpErr)
			}
			b.log.Info("the cluster's state was written", "folder", folder)
		}
		if deleteErr := space.Delete(clean); deleteErr != nil && err == nil {
			err = deleteErr
		}
	}()
	return m.run(b, ctx, space)
}

// give records and prints one figure.
func (b *bench) give(name, unit string, value float64, note string, args ...any) {
	r := bars.New(name, unit, value, fmt.Sprintf(note, args...))
	b.results = append(b.results, r)
	fmt.Println(r)
}
