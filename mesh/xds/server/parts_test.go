package server_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/xds"
	"github.com/sluice-mesh/sluice/mesh/xds/part"
	"github.com/sluice-mesh/sluice/mesh/xds/server"
)

const (
	toEcho   = "to/10.96.0.10"
	atStable = "at/127.0.0.1"
)

// sidecar connects as one of our own proxies.
func sidecar(t *testing.T, address, id string) *wire {
	return connectAs(t, address, node(id, "1"))
}

// held says what an answer tells: the services of each part, "settings" for those, nothing for a name that
// leads nowhere.
func held(t *testing.T, answer *discoveryv3.DeltaDiscoveryResponse) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, r := range answer.GetResources() {
		decoded, err := part.Decode(r.GetResource().GetValue())
		if err != nil {
			t.Fatal(err)
		}
		found[r.GetName()] = []string{}
		for _, service := range decoded.Services {
			found[r.GetName()] = append(found[r.GetName()], service.Key())
		}
		if decoded.Settings != nil {
			found[r.GetName()] = append(found[r.GetName()], "settings")
		}
	}
	for _, name := range answer.GetRemovedResources() {
		found[name] = nil
	}
	return found
}

func (w *wire) wantParts(expected map[string][]string) *discoveryv3.DeltaDiscoveryResponse {
	w.t.Helper()
	answer := w.next(part.Type)
	if diff := cmp.Diff(expected, held(w.t, answer)); diff != "" {
		w.t.Fatalf("parts (-want +got):\n%s", diff)
	}
	return answer
}

func headless(name string, pods ...string) ir.Service {
	service := ir.Service{Namespace: "default", Name: name, Ports: []ir.Port{{Name: "grpc", Number: 80, Protocol: ir.HTTP}}}
	for _, address := range pods {
		service.Subsets = append(service.Subsets, pod(fmt.Sprintf("s%d", len(service.Subsets)), address, 80))
	}
	return service
}

func virtual(service ir.Service, address string) ir.Service {
	service.Addresses = []netip.Addr{netip.MustParseAddr(address)}
	return service
}

func routed(service ir.Service, backends ...string) ir.Service {
	route := ir.Route{Name: "HTTPRoute/default/r/0"}
	for _, key := range backends {
		route.Backends = append(route.Backends, ir.Backend{Service: key, Port: 80, Weight: 1})
	}
	service.Routes = []ir.Route{route}
	return service
}

// What each kind of name leads to.
func TestPartsByName(t *testing.T) {
	s := newServer("a")
	publish(t, s,
		routed(virtual(headless("front", "10.0.0.1"), "10.96.0.1"), "default/back", "default/nowhere"),
		routed(virtual(headless("back", "10.0.0.2"), "10.96.0.2"), "default/deep"),
		virtual(headless("deep", "10.0.0.3"), "10.96.0.3"),
		headless("nodes", "10.0.0.1", "10.0.0.9"),
		headless("more", "10.0.0.9"),
	)
	address, _ := start(t, s)
	w := sidecar(t, address, "p1.default")
	w.subscribe(part.Type, "to/10.96.0.1", "to/10.0.0.1", "to/10.0.0.9", "to/10.0.0.2", "at/10.0.0.1", "at/10.0.0.7", "settings", "gibberish", "to/10.96.0.01")
	w.ack(w.wantParts(map[string][]string{
		"to/10.96.0.1":  {"default/back", "default/front"}, // and no further
		"to/10.0.0.1":   {"default/nodes"},                 // front has an address of its own
		"to/10.0.0.9":   {"default/more", "default/nodes"},
		"to/10.0.0.2":   nil,
		"at/10.0.0.1":   {"default/front", "default/nodes"},
		"at/10.0.0.7":   nil,
		"settings":      {"settings"},
		"gibberish":     nil,
		"to/10.96.0.01": nil,
	}))
	w.nothing()
}

