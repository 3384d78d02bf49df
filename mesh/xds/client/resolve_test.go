package client_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/xds/client"
	"github.com/sluice-mesh/sluice/mesh/xds/part"
)

// An address that is called is asked for, and in force when Resolve returns.
func TestResolve(t *testing.T) {
	other := another("other", "10.96.0.11")
	control := serve(t, "127.0.0.1:0", of(echo(10, 1), other))
	applied := newConsumer()
	c, _ := run(t, client.Options{Address: control.address, Consumer: applied})
	applied.expect(t, of(echo(10, 1)))
	resolve(t, c, "::ffff:10.96.0.11")
	if len(applied.meshes) != 1 {
		t.Fatal("Resolve returned before the answer was in force")
	}
	applied.expect(t, of(echo(10, 1), other))
	resolve(t, c, "10.96.0.11")

	// What leads nowhere is answered too, and told when it comes to lead somewhere.
	resolve(t, c, "10.96.0.12")
	applied.nothing(t)
	if status := c.Status(); status.Idle != 1 || status.Names != 4 {
		t.Errorf("status: %+v", status)
	}
	later := another("later", "10.96.0.12")
	control.publish(t, echo(10, 1), other, later)
	applied.expect(t, of(echo(10, 1), later, other))
	if status := c.Status(); status.Idle != 0 || status.Services != 3 {
		t.Errorf("status: %+v", status)
	}

	// What is released goes, unless something else leads to it.
	resolve(t, c, echoAddress)
	c.Release(netip.MustParseAddr("10.96.0.11"), netip.MustParseAddr(echoAddress), netip.MustParseAddr("10.9.9.9"))
	applied.expect(t, of(echo(10, 1), later))
	other.Ports[0].Protocol = ir.HTTP
	control.publish(t, echo(20, 2), other, later)
	applied.expect(t, of(echo(20, 2), later))
	resolve(t, c, "10.96.0.11")
	applied.expect(t, of(echo(20, 2), later, other))
}

// One service by two addresses, and by the pod's own, is one service.
func TestPartsAreOneMesh(t *testing.T) {
	control, applied, c := begun(t)
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		resolve(t, c, echoAddress)
	}()
	newest := echo(50, 5)
	control.ask(t, "to/"+echoAddress)
	control.accept(t, answer("2", map[string]*ir.Service{"to/" + echoAddress: &newest}))
	<-answered
	applied.expect(t, of(newest))
	// The other part lags behind: the later decision of an owner counts, and the last word of the rest.
	behind := echo(10, 4)
	behind.Subsets[0].Endpoints[0].Draining = true
	expected := behind
	expected.Split = newest.Split.WithShares(behind.Subsets)
	control.accept(t, answer("3", map[string]*ir.Service{"at/" + echoPod: &behind}))
	applied.expect(t, of(expected))
	// It goes when the last of them does.
	control.accept(t, answer("4", map[string]*ir.Service{"at/" + echoPod: nil}))
	applied.expect(t, of(newest))
	control.accept(t, answer("5", map[string]*ir.Service{"to/" + echoAddress: nil}))
	applied.expect(t, ir.Mesh{})
}

// While an address passes from one service to another, parts may disagree about whose it is: the last word
// counts, and nothing is refused.
func TestAddressPassesToAnotherService(t *testing.T) {
	control, applied, c := begun(t)
	until(t, c, connected)
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		resolve(t, c, echoAddress)
	}()
	control.ask(t, "to/"+echoAddress)
	successor := another("successor", echoAddress)
	control.accept(t, answer("1", map[string]*ir.Service{"to/" + echoAddress: &successor}))
	<-answered
	former := echo(10, 1)
	former.Addresses = nil
	mesh := of(former, successor)
	if err := ir.Validate(mesh); err != nil {
		t.Fatal(err)
	}
	applied.expect(t, mesh)
	// The other way around.
	control.accept(t, answer("2", map[string]*ir.Service{"at/" + echoPod: new(echo(20, 2))}))
	successor.Addresses = nil
	applied.expect(t, of(echo(20, 2), successor))
	// It has moved at last.
	moved := echo(20, 2)
	moved.Addresses = []netip.Addr{netip.MustParseAddr("10.96.0.20")}
	control.accept(t, answer("3", map[string]*ir.Service{"at/" + echoPod: &moved}))
	applied.expect(t, of(moved, another("successor", echoAddress)))
}

