package table

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/ir/irtest"
)

// What has not changed is taken over; a route's service is compiled anew with what it leads to.
func TestUnchangedServicesAreReused(t *testing.T) {
	c := newCompiler(pools{})
	routed := routed(ir.Route{Backends: []ir.Backend{{Service: "demo/b", Port: 80, Weight: 1}, {Service: "demo/later", Port: 80, Weight: 1}}})
	a, b := other("a", 2, ir.Split{}, pods("v1", web, 11)), other("b", 3, ir.Split{}, pods("v1", web, 12))
	reused := func(before, after *Table) string {
		names := ""
		for _, s := range after.services {
			if slices.Contains(before.services, s) {
				names += s.Name + " "
			}
		}
		return names
	}
	last := compile(t, c, nil, routed, a, b)
	step := func(want string, services ...ir.Service) {
		t.Helper()
		next := compile(t, c, last, services...)
		if got := reused(last, next); got != want {
			t.Errorf("reused %q, want %q", got, want)
		}
		if len(next.endpoints) != len(endpointsOf(services)) {
			t.Errorf("%d endpoints, want %d", len(next.endpoints), len(endpointsOf(services)))
		}
		last = next
	}
	step("a b shop ", b, a, routed)
	a.Policy.Balance.AnyZone = true
	step("b shop ", routed, a, b)
	b.Subsets = []ir.Subset{pods("v1", web, 13)}
	step("a ", routed, a, b)
	step("a b ", routed, a, b, other("later", 4, ir.Split{}, pods("v1", web, 14)))
	step("a b ", routed, a, b)
	var plan Plan
	port := last.Outbound(netip.AddrPortFrom(clusterIP, 80))
	port.Plan(&plan, get("/"), always(0), start)
	if e, err := plan.Next(always(0), nil, start); err != nil || e.Address.Addr().As4()[3] != 13 {
		t.Errorf("the route leads to an old endpoint: %v, %v", e, err)
	}
	if port.Plan(&plan, get("/"), always(1), start); plan.Local == nil {
		t.Error("the route leads to a service that is gone")
	}
	if reused := &last.services[0].before; *reused != nil {
		t.Error("a service holds the one before it")
	}
}

func endpointsOf(services []ir.Service) map[string]bool {
	all := map[string]bool{}
	for _, s := range services {
		for _, subset := range s.Subsets {
			for _, e := range subset.Endpoints {
				all[e.Address.String()] = true
			}
		}
	}
	return all
}

func TestOlderEpochIsRefused(t *testing.T) {
	c := newCompiler(pools{})
	both := []ir.Subset{pods("v1", web, 1), pods("v2", web, 2)}
	first := compile(t, c, nil, shop(release(5, 60), both...))
	refused := compile(t, c, first, shop(release(4, 20), append(both, pods("v3", web, 3))...))
	s := refused.services[0]
	if s.Split.Epoch != 5 || s.ports[0].weight != "60" || !s.since.Equal(first.services[0].since) || len(s.Subsets) != 3 {
		t.Errorf("in force: %+v", s.Split)
	}
	// The same once more, and then what is right again.
	again := compile(t, c, refused, shop(release(4, 20), append(both, pods("v3", web, 3))...))
	if got := again.services[0]; got != s {
		t.Errorf("in force: %+v", got.Split)
	}
	if got := compile(t, c, again, shop(release(6, 70), both...)).services[0]; got.ports[0].weight != "70" {
		t.Errorf("in force: %+v", got.Split)
	}
}

func TestPolicyKeepsItsAddress(t *testing.T) {
	made := pools{}
	c := newCompiler(made)
	s := shop(ir.Split{}, pods("v1", web, 1))
	s.Policy.TLS = &ir.UpstreamTLS{ServerName: "a.shop"}
	last := compile(t, c, nil, s)
	var e *Endpoint
	for _, e = range last.endpoints {
		e.PoolFor(HTTP1)
	}
	before, retired := e.Policy(), made[e.Address].retired
	step := func(change func(), samePolicy, sameTLS bool) {
		t.Helper()
		// As if decoded anew.
		tls := *s.Policy.TLS
		s.Policy.TLS = &tls
		change()
		last = compile(t, c, last, s)
		now := e.Policy()
		if (now == before) != samePolicy || (now.TLS == before.TLS) != sameTLS || now != last.services[0].ports[0].policy {
			t.Errorf("the same policy %v, TLS %v; want %v, %v", now == before, now.TLS == before.TLS, samePolicy, sameTLS)
		}
		if was := retired; (made[e.Address].retired == was) != sameTLS {
			t.Errorf("pool retired: %v", sameTLS)
		}
		before, retired = now, made[e.Address].retired
	}
	step(func() { s.Subsets = []ir.Subset{pods("v1", web, 1, 2)} }, true, true)
	step(func() { s.Policy.Timeouts.Connect = time.Second }, false, true)
	step(func() { s.Policy.TLS.ServerName = "b.shop" }, false, false)
}

