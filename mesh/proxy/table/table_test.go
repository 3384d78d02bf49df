package table

import (
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

var (
	clusterIP = netip.MustParseAddr("10.96.0.1")
	self      = netip.MustParseAddr("10.0.0.9")
)

// pools records what becomes of endpoints' pools.
type pools map[netip.AddrPort]*pool

type pool struct{ retired int }

func (p *pool) Retire() { p.retired++ }

func newCompiler(p pools) *Compiler {
	return &Compiler{
		Recorder: telemetry.New(prometheus.NewRegistry()), Source: "front", SourceNamespace: "web",
		Revision: "own", Self: self, Now: func() time.Time { return time.Unix(1000, 0) },
		NewPools: [kinds]func(*Endpoint) Pool{func(e *Endpoint) Pool { p[e.Address] = &pool{}; return p[e.Address] }},
		Logger:   slog.New(slog.DiscardHandler),
	}
}

// pods makes a subset from addresses' last bytes; a negative one is draining.
func pods(revision string, ports map[string]uint16, last ...int) ir.Subset {
	s := ir.Subset{Name: revision}
	for _, n := range last {
		s.Endpoints = append(s.Endpoints, ir.Endpoint{
			Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(max(n, -n))}), Ports: ports, Draining: n < 0,
		})
	}
	return s
}

var web = map[string]uint16{"web": 8080}

func shop(split ir.Split, subsets ...ir.Subset) ir.Service {
	return ir.Service{
		Namespace: "demo", Name: "shop", Addresses: []netip.Addr{clusterIP},
		Ports:   []ir.Port{{Name: "web", Number: 80, Protocol: ir.HTTP}},
		Subsets: subsets, Split: split.WithShares(subsets),
	}
}

func compile(t *testing.T, c *Compiler, previous *Table, services ...ir.Service) *Table {
	t.Helper()
	next, err := c.Compile(ir.Mesh{Services: services}, previous)
	if err != nil {
		t.Fatal(err)
	}
	if previous != nil {
		next.Supersede(previous)
	}
	return next
}

// always is a source of one number, taken below n.
func always(number uint32) Rand {
	return func(n uint32) uint32 { return min(number, n-1) }
}

func release(epoch int64, weight uint32) ir.Split {
	return ir.Split{Owner: "rollout", Epoch: epoch, Weight: weight, Stable: "v1", Canary: "v2"}
}

// Of the hundred numbers exactly as many lead to the canary as its weight says.
func TestSharesAreExact(t *testing.T) {
	for _, weight := range []uint32{0, 1, 33, 99, 100} {
		port := compile(t, newCompiler(pools{}), nil, shop(release(1, weight), pods("v1", web, 1), pods("v2", web, 2))).
			Outbound(netip.AddrPortFrom(clusterIP, 80))
		canary := uint32(0)
		for number := range uint32(100) {
			if port.Draw(always(number)).Revision == "v2" {
				canary++
			}
		}
		if canary != weight {
			t.Errorf("weight %d: %d of 100 numbers lead to the canary", weight, canary)
		}
	}
}

// With a baseline the weight is only in force where the baseline has its share too: else the judge would
// take a wrong share for the truth.
func TestBaseline(t *testing.T) {
	split := release(1, 25)
	split.Baseline, split.BaselineWeight = "v1-base", 25
	all := []ir.Subset{pods("v1", web, 1), pods("v1-base", web, 3), pods("v2", web, 2)}
	port := compile(t, newCompiler(pools{}), nil, shop(split, all...)).Outbound(netip.AddrPortFrom(clusterIP, 80))
	drawn := map[string]int{}
	for number := range uint32(100) {
		drawn[port.Draw(always(number)).Revision]++
	}
	if drawn["v1"] != 50 || drawn["v1-base"] != 25 || drawn["v2"] != 25 || port.weight != "25" {
		t.Errorf("drawn %v at weight %q, want 50, 25 and 25 at weight 25", drawn, port.weight)
	}
	port = compile(t, newCompiler(pools{}), nil, shop(split, all[0], all[2])).Outbound(netip.AddrPortFrom(clusterIP, 80))
	if port.weight != "" {
		t.Errorf("weight %q is in force without a baseline", port.weight)
	}
}

