package server_test

import (
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/http2"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/xds"
	"github.com/sluice-mesh/sluice/mesh/xds/server"
)

const echoName = "default/echo:8080"

func want(t *testing.T, answer *discoveryv3.DeltaDiscoveryResponse, expected ...string) {
	t.Helper()
	if diff := cmp.Diff(expected, names(answer)); diff != "" {
		t.Fatalf("answer of type %s (-want +got):\n%s", answer.GetTypeUrl(), diff)
	}
}

// wild are the types of which these tests ask for all there is. Listeners change only with what is declared of
// a service, but for TCP.
var wild = []string{xds.ClusterType, xds.EndpointType, xds.RouteType}

// everything subscribes to all there is, acknowledging, and returns the answers.
func (w *wire) everything() []*discoveryv3.DeltaDiscoveryResponse {
	w.t.Helper()
	var answers []*discoveryv3.DeltaDiscoveryResponse
	for _, typeURL := range wild {
		w.subscribe(typeURL, "*")
	}
	for range wild {
		select {
		case answer := <-w.answers:
			answers = append(answers, answer)
			w.ack(answer)
		case err := <-w.ended:
			w.t.Fatal(err)
		}
	}
	w.nothing() // by now the last acknowledgement has arrived
	return answers
}

// What is referred to is acknowledged before what refers to it is sent, whatever the order of questions.
func TestOrderUp(t *testing.T) {
	s := newServer("a")
	publish(t, s, echo(10, 1))
	address, _ := start(t, s)
	w := connect(t, address, "envoy")
	w.subscribe(xds.ClusterType, "*")
	clusters := w.next(xds.ClusterType)
	want(t, clusters, everyEcho, canaryEcho, stableEcho)
	w.subscribe(xds.RouteType, "*")
	w.subscribe(xds.EndpointType, "*")
	endpoints := w.next(xds.EndpointType)
	want(t, endpoints, everyEcho, canaryEcho, stableEcho)
	w.nothing()
	w.ack(endpoints)
	w.nothing()
	if state := s.Convergence(ask(1)); state.Live() || !slices.Equal(state.Waiting, []string{"envoy"}) {
		t.Errorf("state before routes: %+v", state)
	}
	w.ack(clusters)
	routes := w.next(xds.RouteType)
	want(t, routes, echoName)
	w.nothing()
	if state := s.Convergence(ask(1)); state.Live() {
		t.Errorf("live before the route is acknowledged: %+v", state)
	}
	w.ack(routes)
	await(t, s, ask(1), converged("envoy"))
}

// A new canary: its endpoints are acknowledged before the route that sends requests to them is sent.
func TestNoWeightBeforeEndpoints(t *testing.T) {
	s := newServer("a")
	before := echo(10, 1)
	before.Subsets = before.Subsets[:1]
	publish(t, s, split(before, 0, 1))
	address, _ := start(t, s)
	w := connect(t, address, "envoy")
	w.everything()
	publish(t, s, echo(10, 2))
	endpoints := w.next(xds.EndpointType)
	want(t, endpoints, everyEcho, canaryEcho)
	w.nothing()
	if state := s.Convergence(ask(2)); !slices.Equal(state.Waiting, []string{"envoy"}) {
		t.Errorf("state before the route: %+v", state)
	}
	w.ack(endpoints)
	routes := w.next(xds.RouteType)
	want(t, routes, echoName)
	w.ack(routes)
	await(t, s, ask(2), converged("envoy"))
}

// Endpoints that run out wait until the route does not send requests to them, and a service's route goes
// before what it names.
func TestOrderDown(t *testing.T) {
	s := newServer("a")
	publish(t, s, echo(10, 1))
	address, _ := start(t, s)
	w := connect(t, address, "envoy")
	w.everything()

	withoutCanary := echo(0, 2)
	withoutCanary.Subsets = withoutCanary.Subsets[:1]
	publish(t, s, split(withoutCanary, 0, 2))
	first := w.both(xds.EndpointType, xds.RouteType)
	want(t, first[0], everyEcho)
	want(t, first[1], echoName)
	w.ack(first[0])
	w.nothing()
	w.ack(first[1])
	endpoints := w.next(xds.EndpointType)
	want(t, endpoints, canaryEcho)
	w.ack(endpoints)
	w.nothing()

	publish(t, s)
	routes := w.next(xds.RouteType)
	want(t, routes, "-"+echoName)
	w.nothing()
	w.ack(routes)
	last := w.both(xds.ClusterType, xds.EndpointType)
	want(t, last[0], "-"+everyEcho, "-"+canaryEcho, "-"+stableEcho)
	want(t, last[1], "-"+everyEcho, "-"+canaryEcho, "-"+stableEcho)
}