func TestUnused(t *testing.T) {
	clock := newClock()
	c := newCompiler(pools{})
	c.Now = clock.Now
	a, b := shop(ir.Split{}, pods("v1", web, 1)), other("b", 2, ir.Split{})
	headless := other("headless", 0, ir.Split{}, pods("v1", web, 5))
	headless.Addresses = nil
	table := compile(t, c, nil, a, b, headless)
	expect := func(since time.Time, want ...string) {
		t.Helper()
		var got []string
		for _, address := range table.Unused(since) {
			got = append(got, address.String())
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("unused since %v: %v, want %v", since.Unix(), got, want)
		}
	}
	expect(clock.Now())
	clock.pass(time.Minute)
	mark := clock.Now()
	expect(mark, "10.0.0.5", "10.96.0.1", "10.96.0.2")
	plan, e := carried(t, table.Outbound(netip.AddrPortFrom(clusterIP, 80)), get("/"), always(0), mark)
	clock.pass(time.Hour)
	expect(mark, "10.0.0.5", "10.96.0.2")
	expect(clock.Now(), "10.0.0.5", "10.96.0.2") // in flight still
	plan.Done(e, Succeeded, clock.Now())
	expect(clock.Now(), "10.0.0.5", "10.96.0.1", "10.96.0.2")
	// A new configuration is no use of a service.
	a.Subsets = []ir.Subset{pods("v1", web, 2)}
	table = compile(t, c, table, a, b, headless)
	expect(clock.Now(), "10.0.0.5", "10.96.0.1", "10.96.0.2")
}

// Routes that are gone are forgotten; the others go on counting.
func TestRoutesThatAreGoneAreForgotten(t *testing.T) {
	c := newCompiler(pools{})
	s := shop(ir.Split{}, pods("v1", web, 1))
	var table *Table
	for i := range 100 {
		s.Routes = []ir.Route{{Name: "stays"}, {Name: fmt.Sprintf("r%d", i)}}
		table = compile(t, c, table, s)
		_, _ = carried(t, table.Outbound(netip.AddrPortFrom(clusterIP, 80)), get("/"), always(0), c.Now())
	}
	if n := len(table.services[0].use.hits); n != 2 {
		t.Errorf("%d routes are counted", n)
	}
	if n := table.Dump().Services[0].Routes[0].Requests; n != 100 {
		t.Errorf("%d requests", n)
	}
}

// Whatever the mesh, and whatever was before it: nothing panics, draws follow the shares, and an endpoint is
// always of the revision that was drawn and takes requests.
func TestRandomMeshes(t *testing.T) {
	source := rand.New(rand.NewPCG(7, 8))
	random := Rand(source.Uint32N)
	var last *Table
	c := newCompiler(pools{})
	c.Zone = "zone-a"
	clock := newClock()
	c.Now = clock.Now
	for range 300 {
		mesh := irtest.Random(source)
		last = compile(t, c, last, mesh.Services...)
		clock.pass(time.Second)
		for _, s := range last.services {
			for _, p := range s.allPorts() {
				followsShares(t, s, p)
				for range 5 {
					useOnce(t, last, p, randomRequest(source), random, clock.Now())
				}
			}
			if n := s.use.inFlight(); n != 0 {
				t.Fatalf("%d in flight in the end", n)
			}
		}
		_ = last.Dump()
	}
}

func followsShares(t *testing.T, s *service, p *Port) {
	t.Helper()
	shares := s.SharesOn(p.name)
	if len(shares) == 0 {
		return
	}
	drawn := map[string]uint32{}
	for number := range uint32(100) {
		drawn[p.Draw(always(number)).Revision]++
	}
	for _, share := range shares {
		if drawn[share.Subset] != share.Weight {
			t.Fatalf("%s: drawn %v, shares %v", s.Key(), drawn, shares)
		}
	}
}

