package client_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/xds/client"
	"github.com/sluice-mesh/sluice/mesh/xds/part"
	"github.com/sluice-mesh/sluice/mesh/xds/server"
)

// patience bounds every wait. It is only reached when a test fails.
const patience = 20 * time.Second

var addresses = cmpopts.EquateComparable(netip.Addr{})

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

const (
	echoAddress = "10.96.0.10"
	echoPod     = "10.0.0.1"
)

var self = netip.MustParseAddr(echoPod)

// echo is a service in release; the client's pod is one of it.
func echo(weight uint32, epoch int64) ir.Service {
	pod := func(subset, address string) ir.Subset {
		return ir.Subset{Name: subset, Endpoints: []ir.Endpoint{{Address: netip.MustParseAddr(address), Ports: map[string]uint16{"http": 8080}}}}
	}
	service := ir.Service{
		Namespace: "default", Name: "echo",
		Addresses: []netip.Addr{netip.MustParseAddr(echoAddress)},
		Ports:     []ir.Port{{Name: "http", Number: 80, Protocol: ir.HTTP}},
		Subsets:   []ir.Subset{pod("canary", "10.0.0.2"), pod("stable", echoPod)},
	}
	service.Split = ir.Split{Owner: "u1", Epoch: epoch, Weight: weight, Stable: "stable", Canary: "canary"}.WithShares(service.Subsets)
	return service
}

// another is a service of its own address, behind which the client's pod is not.
func another(name, address string) ir.Service {
	return ir.Service{
		Namespace: "default", Name: name, Addresses: []netip.Addr{netip.MustParseAddr(address)},
		Ports: []ir.Port{{Name: "http", Number: 80, Protocol: ir.HTTP}},
	}
}

func of(services ...ir.Service) ir.Mesh { return ir.Normalise(ir.Mesh{Services: services}) }

// consumer records what is applied.
type consumer struct {
	verdict func(ir.Mesh) error
	meshes  chan ir.Mesh
}

func newConsumer() *consumer { return &consumer{meshes: make(chan ir.Mesh, 100)} }

func (c *consumer) Apply(mesh ir.Mesh) error {
	if c.verdict != nil {
		if err := c.verdict(mesh); err != nil {
			return err
		}
	}
	c.meshes <- mesh
	return nil
}

func (c *consumer) next(t *testing.T) ir.Mesh {
	t.Helper()
	select {
	case mesh := <-c.meshes:
		return mesh
	case <-time.After(patience):
		t.Fatal("nothing applied")
		return ir.Mesh{}
	}
}

func (c *consumer) expect(t *testing.T, mesh ir.Mesh) {
	t.Helper()
	if diff := cmp.Diff(mesh, c.next(t), addresses, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("applied (-want +got):\n%s", diff)
	}
}

func (c *consumer) nothing(t *testing.T) {
	t.Helper()
	if len(c.meshes) > 0 {
		t.Fatalf("applied: %+v", <-c.meshes)
	}
}

func run(t *testing.T, options client.Options) (c *client.Client, stop func()) {
	t.Helper()
	options.Node.ID, options.Self, options.Logger = "p1.default", self, quiet()
	c, err := client.New(options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return c, stop
}

// until waits for a status; there is nothing to be woken by.
func until(t *testing.T, c *client.Client, good func(client.Status) bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !good(c.Status()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("status stays %+v", c.Status())
		}
	}
}

func connected(status client.Status) bool { return status.Connected }

func resolve(t *testing.T, c *client.Client, address string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c.Resolve(ctx, netip.MustParseAddr(address))
	if ctx.Err() != nil {
		t.Fatalf("no answer about %s", address)
	}
}

// control is a real server.
type control struct {
	*server.Server
	address  string
	stop     func()
	registry *prometheus.Registry
}

func serve(t *testing.T, at string, mesh ir.Mesh) *control {
	t.Helper()
	listener, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	s := server.New(server.Options{Replica: "a", Logger: quiet(), Registerer: registry})
	if err := s.Publish(mesh); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, listener) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return &control{s, listener.Addr().String(), stop, registry}
}

