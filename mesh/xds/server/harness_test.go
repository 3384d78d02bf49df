package server_test

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/goleak"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/xds/client"
	"github.com/sluice-mesh/sluice/mesh/xds/server"
)

// patience bounds every wait. It is only reached when a test fails.
const patience = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves on a port of the kernel's choice until the test ends or stop is called.
func start(t testing.TB, s *server.Server) (address string, stop func()) {
	t.Helper()
	return startAt(t, s, "127.0.0.1:0")
}

func startAt(t testing.TB, s *server.Server, at string) (address string, stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, listener) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return listener.Addr().String(), stop
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newServer(replica string) *server.Server {
	return server.New(server.Options{Replica: replica, Logger: quiet(), Heartbeat: 50 * time.Millisecond, AckDeadline: time.Hour})
}

func publish(t testing.TB, s *server.Server, services ...ir.Service) {
	t.Helper()
	if err := s.Publish(ir.Mesh{Services: services}); err != nil {
		t.Fatal(err)
	}
}

// echo is a service in release, with one pod a revision.
func echo(weight uint32, epoch int64) ir.Service {
	return echoAt(weight, epoch, "127.0.0.1", 9001, "127.0.0.2", 9002)
}

func echoAt(weight uint32, epoch int64, stable string, stablePort uint16, canary string, canaryPort uint16) ir.Service {
	service := ir.Service{
		Namespace: "default", Name: "echo",
		Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.10")},
		Ports:     []ir.Port{{Name: "grpc", Number: 8080, Protocol: ir.GRPC}},
		Subsets:   []ir.Subset{pod("stable", stable, stablePort), pod("canary", canary, canaryPort)},
	}
	return split(service, weight, epoch)
}

func split(service ir.Service, weight uint32, epoch int64) ir.Service {
	service.Split = ir.Split{Owner: "u1", Epoch: epoch, Weight: weight, Stable: "stable", Canary: "canary"}.WithShares(service.Subsets)
	return service
}

func pod(subset, address string, port uint16) ir.Subset {
	return ir.Subset{Name: subset, Endpoints: []ir.Endpoint{{Address: netip.MustParseAddr(address), Ports: map[string]uint16{"grpc": port}}}}
}

func ask(epoch int64) server.Query {
	return server.Query{Namespace: "default", Service: "echo", Owner: "u1", Epoch: epoch}
}

// await waits for a state, woken by Changed only.
func await(t testing.TB, s *server.Server, query server.Query, good func(server.State) bool) server.State {
	t.Helper()
	deadline := time.After(patience)
	for {
		changed := s.Changed()
		state := s.Convergence(query)
		if good(state) {
			return state
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("state stays %+v", state)
		}
	}
}

func converged(nodes ...string) func(server.State) bool {
	return func(state server.State) bool { return state.Live() && slices.Equal(state.Converged, nodes) }
}

// proxy is a consumer for our own client.
type proxy struct {
	mu      sync.Mutex
	meshes  []ir.Mesh
	verdict func(ir.Mesh) error
}

func (p *proxy) Apply(mesh ir.Mesh) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.verdict != nil {
		if err := p.verdict(mesh); err != nil {
			return err
		}
	}
	p.meshes = append(p.meshes, mesh)
	return nil
}