func useOnce(t *testing.T, table *Table, p *Port, r Request, random Rand, now time.Time) {
	t.Helper()
	var plan Plan
	if p.Protocol == ir.TCP || p.Protocol == ir.TLS || p.Protocol == ir.Undeclared {
		p.PlanConnection(&plan, r.Peer(), random, now)
	} else {
		p.Plan(&plan, r, random, now)
	}
	if plan.Rule == nil || plan.Port == nil || plan.Series == nil {
		t.Fatalf("plan %+v", plan)
	}
	plan.Mirrored(random, func(copied *Plan) {
		if e, err := copied.Next(random, nil, now); err == nil {
			copied.Done(e, Canceled, now)
		}
	})
	_ = plan.RewritePath(r.Path())
	if plan.Local != nil {
		return
	}
	var tried []*Endpoint
	for try := 1; try < 4; try++ {
		e, err := plan.Next(random, tried, now)
		if err != nil {
			return
		}
		key := endpointKey{e.Address, plan.Port.Service, plan.Revision}
		if table.endpoints[key] != e || !slices.Contains(plan.group.endpoints, e) {
			t.Fatalf("endpoint %v is not of %s %s", e.Address, plan.Port.Service, plan.Revision)
		}
		tried = append(tried, e)
		plan.Done(e, Failed, now)
		if _, again := plan.Retry(Failure{On: ir.On5xx, Status: 503, GRPC: 14, Idempotent: true}, try, random); !again {
			return
		}
		plan.Retried()
	}
}

// Configurations change under requests: no request gets an endpoint of another revision than was drawn, and in
// the end nothing is in flight.
func TestSwapsUnderLoad(t *testing.T) {
	c := newCompiler(pools{})
	var current atomic.Pointer[Table]
	mesh := func(i int) []ir.Service {
		s := shop(release(int64(i), uint32(i*7%101)), pods("v1", web, 1, 2, 3+i%3), pods("v2", web, 20, 21+i%2))
		s.Policy = ir.Policy{
			Outlier: &ir.Outlier{Consecutive: 1, Ejection: time.Millisecond}, Limits: ir.Limits{MaxRequests: uint32(3 + i%2)},
			Balance: ir.Balance{Balancer: []ir.Balancer{ir.LeastRequest, ir.RoundRobin, ir.RingHash}[i%3], SlowStart: time.Second},
			Retry:   &ir.Retry{Attempts: 2, On: []ir.RetryOn{ir.On5xx}},
		}
		if i%3 == 2 {
			s.Policy.Balance.HashOn.Source = true
		}
		s.Routes = []ir.Route{{Name: "it", Matches: matching(ir.Prefix, "/other"), Backends: []ir.Backend{{Service: "demo/other", Port: 80, Weight: 1}}}}
		services := []ir.Service{s}
		if i%5 != 0 {
			services = append(services, other("other", 2, ir.Split{}, pods("w1", web, 30)))
		}
		return services
	}
	current.Store(compile(t, c, nil, mesh(0)...))
	stop := make(chan struct{})
	var all sync.WaitGroup
	for worker := range 4 {
		random := rand.New(rand.NewPCG(uint64(worker), 1)).Uint32N
		all.Go(func() {
			var plan Plan
			r := get([]string{"/", "/other"}[worker%2])
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				now := start.Add(time.Duration(n) * time.Microsecond)
				port := current.Load().Outbound(netip.AddrPortFrom(clusterIP, 80))
				port.Plan(&plan, r, random, now)
				for try := 1; plan.Local == nil; try++ {
					e, err := plan.Next(random, nil, now)
					if err != nil {
						break
					}
					if want := plan.Port.Service + ";" + plan.Revision; e.Intended != want {
						t.Errorf("drawn %s, got %s", want, e.Intended)
					}
					plan.Done(e, Outcome(random(4)), now)
					if _, again := plan.Retry(Failure{Status: 500, GRPC: -1, Idempotent: true}, try, random); !again {
						break
					}
					plan.Retried()
				}
			}
		})
	}
	for i := range 300 {
		previous := current.Load()
		next, err := c.Compile(ir.Mesh{Services: mesh(i)}, previous)
		if err != nil {
			t.Fatal(err)
		}
		current.Store(next)
		next.Supersede(previous)
		_, _ = next.Dump(), next.Unused(start)
	}
	close(stop)
	all.Wait()
	last := current.Load()
	for _, s := range last.services {
		if s.use.inFlight() != 0 || s.use.repeating.Load() != 0 {
			t.Errorf("%s: %d in flight, %d repeating", s.Key(), s.use.inFlight(), s.use.repeating.Load())
		}
	}
	for key, e := range last.endpoints {
		if e.Active() != 0 {
			t.Errorf("%v: %d in flight", key, e.Active())
		}
	}
}

