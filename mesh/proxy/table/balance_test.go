package table

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// balanced is a service of one revision.
func balanced(balance ir.Balance, subset ir.Subset) ir.Service {
	s := shop(ir.Split{}, subset)
	s.Policy.Balance = balance
	return s
}

func inZones(subset ir.Subset, zones ...string) ir.Subset {
	for i := range subset.Endpoints {
		subset.Endpoints[i].Zone = zones[i]
	}
	return subset
}

// spread carries n requests, one at a time, and counts them by the last byte of their endpoint's address.
func spread(t *testing.T, p *Port, n int, random Rand, now time.Time) map[byte]int {
	t.Helper()
	counts := map[byte]int{}
	for range n {
		plan, e := carried(t, p, get("/"), random, now)
		counts[e.Address.Addr().As4()[3]]++
		plan.Done(e, Succeeded, now)
	}
	return counts
}

func TestBalancersSpreadEvenly(t *testing.T) {
	const n = 8000
	for _, balancer := range []ir.Balancer{ir.LeastRequest, ir.RoundRobin, ir.Random} {
		counts := spread(t, door(t, balanced(ir.Balance{Balancer: balancer}, pods("v1", web, 1, 2, 3, 4))), n, seeded(1), start)
		for last := byte(1); last <= 4; last++ {
			near(t, fmt.Sprintf("%q to %d", balancer, last), counts[last], n, .25)
			if balancer == ir.RoundRobin && counts[last] != n/4 {
				t.Errorf("%d turns of %d, want each its fourth", counts[last], n)
			}
		}
	}
}

// A slow endpoint gets less where requests in flight count, and as much as others where they do not.
func TestLeastRequest(t *testing.T) {
	for balancer, want := range map[ir.Balancer][2]float64{ir.LeastRequest: {0, 0}, ir.Random: {.25, .25}} {
		port := door(t, balanced(ir.Balance{Balancer: balancer}, pods("v1", web, 1, 2, 3, 4)))
		for _, e := range port.all.choices[0].group.endpoints {
			if e.Address.Addr().As4()[3] == 1 {
				e.Enter() // one request that hangs
			}
		}
		near(t, string(balancer)+" to the slow one", spread(t, port, 4000, seeded(1), start)[1], 4000, want[0])
	}
}

// The two that are compared are never one and the same: of two endpoints the freer always gets the request.
func TestTwoChoicesAreTwo(t *testing.T) {
	port := door(t, balanced(ir.Balance{}, pods("v1", web, 1, 2)))
	g := port.all.choices[0].group
	g.endpoints[1].Enter()
	for i := range uint32(3) {
		for j := range uint32(3) {
			calls := 0
			random := func(n uint32) uint32 { calls++; return min([]uint32{i, j}[calls-1], n-1) }
			if e := g.pick(random, nil, 0, false, start); e != g.endpoints[0] {
				t.Errorf("numbers %d and %d lead to the busy one", i, j)
			}
		}
	}
}

func TestTriedAreAvoided(t *testing.T) {
	for _, balance := range []ir.Balance{
		{}, {Balancer: ir.RoundRobin}, {Balancer: ir.Random}, {Balancer: ir.RingHash, HashOn: ir.HashOn{Source: true}},
	} {
		port := door(t, balanced(balance, pods("v1", web, 1, 2, 3)))
		random := seeded(1)
		for range 50 {
			var plan Plan
			port.Plan(&plan, get("/"), random, start)
			var tried []*Endpoint
			seen := map[*Endpoint]bool{}
			for range 3 {
				e, err := plan.Next(random, tried, start)
				if err != nil {
					t.Fatal(err)
				}
				plan.Done(e, Failed, start)
				tried, seen[e] = append(tried, e), true
			}
			if len(seen) != 3 {
				t.Fatalf("%+v: %d of 3 tried", balance, len(seen))
			}
			if e, err := plan.Next(random, tried, start); err != nil || e == nil {
				t.Fatalf("%+v: none when all are tried: %v", balance, err)
			} else {
				plan.Done(e, Failed, start)
			}
		}
	}
}

func TestNobody(t *testing.T) {
	s := shop(ir.Split{Owner: "rollout"}, pods("v1", web, -1))
	var plan Plan
	door(t, s).Plan(&plan, get("/"), always(0), start)
	_, err := plan.Next(always(0), nil, start)
	if refused, is := err.(*Refused); !is || refused.Overloaded || refused.Error() == "" { //nolint:errorlint // it is that itself
		t.Errorf("error %v", err)
	}
	if n := plan.Streams(); n != nil {
		t.Error("streams of no revision")
	}
}

