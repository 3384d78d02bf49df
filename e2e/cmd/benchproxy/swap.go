package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/sluice-mesh/sluice/e2e/benchproxy/contender"
	"github.com/sluice-mesh/sluice/e2e/benchproxy/control"
	ld "github.com/sluice-mesh/sluice/e2e/benchproxy/load"
)

// swapEvery makes 1,000 swaps a minute.
const swapEvery = 60 * time.Millisecond

// swap publishes one configuration after another, of other weights and endpoints, under as many HTTP/1.1
// requests and gRPC calls as go through, and counts what fails. Each configuration is seen to be in force.
func (b *bench) swap(ctx context.Context) error {
	if !b.wantsOurs("swap") {
		return nil
	}
	b.log.Info("measuring", "what", "swap")
	plane, err := control.Start(ctx, control.Swap(b.ports, 1))
	if err != nil {
		return err //nolint:wrapcheck // it says all there is to say
	}
	defer plane.Close()
	site := b.site
	site.XDS = plane.Address()
	entries := map[contender.Entry]netip.AddrPort{contender.HTTP1: control.H1, contender.GRPC: control.GRPC}
	return b.withOurs(ctx, "swap", site, entries, func(ours *contender.Running) error {
		duration := (time.Duration(b.swaps)*swapEvery + 2*time.Second).Truncate(time.Second)
		var load ld.Outcome
		var failed error
		var loading sync.WaitGroup
		publishing, stop := context.WithCancel(ctx)
		loading.Go(func() {
			load, failed = b.bothLoads(ctx, ours, duration)
			stop()
		})
		inForce, published, err := b.publishSwaps(publishing, plane)
		loading.Wait()
		if err := errors.Join(err, failed); err != nil {
			return err
		}
		if published < b.swaps || inForce < published*9/10 {
			return fmt.Errorf("of %d configurations %d were published and %d seen in force: the machine is too busy, or the proxy does not take them", b.swaps, published, inForce)
		}
		b.give(bars.New("swap_failed_requests", "requests", float64(load.Failed),
			fmt.Sprintf("of %d, at %d swaps of which %d were seen in force before the next; %s", load.Done, published, inForce, load.Failures)))
		return nil
	})
}

// bothLoads puts HTTP/1.1 and gRPC on our proxy at once, and adds up what came of it.
func (b *bench) bothLoads(ctx context.Context, ours *contender.Running, duration time.Duration) (ld.Outcome, error) {
	names := []string{"h1_small", "grpc"}
	outcomes, errs := make([]ld.Outcome, len(names)), make([]error, len(names))
	var running sync.WaitGroup
	for i, name := range names {
		running.Go(func() {
			l := loadNamed(name)
			at := ours.Points[l.entry].Address
			if errs[i] = l.probe(at).Run(ctx); errs[i] == nil {
				outcomes[i], errs[i] = l.run(ctx, b, at, duration)
			}
		})
	}
	running.Wait()
	var sum ld.Outcome
	for i, o := range outcomes {
		sum.Done += o.Done
		sum.Failed += o.Failed
		if o.Failures != "" {
			sum.Failures += names[i] + ": " + o.Failures + " "
		}
		if errs[i] == nil && o.Done == 0 {
			errs[i] = fmt.Errorf("%s: no request was done", names[i])
		}
	}
	return sum, errors.Join(errs...)
}

// publishSwaps publishes the configurations, the n-th not before n times swapEvery, until all are published or
// the context ends. inForce are those that our proxy acknowledged before the next.
func (b *bench) publishSwaps(ctx context.Context, plane *control.Plane) (inForce, published int, err error) {
	began := time.Now()
	for published < b.swaps && ctx.Err() == nil {
		mesh := control.Swap(b.ports, published+2)
		if err := plane.Publish(mesh); err != nil {
			return inForce, published, err //nolint:wrapcheck // it says all there is to say
		}
		published++
		all := true
		for _, service := range mesh.Services {
			if service.Name == "h1" || service.Name == "grpc" {
				all = plane.InForce(ctx, service, swapEvery) && all
			}
		}
		if all {
			inForce++
		}
		select {
		case <-time.After(time.Until(began.Add(time.Duration(published) * swapEvery))):
		case <-ctx.Done():
		}
	}
	return inForce, published, nil
}