// A change is told exactly to the names that lead to it, before or after.
func TestChangedParts(t *testing.T) {
	s := newServer("a")
	front := routed(virtual(headless("front", "10.0.0.1"), "10.96.0.1"), "default/back")
	back := virtual(headless("back", "10.0.0.2"), "10.96.0.2")
	other := virtual(headless("other", "10.0.0.5"), "10.96.0.5")
	publish(t, s, front, other)
	address, _ := start(t, s)
	w := sidecar(t, address, "p1.default")
	w.subscribe(part.Type, "to/10.96.0.1", "to/10.96.0.2", "at/10.0.0.2", "to/10.96.0.5", "settings")
	w.ack(w.wantParts(map[string][]string{
		"to/10.96.0.1": {"default/front"}, "to/10.96.0.2": nil, "at/10.0.0.2": nil,
		"to/10.96.0.5": {"default/other"}, "settings": {"settings"},
	}))
	// A name comes to exist, and a route's backend.
	publish(t, s, front, back, other)
	w.ack(w.wantParts(map[string][]string{
		"to/10.96.0.1": {"default/back", "default/front"}, "to/10.96.0.2": {"default/back"}, "at/10.0.0.2": {"default/back"},
	}))
	publish(t, s, front, back, other)
	w.nothing()
	// It moves to another pod.
	back.Subsets = headless("", "10.0.0.4").Subsets
	publish(t, s, front, back, other)
	w.ack(w.wantParts(map[string][]string{
		"to/10.96.0.1": {"default/back", "default/front"}, "to/10.96.0.2": {"default/back"}, "at/10.0.0.2": nil,
	}))
	// One takes another's address.
	publish(t, s, front, virtual(other, "10.96.0.2"))
	w.ack(w.wantParts(map[string][]string{
		"to/10.96.0.1": {"default/front"}, "to/10.96.0.2": {"default/other"}, "to/10.96.0.5": nil,
	}))
	// What is not asked for any more is not told.
	w.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: part.Type, ResourceNamesUnsubscribe: []string{"to/10.96.0.1"}})
	w.nothing()
	publish(t, s)
	w.ack(w.wantParts(map[string][]string{"to/10.96.0.2": nil}))
	if err := s.Publish(ir.Mesh{Settings: ir.Settings{AccessLog: ir.AccessLog{Errors: true}}}); err != nil {
		t.Fatal(err)
	}
	w.ack(w.wantParts(map[string][]string{"settings": {"settings"}}))
	w.nothing()
}

// A client that has its parts from before, from this or another replica, is sent nothing and counts.
func TestKnownPartsAreNotSentAgain(t *testing.T) {
	first := newServer("a")
	publish(t, first, echo(10, 1))
	address, stop := start(t, first)
	w := sidecar(t, address, "p1.default")
	w.subscribe(part.Type, toEcho, atStable, "settings")
	known := versions(w.next(part.Type))[part.Type]
	stop()

	second := newServer("b")
	publish(t, second, other(), echo(10, 1))
	address, _ = start(t, second)
	w = sidecar(t, address, "p1.default")
	again := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: part.Type, ResourceNamesSubscribe: []string{toEcho, atStable, "settings"}, InitialResourceVersions: known}
	w.send(again)
	w.nothing()
	await(t, second, ask(1), converged("p1.default"))

	third := newServer("c")
	publish(t, third, echo(20, 2))
	address, _ = start(t, third)
	w = sidecar(t, address, "p1.default")
	again.InitialResourceVersions["to/10.96.0.99"] = "of something not asked for"
	w.send(again)
	answer := w.wantParts(map[string][]string{toEcho: {"default/echo"}, atStable: {"default/echo"}})
	if state := third.Convergence(ask(2)); !slices.Equal(state.Waiting, []string{"p1.default"}) {
		t.Errorf("before the acknowledgement: %+v", state)
	}
	w.ack(answer)
	await(t, third, ask(2), converged("p1.default"))
}

