package client_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/xds"
	"github.com/sluice-mesh/sluice/mesh/xds/client"
	"github.com/sluice-mesh/sluice/mesh/xds/server"
)

// patience bounds every wait. It is only reached when a test fails.
const patience = 20 * time.Second

var addresses = cmpopts.EquateComparable(netip.Addr{})

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func echo(weight uint32, epoch int64) ir.Service {
	pod := func(subset, address string) ir.Subset {
		return ir.Subset{Name: subset, Endpoints: []ir.Endpoint{{Address: netip.MustParseAddr(address), Ports: map[string]uint16{"http": 8080}}}}
	}
	service := ir.Service{
		Namespace: "default", Name: "echo",
		Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.10")},
		Ports:     []ir.Port{{Name: "http", Number: 80, Protocol: ir.HTTP}},
		Subsets:   []ir.Subset{pod("canary", "10.0.0.2"), pod("stable", "10.0.0.1")},
	}
	service.Split = ir.Split{Owner: "u1", Epoch: epoch, Weight: weight, Stable: "stable", Canary: "canary"}.WithShares(service.Subsets)
	return service
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
	if diff := cmp.Diff(mesh, c.next(t), addresses); diff != "" {
		t.Fatalf("applied (-want +got):\n%s", diff)
	}
}

func run(t *testing.T, options client.Options) (c *client.Client, stop func()) {
	t.Helper()
	options.Node.ID, options.Logger = "p1.default", quiet()
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

// serve runs a real server until stop.
func serve(t *testing.T, at string, mesh ir.Mesh) (s *server.Server, address string, stop func()) {
	t.Helper()
	s, address, stop, _ = serveCounting(t, at, mesh)
	return s, address, stop
}

// serveCounting also tells how many answers have been sent.
func serveCounting(t *testing.T, at string, mesh ir.Mesh) (s *server.Server, address string, stop func(), sent func() float64) {
	t.Helper()
	registry := prometheus.NewRegistry()
	sent = func() (sum float64) {
		families, err := registry.Gather()
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
	listener, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	s = server.New(server.Options{Replica: "a", Logger: quiet(), Registerer: registry})
	if err := s.Publish(mesh); err != nil {
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
	return s, listener.Addr().String(), stop, sent
}

func awaitLive(t *testing.T, s *server.Server, epoch int64) {
	t.Helper()
	deadline := time.After(patience)
	for {
		changed := s.Changed()
		state := s.Convergence(server.Query{Namespace: "default", Service: "echo", Owner: "u1", Epoch: epoch})
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

// The mesh arrives whole, and then as it changes.
func TestFollowsTheControlPlane(t *testing.T) {
	s, address, _ := serve(t, "127.0.0.1:0", of(echo(10, 1)))
	applied := newConsumer()
	c, _ := run(t, client.Options{Address: address, Consumer: applied})
	applied.expect(t, of(echo(10, 1)))
	awaitLive(t, s, 1)
	if status := c.Status(); !status.Connected || !status.Configured {
		t.Errorf("status: %+v", status)
	}
	if err := s.Publish(of(echo(20, 2))); err != nil {
		t.Fatal(err)
	}
	applied.expect(t, of(echo(20, 2)))
	if err := s.Publish(ir.Mesh{}); err != nil {
		t.Fatal(err)
	}
	applied.expect(t, ir.Mesh{})
}

// An empty mesh is a configuration too.
func TestEmptyMeshIsConfigured(t *testing.T) {
	_, address, _ := serve(t, "127.0.0.1:0", ir.Mesh{})
	applied := newConsumer()
	run(t, client.Options{Address: address, Consumer: applied})
	applied.expect(t, ir.Mesh{})
}

// The server goes and comes back: what is in force stays, the client comes back by itself, and it is
// told, and applies, only what has changed.
func TestServerRestarts(t *testing.T) {
	_, address, stop := serve(t, "127.0.0.1:0", of(echo(10, 1)))
	applied := newConsumer()
	run(t, client.Options{Address: address, Consumer: applied})
	applied.expect(t, of(echo(10, 1)))
	stop()
	s, _, stop, sent := serveCounting(t, address, of(echo(10, 1)))
	awaitLive(t, s, 1)
	if pushes := sent(); pushes != 0 {
		t.Errorf("%v answers sent again to a client that has it all", pushes)
	}
	if len(applied.meshes) > 0 {
		t.Errorf("applied again without a change: %+v", <-applied.meshes)
	}
	stop()
	s, _, _ = serve(t, address, of(echo(30, 2)))
	applied.expect(t, of(echo(30, 2)))
	awaitLive(t, s, 2)
}

// A replica that lags behind does not take a split back. The rest of what it says counts.
func TestOlderEpochIsRefused(t *testing.T) {
	_, address, stop := serve(t, "127.0.0.1:0", of(echo(50, 5)))
	applied := newConsumer()
	applied.verdict = func(mesh ir.Mesh) error {
		if split := mesh.Services[0].Split; split.Owner == "u1" && split.Epoch < 5 {
			t.Errorf("taken back to %+v", split)
		}
		return nil
	}
	run(t, client.Options{Address: address, Consumer: applied})
	applied.expect(t, of(echo(50, 5)))
	stop()

	behind := echo(10, 4)
	behind.Subsets[1].Endpoints[0].Address = netip.MustParseAddr("10.0.0.9")
	wanted := behind
	wanted.Split = echo(50, 5).Split
	s, _, stop := serve(t, address, of(behind))
	applied.expect(t, of(wanted))
	// It has something newer than that replica asks for: in force there as well, and no rejection.
	awaitLive(t, s, 4)
	stop()

	// Another owner's first epoch is not older: it is another release.
	fresh := echo(5, 1)
	fresh.Split.Owner = "u2"
	serve(t, address, of(fresh))
	for {
		if mesh := applied.next(t); mesh.Services[0].Split.Owner == "u2" {
			break
		}
	}
}

func TestStoreOutlivesRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	store := client.NewStore(path)
	_, address, stopServer := serve(t, "127.0.0.1:0", of(echo(10, 1)))
	applied := newConsumer()
	_, stop := run(t, client.Options{Address: address, Consumer: applied, Store: store})
	applied.expect(t, of(echo(10, 1)))
	stop()
	stopServer()

	// Without a control plane: the stored mesh is in force at once.
	applied = newConsumer()
	c, stop := run(t, client.Options{Address: address, Consumer: applied, Store: store})
	applied.expect(t, of(echo(10, 1)))
	if status := c.Status(); status.Connected {
		t.Errorf("status: %+v", status)
	}
	// With one that has the same: nothing more.
	s, _, _ := serve(t, address, of(echo(10, 1)))
	awaitLive(t, s, 1)
	if len(applied.meshes) > 0 {
		t.Error("applied again without a change")
	}
	stop()
	if left, err := filepath.Glob(path + "*"); err != nil || len(left) != 1 {
		t.Errorf("files left: %v, %v", left, err)
	}
}

func TestUnusableStoreIsLeftBehind(t *testing.T) {
	_, address, _ := serve(t, "127.0.0.1:0", of(echo(10, 1)))
	path := filepath.Join(t.TempDir(), "config")
	_, stop := run(t, client.Options{Address: address, Consumer: newConsumer(), Store: client.NewStore(path)})
	good := waitFile(t, path)
	stop()
	torn := good[:len(good)-7]
	flipped := slices.Clone(good)
	flipped[len(flipped)-3] ^= 0x20
	cases := map[string][]byte{
		"empty":   {},
		"garbage": []byte("\x00\x01\x02 nothing of ours"),
		"newer":   []byte(strings.Replace(string(good), "sluice-config/1", "sluice-config/2", 1)),
		"torn":    torn,
		"flipped": flipped,
		"header":  []byte("sluice-config/1"),
	}
	for name, content := range cases {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := client.NewStore(path).Load(); err == nil {
				t.Error("loaded")
			}
			applied := newConsumer()
			_, stop := run(t, client.Options{Address: address, Consumer: applied, Store: client.NewStore(path)})
			defer stop()
			applied.expect(t, of(echo(10, 1)))
		})
	}
	// One whose content the consumer refuses is left behind as well.
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	first, applied := true, newConsumer()
	applied.verdict = func(ir.Mesh) error {
		if first {
			first = false
			return errors.New("not this")
		}
		return nil
	}
	run(t, client.Options{Address: address, Consumer: applied, Store: client.NewStore(path)})
	applied.expect(t, of(echo(10, 1)))
}

func waitFile(t *testing.T, path string) []byte {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if content, err := os.ReadFile(path); err == nil {
			return content
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("nothing stored")
		}
	}
}

// script is a server that sends what the test says.
type script struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	requests chan *discoveryv3.DeltaDiscoveryRequest
	answers  chan *discoveryv3.DeltaDiscoveryResponse
}