// Of a service that is there only because another leads to it nobody asked where its own routes lead: what is
// not known is not needed until the service itself is called, and its requests go to its own pods meanwhile.
func TestRoutesBeyondWhatIsKnown(t *testing.T) {
	control, applied, c := begun(t)
	lead := func(service *ir.Service, to ...string) {
		route := ir.Route{Name: "r"}
		for _, name := range to {
			route.Backends = append(route.Backends, ir.Backend{Service: "default/" + name, Port: 80, Weight: 1})
			route.Mirrors = append(route.Mirrors, ir.Mirror{Service: "default/" + name, Port: 80, Share: 1e6})
		}
		service.Routes = append(service.Routes, route)
	}
	a, b, end := another("a", "10.96.0.21"), another("b", "10.96.0.22"), another("end", "10.96.0.23")
	lead(&a, "b", "gone")
	lead(&b, "end")
	lead(&b, "a")
	lead(&b, "a", "end")
	b.Routes[0].RequestHeaders.Remove = []string{"x"}
	b.Routes[0].Rewrite, b.Routes[0].Revision = &ir.Rewrite{Host: "end"}, ir.CanaryRevision
	lead(&b, "a", "end")
	b.Routes[3].Backends[1].Weight = 0
	call := func(service *ir.Service, with ...ir.Service) {
		t.Helper()
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			resolve(t, c, service.Addresses[0].String())
		}()
		name := part.ToName(service.Addresses[0])
		control.ask(t, name)
		body, version := part.Part{Services: append(with, *service)}.Encode()
		control.accept(t, &discoveryv3.DeltaDiscoveryResponse{
			TypeUrl: part.Type, Nonce: service.Name, Resources: []*discoveryv3.Resource{resource(name, version, body)},
		})
		<-answered
	}

	call(&a, b)
	known := b
	known.Routes = nil
	lead(&known) // to end
	known.Routes[0].RequestHeaders.Remove = []string{"x"}
	lead(&known, "a")
	lead(&known, "a")
	lead(&known, "a", "end") // to end goes nothing
	known.Routes[3].Backends[1].Weight = 0
	known.Routes[3].Mirrors = known.Routes[3].Mirrors[:1]
	applied.expect(t, of(echo(10, 1), a, known)) // a leads to one that is gone, as it was told
	call(&b, a, end)
	applied.expect(t, of(echo(10, 1), a, b, end))
}

// A control plane that does not answer is waited for once for each address.
func TestSlowAnswersAreAwaitedOnce(t *testing.T) {
	control, address := scripted(t)
	applied := newConsumer()
	c, _ := run(t, client.Options{Address: address, Consumer: applied})
	control.accept(t, first(echo(10, 1)))
	applied.next(t)
	until(t, c, connected)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.Resolve(ctx, netip.MustParseAddr("10.96.0.11"))
	resolve(t, c, "10.96.0.11") // nobody answers
	control.ask(t, "to/10.96.0.11")
	control.accept(t, answer("1", map[string]*ir.Service{"to/10.96.0.11": new(another("other", "10.96.0.11"))}))
	applied.expect(t, of(echo(10, 1), another("other", "10.96.0.11")))
}

// The control plane is told that a service is not asked for any more when nothing goes by it any more, not before.
func TestReleasedIsToldWhenItIsGone(t *testing.T) {
	control, address := scripted(t)
	applied := newConsumer()
	taking, taken := make(chan struct{}), make(chan struct{})
	var releasing atomic.Bool
	applied.verdict = func(ir.Mesh) error {
		if releasing.Load() {
			close(taking)
			<-taken
		}
		return nil
	}
	c, _ := run(t, client.Options{Address: address, Consumer: applied})
	control.accept(t, first(echo(10, 1)))
	applied.next(t)
	until(t, c, connected)
	var calls sync.WaitGroup
	calls.Go(func() { resolve(t, c, "10.96.0.11") })
	control.ask(t, "to/10.96.0.11")
	control.accept(t, answer("1", map[string]*ir.Service{"to/10.96.0.11": new(another("other", "10.96.0.11"))}))
	calls.Wait()
	releasing.Store(true)
	calls.Go(func() { c.Release(netip.MustParseAddr("10.96.0.11")) })
	<-taking
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	c.Resolve(ended, netip.MustParseAddr("10.96.0.12")) // has the stream told of all there is to tell
	if request := control.ask(t, "to/10.96.0.12"); len(request.GetResourceNamesUnsubscribe()) > 0 {
		t.Errorf("given up while in force: %v", request)
	}
	releasing.Store(false)
	close(taken)
	calls.Wait()
	for !slices.Contains(control.next(t).GetResourceNamesUnsubscribe(), "to/10.96.0.11") {
	}
}

