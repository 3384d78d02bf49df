package xds_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/ir/irtest"
	"github.com/sluice-mesh/sluice/mesh/xds"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var addresses = cmpopts.EquateComparable(netip.Addr{})

// Decode(Encode(mesh)) is the mesh, also after the resources have travelled.
func TestRoundTrip(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for i := range 200 {
		mesh := irtest.Random(random)
		resources, err := xds.Encode(mesh)
		if err != nil {
			t.Fatalf("mesh %d: %v", i, err)
		}
		decoded, err := xds.Decode(travel(t, resources))
		if err != nil {
			t.Fatalf("mesh %d: %v", i, err)
		}
		if diff := cmp.Diff(mesh, decoded, addresses); diff != "" {
			t.Fatalf("mesh %d came back changed (-sent +got):\n%s", i, diff)
		}
	}
}

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
		arrived.Add(unpacked)
	}
	return arrived
}

// What gRPC's client rejects must never be made, and every reference must lead somewhere.
func TestRightForGRPC(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	for range 300 {
		resources, err := xds.Encode(irtest.Random(random))
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
			seen := map[string]bool{}
			for _, locality := range assignment.Endpoints {
				if locality.Locality == nil || locality.LoadBalancingWeight.GetValue() < 1 || locality.Priority != 0 {
					t.Fatalf("locality %v", locality)
				}
				for _, endpoint := range locality.LbEndpoints {
					address := endpoint.GetEndpoint().GetAddress().String()
					if seen[address] {
						t.Fatalf("%s lists %s twice", assignment.ClusterName, address)
					}
					seen[address] = true
				}
			}
		}
		if len(clusters) > 0 {
			t.Fatalf("clusters without endpoints: %v", clusters)
		}
		routes := map[string]bool{}
		for _, route := range resources.Routes {
			routes[route.Name] = true
			weighted := xds.WeightedClusters(route)
			if len(weighted) == 0 {
				t.Fatalf("route %s sends nowhere", route.Name)
			}
			var some int
			for _, cluster := range xds.NamedClusters(route) {
				if _, exists := reachable[cluster]; !exists {
					t.Fatalf("route %s refers to %s, which is not there", route.Name, cluster)
				}
			}
			for _, cluster := range weighted {
				some += reachable[cluster]
			}
			for _, cluster := range weighted {
				if some > 0 && reachable[cluster] == 0 {
					t.Fatalf("route %s weighs %s, which has no ready endpoint", route.Name, cluster)
				}
			}
		}
		if got := len(resources.Listeners); got != 4*len(routes) {
			t.Fatalf("%d listeners for %d routes", got, len(routes))
		}
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

func TestGolden(t *testing.T) {
	headless := ir.Service{
		Namespace: "data", Name: "db",
		Ports:   []ir.Port{{Number: 5432}},
		Subsets: []ir.Subset{{Endpoints: []ir.Endpoint{{Address: netip.MustParseAddr("10.0.0.9"), Ports: map[string]uint16{"": 5432}}}}},
	}
	waiting := release()
	waiting.Subsets = waiting.Subsets[:1]
	waiting.Split = waiting.Split.WithShares(waiting.Subsets)
	cases := map[string]ir.Service{
		"plain":               plain("cart"),
		"release":             release(),
		"headless-tcp":        headless,
		"canary-has-no-pods":  waiting,
		"nobody-has-pods-yet": {Namespace: "shop", Name: "new", Ports: plain("x").Ports, Split: ir.Split{Owner: "6f2c", Epoch: 1, Weight: 5, Stable: "a", Canary: "b"}.WithShares(nil)},
	}
	for name, service := range cases {
		t.Run(name, func(t *testing.T) {
			resources, err := xds.EncodeService(service)
			if err != nil {
				t.Fatal(err)
			}
			got := render(t, resources)
			path := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s is not what is made now; -update rewrites it (-file +made):\n%s", path, diff)
			}
		})
	}
}