// run connects our own client, of a pod that is behind the echo service, until the test ends or stop is
// called.
func run(t testing.TB, address, id string, consumer client.Consumer) (stop func()) {
	t.Helper()
	c, err := client.New(client.Options{
		Address: address, Node: client.Node{ID: id, Cluster: "test"}, Self: netip.MustParseAddr("127.0.0.1"),
		Consumer: consumer, Logger: quiet(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Run(ctx)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(stop)
	return stop
}

func dial(t testing.TB, address string) discoveryv3.AggregatedDiscoveryServiceClient {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return discoveryv3.NewAggregatedDiscoveryServiceClient(conn)
}

// wire is a delta client that does only what the test says.
type wire struct {
	t       *testing.T
	stream  grpc.BidiStreamingClient[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]
	node    *corev3.Node
	answers chan *discoveryv3.DeltaDiscoveryResponse
	ended   chan error
}

// connect as Envoy does, without a scope.
func connect(t *testing.T, address, id string) *wire {
	return connectAs(t, address, &corev3.Node{Id: id})
}

func connectAs(t *testing.T, address string, node *corev3.Node) *wire {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := dial(t, address).DeltaAggregatedResources(ctx)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	w := &wire{t: t, stream: stream, node: node, answers: make(chan *discoveryv3.DeltaDiscoveryResponse, 100), ended: make(chan error, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			answer, err := stream.Recv()
			if err != nil {
				w.ended <- err
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

func (w *wire) send(request *discoveryv3.DeltaDiscoveryRequest) {
	w.t.Helper()
	request.Node, w.node = w.node, nil
	if err := w.stream.Send(request); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) subscribe(typeURL string, names ...string) {
	w.t.Helper()
	w.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesSubscribe: names})
}

func (w *wire) ack(answer *discoveryv3.DeltaDiscoveryResponse) {
	w.t.Helper()
	w.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: answer.GetTypeUrl(), ResponseNonce: answer.GetNonce()})
}

func (w *wire) nack(answer *discoveryv3.DeltaDiscoveryResponse, why string) {
	w.t.Helper()
	w.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: answer.GetTypeUrl(), ResponseNonce: answer.GetNonce(), ErrorDetail: &statuspb.Status{Message: why}})
}

// next returns the next answer, which must be of this type.
func (w *wire) next(typeURL string) *discoveryv3.DeltaDiscoveryResponse {
	w.t.Helper()
	select {
	case answer := <-w.answers:
		if answer.GetTypeUrl() != typeURL {
			w.t.Fatalf("answer of type %s, want %s: %v", answer.GetTypeUrl(), typeURL, names(answer))
		}
		return answer
	case err := <-w.ended:
		w.t.Fatalf("stream ended: %v", err)
	case <-time.After(patience):
		w.t.Fatalf("no answer of type %s", typeURL)
	}
	return nil
}

// unserved is a type that nobody publishes: asking for a name of it is answered at once with "not
// found", after whatever was on its way before.
const unserved = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"

// nothing asserts that no answer was on its way.
func (w *wire) nothing() {
	w.t.Helper()
	w.subscribe(unserved, "probe")
	answer := w.next(unserved)
	if !slices.Equal(answer.GetRemovedResources(), []string{"probe"}) {
		w.t.Fatalf("answer for an unknown name: %v", answer)
	}
	w.ack(answer)
}

// names of an answer, removed ones with a minus.
func names(answer *discoveryv3.DeltaDiscoveryResponse) []string {
	var found []string
	for _, r := range answer.GetResources() {
		found = append(found, r.GetName())
	}
	for _, name := range answer.GetRemovedResources() {
		found = append(found, "-"+name)
	}
	slices.Sort(found)
	return found
}

func versions(answers ...*discoveryv3.DeltaDiscoveryResponse) map[string]map[string]string {
	found := map[string]map[string]string{}
	for _, answer := range answers {
		if found[answer.GetTypeUrl()] == nil {
			found[answer.GetTypeUrl()] = map[string]string{}
		}
		for _, r := range answer.GetResources() {
			found[answer.GetTypeUrl()][r.GetName()] = r.GetVersion()
		}
		maps.DeleteFunc(found[answer.GetTypeUrl()], func(name, _ string) bool {
			return slices.Contains(answer.GetRemovedResources(), name)
		})
	}
	return found
}

// node of one of our own proxies, with the time at which it started.
func node(id, instance string) *corev3.Node {
	return &corev3.Node{Id: id, Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{
		"agent":    structpb.NewStringValue("sluice-proxy"),
		"instance": structpb.NewStringValue(instance),
	}}}
}

func metadataOf(t *testing.T, fields map[string]any) *structpb.Struct {
	t.Helper()
	made, err := structpb.NewStruct(fields)
	if err != nil {
		t.Fatal(err)
	}
	return made
}