// A decision is in force when every part that holds the service is; who asks for none is unconcerned.
func TestConvergenceOfParts(t *testing.T) {
	s := newServer("a")
	publish(t, s, echo(10, 1), other())
	address, _ := start(t, s)
	w := sidecar(t, address, "p1.default")
	w.subscribe(part.Type, "settings", "at/10.9.9.9")
	w.ack(w.next(part.Type))
	w.nothing()
	if state := s.Convergence(ask(1)); !state.Live() || len(state.Converged) > 0 || !slices.Equal(state.Unconcerned, []string{"p1.default"}) {
		t.Errorf("who does not ask for the service: %+v", state)
	}
	w.subscribe(part.Type, toEcho)
	to := w.next(part.Type)
	if state := s.Convergence(ask(1)); !slices.Equal(state.Waiting, []string{"p1.default"}) || len(state.Unconcerned) > 0 {
		t.Errorf("with the answer on its way: %+v", state)
	}
	w.subscribe(part.Type, atStable)
	at := w.next(part.Type)
	w.ack(at)
	w.nothing()
	if state := s.Convergence(ask(1)); !slices.Equal(state.Waiting, []string{"p1.default"}) {
		t.Errorf("with one of two parts: %+v", state)
	}
	w.ack(to)
	await(t, s, ask(1), converged("p1.default"))

	// Endpoints that change do not take the decision back.
	scaled := echo(10, 1)
	scaled.Subsets[0].Endpoints = append(scaled.Subsets[0].Endpoints, pod("", "127.0.0.3", 9003).Endpoints...)
	publish(t, s, scaled, other())
	if state := s.Convergence(ask(1)); !state.Live() {
		t.Errorf("with a new endpoint on its way: %+v", state)
	}
	w.ack(w.next(part.Type))
	// Nor does asking no more.
	w.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: part.Type, ResourceNamesUnsubscribe: []string{toEcho}})
	w.nothing()
	if state := s.Convergence(ask(1)); !slices.Equal(state.Converged, []string{"p1.default"}) {
		t.Errorf("with one part given up: %+v", state)
	}
	w.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: part.Type, ResourceNamesUnsubscribe: []string{atStable}})
	await(t, s, ask(1), func(state server.State) bool { return slices.Equal(state.Unconcerned, []string{"p1.default"}) })

	if err := w.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	await(t, s, ask(1), func(state server.State) bool { return len(state.Unconcerned) == 0 })
}

// One part that the client refuses does not keep the others from it: what is refused together is sent again
// apart. What is refused alone is not sent again before it changes.
func TestRefusedPartsAreSentApart(t *testing.T) {
	registry := prometheus.NewRegistry()
	s := server.New(server.Options{Replica: "a", Logger: quiet(), Registerer: registry})
	publish(t, s, echo(10, 1), virtual(headless("bad", "10.0.0.1"), "10.96.0.66"))
	address, _ := start(t, s)
	w := sidecar(t, address, "p1.default")
	w.subscribe(part.Type, toEcho, "to/10.96.0.66", "settings")
	w.nack(w.next(part.Type), "one of them is not to my taste")
	apart := map[string]bool{}
	for range 3 {
		answer := w.next(part.Type)
		if len(names(answer)) != 1 {
			t.Fatalf("sent together: %v", names(answer))
		}
		name := names(answer)[0]
		apart[name] = true
		if name == "to/10.96.0.66" {
			w.nack(answer, "this one")
		} else {
			w.ack(answer)
		}
	}
	if len(apart) != 3 {
		t.Errorf("sent: %v", apart)
	}
	w.nothing()
	await(t, s, ask(1), converged("p1.default"))

	publish(t, s, echo(20, 2), virtual(headless("bad", "10.0.0.1"), "10.96.0.66"))
	answer := w.wantParts(map[string][]string{toEcho: {"default/echo"}})
	w.nack(answer, "weight 20 is not to my taste")
	state := await(t, s, ask(2), func(state server.State) bool { return len(state.Rejected) > 0 })
	if diff := cmp.Diff(server.State{Rejected: map[string]string{"p1.default": "weight 20 is not to my taste"}}, state); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	if old := s.Convergence(ask(1)); !old.Live() {
		t.Errorf("the decision before is still in force, but: %+v", old)
	}
	w.nothing()
	publish(t, s, echo(0, 3), virtual(headless("bad", "10.0.0.2"), "10.96.0.66"))
	w.ack(w.wantParts(map[string][]string{toEcho: {"default/echo"}, "to/10.96.0.66": {"default/bad"}}))
	await(t, s, ask(3), converged("p1.default"))
	if got := metric(t, registry, "sluice_xds_nacks_total", "part"); got != 3 {
		t.Errorf("rejections counted: %v", got)
	}
}