// ask waits until the client asks for a name.
func (s *script) ask(t *testing.T, name string) *discoveryv3.DeltaDiscoveryRequest {
	t.Helper()
	for {
		if request := s.next(t); slices.Contains(request.GetResourceNamesSubscribe(), name) {
			return request
		}
	}
}

// Calls for one address at a time share one question, and none waits for longer than it makes sense.
func TestResolveWaits(t *testing.T) {
	control, address := scripted(t)
	applied := newConsumer()
	c, _ := run(t, client.Options{Address: address, Consumer: applied})
	control.accept(t, first(echo(10, 1)))
	until(t, c, connected)

	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	var back atomic.Int32
	for range 10 {
		waiting.Go(func() {
			c.Resolve(ctx, netip.MustParseAddr("10.96.0.11"))
			back.Add(1)
		})
	}
	control.ask(t, "to/10.96.0.11")
	if back.Load() > 0 {
		t.Error("back before there is an answer")
	}
	cancel()
	waiting.Wait()
	if len(control.requests) > 0 {
		t.Errorf("asked again: %v", control.next(t))
	}

	// The stream is lost.
	waiting.Go(func() { resolve(t, c, "10.96.0.12") })
	control.ask(t, "to/10.96.0.12")
	control.hangUp <- nil
	waiting.Wait()
	// The next stream is asked for all of them, and told what is there.
	request := control.ask(t, "to/10.96.0.12")
	for _, name := range []string{"to/10.96.0.11", "settings", "at/" + echoPod} {
		if !slices.Contains(request.GetResourceNamesSubscribe(), name) {
			t.Errorf("%s is not asked for", name)
		}
	}
	if known := request.GetInitialResourceVersions(); len(known) != 2 || known["settings"] == "" || request.GetNode().GetId() != "p1.default" {
		t.Errorf("first request: %v", request)
	}
	other := another("other", "10.96.0.11")
	until(t, c, connected)
	waiting.Go(func() { resolve(t, c, "10.96.0.11") })
	control.accept(t, answer("1", map[string]*ir.Service{"to/10.96.0.11": &other, "to/10.96.0.12": nil}))
	waiting.Wait()
}

// Without a control plane nobody waits.
func TestResolveWithoutControlPlane(t *testing.T) {
	c, _ := run(t, client.Options{Address: "127.0.0.1:1", Consumer: newConsumer()})
	for i := range 3000 {
		resolve(t, c, fmt.Sprintf("10.1.%d.%d", i/250, i%250))
	}
	if status := c.Status(); status.Idle != 1024 || status.Names != 1026 {
		t.Errorf("status: %+v", status)
	}
}

