package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-mesh/sluice/e2e/benchproxy/contender"
)

// sample is one load on one proxy in one round.
type sample struct {
	// done requests; for bulk, bytes.
	done, perSecond, perCPU float64
	// busy is the share of the core that the proxy used.
	busy     float64
	p50, p99 time.Duration
}

// key of samples.
type key struct{ load, proxy string }

func (k key) String() string { return k.load + " of " + k.proxy }

// direct is what the paced load is compared with: no proxy at all.
const direct = "direct"

// player is a proxy that runs, or none.
type player struct {
	contender.Contender
	running *contender.Running
}

// matrix measures every proxy with every load, in rounds, so that what changes on the machine in the meantime
// changes for all of them. A round before the first opens connections and checks answers; it does not count.
func (b *bench) matrix(ctx context.Context) error {
	var wanted []oneLoad
	for _, l := range loads {
		if b.wants(l.name) {
			wanted = append(wanted, l)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	players, err := b.start(ctx)
	defer func() {
		for _, p := range players {
			p.running.Stop()
		}
	}()
	if err != nil {
		return err
	}
	samples := map[key][]sample{}
	for round := range b.rounds + 1 {
		b.log.Info("measuring", "round", round, "of", b.rounds)
		for _, l := range wanted {
			for i := range players {
				p := players[(i+round)%len(players)] // nobody always comes after the same
				if ctx.Err() != nil {
					return ctx.Err() //nolint:wrapcheck // somebody ended it
				}
				b.play(ctx, l, p, round, samples)
			}
		}
	}
	b.giveMatrix(wanted, players, samples)
	return nil
}

// start starts all proxies. One that does not start is left out.
func (b *bench) start(ctx context.Context) ([]player, error) {
	players := []player{{
		contender.Contender{Name: direct},
		&contender.Running{Points: map[contender.Entry]contender.Point{contender.HTTP1: {Address: b.site.H1}}},
	}}
	for _, c := range b.proxies {
		b.log.Info("starting", "proxy", c.Name)
		running, err := c.Start(ctx, b.site)
		if ctx.Err() != nil {
			return players, ctx.Err() //nolint:wrapcheck // somebody ended it
		}
		if err != nil {
			b.fail(c.Name, err)
			continue
		}
		players = append(players, player{c, running})
	}
	return players, nil
}

// play puts one load on one proxy.
func (b *bench) play(ctx context.Context, l oneLoad, p player, round int, samples map[key][]sample) {
	k := key{l.name, p.Name}
	point, has := p.running.Points[l.entry]
	if b.broken[k.String()] != nil || p.Name == direct && l.name != paced.name {
		return
	}
	if !has {
		if round == 0 {
			b.log.Info("left out", "load", l.name, "proxy", p.Name, "because", p.Lacks[l.entry])
		}
		return
	}
	duration := b.duration
	if round == 0 {
		duration = time.Second
	}
	s, err := b.measure(ctx, l, point, duration)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		b.fail(k.String(), err)
	case round > 0:
		samples[k] = append(samples[k], s)
		b.log.Debug("measured", "what", k, "per_second", s.perSecond, "per_cpu_second", s.perCPU)
	}
}

// measure puts a load on a point, and checks that what came back is right and came from the backend.
func (b *bench) measure(ctx context.Context, l oneLoad, point contender.Point, duration time.Duration) (sample, error) {
	if l.probe != nil {
		if err := l.probe(point.Address).Run(ctx); err != nil {
			return sample{}, err //nolint:wrapcheck // it says all there is to say
		}
	}
	before, err := b.count(ctx, l, point)
	if err != nil {
		return sample{}, err
	}
	used, err := cpuOf(point) // after the metrics were read, which costs time too
	if err != nil {
		return sample{}, err
	}
	out, err := l.run(ctx, b, point.Address, duration)
	if err != nil {
		return sample{}, err
	}
	usedAfter, err := cpuOf(point)
	if err != nil {
		return sample{}, err
	}
	after, err := b.count(ctx, l, point)
	if err != nil {
		return sample{}, err
	}
	if err := errors.Join(out.Check(l.size), after.check(before, out.Done)); err != nil {
		return sample{}, err
	}
	s := sample{done: float64(out.Done), p50: out.P50, p99: out.P99}
	if l.entry == contender.TCP {
		s.done = float64(out.Bytes)
	}
	cpu := (usedAfter - used).Seconds()
	if point.Process != nil && cpu == 0 {
		return sample{}, errors.New("the proxy used no CPU time that can be measured: the load was too short")
	}
	s.perSecond, s.perCPU, s.busy = s.done/out.Took.Seconds(), s.done/cpu, cpu/out.Took.Seconds()
	return s, nil
}

// counts are requests so far, by who counted them; less than 0 by who does not count.
type counts struct{ backend, telemetry int64 }

// check is an error when others counted less than the requests that were answered.
func (after counts) check(before counts, done int64) error {
	if reached := after.backend - before.backend; after.backend >= 0 && reached < done {
		return fmt.Errorf("%d requests were answered and only %d reached the backend", done, reached)
	}
	if counted := after.telemetry - before.telemetry; after.telemetry >= 0 && counted < done {
		return fmt.Errorf("%d requests were answered and only %d are in our metrics: they passed through unseen", done, counted)
	}
	return nil
}

// requests is the metric of requests that our proxy has carried.
const requests = "sluice_requests_total"

// count asks the backend, and our proxy's telemetry.
func (b *bench) count(ctx context.Context, l oneLoad, point contender.Point) (counts, error) {
	c := counts{-1, -1}
	if l.served == nil {
		return c, nil
	}
	var err error
	if c.backend, err = l.served(b, ctx); err != nil {
		return c, err
	}
	if point.Admin != "" {
		sum, err := scrape(ctx, point.Admin, requests)
		if err != nil {
			return c, err
		}
		c.telemetry = int64(sum)
	}
	return c, nil
}

// cpuOf is the CPU time of the proxy so far; 0 where there is none.
func cpuOf(point contender.Point) (time.Duration, error) {
	if point.Process == nil {
		return 0, nil
	}
	return point.Process.CPU() //nolint:wrapcheck // it says all there is to say
}