// sent tells how many answers have been sent.
func (c *control) sent(t *testing.T) (sum float64) {
	t.Helper()
	families, err := c.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == "sluice_xds_pushes_total" {
				sum += metric.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func (c *control) publish(t *testing.T, services ...ir.Service) {
	t.Helper()
	if err := c.Publish(of(services...)); err != nil {
		t.Fatal(err)
	}
}

// live waits until the client has a decision in force.
func (c *control) live(t *testing.T, epoch int64) {
	t.Helper()
	deadline := time.After(patience)
	for {
		changed := c.Changed()
		state := c.Convergence(server.Query{Namespace: "default", Service: "echo", Owner: "u1", Epoch: epoch})
		if state.Live() && len(state.Converged) == 1 {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("state stays %+v", state)
		}
	}
}

// script is a server that sends what the test says, on the stream that was opened last.
type script struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	requests chan *discoveryv3.DeltaDiscoveryRequest
	answers  chan *discoveryv3.DeltaDiscoveryResponse
	hangUp   chan error
}

func (s *script) DeltaAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	go func() {
		for {
			request, err := stream.Recv()
			if err != nil {
				return
			}
			s.requests <- request
		}
	}()
	for {
		select {
		case answer := <-s.answers:
			if err := stream.Send(answer); err != nil {
				return err
			}
		case err := <-s.hangUp:
			return err
		case <-stream.Context().Done():
			return nil
		}
	}
}

func scripted(t *testing.T, options ...grpc.ServerOption) (*script, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &script{
		requests: make(chan *discoveryv3.DeltaDiscoveryRequest, 10_000),
		answers:  make(chan *discoveryv3.DeltaDiscoveryResponse), hangUp: make(chan error),
	}
	server := grpc.NewServer(options...)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, s)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return s, listener.Addr().String()
}

// next request.
func (s *script) next(t *testing.T) *discoveryv3.DeltaDiscoveryRequest {
	t.Helper()
	select {
	case request := <-s.requests:
		return request
	case <-time.After(patience):
		t.Fatal("no request")
		return nil
	}
}

// exchange sends an answer and returns the client's reply to it.
func (s *script) exchange(t *testing.T, answer *discoveryv3.DeltaDiscoveryResponse) *discoveryv3.DeltaDiscoveryRequest {
	t.Helper()
	s.answers <- answer
	for {
		if request := s.next(t); request.GetResponseNonce() == answer.GetNonce() {
			return request
		}
	}
}

// accept sends an answer that the client must accept.
func (s *script) accept(t *testing.T, answer *discoveryv3.DeltaDiscoveryResponse) {
	t.Helper()
	if reply := s.exchange(t, answer); reply.ErrorDetail != nil {
		t.Fatalf("rejected: %v", reply.ErrorDetail)
	}
}

// answer with parts, each of one service; nil leads nowhere.
func answer(nonce string, parts map[string]*ir.Service) *discoveryv3.DeltaDiscoveryResponse {
	made := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: part.Type, Nonce: nonce}
	for name, service := range parts {
		if service == nil && name != part.Settings {
			made.RemovedResources = append(made.RemovedResources, name)
			continue
		}
		whole := part.Part{Settings: &ir.Settings{}}
		if service != nil {
			whole = part.Part{Services: []ir.Service{*service}}
		}
		body, version := whole.Encode()
		made.Resources = append(made.Resources, resource(name, version, body))
	}
	return made
}

func resource(name, version string, body []byte) *discoveryv3.Resource {
	return &discoveryv3.Resource{Name: name, Version: version, Resource: &anypb.Any{TypeUrl: part.Type, Value: body}}
}

// first is the answer that a proxy begins with.
func first(service ir.Service) *discoveryv3.DeltaDiscoveryResponse {
	return answer("first", map[string]*ir.Service{"settings": nil, "at/" + echoPod: &service})
}

// begun is a client with echo in force, as the script told it.
func begun(t *testing.T) (*script, *consumer, *client.Client) {
	t.Helper()
	control, address := scripted(t)
	applied := newConsumer()
	c, _ := run(t, client.Options{Address: address, Consumer: applied})
	control.accept(t, first(echo(10, 1)))
	applied.expect(t, of(echo(10, 1)))
	return control, applied, c
}