// Values stay where they are while endpoints do; of those that move when one comes, all move to it.
func TestRing(t *testing.T) {
	endpoints := func(n int) []*Endpoint {
		var all []*Endpoint
		for i := range n {
			all = append(all, &Endpoint{Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80)})
		}
		return all
	}
	owner := func(r ring, list []*Endpoint, value int) netip.AddrPort {
		return r.find(hashText(fmt.Sprint("user-", value)), &field{list: list}).Address
	}
	const values = 20000
	few, more := endpoints(10), endpoints(11)
	before, after := newRing(few), newRing(more)
	counts := map[netip.AddrPort]int{}
	moved := 0
	for value := range values {
		was, is := owner(before, few, value), owner(after, more, value)
		counts[was]++
		if was != is {
			moved++
			if is != more[10].Address {
				t.Fatalf("value %d moved from %v to %v, which was there before", value, was, is)
			}
		}
	}
	if moved < values/22 || moved > values/6 {
		t.Errorf("%d of %d values moved to one endpoint of 11", moved, values)
	}
	for address, n := range counts {
		if n < values/20 || n > values/6 {
			t.Errorf("%v has %d of %d values", address, n, values)
		}
	}
	if n := len(newRing(endpoints(1000))); n > pointsAll {
		t.Errorf("%d points", n)
	}
	if n := len(newRing(nil)); n != 0 {
		t.Errorf("%d points of nobody", n)
	}
	// The next around the circle takes over from one that does not fit.
	f := &field{list: few, tried: few[:9]}
	for value := range 100 {
		if e := before.find(hashText(fmt.Sprint(value)), f); e != few[9] {
			t.Fatalf("value %d leads to %v", value, e)
		}
	}
}

// A new endpoint's share grows from a tenth; those that were there when the service became known are not new.
func TestSlowStart(t *testing.T) {
	const n = 20000
	for _, balancer := range []ir.Balancer{ir.LeastRequest, ir.RoundRobin, ir.Random} {
		balance := ir.Balance{Balancer: balancer, SlowStart: 100 * time.Second}
		clock := newClock()
		c := newCompiler(pools{})
		c.Now = clock.Now
		first := compile(t, c, nil, balanced(balance, pods("v1", web, 1, 2)))
		counts := spread(t, first.Outbound(netip.AddrPortFrom(clusterIP, 80)), n, seeded(1), clock.Now())
		near(t, "at first", counts[1], n, .5)
		clock.pass(time.Minute)
		second := compile(t, c, first, balanced(balance, pods("v1", web, 1, 2, 3, 4)))
		port := second.Outbound(netip.AddrPortFrom(clusterIP, 80))
		for _, step := range []struct {
			age    time.Duration
			weight float64
		}{{0, .1}, {50 * time.Second, .55}, {100 * time.Second, 1}} {
			counts := spread(t, port, n, seeded(2), clock.Now().Add(step.age))
			want := step.weight / (2 + 2*step.weight)
			for last := byte(3); last <= 4; last++ {
				// Patience and the pairs' being two make it a little more than its weight.
				if got := float64(counts[last]) / n; got < want*.9-.005 || got > want*1.25+.005 {
					t.Errorf("%q, age %v: endpoint %d has %.3f, want about %.3f", balancer, step.age, last, got, want)
				}
			}
		}
	}
	// All are new: somebody has to take requests.
	clock := newClock()
	c := newCompiler(pools{})
	c.Now = clock.Now
	empty := balanced(ir.Balance{SlowStart: time.Hour}, ir.Subset{Name: "v1"})
	empty.Split = ir.Split{Owner: "rollout"}
	full := balanced(ir.Balance{SlowStart: time.Hour}, pods("v1", web, 1, 2))
	full.Split = empty.Split
	port := compile(t, c, compile(t, c, nil, empty), full).Outbound(netip.AddrPortFrom(clusterIP, 80))
	near(t, "of two new ones", spread(t, port, n, seeded(3), clock.Now())[1], n, .5)
}

