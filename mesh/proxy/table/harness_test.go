package table

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

// request is a Request made of plain values.
type request struct {
	method, path, query, authority string
	headers                        map[string]string
	grpc                           bool
	peer                           netip.Addr
}

func (r *request) Method() string    { return r.method }
func (r *request) Path() string      { return r.path }
func (r *request) Query() string     { return r.query }
func (r *request) Authority() string { return r.authority }
func (r *request) GRPC() bool        { return r.grpc }
func (r *request) Peer() netip.Addr  { return r.peer }
func (r *request) Header(name string) (string, bool) {
	value, found := r.headers[name]
	return value, found
}

// get is a request for a path, perhaps with a query and with headers by name and value.
func get(path string, headers ...string) *request {
	r := &request{method: "GET", path: path, authority: "shop", headers: map[string]string{}, peer: netip.MustParseAddr("10.1.0.1")}
	for i := 0; i < len(headers); i += 2 {
		r.headers[headers[i]] = headers[i+1]
	}
	return r
}

// seeded is a Rand that may be used concurrently.
func seeded(seed uint64) Rand {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 1))
	return func(n uint32) uint32 {
		mu.Lock()
		defer mu.Unlock()
		return random.Uint32N(n)
	}
}

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(1000, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// door compiles services and returns the first's first port.
func door(t *testing.T, services ...ir.Service) *Port {
	t.Helper()
	s := services[0]
	return compile(t, newCompiler(pools{}), nil, services...).Outbound(netip.AddrPortFrom(s.Addresses[0], s.Ports[0].Number))
}

// carried plans a request and picks its endpoint.
func carried(t *testing.T, p *Port, r Request, random Rand, now time.Time) (*Plan, *Endpoint) {
	t.Helper()
	plan := &Plan{}
	p.Plan(plan, r, random, now)
	if plan.Local != nil {
		t.Fatalf("answered here: %+v", *plan.Local)
	}
	e, err := plan.Next(random, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	return plan, e
}

// keyOf says what a plan is counted as.
func keyOf(p *Plan) telemetry.Key {
	all := []*counted{p.Port.none, p.Port.inboundMesh, p.Port.inboundOther}
	if p.group != nil {
		all = append(all, p.group.counted, p.group.unjudged)
	}
	for _, c := range all {
		if c != nil && c.series.Load() == p.Series {
			return c.key
		}
	}
	return telemetry.Key{Reporter: "nobody"}
}

// other makes another service than shop.
func other(name string, last byte, split ir.Split, subsets ...ir.Subset) ir.Service {
	s := shop(split, subsets...)
	s.Name, s.Addresses = name, []netip.Addr{netip.AddrFrom4([4]byte{10, 96, 0, last})}
	return s
}

// near checks a share of n within five standard deviations, so that a right one fails once in some million.
func near(t *testing.T, what string, got, n int, want float64) {
	t.Helper()
	expected := want * float64(n)
	if off := float64(got) - expected; off*off > 25*max(float64(n)*want*(1-want), 1) {
		t.Errorf("%s: %d of %d, want about %.0f", what, got, n, expected)
	}
}