// both returns the next two answers, which are of these types in either order.
func (w *wire) both(one, other string) [2]*discoveryv3.DeltaDiscoveryResponse {
	w.t.Helper()
	var found [2]*discoveryv3.DeltaDiscoveryResponse
	for range found {
		select {
		case answer := <-w.answers:
			switch answer.GetTypeUrl() {
			case one:
				found[0] = answer
			case other:
				found[1] = answer
			}
		case <-time.After(patience):
		}
	}
	if found[0] == nil || found[1] == nil {
		w.t.Fatalf("answers %v, want one of %s and one of %s", found, one, other)
	}
	return found
}

// A rejected route does not keep dead endpoints alive.
func TestRejectedRouteDoesNotHoldEndpoints(t *testing.T) {
	s := newServer("a")
	publish(t, s, echo(10, 1))
	address, _ := start(t, s)
	w := connect(t, address, "envoy")
	w.everything()
	lost := echo(10, 1)
	lost.Subsets = lost.Subsets[:1]
	publish(t, s, split(lost, 10, 1))
	first := w.both(xds.EndpointType, xds.RouteType)
	want(t, first[0], everyEcho)
	w.ack(first[0])
	w.nothing()
	w.nack(first[1], "no")
	endpoints := w.next(xds.EndpointType)
	want(t, endpoints, canaryEcho)
}

func TestNoChangeSendsNothing(t *testing.T) {
	s := newServer("a")
	publish(t, s, echo(10, 1))
	address, _ := start(t, s)
	w := connect(t, address, "envoy")
	w.everything()
	publish(t, s, echo(10, 1))
	w.nothing()
	publish(t, s, echo(20, 2))
	routes := w.next(xds.RouteType)
	want(t, routes, echoName)
	w.nothing()
	w.ack(routes)
	// There and back while the client has an unanswered answer.
	publish(t, s, echo(30, 3))
	routes = w.next(xds.RouteType)
	publish(t, s, echo(40, 4))
	publish(t, s, echo(30, 3))
	w.ack(routes)
	w.nothing()
}

func TestRejectionParks(t *testing.T) {
	registry := prometheus.NewRegistry()
	s := server.New(server.Options{Replica: "a", Logger: quiet(), Registerer: registry})
	publish(t, s, echo(10, 1))
	address, _ := start(t, s)
	w := connect(t, address, "envoy")
	w.everything()
	await(t, s, ask(1), converged("envoy"))

	publish(t, s, echo(20, 2))
	routes := w.next(xds.RouteType)
	w.nack(routes, "weight 20 is not to my taste")
	state := await(t, s, ask(2), func(state server.State) bool { return len(state.Rejected) > 0 })
	if diff := cmp.Diff(server.State{Rejected: map[string]string{"envoy": "weight 20 is not to my taste"}}, state); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	if old := s.Convergence(ask(1)); !old.Live() {
		t.Errorf("the decision before is still in force, but: %+v", old)
	}
	publish(t, s, echo(20, 2))
	w.nothing()
	publish(t, s, echo(0, 3))
	routes = w.next(xds.RouteType)
	w.ack(routes)
	await(t, s, ask(3), converged("envoy"))
	if got := metric(t, registry, "sluice_xds_nacks_total", "route"); got != 1 {
		t.Errorf("rejected routes: %v", got)
	}
	if got := metric(t, registry, "sluice_xds_nacks_total", "cluster"); got != 0 {
		t.Errorf("rejected clusters: %v", got)
	}
	if got := metric(t, registry, "sluice_xds_clients", "delta"); got != 1 {
		t.Errorf("clients: %v", got)
	}
	if got := metric(t, registry, "sluice_xds_pushes_total", "route"); got != 3 {
		t.Errorf("pushed routes: %v", got)
	}
	// One publication was acknowledged by all (the last), one was refused, and the first came before
	// anybody was there.
	if got := metric(t, registry, "sluice_xds_propagation_seconds", ""); got != 1 {
		t.Errorf("publications measured: %v", got)
	}
}

// metric reads a counter or gauge, or the count of a histogram, by the value of its only label.
func metric(t *testing.T, registry *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	t.Fatalf("no metric %s{%s}", name, label)
	return 0
}

// An acknowledgement counts by its nonce: one that answers nothing counts for nothing.
func TestForgedAcknowledgement(t *testing.T) {
	s := newServer("a")
	publish(t, s, echo(10, 1))
	address, _ := start(t, s)
	w := connect(t, address, "envoy")
	w.everything()
	publish(t, s, echo(20, 2))
	routes := w.next(xds.RouteType)
	w.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: xds.RouteType, ResponseNonce: "4711"})
	w.nothing()
	if state := s.Convergence(ask(2)); state.Live() {
		t.Fatalf("live by a nonce that was never sent: %+v", state)
	}
	w.ack(routes)
	await(t, s, ask(2), converged("envoy"))
}

