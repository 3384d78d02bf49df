package server_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/xds"
	"github.com/sluice-mesh/sluice/mesh/xds/server"
)

// front sends requests to the echo service.
func front() ir.Service {
	service := ir.Service{Namespace: "default", Name: "front", Ports: []ir.Port{{Name: "http", Number: 80, Protocol: ir.HTTP}}}
	service.Routes = []ir.Route{{
		Name:     "HTTPRoute/default/r/0",
		Matches:  []ir.Match{{Path: ir.PathMatch{Kind: ir.Prefix, Value: "/echo"}}},
		Backends: []ir.Backend{{Service: "default/echo", Port: 8080, Weight: 1}},
	}}
	return service
}

const frontName = "default/front:80"

// A decision is in force for Envoy when the routes of other services that send requests to the service are, too;
// and what they send requests to goes after them.
func TestRoutesToOtherServices(t *testing.T) {
	s := newServer("a")
	publish(t, s, echo(10, 1), front())
	address, _ := start(t, s)
	w := connect(t, address, "envoy")
	w.everything()
	await(t, s, ask(1), converged("envoy"))

	publish(t, s, echo(20, 2), front())
	routes := w.next(xds.RouteType)
	want(t, routes, echoName, frontName)
	w.nothing()
	if state := s.Convergence(ask(2)); !slices.Equal(state.Waiting, []string{"envoy"}) {
		t.Errorf("state before the acknowledgement: %+v", state)
	}
	w.ack(routes)
	await(t, s, ask(2), converged("envoy"))

	// The route finds nothing there: first it has somewhere else to send requests to, then what it sent them
	// to goes.
	publish(t, s, front())
	nowhere := []string{frontName + "/!"}
	w.expect(map[string][]string{xds.ClusterType: nowhere, xds.EndpointType: nowhere, xds.RouteType: {"-" + echoName}})
	w.expect(map[string][]string{xds.RouteType: {frontName}})
	gone := []string{"-" + everyEcho, "-" + canaryEcho, "-" + stableEcho}
	w.expect(map[string][]string{xds.ClusterType: gone, xds.EndpointType: gone})
	w.nothing()
}

// expect takes one answer of each type, in any order, and then acknowledges them.
func (w *wire) expect(expected map[string][]string) {
	w.t.Helper()
	found := map[string][]string{}
	var answers []*discoveryv3.DeltaDiscoveryResponse
	for range expected {
		select {
		case answer := <-w.answers:
			found[answer.GetTypeUrl()] = names(answer)
			answers = append(answers, answer)
		case <-time.After(patience):
		}
	}
	if diff := cmp.Diff(expected, found); diff != "" {
		w.t.Fatalf("answers (-want +got):\n%s", diff)
	}
	for _, answer := range answers {
		w.ack(answer)
	}
}

// For connections without requests the listener draws, and counts as a route does.
func TestListenersThatDraw(t *testing.T) {
	database := func(weight uint32, epoch int64) ir.Service {
		service := echo(weight, epoch)
		service.Ports[0].Protocol = ir.TCP
		return service
	}
	s := newServer("a")
	before := database(10, 1)
	before.Subsets = before.Subsets[:1]
	publish(t, s, split(before, 0, 1))
	address, _ := start(t, s)
	w := connect(t, address, "envoy")
	w.subscribe(xds.ClusterType, "*")
	w.subscribe(xds.ListenerType, "*")
	w.subscribe(xds.EndpointType, "*")
	all := []string{everyEcho, canaryEcho, stableEcho}
	w.expect(map[string][]string{xds.ClusterType: all, xds.EndpointType: all})
	w.expect(map[string][]string{xds.ListenerType: {echoName}})
	await(t, s, ask(1), func(state server.State) bool { return len(state.Waiting) == 0 })

	// Up: endpoints before the listener. Down: after it.
	publish(t, s, database(10, 2))
	w.expect(map[string][]string{xds.EndpointType: {everyEcho, canaryEcho}})
	if state := s.Convergence(ask(2)); !slices.Equal(state.Waiting, []string{"envoy"}) {
		t.Errorf("before the listener is acknowledged: %+v", state)
	}
	w.expect(map[string][]string{xds.ListenerType: {echoName}})
	await(t, s, ask(2), converged("envoy"))
	publish(t, s, split(before, 0, 3))
	w.expect(map[string][]string{xds.EndpointType: {everyEcho}, xds.ListenerType: {echoName}})
	w.expect(map[string][]string{xds.EndpointType: {canaryEcho}})
	publish(t, s)
	unused, used := []string{"-" + everyEcho, "-" + canaryEcho}, []string{"-" + stableEcho}
	w.expect(map[string][]string{xds.ClusterType: unused, xds.EndpointType: unused, xds.ListenerType: {"-" + echoName}})
	w.expect(map[string][]string{xds.ClusterType: used, xds.EndpointType: used})
}