func TestPick(t *testing.T) {
	port := compile(t, newCompiler(pools{}), nil, shop(release(1, 100), pods("v1", web, 1), pods("v2", web, 2, 3, -4))).
		Outbound(netip.AddrPortFrom(clusterIP, 80))
	var plan Plan
	port.Plan(&plan, get("/"), always(0), start)
	pick := func(number uint32, tried ...*Endpoint) *Endpoint {
		t.Helper()
		e, err := plan.Next(always(number), tried, start)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	first := pick(0)
	second := pick(0, first)
	if first == second {
		t.Fatalf("picked %v twice", first.Address)
	}
	if third := pick(0, first, second); third != first && third != second {
		t.Errorf("picked %v: a draining endpoint or another revision's", third.Address)
	} else {
		plan.Done(third, Canceled, start)
	}
	plan.Done(first, Canceled, start)
	plan.Done(second, Canceled, start)
	for _, busy := range []*Endpoint{first, second} {
		busy.Enter()
		for number := range uint32(2) {
			if got := pick(number); got == busy {
				t.Errorf("picked %v, which has a request more in flight", got.Address)
			} else {
				plan.Done(got, Canceled, start)
			}
		}
		busy.Leave()
	}
	if want := "demo/shop;v2"; first.Intended != want {
		t.Errorf("intended %q, want %q", first.Intended, want)
	}
}

// A version that does not have a port gets none of its requests, and its share there is not in force.
func TestPortThatAVersionLacks(t *testing.T) {
	s := shop(release(1, 40), pods("v1", map[string]uint16{"web": 8080, "old": 9090}, 1), pods("v2", web, 2))
	s.Ports = append(s.Ports, ir.Port{Name: "old", Number: 90, Protocol: ir.HTTP})
	compiled := compile(t, newCompiler(pools{}), nil, s)
	old := compiled.Outbound(netip.AddrPortFrom(clusterIP, 90))
	for number := range uint32(100) {
		if got := old.Draw(always(number)).Revision; got != "v1" {
			t.Fatalf("number %d leads to %s", number, got)
		}
	}
	if old.weight != "0" {
		t.Errorf("weight on the old port is %q, want 0: v2 gets nothing there", old.weight)
	}
	if got := compiled.Outbound(netip.AddrPortFrom(clusterIP, 80)).weight; got != "40" {
		t.Errorf("weight on the other port is %q, want 40", got)
	}
}

func TestEndpointsLiveOn(t *testing.T) {
	made := pools{}
	c := newCompiler(made)
	address := func(last byte) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, last}), 8080)
	}
	first := compile(t, c, nil, shop(ir.Split{}, pods("v1", web, 1, 2, 3), pods("v2", web, 4)))
	for _, e := range first.endpoints {
		e.PoolFor(HTTP1)
	}
	// 2 drains, 3 goes, 4 passes to another revision.
	second := compile(t, c, first, shop(ir.Split{}, pods("v1", web, 1, -2), pods("v3", web, 4)))
	for key, e := range second.endpoints {
		if old := first.endpoints[key]; old != nil && old != e {
			t.Errorf("%v is another object", key)
		}
	}
	if _, kept := second.endpoints[endpointKey{address(4), "demo/shop", "v2"}]; kept {
		t.Error("an address of another revision is the same endpoint")
	}
	for last, want := range map[byte]bool{1: false, 2: true, 3: true, 4: true} {
		if got := made[address(last)].retired > 0; got != want {
			t.Errorf("pool of endpoint %d retired: %v, want %v", last, got, want)
		}
	}
}

type closer struct{ closed int }

func (c *closer) Close() error { c.closed++; return nil }

var _ io.Closer = (*closer)(nil)