// A client that has it all from before, from this or another replica, is sent nothing and counts.
func TestKnownVersionsAreNotSentAgain(t *testing.T) {
	first := newServer("a")
	publish(t, first, echo(10, 1), other())
	address, stop := start(t, first)
	w := connect(t, address, "envoy")
	known := versions(w.everything()...)
	stop()

	second := newServer("b")
	publish(t, second, other(), echo(10, 1))
	address, _ = start(t, second)
	w = connect(t, address, "envoy")
	for _, typeURL := range wild {
		w.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesSubscribe: []string{"*"}, InitialResourceVersions: known[typeURL]})
	}
	w.nothing()
	await(t, second, ask(1), converged("envoy"))

	// What it had that is no more, and what changed meanwhile, it is told.
	third := newServer("c")
	publish(t, third, echo(20, 2))
	address, _ = start(t, third)
	w = connect(t, address, "envoy")
	for _, typeURL := range wild {
		w.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesSubscribe: []string{"*"}, InitialResourceVersions: known[typeURL]})
	}
	for range wild {
		switch answer := <-w.answers; answer.GetTypeUrl() {
		case xds.RouteType:
			want(t, answer, "-default/other:80", echoName)
			w.ack(answer)
		default:
			want(t, answer, "-default/other:80/*")
			w.ack(answer)
		}
	}
	await(t, third, ask(2), converged("envoy"))
}

func other() ir.Service {
	return ir.Service{Namespace: "default", Name: "other", Ports: []ir.Port{{Number: 80, Protocol: ir.HTTP}}}
}

// Names that do not exist are answered, and again when they come to be.
func TestUnknownNamesOverDelta(t *testing.T) {
	s := newServer("a")
	publish(t, s, other())
	address, _ := start(t, s)
	w := connectAs(t, address, &corev3.Node{Id: "grpc"})
	w.subscribe(xds.ListenerType, "echo.default:8080", "other.default.svc:80")
	answer := w.next(xds.ListenerType)
	want(t, answer, "-echo.default:8080", "other.default.svc:80")
	w.ack(answer)
	w.nothing()
	publish(t, s, other(), echo(10, 1))
	answer = w.next(xds.ListenerType)
	want(t, answer, "echo.default:8080")
	w.ack(answer)
	publish(t, s, other())
	want(t, w.next(xds.ListenerType), "-echo.default:8080")
}

// Asking again for a name that one has is answered; dropping a name under a wildcard too.
func TestAskedAgain(t *testing.T) {
	s := newServer("a")
	publish(t, s, echo(10, 1))
	address, _ := start(t, s)
	w := connect(t, address, "envoy")
	w.subscribe(xds.ListenerType, "echo.default:8080")
	w.ack(w.next(xds.ListenerType))
	w.nothing()
	w.subscribe(xds.ListenerType, "echo.default:8080")
	answer := w.next(xds.ListenerType)
	want(t, answer, "echo.default:8080")
	w.ack(answer)
	w.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: xds.ListenerType, ResourceNamesUnsubscribe: []string{"echo.default:8080"}})
	w.nothing()
	publish(t, s)
	w.nothing()
}

// Who asks for everything hears at first even that there is nothing.
func TestEmptyMesh(t *testing.T) {
	s := newServer("a")
	publish(t, s)
	address, _ := start(t, s)
	w := connect(t, address, "envoy")
	for _, answer := range w.everything() {
		want(t, answer)
	}
	publish(t, s)
	w.nothing()
}

// A service that is not valid keeps what it had; the others go on.
func TestInvalidServiceKeepsItsLast(t *testing.T) {
	s := newServer("a")
	publish(t, s, echo(10, 1), other())
	address, _ := start(t, s)
	w := connect(t, address, "envoy")
	w.everything()
	bad, changed := echo(20, 2), other()
	bad.Split.Shares = []ir.Share{{Subset: "stable", Weight: 7}}
	changed.Ports[0].Protocol = ir.GRPC
	err := s.Publish(ir.Mesh{Services: []ir.Service{bad, changed}})
	if err == nil || !strings.Contains(err.Error(), "service default/echo") {
		t.Errorf("Publish: %v", err)
	}
	answer := w.next(xds.ClusterType)
	want(t, answer, "default/other:80/*")
	w.nothing()
	if state := s.Convergence(ask(1)); !state.Live() {
		t.Errorf("what was published before: %+v", state)
	}
	if state := s.Convergence(ask(2)); !slices.Equal(state.Lagging, []string{"a"}) {
		t.Errorf("what could not be published: %+v", state)
	}
}

func TestNothingIsServedBeforeTheFirstPublish(t *testing.T) {
	s := newServer("a")
	address, _ := start(t, s)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(http2.ClientPreface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("served without a mesh: %v", err)
	}
	select {
	case <-s.Ready():
		t.Fatal("ready without a mesh")
	default:
	}
	publish(t, s, echo(10, 1))
	<-s.Ready()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatalf("not served with a mesh: %v", err)
	}
}

func TestTooManyTypes(t *testing.T) {
	s := newServer("a")
	publish(t, s)
	address, _ := start(t, s)
	w := connect(t, address, "envoy")
	for i := range 40 {
		if w.stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: strings.Repeat("x", i+1)}) != nil {
			break
		}
	}
	if err := <-w.ended; !strings.Contains(err.Error(), "types on one stream") {
		t.Errorf("stream ended with %v", err)
	}
}