// An application that calls whatever there is costs no more than so much, here and there.
func TestIdleNamesAreBounded(t *testing.T) {
	control, address := scripted(t)
	c, _ := run(t, client.Options{Address: address, Consumer: newConsumer()})
	control.accept(t, first(echo(10, 1)))
	until(t, c, connected)
	asked := map[string]bool{}
	hear := func(request *discoveryv3.DeltaDiscoveryRequest) {
		for _, name := range request.GetResourceNamesSubscribe() {
			asked[name] = true
		}
		for _, name := range request.GetResourceNamesUnsubscribe() {
			if !asked[name] {
				t.Errorf("%s is given up before it is asked for", name)
			}
			delete(asked, name)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	const all, favourite = 3000, "10.1.0.0"
	last := part.ToName(netip.AddrFrom4([4]byte{10, 2, (all - 1) / 250, (all - 1) % 250}))
	for i := range all {
		c.Resolve(ended, netip.AddrFrom4([4]byte{10, 2, byte(i / 250), byte(i % 250)}))
		c.Resolve(ended, netip.MustParseAddr(favourite))
	}
	for !asked[last] || len(asked) > 1024 {
		hear(control.next(t))
	}
	if !asked["to/"+favourite] {
		t.Error("what is called all the time was given up")
	}
	if status := c.Status(); status.Idle != 1024 {
		t.Errorf("status: %+v", status)
	}
	// Released and called again before anybody was told.
	c.Release(netip.MustParseAddr(favourite))
	c.Resolve(ended, netip.MustParseAddr(favourite))
	control.ask(t, "to/"+favourite)
}

// 5,000 services are there, 20 are used.
func TestHoldsWhatIsUsed(t *testing.T) {
	services := []ir.Service{echo(10, 1)}
	at := func(i int) string { return fmt.Sprintf("10.97.%d.%d", i/250, i%250) }
	for i := range 5000 {
		services = append(services, another(fmt.Sprintf("s%d", i), at(i)))
	}
	control := serve(t, "127.0.0.1:0", of(services...))
	applied := newConsumer()
	c, _ := run(t, client.Options{Address: control.address, Consumer: applied})
	applied.next(t)
	var calls sync.WaitGroup
	for i := range 19 {
		for range 3 {
			calls.Go(func() { resolve(t, c, at(100*i)) })
		}
	}
	calls.Wait()
	if status := c.Status(); status.Services != 20 {
		t.Errorf("status: %+v", status)
	}
	for len(applied.meshes) > 1 {
		<-applied.meshes
	}
	if mesh := applied.next(t); len(mesh.Services) != 20 {
		t.Errorf("%d services are in force", len(mesh.Services))
	}
}

// What is known is asked for each connection, so it must cost next to nothing.
func TestResolveKnownAllocatesNothing(t *testing.T) {
	control := serve(t, "127.0.0.1:0", of(echo(10, 1)))
	applied := newConsumer()
	c, _ := run(t, client.Options{Address: control.address, Consumer: applied})
	applied.next(t)
	ctx := t.Context()
	for _, address := range []netip.Addr{netip.MustParseAddr(echoAddress), netip.MustParseAddr("10.9.9.9")} {
		resolve(t, c, address.String())
		// So many that what other goroutines allocate meanwhile comes to less than one for each.
		if allocations := testing.AllocsPerRun(10_000, func() { c.Resolve(ctx, address) }); allocations > 0 {
			t.Errorf("%s: %v allocations", address, allocations)
		}
	}
}

// Proxies that call, release and restart while the mesh changes and the control plane comes and goes end with
// what they asked for.
func TestFlapping(t *testing.T) {
	mesh := func(epoch int64) []ir.Service {
		services := []ir.Service{echo(uint32(epoch), epoch)}
		for i := range 10 {
			services = append(services, another(fmt.Sprintf("s%d", i), fmt.Sprintf("10.96.1.%d", i)))
		}
		return services
	}
	control := serve(t, "127.0.0.1:0", of(mesh(1)...))
	applied := &consumer{meshes: make(chan ir.Mesh, 10_000)}
	c, _ := run(t, client.Options{Address: control.address, Consumer: applied})
	ctx, cancel := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	for i := range 10 {
		callers.Go(func() {
			for round := 0; ctx.Err() == nil; round++ {
				address := netip.AddrFrom4([4]byte{10, 96, 1, byte((i + round) % 10)})
				c.Resolve(ctx, address)
				if round%3 == 0 {
					c.Release(address)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	at := control.address
	for epoch := int64(2); epoch < 8; epoch++ {
		control.publish(t, mesh(epoch)...)
		control.live(t, epoch)
		control.stop()
		control = serve(t, at, of(mesh(epoch)...))
	}
	cancel()
	callers.Wait()
	control.live(t, 7)
	for i := range 10 {
		resolve(t, c, fmt.Sprintf("10.96.1.%d", i))
	}
	until(t, c, func(status client.Status) bool { return status.Services == 11 })
}