func TestDump(t *testing.T) {
	s := shop(release(1, 50), inZones(pods("v1", web, 1, -2), "a", "b"), pods("v2", web, 3, 4))
	s.Policy.Outlier = &ir.Outlier{Consecutive: 1, Ejection: time.Minute}
	s.Routes = []ir.Route{{
		Name: "HTTPRoute/demo/it/0", Ports: []uint16{80}, Revision: ir.CanaryRevision,
		Matches: []ir.Match{{Hosts: []string{"a.shop"}, Path: ir.PathMatch{Kind: ir.Prefix, Value: "/a"}, Method: "GET",
			Headers: []ir.ValueMatch{{Name: "x", Kind: ir.Exact, Value: "1", Not: true}}, Cookies: []ir.ValueMatch{{Name: "c", Kind: ir.Present}}}, {}},
		Rewrite: &ir.Rewrite{Host: "inner", Path: ir.Path{ReplacePrefix: true, Prefix: "/b"}},
		Mirrors: []ir.Mirror{{Service: "demo/shop", Port: 80, Share: 5000}}, Fault: &ir.Fault{Delay: time.Second, DelayShare: ir.Million},
		RequestHeaders: ir.HeaderChanges{Set: []ir.Header{{Name: "authorization", Value: "secret"}}, Remove: []string{"x"}},
	}}
	c := newCompiler(pools{})
	table := compile(t, c, nil, s)
	port := table.Outbound(netip.AddrPortFrom(clusterIP, 80))
	plan, e := carried(t, port, get("/a"), always(0), start)
	if _, err := plan.Next(always(0), nil, start); err != nil {
		t.Fatal(err)
	}
	plan.Done(e, Failed, start)
	dump := table.Dump()
	got := dump.Services[0]
	if len(dump.Version) != 32 || got.InFlight != 1 || !got.Used.Equal(start) {
		t.Errorf("dump %+v", dump)
	}
	route := got.Routes[0]
	words := strings.Join(append(route.Matches, route.Actions...), "; ")
	want := `host a.shop, path below /a, method GET, header x not = 1, cookie c present; any; delay 100% by 1s; to canary alone; ` +
		`rewrite to host inner to "/b" in place of the path's prefix; request headers -x =authorization; mirror 0.5% to demo/shop:80`
	if words != want || route.Requests != 1 {
		t.Errorf("route %d times: %s\nwant %s", route.Requests, words, want)
	}
	canary := got.Endpoints["v2"]
	until := start.Add(time.Minute)
	if sick, fine := canary.Each[0], canary.Each[1]; canary.Ready != 2 || sick.Requests != 1 || sick.Failures != 1 || sick.InFlight != 0 ||
		sick.Ejected == nil || !sick.Ejected.Equal(until) || fine.InFlight != 1 || fine.Ejected != nil {
		t.Errorf("canary %+v", canary)
	}
	stable := got.Endpoints["v1"]
	if stable.Ready != 1 || stable.Draining != 1 || fmt.Sprint(stable.Each) != "[{10.0.0.1:8080 a false 0 0 0 0 <nil>} {10.0.0.2:8080 b true 0 0 0 0 <nil>}]" {
		t.Errorf("stable %+v", stable)
	}
	if again := compile(t, c, table, s).Dump(); again.Version != dump.Version || again.Services[0].Routes[0].Requests != 1 {
		t.Error("the same configuration has another version, or has forgotten what it counted")
	}
	s.Policy.Timeouts.Idle = time.Second
	if other := compile(t, c, table, s).Dump(); other.Version == dump.Version {
		t.Error("another configuration has the same version")
	}
}