func TestZones(t *testing.T) {
	const n = 8000
	cases := map[string]struct {
		zones  []string
		out    []byte // ejected
		any    bool
		locals []byte
		want   float64 // share of the locals
	}{
		"enough":                {[]string{"a", "b", "c", "a", "b", "c"}, nil, false, []byte{1, 4}, 1},
		"a little few":          {[]string{"a", "b", "b"}, nil, false, []byte{1}, 1.4 * 2 / 3},
		"one of many":           {[]string{"a", "b", "b", "b", "b", "b", "b"}, nil, false, []byte{1}, 1.4 * 2 / 7},
		"half of them are out":  {[]string{"a", "a", "b", "b", "b", "b"}, []byte{2}, false, []byte{1}, 1.4 * 2 / 5},
		"all of them are out":   {[]string{"a", "a", "b", "b", "b", "b"}, []byte{1, 2}, false, []byte{1, 2}, 0},
		"none":                  {[]string{"b", "b", "c"}, nil, false, nil, 0},
		"all":                   {[]string{"a", "a", "a"}, nil, false, []byte{1, 2, 3}, 1},
		"unknown is elsewhere":  {[]string{"a", "", "a", ""}, nil, false, []byte{1, 3}, 1},
		"any zone":              {[]string{"a", "b", "b", "b"}, nil, true, []byte{1}, .25},
		"others out, panicking": {[]string{"a", "b", "b", "b"}, []byte{2, 3, 4}, false, []byte{1}, 1.4 * 2 / 4},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var last []int
			for i := range c.zones {
				last = append(last, i+1)
			}
			s := balanced(ir.Balance{AnyZone: c.any}, inZones(pods("v1", web, last...), c.zones...))
			s.Policy.Outlier = &ir.Outlier{Consecutive: 1, MaxPercent: 100}
			compiler := newCompiler(pools{})
			compiler.Zone = "a"
			port := compile(t, compiler, nil, s).Outbound(netip.AddrPortFrom(clusterIP, 80))
			g := port.all.choices[0].group
			for _, e := range g.endpoints {
				for _, out := range c.out {
					if e.Address.Addr().As4()[3] == out {
						g.note(e, Failed, start)
					}
				}
			}
			counts, locals := spread(t, port, n, seeded(1), start), 0
			for _, last := range c.locals {
				locals += counts[last]
			}
			near(t, "local", locals, n, c.want)
		})
	}
}

func TestPlanNextDoneAllocateNothing(t *testing.T) {
	for name, balance := range map[string]ir.Balance{
		"least request": {}, "round robin": {Balancer: ir.RoundRobin}, "random": {Balancer: ir.Random},
		"ring hash": {Balancer: ir.RingHash, HashOn: ir.HashOn{Header: "x-user"}}, "slow start": {SlowStart: time.Hour},
	} {
		s := shop(release(1, 20), inZones(pods("v1", web, 1, 2, 3), "a", "b", "c"), pods("v2", web, 4, 5))
		s.Policy = ir.Policy{
			Balance: balance, Outlier: &ir.Outlier{Consecutive: 1}, Sticky: &ir.Sticky{Cookie: "side"},
			Limits: ir.Limits{MaxRequests: 10}, Retry: &ir.Retry{Attempts: 2, On: []ir.RetryOn{ir.On5xx}},
		}
		s.Routes = []ir.Route{{Name: "it", Backends: []ir.Backend{{Service: "demo/shop", Port: 80, Weight: 1}}}}
		c := newCompiler(pools{})
		c.Zone = "a"
		port := compile(t, c, nil, s).Outbound(netip.AddrPortFrom(clusterIP, 80))
		var r Request = get("/", "cookie", "side=5000.v2", "x-user", "ann")
		var plan Plan
		random := seeded(1)
		tried := make([]*Endpoint, 0, 2)
		if n := testing.AllocsPerRun(200, func() {
			port.Plan(&plan, r, random, start)
			e, err := plan.Next(random, nil, start)
			if err != nil {
				t.Fatal(err)
			}
			plan.Done(e, Failed, start)
			if _, again := plan.Retry(Failure{On: ir.On5xx, Status: 503, GRPC: -1, Idempotent: true}, 1, random); again {
				if e, err = plan.Next(random, append(tried, e), start); err != nil {
					t.Fatal(err)
				}
				plan.Done(e, Succeeded, start)
				plan.Retried()
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations a request", name, n)
		}
	}
}

func BenchmarkPlan(b *testing.B) {
	s := shop(release(1, 20), pods("v1", web, 1, 2, 3), pods("v2", web, 4))
	compiled, err := newCompiler(pools{}).Compile(ir.Mesh{Services: []ir.Service{s}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	port := compiled.Outbound(netip.AddrPortFrom(clusterIP, 80))
	var r Request = get("/")
	var plan Plan
	b.ReportAllocs()
	for b.Loop() {
		port.Plan(&plan, r, always(7), start)
		e, err := plan.Next(always(1), nil, start)
		if err != nil {
			b.Fatal(err)
		}
		plan.Done(e, Succeeded, start)
	}
}