func render(t *testing.T, resources xds.Resources) []byte {
	t.Helper()
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	for _, resource := range resources.Pack() {
		text, err := protojson.Marshal(resource.Message)
		if err != nil {
			t.Fatal(err)
		}
		var plain any
		if err := json.Unmarshal(text, &plain); err != nil {
			t.Fatal(err)
		}
		kind := resource.Body.TypeUrl[strings.LastIndex(resource.Body.TypeUrl, ".")+1:]
		if err := encoder.Encode(map[string]any{kind: plain}); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

func TestDecodeOfWhatIsNotThereYet(t *testing.T) {
	whole, err := xds.EncodeService(release())
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		drop func(*xds.Resources)
		want func(*ir.Service) bool
	}{
		"nothing missing": {func(*xds.Resources) {}, func(s *ir.Service) bool { return s != nil && ir.Equal(*s, release().Normalise()) }},
		"no listeners":    {func(r *xds.Resources) { r.Listeners = nil }, func(s *ir.Service) bool { return s == nil }},
		"no routes":       {func(r *xds.Resources) { r.Routes = nil }, func(s *ir.Service) bool { return s == nil }},
		"one route":       {func(r *xds.Resources) { r.Routes = r.Routes[:1] }, func(s *ir.Service) bool { return s != nil && len(s.Ports) == 1 && s.Split.Epoch == 7 }},
		"no clusters":     {func(r *xds.Resources) { r.Clusters = nil }, func(s *ir.Service) bool { return s != nil && len(s.Subsets) == 0 }},
		"no endpoints":    {func(r *xds.Resources) { r.Endpoints = nil }, func(s *ir.Service) bool { return s != nil && len(s.Subsets) == 0 && len(s.Ports) == 2 }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			resources := whole
			c.drop(&resources)
			mesh, err := xds.Decode(resources)
			if err != nil {
				t.Fatal(err)
			}
			var got *ir.Service
			if len(mesh.Services) > 0 {
				got = &mesh.Services[0]
			}
			if !c.want(got) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestDecodeRejectsWhatIsMalformed(t *testing.T) {
	cases := map[string]struct {
		spoil func(xds.Resources)
		want  string
	}{
		"epoch":  {func(r xds.Resources) { ours(r.Routes[0].Metadata)["epoch"] = structpb.NewStringValue("x") }, `epoch "x"`},
		"weight": {func(r xds.Resources) { ours(r.Routes[0].Metadata)["weight"] = structpb.NewNumberValue(10.5) }, "10.5 is not a whole percentage"},
		"shares": {func(r xds.Resources) {
			for _, route := range r.Routes {
				ours(route.Metadata)["shares"].GetStructValue().Fields["5d9f7c"] = structpb.NewNumberValue(1)
			}
		}, "sum to 11"},
		"listener address": {func(r xds.Resources) { meshListener(r).Address.GetSocketAddress().Address = "localhost" }, `parse address "localhost"`},
		"endpoint port": {func(r xds.Resources) {
			for _, e := range r.Endpoints {
				for _, l := range e.Endpoints {
					l.LbEndpoints[0].GetEndpoint().Address.GetSocketAddress().PortSpecifier = &corev3.SocketAddress_PortValue{PortValue: 70000}
				}
			}
		}, "out of range"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			resources, err := xds.EncodeService(release())
			if err != nil {
				t.Fatal(err)
			}
			resources = travel(t, resources)
			c.spoil(resources)
			decoded, err := xds.Decode(resources)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "shop/cart") {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
			if len(decoded.Services) > 0 {
				t.Errorf("a mesh all the same: %+v", decoded)
			}
		})
	}
}

func TestDecodeTakesAnUnknownProtocolAsTCP(t *testing.T) {
	resources, err := xds.EncodeService(plain("cart"))
	if err != nil {
		t.Fatal(err)
	}
	for _, listener := range resources.Listeners {
		if fields := listener.Metadata.GetFilterMetadata(); fields != nil {
			ours(listener.Metadata)["protocol"] = structpb.NewStringValue("http3")
		}
	}
	decoded, err := xds.Decode(resources)
	if err != nil || decoded.Services[0].Ports[0].Protocol != ir.TCP {
		t.Errorf("decoded %+v, %v", decoded, err)
	}
}

func ours(metadata *corev3.Metadata) map[string]*structpb.Value {
	return metadata.FilterMetadata["sluice.dev"].Fields
}

// meshListener finds the one for our proxy.
func meshListener(r xds.Resources) *listenerv3.Listener {
	return r.Listeners[slices.IndexFunc(r.Listeners, func(l *listenerv3.Listener) bool { return l.Name == "shop/cart:80" })]
}

// Whatever arrives, nothing panics, and what is accepted is a valid mesh that survives another trip.
func FuzzDecode(f *testing.F) {
	random := rand.New(rand.NewPCG(13, 14))
	for range 8 {
		resources, err := xds.Encode(irtest.Random(random))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame(f, resources))
	}
	f.Fuzz(checkDecode)
}

// The same with inputs that are nearly right, which a fuzzer takes long to find: the coverage counters of
// Envoy's types slow it down to a few inputs a second.
func TestDecodeOfMutations(t *testing.T) {
	random := rand.New(rand.NewPCG(15, 16))
	accepted := 0
	for range 500 {
		resources, err := xds.Encode(irtest.Random(random))
		if err != nil {
			t.Fatal(err)
		}
		data := frame(t, resources)
		for range random.IntN(4) {
			if len(data) < 8 {
				break
			}
			at := random.IntN(len(data) - 4)
			switch random.IntN(4) {
			case 0:
				data[at] ^= 1 << random.IntN(8)
			case 1:
				data[at] = byte(random.IntN(256))
			case 2:
				copy(data[at:], data[random.IntN(len(data)):])
			case 3:
				data = slices.Delete(data, at, at+1+random.IntN(3))
			}
		}
		if checkDecode(t, data); t.Failed() {
			t.Fatalf("input %x", data)
		}
		if mesh, err := xds.Decode(unframe(data)); err == nil && len(mesh.Services) > 0 {
			accepted++
		}
	}
	if accepted < 70 || accepted > 470 {
		t.Errorf("%d of 500 accepted: the mutations test too little", accepted)
	}
}

func checkDecode(t *testing.T, data []byte) {
	mesh, err := xds.Decode(unframe(data))
	if err != nil {
		return
	}
	again, err := xds.Encode(mesh)
	if err != nil {
		t.Fatalf("accepted a mesh that is not valid: %v", err)
	}
	back, err := xds.Decode(again)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(mesh, back, addresses); diff != "" {
		t.Fatalf("came back changed (-sent +got):\n%s", diff)
	}
}

// unframe reads what frame writes, leaving out what cannot be unpacked.
func unframe(data []byte) xds.Resources {
	var resources xds.Resources
	for len(data) > 2 {
		kind, length := int(data[0])%len(xds.Types), min(int(data[1])<<8|int(data[2]), len(data)-3)
		if resource, err := xds.Unpack(&anypb.Any{TypeUrl: xds.Types[kind], Value: data[3 : 3+length]}); err == nil {
			resources.Add(resource)
		}
		data = data[3+length:]
	}
	return resources
}

// frame writes resources one after the other: index of the type, length, value.
func frame(t testing.TB, resources xds.Resources) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, resource := range resources.Pack() {
		length := len(resource.Body.Value)
		out.Write([]byte{byte(slices.Index(xds.Types, resource.Body.TypeUrl)), byte(length >> 8), byte(length)})
		out.Write(resource.Body.Value)
	}
	return out.Bytes()
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