func (s *script) DeltaAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
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
		case <-stream.Context().Done():
			return nil
		}
	}
}

func scripted(t *testing.T) (*script, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &script{requests: make(chan *discoveryv3.DeltaDiscoveryRequest, 100), answers: make(chan *discoveryv3.DeltaDiscoveryResponse)}
	server := grpc.NewServer()
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

// exchange sends an answer and returns the client's reply to it.
func (s *script) exchange(t *testing.T, answer *discoveryv3.DeltaDiscoveryResponse) *discoveryv3.DeltaDiscoveryRequest {
	t.Helper()
	s.answers <- answer
	for {
		select {
		case request := <-s.requests:
			if request.GetResponseNonce() == answer.GetNonce() {
				return request
			}
		case <-time.After(patience):
			t.Fatal("no reply")
		}
	}
}

// answers for a mesh, one of each type.
func answers(t *testing.T, mesh ir.Mesh, nonce string) map[string]*discoveryv3.DeltaDiscoveryResponse {
	t.Helper()
	encoded, err := xds.Encode(mesh)
	if err != nil {
		t.Fatal(err)
	}
	made := map[string]*discoveryv3.DeltaDiscoveryResponse{}
	for _, typeURL := range xds.Types {
		made[typeURL] = &discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeURL, Nonce: typeURL + nonce}
	}
	for _, packed := range encoded.Pack() {
		answer := made[packed.Body.TypeUrl]
		answer.Resources = append(answer.Resources, &discoveryv3.Resource{Name: packed.Name, Version: packed.Version, Resource: packed.Body})
	}
	return made
}

