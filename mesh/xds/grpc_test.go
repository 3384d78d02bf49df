package xds_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	grpcxds "google.golang.org/grpc/xds"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/ir/irtest"
	"github.com/sluice-mesh/sluice/mesh/xds"
)

// gRPC's own client takes whatever is made: it acknowledges every listener, route, cluster and assignment that
// it asks for. (That its calls follow the split is tested with our server.)
func TestGRPCRejectsNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 12))
	meshes := []ir.Mesh{{Services: []ir.Service{withRoutes(), orders()}}, {Services: []ir.Service{withPolicy()}}}
	for range 15 {
		meshes = append(meshes, irtest.Random(random))
	}
	for i, mesh := range meshes {
		// gRPC does not ask for what is behind routes that it passes over. Without conditions it asks for all.
		for _, service := range mesh.Services {
			for k := range service.Routes {
				if i%2 == 0 {
					service.Routes[k].Matches = nil
				}
			}
		}
		resources, err := xds.Encode(mesh)
		if err != nil {
			t.Fatal(err)
		}
		control := serve(t, resources)
		wanted := map[string]bool{}
		for _, listener := range resources.Listeners {
			// One of the three names of each port.
			if strings.Contains(listener.Name, ".svc:") {
				dial(t, control.address, listener.Name)
				wanted[xds.ListenerType+" "+listener.Name] = true
			}
		}
		for _, route := range resources.Routes {
			wanted[xds.RouteType+" "+route.Name] = true
			for _, host := range route.VirtualHosts {
				if !slices.Contains(host.Domains, "*") {
					continue
				}
				for _, r := range host.Routes {
					for _, cluster := range r.GetRoute().GetWeightedClusters().GetClusters() {
						if len(r.Match.QueryParameters) == 0 {
							wanted[xds.ClusterType+" "+cluster.Name] = true
							wanted[xds.EndpointType+" "+cluster.Name] = true
						}
					}
				}
			}
		}
		control.await(t, wanted)
	}
}

// controlPlane is the least that gRPC talks to: it answers each request with what is asked for, and notes what
// is acknowledged.
type controlPlane struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	resources map[string]map[string]*anypb.Any
	address   string

	mu       sync.Mutex
	taken    map[string]bool
	rejected []string
	changed  chan struct{}
}

func serve(t *testing.T, resources xds.Resources) *controlPlane {
	t.Helper()
	control := &controlPlane{resources: map[string]map[string]*anypb.Any{}, taken: map[string]bool{}, changed: make(chan struct{}, 1)}
	for _, packed := range resources.Pack() {
		if control.resources[packed.Body.TypeUrl] == nil {
			control.resources[packed.Body.TypeUrl] = map[string]*anypb.Any{}
		}
		control.resources[packed.Body.TypeUrl][packed.Name] = packed.Body
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	control.address = listener.Addr().String()
	server := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, control)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return control
}

func (c *controlPlane) StreamAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	sent := map[string][]string{}
	for nonce := 1; ; nonce++ {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) {
			return nil
		}
		if err != nil {
			return err
		}
		names := slices.Sorted(slices.Values(request.ResourceNames))
		if request.ResponseNonce != "" {
			c.note(request, sent[request.TypeUrl])
			if request.ErrorDetail != nil || slices.Equal(names, sent[request.TypeUrl]) {
				continue
			}
		}
		response := &discoveryv3.DiscoveryResponse{TypeUrl: request.TypeUrl, VersionInfo: fmt.Sprint(nonce), Nonce: fmt.Sprint(nonce)}
		for _, name := range names {
			if body := c.resources[request.TypeUrl][name]; body != nil {
				response.Resources = append(response.Resources, body)
			}
		}
		sent[request.TypeUrl] = names
		if err := stream.Send(response); err != nil {
			return err
		}
	}
}

func (c *controlPlane) note(request *discoveryv3.DiscoveryRequest, names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if request.ErrorDetail != nil {
		c.rejected = append(c.rejected, request.ErrorDetail.Message)
	} else {
		for _, name := range names {
			c.taken[request.TypeUrl+" "+name] = true
		}
	}
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// await returns when all is acknowledged.
func (c *controlPlane) await(t *testing.T, wanted map[string]bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		c.mu.Lock()
		var missing []string
		for name := range wanted {
			if !c.taken[name] {
				missing = append(missing, name)
			}
		}
		rejected := c.rejected
		c.mu.Unlock()
		if len(rejected) > 0 {
			t.Fatalf("rejected: %v", rejected)
		}
		if len(missing) == 0 {
			return
		}
		select {
		case <-c.changed:
		case <-deadline:
			slices.Sort(missing)
			t.Fatalf("never acknowledged: %v", missing)
		}
	}
}

func dial(t *testing.T, control, name string) {
	t.Helper()
	bootstrap, err := json.Marshal(map[string]any{
		"xds_servers": []any{map[string]any{
			"server_uri": control, "channel_creds": []any{map[string]any{"type": "insecure"}}, "server_features": []string{"xds_v3"},
		}},
		"node": map[string]any{"id": name},
		// Without it a cluster with TLS is rejected.
		"certificate_providers": map[string]any{"default": map[string]any{
			"plugin_name": "file_watcher", "config": map[string]any{"ca_certificate_file": "not-read-without-xds-credentials.pem"},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := grpcxds.NewXDSResolverWithConfigForTesting(bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("xds:///"+name, grpc.WithResolvers(resolver), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	conn.Connect()
}
