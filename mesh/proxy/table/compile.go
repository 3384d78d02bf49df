package table

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

// Compiler holds what does not change from one configuration to the next.
type Compiler struct {
	// Recorder makes the series of requests. Required.
	Recorder *telemetry.Recorder
	// Source and SourceNamespace say who calls, in the metrics.
	Source, SourceNamespace string
	// Revision of the pod that we serve; labels what its own proxy reports.
	Revision string
	// Self is the pod's address; invalid when unknown.
	Self netip.Addr
	// Zone that the pod runs in; "" when unknown, and then no zone is preferred.
	Zone string
	// NewPools make an endpoint's pools when they are first used, by Kind.
	NewPools [kinds]func(*Endpoint) Pool
	// Now is the clock. Required.
	Now func() time.Time
	// Logger; nil is slog.Default().
	Logger *slog.Logger
}

// Compile makes a table of the mesh. Objects of the previous table live on where they mean the same; a
// service that has not changed, nor those that its routes lead to, is taken over as it is.
// When the mesh is not valid the error says why and the previous table stays good.
//
// A split with an older epoch than the one in force of the same owner is refused: the newer one stays,
// with its shares recomputed for the endpoints of now, and everything else of the mesh applies. That is
// no error, since a control plane replica that lags behind must still be able to tell of endpoints.
func (c *Compiler) Compile(mesh ir.Mesh, previous *Table) (*Table, error) {
	if err := ir.Validate(mesh); err != nil {
		return nil, fmt.Errorf("compile mesh: %w", err)
	}
	if previous == nil {
		previous = Empty()
	}
	now := c.Now()
	b := &builder{Compiler: c, previous: previous, now: now, services: map[string]*service{}, table: &Table{
		Applied:   now,
		now:       c.Now,
		virtual:   map[netip.AddrPort]*Port{},
		headless:  map[netip.AddrPort]*Port{},
		local:     map[uint16][]*Port{},
		known:     map[netip.Addr]*service{},
		endpoints: map[endpointKey]*Endpoint{},
		streams:   map[streamsKey]*Streams{},
		live:      map[telemetry.Key]bool{},
	}}
	todo, err := b.gather(ir.Normalise(mesh).Services)
	if err != nil {
		return nil, fmt.Errorf("compile mesh: %w", err)
	}
	for i := range todo {
		g := &todo[i]
		if g.reuse {
			b.openStreams(g.before)
			b.services[g.Key()] = g.before
		} else {
			b.services[g.Key()] = b.add(g)
		}
	}
	for i := range todo { // routes lead to services that all have to be there
		s := b.services[todo[i].Key()]
		if !todo[i].reuse {
			b.link(s)
			s.before = nil
		}
		b.install(s)
	}
	b.keepOpenStreams()
	return b.table, nil
}

type builder struct {
	*Compiler
	previous, table *Table
	now             time.Time
	services        map[string]*service
}

// given is a service of the mesh, and what it was before.
type given struct {
	ir.Service
	before *service // nil: it is new
	routes []route
	reuse  bool // before is good as it is
}

// gather compares the mesh with the table before, and compiles what may turn out not to be valid.
func (b *builder) gather(services []ir.Service) ([]given, error) {
	before := make(map[string]*service, len(b.previous.services))
	for _, s := range b.previous.services {
		before[s.Key()] = s
	}
	same := make(map[string]bool, len(services))
	there := make(map[string]bool, len(services))
	for i := range services {
		key := services[i].Key()
		there[key] = true
		same[key] = before[key] != nil && reflect.DeepEqual(before[key].given, services[i])
	}
	todo := make([]given, len(services))
	var errs []error
	for i := range services {
		g := given{Service: services[i], before: before[services[i].Key()]}
		g.reuse = same[g.Key()] && !slices.ContainsFunc(g.Dependencies(), func(key string) bool {
			return !same[key] && (there[key] || before[key] != nil)
		})
		if !g.reuse {
			var err error
			if g.routes, err = newRoutes(&g.Service); err != nil {
				errs = append(errs, err)
			}
		}
		todo[i] = g
	}
	return todo, errors.Join(errs...)
}