// Nothing is in force of a mesh that is there in part.
func TestNothingIsAppliedBeforeEveryTypeIsThere(t *testing.T) {
	control, address := scripted(t)
	applied := newConsumer()
	run(t, client.Options{Address: address, Consumer: applied})
	whole := answers(t, of(echo(10, 1)), "1")
	// In the worst order.
	for _, typeURL := range []string{xds.ListenerType, xds.RouteType, xds.EndpointType} {
		if reply := control.exchange(t, whole[typeURL]); reply.ErrorDetail != nil {
			t.Fatalf("rejected: %v", reply.ErrorDetail)
		}
	}
	if len(applied.meshes) > 0 {
		t.Fatalf("applied a part: %+v", <-applied.meshes)
	}
	control.exchange(t, whole[xds.ClusterType])
	applied.expect(t, of(echo(10, 1)))
}

// Whatever nonsense the control plane talks, it is rejected with a reason and what is in force stays.
func TestGarbageIsRejected(t *testing.T) {
	control, address := scripted(t)
	applied := newConsumer()
	c, _ := run(t, client.Options{Address: address, Consumer: applied})
	for _, typeURL := range xds.Types {
		control.exchange(t, answers(t, of(echo(10, 1)), "1")[typeURL])
	}
	applied.expect(t, of(echo(10, 1)))

	resource := func(name string, body *anypb.Any) []*discoveryv3.Resource {
		return []*discoveryv3.Resource{{Name: name, Version: "v", Resource: body}}
	}
	cluster := answers(t, of(echo(10, 1)), "")[xds.ClusterType].Resources[0]
	bad := echo(20, 2)
	spoilt := answers(t, of(bad), "")[xds.RouteType].Resources[0]
	spoilt.Resource.Value = []byte(strings.Replace(string(spoilt.Resource.Value), "\x1a\x012", "\x1a\x01x", 1))
	cases := map[string]struct {
		answer *discoveryv3.DeltaDiscoveryResponse
		reason string
	}{
		"no protobuf":    {&discoveryv3.DeltaDiscoveryResponse{TypeUrl: xds.RouteType, Resources: resource("x", &anypb.Any{TypeUrl: xds.RouteType, Value: []byte{0xff, 0xff}})}, "unpack"},
		"no body":        {&discoveryv3.DeltaDiscoveryResponse{TypeUrl: xds.RouteType, Resources: resource("x", nil)}, "unknown type"},
		"another type":   {&discoveryv3.DeltaDiscoveryResponse{TypeUrl: xds.RouteType, Resources: []*discoveryv3.Resource{cluster}}, "it is a"},
		"another name":   {&discoveryv3.DeltaDiscoveryResponse{TypeUrl: xds.ClusterType, Resources: resource("x", cluster.Resource)}, "it names itself"},
		"not a number":   {&discoveryv3.DeltaDiscoveryResponse{TypeUrl: xds.RouteType, Resources: []*discoveryv3.Resource{spoilt}}, `service default/echo: route default/echo:80: epoch "x"`},
		"good and bad":   {&discoveryv3.DeltaDiscoveryResponse{TypeUrl: xds.RouteType, RemovedResources: []string{"default/echo:80"}, Resources: resource("x", nil)}, "unknown type"},
		"an empty shell": {&discoveryv3.DeltaDiscoveryResponse{TypeUrl: xds.ListenerType, Resources: resource("", &anypb.Any{TypeUrl: xds.ListenerType})}, "has no name"},
	}
	for name, test := range cases {
		test.answer.Nonce = name
		reply := control.exchange(t, test.answer)
		if !strings.Contains(reply.GetErrorDetail().GetMessage(), test.reason) {
			t.Errorf("%s: reply %v, want a rejection with %q", name, reply, test.reason)
		}
		if status := c.Status(); !strings.Contains(status.Rejected, test.reason) {
			t.Errorf("%s: status %+v", name, status)
		}
	}
	if len(applied.meshes) > 0 {
		t.Errorf("applied: %+v", <-applied.meshes)
	}
	// And it goes on from where it was.
	if reply := control.exchange(t, answers(t, of(echo(20, 2)), "2")[xds.RouteType]); reply.ErrorDetail != nil {
		t.Fatalf("rejected: %v", reply.ErrorDetail)
	}
	applied.expect(t, of(echo(20, 2)))
	if status := c.Status(); status.Rejected != "" {
		t.Errorf("status: %+v", status)
	}
}

