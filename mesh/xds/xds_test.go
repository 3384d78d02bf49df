package xds_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/ir/irtest"
	"github.com/sluice-mesh/sluice/mesh/xds"
)

// travel packs, marshals, shuffles and unpacks.
func travel(t *testing.T, resources xds.Resources) xds.Resources {
	t.Helper()
	packed := resources.Pack()
	rand.Shuffle(len(packed), func(i, j int) { packed[i], packed[j] = packed[j], packed[i] })
	var arrived xds.Resources
	for _, resource := range packed {
		unpacked, err := xds.Unpack(&anypb.Any{TypeUrl: resource.Body.TypeUrl, Value: bytes.Clone(resource.Body.Value)})
		if err != nil {
			t.Fatal(err)
		}
		if unpacked.Name != resource.Name || unpacked.Version != resource.Version {
			t.Fatalf("unpacked %s %s from %s %s", unpacked.Name, unpacked.Version, resource.Name, resource.Version)
		}
		switch message := unpacked.Message.(type) {
		case *listenerv3.Listener:
			arrived.Listeners = append(arrived.Listeners, message)
		case *routev3.RouteConfiguration:
			arrived.Routes = append(arrived.Routes, message)
		case *clusterv3.Cluster:
			arrived.Clusters = append(arrived.Clusters, message)
		case *endpointv3.ClusterLoadAssignment:
			arrived.Endpoints = append(arrived.Endpoints, message)
		}
	}
	return arrived
}

// Every reference leads somewhere, and what has no ready endpoint gets no share of the split.
func TestReferences(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	for range 300 {
		mesh := irtest.Random(random)
		resources, err := xds.Encode(mesh)
		if err != nil {
			t.Fatal(err)
		}
		clusters := map[string]bool{}
		for _, cluster := range resources.Clusters {
			clusters[cluster.Name] = true
		}
		reachable := map[string]int{}
		for _, assignment := range resources.Endpoints {
			if !clusters[assignment.ClusterName] {
				t.Fatalf("endpoints %s without a cluster", assignment.ClusterName)
			}
			delete(clusters, assignment.ClusterName)
			reachable[assignment.ClusterName] = xds.Reachable(assignment)
		}
		if len(clusters) > 0 {
			t.Fatalf("clusters without endpoints: %v", clusters)
		}
		for _, route := range resources.Routes {
			if len(xds.WeightedClusters(route)) == 0 {
				t.Fatalf("route %s sends nowhere", route.Name)
			}
			for _, cluster := range xds.NamedClusters(route) {
				if _, exists := reachable[cluster]; !exists {
					t.Fatalf("route %s refers to %s, which is not there", route.Name, cluster)
				}
			}
			for _, host := range route.VirtualHosts {
				last := host.Routes[slices.IndexFunc(host.Routes, func(r *routev3.Route) bool { return r.Name == "" })]
				some := 0
				split := last.GetRoute().GetWeightedClusters().GetClusters()
				for _, cluster := range split {
					some += reachable[cluster.Name]
				}
				for _, cluster := range split {
					if some > 0 && reachable[cluster.Name] == 0 {
						t.Fatalf("route %s weighs %s, which has no ready endpoint", route.Name, cluster.Name)
					}
				}
				for _, r := range host.Routes {
					for _, mirror := range r.GetRoute().GetRequestMirrorPolicies() {
						if _, exists := reachable[mirror.Cluster]; !exists {
							t.Fatalf("route %s copies to %s, which is not there", route.Name, mirror.Cluster)
						}
					}
				}
			}
		}
		want := 3 * len(resources.Routes)
		for _, service := range mesh.Services {
			if len(service.Addresses) > 0 {
				want += len(service.Ports)
			}
		}
		if got := len(resources.Listeners); got != want {
			t.Fatalf("%d listeners for %d routes, want %d", got, len(resources.Routes), want)
		}
	}
}

// What connections are split over is what requests are.
func TestEnvoySplitsConnections(t *testing.T) {
	service := release()
	service.Ports[0].Protocol, service.Ports[1].Protocol = ir.TLS, ir.Undeclared
	resources, err := xds.EncodeService(service)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"shop/cart:80":   "shop/cart:80/7b8c6d 10, shop/cart:80/5d9f7c 90",
		"shop/cart:9090": "shop/cart:9090/7b8c6d 100",
	}
	for _, listener := range resources.Listeners {
		if listener.GetApiListener() != nil {
			continue
		}
		inner, err := listener.FilterChains[0].Filters[0].GetTypedConfig().UnmarshalNew()
		if err != nil {
			t.Fatal(err)
		}
		var split []string
		for _, cluster := range inner.(*tcpv3.TcpProxy).GetWeightedClusters().GetClusters() {
			split = append(split, fmt.Sprint(cluster.Name, " ", cluster.Weight))
		}
		if got := strings.Join(split, ", "); got != want[listener.Name] {
			t.Errorf("%s splits %s, want %s", listener.Name, got, want[listener.Name])
		}
		delete(want, listener.Name)
	}
	if len(want) > 0 {
		t.Errorf("no listeners for %v", want)
	}
}