func TestStreamsOfARevisionThatIsGone(t *testing.T) {
	now := time.Unix(1000, 0)
	c := newCompiler(pools{})
	c.Now = func() time.Time { return now }
	both := []ir.Subset{pods("v1", web, 1), pods("v2", web, 2)}
	current := compile(t, c, nil, shop(release(1, 100), both...))
	stream := &closer{}
	leave := current.Outbound(netip.AddrPortFrom(clusterIP, 80)).Draw(always(0)).Streams().Add(stream)
	defer leave()

	now = now.Add(time.Minute)
	current = compile(t, c, current, shop(release(2, 0), both...))
	now = now.Add(5 * time.Second)
	// The release is over and the mesh no longer names the revision.
	current = compile(t, c, current, shop(ir.Split{Owner: "rollout", Epoch: 3}, both[:1]...))
	now = now.Add(4 * time.Second)
	if n := current.CloseOverdue(now, 10*time.Second); n != 0 {
		t.Errorf("%d streams closed before the drain was over", n)
	}
	now = now.Add(time.Second)
	if n := current.CloseOverdue(now, 10*time.Second); n != 1 || stream.closed != 1 {
		t.Errorf("%d streams closed, this one %d times, want once", n, stream.closed)
	}
	if n := current.CloseOverdue(now.Add(time.Hour), 10*time.Second); n != 0 {
		t.Errorf("%d streams closed again", n)
	}
}

// Weight that comes back stops the clock.
func TestWeightComesBack(t *testing.T) {
	now := time.Unix(1000, 0)
	c := newCompiler(pools{})
	c.Now = func() time.Time { return now }
	both := []ir.Subset{pods("v1", web, 1), pods("v2", web, 2)}
	current := compile(t, c, nil, shop(release(1, 100), both...))
	stream := &closer{}
	defer current.Outbound(netip.AddrPortFrom(clusterIP, 80)).Draw(always(0)).Streams().Add(stream)()
	for epoch, weight := range []uint32{0, 50, 0} {
		now = now.Add(8 * time.Second)
		current = compile(t, c, current, shop(release(int64(epoch)+2, weight), both...))
	}
	now = now.Add(8 * time.Second)
	if n := current.CloseOverdue(now, 10*time.Second); n != 0 {
		t.Error("a stream was closed 8 s after its revision lost weight for the second time")
	}
}

func TestInbound(t *testing.T) {
	c := newCompiler(pools{})
	other := shop(ir.Split{}, pods("x", web, 9))
	other.Name, other.Addresses = "shop-canary", nil
	current := compile(t, c, nil, shop(ir.Split{}, pods("own", web, 9, 1)), other)
	if got := current.Inbound(8080, "demo/shop-canary"); got == nil || got.Service != "demo/shop-canary" {
		t.Errorf("meant for shop-canary: %v", got)
	}
	if got := current.Inbound(8080, ""); got == nil || got.Service != "demo/shop" {
		t.Errorf("not said what for: %v", got)
	}
	if got := current.Inbound(80, ""); got != nil {
		t.Errorf("the service's port is not the pod's: %v", got)
	}
	// Nobody is in between when a pod calls itself, so nothing is to be compared.
	for key, e := range current.endpoints {
		if wantNone := key.address.Addr() == self; (e.Intended == "") != wantNone {
			t.Errorf("%v: intended %q", key, e.Intended)
		}
	}
}

func TestUnknownPassesThrough(t *testing.T) {
	empty := shop(ir.Split{})
	current := compile(t, newCompiler(pools{}), nil, empty)
	for _, dst := range []string{"10.96.0.1:80", "10.96.0.1:81", "192.0.2.1:80", "[::ffff:10.96.0.1]:80"} {
		if got := current.Outbound(netip.MustParseAddrPort(dst)); got != nil {
			t.Errorf("%s leads to %s, which has no endpoint that the mesh knows", dst, got.Service)
		}
	}
	current = compile(t, newCompiler(pools{}), nil, shop(ir.Split{}, pods("v1", web, 1)))
	if current.Outbound(netip.MustParseAddrPort("[::ffff:10.96.0.1]:80")) == nil {
		t.Error("an IPv4 address written as IPv6 is not found")
	}
	if Empty().Outbound(netip.MustParseAddrPort("10.96.0.1:80")) != nil || Empty().Inbound(80, "") != nil {
		t.Error("the empty table knows something")
	}
}

func TestInvalidMesh(t *testing.T) {
	bad := shop(ir.Split{})
	bad.Name = "No Name"
	if _, err := newCompiler(pools{}).Compile(ir.Mesh{Services: []ir.Service{bad}}, nil); err == nil || !strings.Contains(err.Error(), "No Name") {
		t.Errorf("error %v, want one that names the service", err)
	}
}