// A gRPC client that calls only the service in front is concerned by the decision behind it.
func TestDecisionBehindARoute(t *testing.T) {
	s := newServer("a")
	publish(t, s, echo(10, 1), front())
	address, _ := start(t, s)
	w := connect(t, address, "grpc")
	w.subscribe(xds.RouteType, frontName)
	w.ack(w.next(xds.RouteType))
	w.subscribe(xds.ClusterType, canaryEcho, stableEcho, "default/front:80/*")
	w.ack(w.next(xds.ClusterType))
	w.nothing()
	if state := s.Convergence(ask(1)); !slices.Equal(state.Waiting, []string{"grpc"}) {
		t.Errorf("state without endpoints: %+v", state)
	}
	w.subscribe(xds.EndpointType, canaryEcho, stableEcho, "default/front:80/*")
	w.ack(w.next(xds.EndpointType))
	await(t, s, ask(1), converged("grpc"))
}

// Who is connected and asks for nothing of a service is unconcerned, on every replica, until it has gone.
func TestUnconcernedOverReplicas(t *testing.T) {
	leader, second := newServer("a"), newServer("b")
	publish(t, leader, echo(10, 1))
	publish(t, second, echo(10, 1))
	start(t, leader)
	address, _ := start(t, second)
	follow(t, leader, "b", peers(t, second))
	idle := func(nodes ...string) func(server.State) bool {
		return func(state server.State) bool {
			return state.Live() && len(state.Converged) == 0 && slices.Equal(state.Unconcerned, nodes)
		}
	}
	old := connectAs(t, address, node("p1.default", "1000"))
	old.everything()
	await(t, leader, ask(1), converged("p1.default"))
	// A new start of the pod that asks for nothing has nothing in force, whatever the old one had.
	restarted := connectAs(t, address, node("p1.default", "2000"))
	restarted.nothing()
	await(t, leader, ask(1), idle("p1.default"))
	if err := restarted.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	await(t, leader, ask(1), converged("p1.default"))
}

// Envoy's resources are made when the first client asks, even in the middle of publications.
func TestEnvoyComesWhilePublishing(t *testing.T) {
	for range 5 {
		s := newServer("a")
		publish(t, s, echo(10, 1), front())
		address, _ := start(t, s)
		var publishing sync.WaitGroup
		publishing.Go(func() {
			for epoch := int64(2); epoch <= 40; epoch++ {
				if err := s.Publish(ir.Mesh{Services: []ir.Service{echo(uint32(epoch), epoch), front()}}); err != nil {
					t.Error(err)
				}
			}
		})
		w := connect(t, address, "envoy")
		for _, typeURL := range wild {
			w.subscribe(typeURL, "*")
		}
		publishing.Wait()
		for s.Convergence(ask(40)).Waiting != nil || s.Convergence(ask(40)).Converged == nil {
			select {
			case answer := <-w.answers:
				w.ack(answer)
			case <-s.Changed():
			case <-time.After(patience):
				t.Fatalf("state: %+v", s.Convergence(ask(40)))
			}
		}
	}
}
