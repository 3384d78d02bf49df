package supervisor

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/sluice-mesh/sluice/e2e/cluster/component"
)

// node is all units.
type node struct {
	units  []*unit
	byName map[string]*unit
	log    *slog.Logger
}

func newNode(components []component.Component, log *slog.Logger) (*node, error) {
	prober, err := newProber(component.PKI)
	if err != nil {
		return nil, err
	}
	n := &node{byName: map[string]*unit{}, log: log}
	processes := newProcesses()
	for _, c := range components {
		u := &unit{component: c, processes: processes, prober: prober, log: log}
		u.set(Waiting, 0, "")
		n.units = append(n.units, u)
		n.byName[c.Name] = u
	}
	for _, c := range components {
		for _, need := range c.Needs {
			if n.byName[need] == nil {
				return nil, fmt.Errorf("plan start of %s: it needs %s, which is unknown", c.Name, need)
			}
		}
	}
	return n, nil
}

// startAll starts every component as soon as those are ready that it needs.
func (n *node) startAll(ctx context.Context) {
	for _, u := range n.units {
		go func() { // ends with ctx, which ends with process 1
			if err := n.awaitNeeds(ctx, u); err != nil {
				n.log.Error("component not started", "component", u.component.Name, "error", err)
				return
			}
			if err := u.start(ctx); err != nil {
				n.log.Error("component not ready", "component", u.component.Name, "error", err)
			}
		}()
	}
}

func (n *node) awaitNeeds(ctx context.Context, u *unit) error {
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for _, need := range u.component.Needs {
		for n.byName[need].now().State != Ready {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

func (n *node) status() []Status {
	var all []Status
	for _, u := range n.units {
		all = append(all, u.now())
	}
	return all
}