// What the consumer refuses is rejected with its reason and leaves no trace in what comes next.
func TestRefusedByTheConsumer(t *testing.T) {
	control, address := scripted(t)
	applied := newConsumer()
	applied.verdict = func(mesh ir.Mesh) error {
		if mesh.Services[0].Split.Epoch == 2 {
			return errors.New("no memory for it")
		}
		return nil
	}
	run(t, client.Options{Address: address, Consumer: applied})
	for _, typeURL := range xds.Types {
		control.exchange(t, answers(t, of(echo(10, 1)), "1")[typeURL])
	}
	applied.expect(t, of(echo(10, 1)))
	if reply := control.exchange(t, answers(t, of(echo(20, 2)), "2")[xds.RouteType]); reply.GetErrorDetail().GetMessage() != "no memory for it" {
		t.Errorf("reply: %v", reply)
	}
	moved := echo(10, 1)
	moved.Subsets[0].Endpoints[0].Draining = true
	control.exchange(t, answers(t, of(moved), "3")[xds.EndpointType])
	applied.expect(t, of(moved))
}

func TestOptions(t *testing.T) {
	for name, options := range map[string]client.Options{
		"no address":  {Node: client.Node{ID: "x"}, Consumer: newConsumer()},
		"no id":       {Address: "127.0.0.1:1", Consumer: newConsumer()},
		"no consumer": {Address: "127.0.0.1:1", Node: client.Node{ID: "x"}},
	} {
		if _, err := client.New(options); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Whatever the file says under a right checksum, reading it does not panic, and what it gives is good to
// start from or refused.
func FuzzStore(f *testing.F) {
	encoded, err := xds.Encode(of(echo(10, 1)))
	if err != nil {
		f.Fatal(err)
	}
	stored := &discoveryv3.DeltaDiscoveryResponse{}
	for _, packed := range encoded.Pack() {
		stored.Resources = append(stored.Resources, &discoveryv3.Resource{Name: packed.Name, Version: packed.Version, Resource: packed.Body})
	}
	seed, err := proto.Marshal(stored)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	path := filepath.Join(f.TempDir(), "config")
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := sha256.Sum256(body)
		content := append([]byte("sluice-config/1 "+hex.EncodeToString(sum[:])+"\n"), body...)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		applied := newConsumer()
		applied.verdict = func(mesh ir.Mesh) error {
			for _, service := range mesh.Services {
				if err := service.Validate(); err != nil {
					t.Errorf("from the store: %v", err)
				}
			}
			return nil
		}
		c, err := client.New(client.Options{Address: "127.0.0.1:1", Node: client.Node{ID: "x"}, Consumer: applied, Store: client.NewStore(path), Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = c.Run(ctx)
	})
}
