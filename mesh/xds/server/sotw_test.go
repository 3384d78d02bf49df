package server_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/xds"
	"github.com/sluice-mesh/sluice/mesh/xds/server"
)

// world is a state-of-the-world client that does only what the test says.
type world struct {
	t       *testing.T
	stream  grpc.BidiStreamingClient[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]
	node    *corev3.Node
	answers chan *discoveryv3.DiscoveryResponse
	asked   map[string][]string
	version map[string]string
}

func connectWorld(t *testing.T, address, id string) *world {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := dial(t, address).StreamAggregatedResources(ctx)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	w := &world{
		t: t, stream: stream, node: &corev3.Node{Id: id},
		answers: make(chan *discoveryv3.DiscoveryResponse, 100),
		asked:   map[string][]string{}, version: map[string]string{},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			answer, err := stream.Recv()
			if err != nil {
				return
			}
			w.answers <- answer
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return w
}

func (w *world) send(request *discoveryv3.DiscoveryRequest) {
	w.t.Helper()
	request.Node, w.node = w.node, nil
	if err := w.stream.Send(request); err != nil {
		w.t.Fatal(err)
	}
}

// subscribe asks for these names of a type, after the answer before (nil at first).
func (w *world) subscribe(typeURL string, after *discoveryv3.DiscoveryResponse, names ...string) {
	w.t.Helper()
	w.asked[typeURL] = names
	w.send(&discoveryv3.DiscoveryRequest{TypeUrl: typeURL, ResourceNames: names, VersionInfo: w.version[typeURL], ResponseNonce: after.GetNonce()})
}

func (w *world) ack(answer *discoveryv3.DiscoveryResponse) {
	w.t.Helper()
	w.version[answer.TypeUrl] = answer.VersionInfo
	w.subscribe(answer.TypeUrl, answer, w.asked[answer.TypeUrl]...)
}

func (w *world) nack(answer *discoveryv3.DiscoveryResponse, why string) {
	w.t.Helper()
	w.send(&discoveryv3.DiscoveryRequest{
		TypeUrl: answer.TypeUrl, ResourceNames: w.asked[answer.TypeUrl],
		VersionInfo: w.version[answer.TypeUrl], ResponseNonce: answer.Nonce,
		ErrorDetail: &statuspb.Status{Message: why},
	})
}

func (w *world) next(typeURL string, expected ...string) *discoveryv3.DiscoveryResponse {
	w.t.Helper()
	select {
	case answer := <-w.answers:
		var found []string
		for _, body := range answer.Resources {
			unpacked, err := xds.Unpack(body)
			if err != nil {
				w.t.Fatal(err)
			}
			found = append(found, unpacked.Name)
		}
		if answer.TypeUrl != typeURL {
			w.t.Fatalf("answer of type %s with %v, want %s", answer.TypeUrl, found, typeURL)
		}
		if diff := cmp.Diff(expected, found); diff != "" {
			w.t.Fatalf("answer of type %s (-want +got):\n%s", typeURL, diff)
		}
		return answer
	case <-time.After(patience):
		w.t.Fatalf("no answer of type %s", typeURL)
		return nil
	}
}

// nothing asserts that no answer was on its way: dropping and asking again for a listener that is not
// there is answered at once, and answers of one stream keep their order. It uses the listeners' type.
func (w *world) nothing() {
	w.t.Helper()
	var last *discoveryv3.DiscoveryResponse
	for range 2 {
		name := "probe" + time.Now().String()
		w.asked[xds.ListenerType] = []string{name}
		w.send(&discoveryv3.DiscoveryRequest{TypeUrl: xds.ListenerType, ResourceNames: []string{name}, ResponseNonce: w.version["nonce"], VersionInfo: w.version[xds.ListenerType]})
		last = w.next(xds.ListenerType)
		w.version["nonce"] = last.Nonce
	}
	w.ack(last)
}

const (
	everyEcho  = "default/echo:8080/*"
	stableEcho = "default/echo:8080/stable"
	canaryEcho = "default/echo:8080/canary"
)

// By name, as gRPC asks: route, then its clusters, then their endpoints; live at the last of them.
func TestStateOfTheWorldByName(t *testing.T) {
	s := newServer("a")
	publish(t, s, echo(10, 1), other())
	address, _ := start(t, s)
	w := connectWorld(t, address, "grpc")
	w.subscribe(xds.RouteType, nil, echoName)
	routes := w.next(xds.RouteType, echoName)
	w.ack(routes)
	w.subscribe(xds.ClusterType, nil, canaryEcho, stableEcho)
	w.ack(w.next(xds.ClusterType, canaryEcho, stableEcho))
	w.subscribe(xds.EndpointType, nil, stableEcho)
	endpoints := w.next(xds.EndpointType, stableEcho)
	w.ack(endpoints)
	w.nothing()
	if state := s.Convergence(ask(1)); !slices.Equal(state.Waiting, []string{"grpc"}) {
		t.Fatalf("state without the canary's endpoints: %+v", state)
	}
	w.subscribe(xds.EndpointType, endpoints, canaryEcho, stableEcho)
	w.ack(w.next(xds.EndpointType, canaryEcho))
	await(t, s, ask(1), converged("grpc"))

	publish(t, s, echo(10, 1), other())
	w.nothing()
	publish(t, s, echo(50, 2))
	w.ack(w.next(xds.RouteType, echoName))
	await(t, s, ask(2), converged("grpc"))
}

// Neither the rejection of a first answer nor that of a later one is answered before content changes;
// a listener or cluster that is gone is told by leaving it out.
func TestStateOfTheWorldRejection(t *testing.T) {
	s := newServer("a")
	publish(t, s, echo(10, 1), other())
	address, _ := start(t, s)
	w := connectWorld(t, address, "grpc")
	w.subscribe(xds.RouteType, nil, echoName)
	w.nack(w.next(xds.RouteType, echoName), "cannot read this")
	w.nothing()
	state := s.Convergence(ask(1))
	if state.Rejected["grpc"] != "cannot read this" {
		t.Errorf("state: %+v", state)
	}
	publish(t, s, echo(20, 2), other())
	routes := w.next(xds.RouteType, echoName)
	w.ack(routes)
	w.nothing()

	w.subscribe(xds.ClusterType, nil, stableEcho, "default/other:80/*")
	clusters := w.next(xds.ClusterType, stableEcho, "default/other:80/*")
	w.ack(clusters)
	publish(t, s, echo(20, 2))
	clusters = w.next(xds.ClusterType, stableEcho)
	w.nack(clusters, "no")
	w.nothing()
}

// A name dropped and asked for again is sent again, even though it has not changed.
func TestStateOfTheWorldAskedAgain(t *testing.T) {
	s := newServer("a")
	publish(t, s, echo(10, 1))
	address, _ := start(t, s)
	w := connectWorld(t, address, "grpc")
	w.subscribe(xds.EndpointType, nil, stableEcho)
	first := w.next(xds.EndpointType, stableEcho)
	w.ack(first)
	w.subscribe(xds.EndpointType, first)
	w.subscribe(xds.EndpointType, first, stableEcho)
	w.next(xds.EndpointType, stableEcho)
}

// So is one that was dropped by a request that crossed with an answer, which the protocol skips.
func TestStateOfTheWorldDroppedInPassing(t *testing.T) {
	s := newServer("a")
	publish(t, s, echo(10, 1))
	address, _ := start(t, s)
	w := connectWorld(t, address, "grpc")
	w.subscribe(xds.EndpointType, nil, canaryEcho, stableEcho)
	first := w.next(xds.EndpointType, canaryEcho, stableEcho)
	w.ack(first)
	w.nothing()
	changed := echo(10, 1)
	changed.Subsets[1].Endpoints[0].Draining = true
	publish(t, s, split(changed, 10, 1))
	second := w.next(xds.EndpointType, canaryEcho)
	w.subscribe(xds.EndpointType, first, canaryEcho)
	w.subscribe(xds.EndpointType, second, canaryEcho, stableEcho)
	w.next(xds.EndpointType, stableEcho)
}

// Envoy asks for all clusters and listeners: it gets none of gRPC's listeners. An answer that is not
// acknowledged by name of its nonce is not repeated.
func TestStateOfTheWorldWildcard(t *testing.T) {
	s := newServer("a")
	publish(t, s, echo(10, 1))
	address, _ := start(t, s)
	w := connectWorld(t, address, "envoy")
	w.subscribe(xds.ClusterType, nil)
	clusters := w.next(xds.ClusterType, everyEcho, canaryEcho, stableEcho)
	for _, body := range clusters.Resources {
		message, err := body.UnmarshalNew()
		if err != nil || message.(*clusterv3.Cluster).ValidateAll() != nil {
			t.Errorf("cluster %v: %v", message, err)
		}
	}
	w.subscribe(xds.ListenerType, nil)
	w.next(xds.ListenerType, echoName)
	// Its route waits for the endpoints of what it weighs.
	w.subscribe(xds.RouteType, nil, echoName)
	w.subscribe(xds.EndpointType, nil, canaryEcho, stableEcho)
	endpoints := w.next(xds.EndpointType, canaryEcho, stableEcho)
	w.ack(clusters)
	w.ack(endpoints)
	w.ack(w.next(xds.RouteType, echoName))
	await(t, s, ask(1), converged("envoy"))
}

// A client that does not even read blocks the sending of what it was sent; that stream is closed too.
func TestDeafStreamIsClosed(t *testing.T) {
	// Long enough for the wait to be seen.
	s := server.New(server.Options{Replica: "a", Logger: quiet(), AckDeadline: 2 * time.Second})
	crowd := echo(10, 1)
	for i := range 20_000 {
		address := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		crowd.Subsets[0].Endpoints = append(crowd.Subsets[0].Endpoints, ir.Endpoint{Address: address, Ports: map[string]uint16{"grpc": 80}})
	}
	publish(t, s, crowd)
	address, _ := start(t, s)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := dial(t, address).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, typeURL := range []string{xds.EndpointType, xds.RouteType} {
		if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{Node: node("p1.default", "1"), TypeUrl: typeURL, ResourceNamesSubscribe: []string{"*"}}); err != nil {
			t.Fatal(err)
		}
	}
	await(t, s, ask(1), func(state server.State) bool { return len(state.Waiting) == 1 })
	await(t, s, ask(1), server.State.Live)
}

// A stream that leaves an answer unanswered is closed, once; then its client is left to be named.
func TestStuckStreamIsClosedOnce(t *testing.T) {
	s := server.New(server.Options{Replica: "a", Logger: quiet(), AckDeadline: 40 * time.Millisecond})
	publish(t, s, echo(10, 1))
	address, _ := start(t, s)
	stuck := connect(t, address, "p1.default")
	stuck.subscribe(xds.ClusterType, "*")
	if err := <-stuck.ended; !strings.Contains(err.Error(), "no answer to what was sent") {
		t.Fatalf("stream ended with %v", err)
	}
	again := connect(t, address, "p1.default")
	again.subscribe(xds.RouteType, "*")
	again.next(xds.RouteType)
	// One that got stuck later is closed in a pass that has seen the first one too.
	later := connect(t, address, "p2.default")
	later.subscribe(xds.ClusterType, "*")
	<-later.ended
	select {
	case err := <-again.ended:
		t.Fatalf("closed twice: %v", err)
	default:
	}
	if state := s.Convergence(ask(1)); !slices.Equal(state.Waiting, []string{"p1.default"}) {
		t.Errorf("state: %+v", state)
	}
}
