package main

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/sluice-mesh/sluice/e2e/benchproxy/backend"
	"github.com/sluice-mesh/sluice/e2e/benchproxy/contender"
	"github.com/sluice-mesh/sluice/e2e/benchproxy/control"
	ld "github.com/sluice-mesh/sluice/e2e/benchproxy/load"
	"github.com/sluice-mesh/sluice/e2e/benchproxy/process"
)

const (
	// settling is how long a proxy is left alone before its memory is read.
	settling = 5 * time.Second
	// pacedFor is how long it gets 1,000 requests a second; the most that is seen counts.
	pacedFor = 20 * time.Second
)

// smallGet is the request on kept connections.
var smallGet = fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", backend.SmallPath)

// memory reads what our proxy occupies when nothing goes on, under 1,000 requests a second, and with 1,000
// connections open that each have asked.
func (b *bench) memory(ctx context.Context) error {
	if !b.wantsOurs("memory") {
		return nil
	}
	b.log.Info("measuring", "what", "memory")
	return b.withOurs(ctx, "memory", b.site, onlyH1, func(ours *contender.Running) error {
		point := ours.Points[contender.HTTP1]
		idle, err := settled(ctx, point.Process)
		if err != nil {
			return err
		}
		b.give(bars.New("rss_mb_idle", "MB", process.MB(idle.Resident), ""))
		b.give(bars.New("anon_mb_idle", "MB", process.MB(idle.Anonymous), ""))

		most, err := peak(ctx, point.Process, func() error {
			_, err := ld.Paced{Address: point.Address, Request: kilobytePost, Rate: rate, Connections: 64, Duration: pacedFor}.Run(ctx)
			return err //nolint:wrapcheck // it says all there is to say
		})
		if err != nil {
			return err
		}
		b.give(bars.New("anon_mb_1000rps", "MB", process.MB(most), fmt.Sprintf("the most seen in %v", pacedFor)))

		release, err := ld.Hold(ctx, point.Address.String(), 1000, 3, smallGet)
		if err != nil {
			return err //nolint:wrapcheck // it says all there is to say
		}
		defer release()
		open, err := point.Process.Memory()
		if err != nil {
			return err //nolint:wrapcheck // it says all there is to say
		}
		b.give(bars.New("anon_mb_1000conn", "MB", process.MB(open.Anonymous), "all connections asked at once, three times, and are open"))
		return nil
	})
}

// manyServices reads the memory of a proxy that talks to a few services of a large cluster.
func (b *bench) manyServices(ctx context.Context) error {
	const services, used = 5000, 20
	if !b.wantsOurs("services") {
		return nil
	}
	b.log.Info("measuring", "what", "services")
	mesh, destinations := control.Many(b.ports, services, used)
	plane, err := control.Start(ctx, mesh)
	if err != nil {
		return err //nolint:wrapcheck // it says all there is to say
	}
	defer plane.Close()
	site, entries := b.site, map[contender.Entry]netip.AddrPort{}
	site.XDS = plane.Address()
	for i, destination := range destinations {
		entries[contender.Entry(fmt.Sprintf("service-%d", i))] = destination
	}
	return b.withOurs(ctx, "services", site, entries, func(ours *contender.Running) error {
		var group *process.Group
		for _, point := range ours.Points {
			group = point.Process
			release, err := ld.Hold(ctx, point.Address.String(), 10, 5, smallGet)
			if err != nil {
				return err //nolint:wrapcheck // it says all there is to say
			}
			release()
		}
		m, err := settled(ctx, group)
		if err != nil {
			return err
		}
		b.give(bars.New("anon_mb_5000_services", "MB", process.MB(m.Anonymous), fmt.Sprintf("%d services used", used)))
		return nil
	})
}

// onlyH1 is what our proxy listens for when nothing else is needed.
var onlyH1 = map[contender.Entry]netip.AddrPort{contender.HTTP1: control.H1}

// withOurs runs our proxy for one measurement. What goes wrong in it is noted; the error that is returned is
// that somebody ended the benchmark.
func (b *bench) withOurs(ctx context.Context, name string, site contender.Site, entries map[contender.Entry]netip.AddrPort, do func(*contender.Running) error) error {
	ours, err := contender.StartOurs(ctx, site, entries)
	if err == nil {
		err = do(ours)
		ours.Stop()
	}
	if ctx.Err() != nil {
		return ctx.Err() //nolint:wrapcheck // somebody ended it
	}
	if err != nil {
		b.fail(name, err)
	}
	return nil
}

// settled is the memory after a while in which nothing happens.
func settled(ctx context.Context, group *process.Group) (process.Memory, error) {
	select {
	case <-time.After(settling):
	case <-ctx.Done():
		return process.Memory{}, ctx.Err() //nolint:wrapcheck // somebody ended it
	}
	return group.Memory() //nolint:wrapcheck // it says all there is to say
}

// peak is the most anonymous memory that is seen while something is done, in bytes; it is looked at four times
// a second.
func peak(ctx context.Context, group *process.Group, do func() error) (int64, error) {
	watching, stop := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	var most int64
	var failed error
	watcher.Go(func() {
		for watching.Err() == nil && failed == nil {
			var m process.Memory
			m, failed = group.Memory()
			most = max(most, m.Anonymous)
			select {
			case <-time.After(250 * time.Millisecond):
			case <-watching.Done():
			}
		}
	})
	err := do()
	stop()
	watcher.Wait()
	if err != nil {
		return 0, err
	}
	return most, failed
}