func TestEncodeKeepsGoing(t *testing.T) {
	mesh := ir.Mesh{Services: []ir.Service{
		plain("good"),
		{Namespace: "shop", Name: "portless"},
		{Namespace: "shop", Name: "bad name", Ports: plain("x").Ports},
	}}
	resources, err := xds.Encode(mesh)
	if err == nil || !strings.Contains(err.Error(), "service shop/portless") || !strings.Contains(err.Error(), "service shop/bad name") {
		t.Errorf("error does not name both services: %v", err)
	}
	if len(resources.Routes) != 1 || resources.Routes[0].Name != "shop/good:80" {
		t.Errorf("routes: %v", resources.Routes)
	}
}

// Equal meaning is equal bytes: otherwise a restart would push.
func TestVersionsAreStable(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 12))
	for range 50 {
		mesh := irtest.Random(random)
		if diff := cmp.Diff(versions(t, mesh), versions(t, mesh)); diff != "" {
			t.Fatal(diff)
		}
	}
	before, service := versions(t, ir.Mesh{Services: []ir.Service{release()}}), release()
	service.Split.Weight, service.Split.Epoch = 20, 8
	service.Split = service.Split.WithShares(service.Subsets)
	after := versions(t, ir.Mesh{Services: []ir.Service{service}})
	var changed []string
	for name := range after {
		if before[name] != after[name] {
			changed = append(changed, name)
		}
	}
	slices.Sort(changed)
	want := []string{xds.RouteType + " shop/cart:80", xds.RouteType + " shop/cart:9090"}
	if diff := cmp.Diff(want, changed); diff != "" {
		t.Errorf("a weight changed other resources than the routes (-want +got):\n%s", diff)
	}
}

func versions(t *testing.T, mesh ir.Mesh) map[string]string {
	t.Helper()
	resources, err := xds.Encode(mesh)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, resource := range resources.Pack() {
		key := resource.Body.TypeUrl + " " + resource.Name
		if found[key] != "" {
			t.Fatalf("%s is there twice", key)
		}
		found[key] = resource.Version
	}
	return found
}

func plain(name string) ir.Service {
	return ir.Service{
		Namespace: "shop", Name: name,
		Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.1")},
		Ports:     []ir.Port{{Name: "http", Number: 80, Protocol: ir.HTTP}},
		Subsets: []ir.Subset{{Name: "5d9f7c", Endpoints: []ir.Endpoint{
			{Address: netip.MustParseAddr("10.0.0.1"), Ports: map[string]uint16{"http": 8080}},
			{Address: netip.MustParseAddr("10.0.0.2"), Ports: map[string]uint16{"http": 8080}, Draining: true},
		}}},
	}
}

// release is in the middle of one; only its canary has the new port.
func release() ir.Service {
	service := plain("cart")
	service.Addresses = append(service.Addresses, netip.MustParseAddr("fd00::1"))
	service.Ports = append(service.Ports, ir.Port{Name: "grpc-new", Number: 9090, Protocol: ir.GRPC})
	service.Subsets = append(service.Subsets, ir.Subset{Name: "7b8c6d", Endpoints: []ir.Endpoint{
		{Address: netip.MustParseAddr("10.0.0.3"), Ports: map[string]uint16{"http": 8080, "grpc-new": 9000}},
	}})
	service.Split = ir.Split{Owner: "6f2c", Epoch: 7, Weight: 10, Stable: "5d9f7c", Canary: "7b8c6d"}.WithShares(service.Subsets)
	return service
}

// Through a whole release no route sends requests to a cluster that the one before had not named: gRPC
// would fail calls.
func TestReleaseBringsInNoNewCluster(t *testing.T) {
	stable, both := plain("cart"), release()
	both.Ports = both.Ports[:1]
	delete(both.Subsets[1].Endpoints[0].Ports, "grpc-new")
	at := func(weight uint32, subsets ...ir.Subset) ir.Service {
		service := both
		service.Subsets = subsets
		service.Split.Weight = weight
		service.Split = service.Split.WithShares(subsets)
		return service
	}
	old, fresh := both.Subsets[0], both.Subsets[1]
	after := stable
	after.Subsets, after.Split = []ir.Subset{fresh}, ir.Split{Owner: "6f2c", Epoch: 9}
	mixed := after
	mixed.Subsets = []ir.Subset{old, fresh}
	steps := []ir.Service{
		stable, at(0, old), at(0, old, fresh), at(10, old, fresh), at(100, old, fresh), at(0, old, fresh),
		at(50, old, fresh), at(100, old, fresh), mixed, after,
	}
	var before []string
	for i, step := range steps {
		resources, err := xds.EncodeService(step)
		if err != nil {
			t.Fatal(err)
		}
		for _, cluster := range xds.WeightedClusters(resources.Routes[0]) {
			if i > 0 && !slices.Contains(before, cluster) {
				t.Errorf("step %d brings in %s; named before were %v", i, cluster, before)
			}
		}
		before = xds.NamedClusters(resources.Routes[0])
	}
}

func TestServiceOf(t *testing.T) {
	for name, want := range map[string]string{
		"shop/cart:80": "shop/cart", "shop/cart:80/5d9f7c": "shop/cart", "shop/cart:80/*": "shop/cart", "shop/cart:80/!": "shop/cart",
		"cart.shop:80": "", "cart.shop.svc:80": "", "shop/cart": "", "shop/cart:0": "", "shop/cart:70000": "", "shop/cart:80/": "", "/cart:80": "", "shop/:80": "", "": "",
	} {
		if got, found := xds.ServiceOf(name); got != want || found != (want != "") {
			t.Errorf("ServiceOf(%q) = %q, %v; want %q", name, got, found, want)
		}
	}
}