// Many parts come in several answers, those that a proxy begins with first.
func TestLargeAnswersAreSplit(t *testing.T) {
	s := newServer("a")
	var services []ir.Service
	asked := []string{"at/10.0.0.1", "settings"}
	for i := range 8 {
		var pods []string
		for j := range 4000 {
			pods = append(pods, fmt.Sprintf("10.%d.%d.%d", i, j/250, 1+j%250))
		}
		service := virtual(headless(fmt.Sprintf("s%d", i)), fmt.Sprintf("10.96.0.%d", i))
		for _, address := range pods {
			service.Subsets = append(service.Subsets, ir.Subset{Name: "v" + fmt.Sprint(len(service.Subsets)), Endpoints: pod("", address, 80).Endpoints})
		}
		services = append(services, service)
		asked = append(asked, fmt.Sprintf("to/10.96.0.%d", i))
	}
	publish(t, s, services...)
	address, _ := start(t, s)
	w := sidecar(t, address, "p1.default")
	w.subscribe(part.Type, asked...)
	seen := map[string]bool{}
	for first := true; len(seen) < len(asked); first = false {
		answer := w.next(part.Type)
		size := 0
		for _, r := range answer.GetResources() {
			seen[r.GetName()] = true
			size += len(r.GetResource().GetValue())
		}
		if size > 2<<20 {
			t.Errorf("an answer of %d bytes", size)
		}
		if first && (!seen["at/10.0.0.1"] || !seen["settings"]) {
			t.Errorf("first came %v", seen)
		}
		w.ack(answer)
	}
	w.nothing()
}

// A service that is not valid keeps its parts.
func TestInvalidServiceKeepsItsParts(t *testing.T) {
	s := newServer("a")
	publish(t, s, echo(10, 1), other())
	address, _ := start(t, s)
	w := sidecar(t, address, "p1.default")
	w.subscribe(part.Type, toEcho)
	w.ack(w.next(part.Type))
	bad := echo(20, 2)
	bad.Split.Shares = []ir.Share{{Subset: "stable", Weight: 7}}
	if err := s.Publish(ir.Mesh{Services: []ir.Service{bad}}); err == nil {
		t.Error("published")
	}
	w.nothing()
	if state := s.Convergence(ask(2)); !slices.Equal(state.Lagging, []string{"a"}) {
		t.Errorf("what could not be published: %+v", state)
	}
}

// Envoy's wildcards get what is in its scope.
func TestScope(t *testing.T) {
	s := newServer("a")
	elsewhere := other()
	elsewhere.Namespace = "shop"
	publish(t, s, echo(10, 1), other(), elsewhere)
	address, _ := start(t, s)
	for name, c := range map[string]struct {
		scope    string
		expected []string
	}{
		"a namespace":            {`"shop"`, []string{"shop/other:80/*"}},
		"a service and one more": {`["default/other", "shop"]`, []string{"default/other:80/*", "shop/other:80/*"}},
		"as text":                {`"default/other, shop"`, []string{"default/other:80/*", "shop/other:80/*"}},
		"nothing":                {`[]`, nil},
	} {
		envoy := node("envoy", "")
		var scope any
		if err := json.Unmarshal([]byte(c.scope), &scope); err != nil {
			t.Fatal(err)
		}
		envoy.Metadata = metadataOf(t, map[string]any{"sluice.dev/scope": scope})
		w := connectAs(t, address, envoy)
		w.subscribe(xds.ClusterType, "*")
		answer := w.next(xds.ClusterType)
		if diff := cmp.Diff(c.expected, names(answer)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		w.ack(answer)
		w.subscribe(xds.EndpointType, "*")
		w.ack(w.next(xds.EndpointType))
		// What it waits for is in its scope, so that its routes come.
		w.subscribe(xds.RouteType, "*")
		w.ack(w.next(xds.RouteType))
		// By name there is no scope.
		w.subscribe(xds.EndpointType, stableEcho)
		want(t, w.next(xds.EndpointType), stableEcho)
	}
}

// 5,000 services that nobody asks for cost their meaning and an index, no resources.
func BenchmarkMemory(b *testing.B) {
	mesh := ir.Mesh{}
	for i := range 5000 {
		var pods []string
		for j := range 10 {
			pods = append(pods, fmt.Sprintf("10.%d.%d.%d", i/250, i%250, j+1))
		}
		mesh.Services = append(mesh.Services, virtual(headless(fmt.Sprintf("s%d", i), pods...), fmt.Sprintf("10.250.%d.%d", i/250, 1+i%250)))
	}
	memory := func() float64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return float64(stats.HeapAlloc) / (1 << 20)
	}
	for b.Loop() {
		before := memory()
		s := newServer("a")
		if err := s.Publish(mesh); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(memory()-before, "MB")
		runtime.KeepAlive(s)
	}
}
