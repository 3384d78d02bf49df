package ir_test

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/ir/irtest"
)

var addresses = cmpopts.EquateComparable(netip.Addr{})

func endpoint(address string, draining bool, ports map[string]uint16) ir.Endpoint {
	return ir.Endpoint{Address: netip.MustParseAddr(address), Ports: ports, Draining: draining}
}

func TestShares(t *testing.T) {
	up := endpoint("10.0.0.1", false, map[string]uint16{"http": 80})
	leaving := endpoint("10.0.0.2", true, map[string]uint16{"http": 80})
	subset := func(name string, endpoints ...ir.Endpoint) ir.Subset {
		return ir.Subset{Name: name, Endpoints: endpoints}
	}
	split := func(weight uint32) ir.Split { return ir.Split{Weight: weight, Stable: "s", Canary: "c"} }
	three := func(weight, baseline uint32) ir.Split {
		return ir.Split{Weight: weight, Stable: "s", Canary: "c", Baseline: "b", BaselineWeight: baseline}
	}
	cases := map[string]struct {
		split   ir.Split
		subsets []ir.Subset
		want    []ir.Share
		clamped bool
	}{
		"no canary":                      {ir.Split{Weight: 50, Stable: "s"}, []ir.Subset{subset("s", up)}, nil, false},
		"both ready":                     {split(10), []ir.Subset{subset("c", up), subset("s", up)}, []ir.Share{{"c", 10}, {"s", 90}}, false},
		"all to the canary":              {split(100), []ir.Subset{subset("c", up), subset("s", up)}, []ir.Share{{"c", 100}}, false},
		"nothing to the canary":          {split(0), []ir.Subset{subset("c", up), subset("s", up)}, []ir.Share{{"s", 100}}, false},
		"weight beyond 100":              {split(250), []ir.Subset{subset("c", up), subset("s", up)}, []ir.Share{{"c", 100}}, false},
		"canary not there":               {split(10), []ir.Subset{subset("s", up)}, []ir.Share{{"s", 100}}, true},
		"canary only draining":           {split(100), []ir.Subset{subset("c", leaving), subset("s", up)}, []ir.Share{{"s", 100}}, true},
		"stable lost":                    {split(10), []ir.Subset{subset("c", up), subset("s", leaving)}, []ir.Share{{"c", 100}}, true},
		"stable lost while at 0":         {split(0), []ir.Subset{subset("c", up)}, []ir.Share{{"c", 100}}, true},
		"nobody, at 0":                   {split(0), nil, []ir.Share{{"s", 100}}, false},
		"nobody, at 100: stays stable":   {split(100), nil, []ir.Share{{"s", 100}}, true},
		"stable is the nameless subset":  {ir.Split{Weight: 30, Canary: "c"}, []ir.Subset{subset("", up), subset("c", up)}, []ir.Share{{"", 70}, {"c", 30}}, false},
		"with a baseline":                {three(10, 15), []ir.Subset{subset("b", up), subset("c", up), subset("s", up)}, []ir.Share{{"b", 15}, {"c", 10}, {"s", 75}}, false},
		"baseline at 0":                  {three(10, 0), []ir.Subset{subset("b", up), subset("c", up), subset("s", up)}, []ir.Share{{"c", 10}, {"s", 90}}, false},
		"baseline beyond what is left":   {three(90, 20), []ir.Subset{subset("b", up), subset("c", up), subset("s", up)}, []ir.Share{{"b", 10}, {"c", 90}}, false},
		"baseline not there":             {three(10, 15), []ir.Subset{subset("c", up), subset("s", up)}, []ir.Share{{"c", 10}, {"s", 90}}, false},
		"baseline stands in for stable":  {three(10, 15), []ir.Subset{subset("b", up), subset("c", up), subset("s", leaving)}, []ir.Share{{"b", 90}, {"c", 10}}, true},
		"baseline without a canary":      {three(10, 15), []ir.Subset{subset("b", up), subset("s", up)}, []ir.Share{{"b", 15}, {"s", 85}}, true},
		"only the canary":                {three(10, 15), []ir.Subset{subset("c", up)}, []ir.Share{{"c", 100}}, true},
		"nobody, with a baseline":        {three(10, 15), nil, []ir.Share{{"s", 100}}, true},
		"baseline and stable lost":       {three(10, 15), []ir.Subset{subset("b", leaving), subset("c", up), subset("s", leaving)}, []ir.Share{{"c", 100}}, true},
		"a third revision gets nothing ": {split(10), []ir.Subset{subset("c", up), subset("s", up), subset("x", up)}, []ir.Share{{"c", 10}, {"s", 90}}, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := c.split.WithShares(c.subsets)
			if diff := cmp.Diff(c.want, got.Shares); diff != "" {
				t.Errorf("shares (-want +got):\n%s", diff)
			}
			if got.Clamped() != c.clamped {
				t.Errorf("Clamped() = %v, want %v", got.Clamped(), c.clamped)
			}
		})
	}
}

func TestSharesOnPort(t *testing.T) {
	service := ir.Service{
		Ports: []ir.Port{{Name: "http", Number: 80}, {Name: "new", Number: 81}, {Name: "gone", Number: 82}},
		Subsets: []ir.Subset{
			{Name: "c", Endpoints: []ir.Endpoint{endpoint("10.0.0.1", false, map[string]uint16{"http": 80, "new": 81})}},
			{Name: "s", Endpoints: []ir.Endpoint{endpoint("10.0.0.2", false, map[string]uint16{"http": 80})}},
		},
	}
	service.Split = ir.Split{Weight: 10, Stable: "s", Canary: "c"}.WithShares(service.Subsets)
	for port, want := range map[string][]ir.Share{
		"http": {{"c", 10}, {"s", 90}},
		"new":  {{"c", 100}},
		"gone": {{"c", 10}, {"s", 90}},
	} {
		if diff := cmp.Diff(want, service.SharesOn(port)); diff != "" {
			t.Errorf("shares on %s (-want +got):\n%s", port, diff)
		}
	}
}

// Whatever the world: shares sum to 100, never go to a subset that is not ready while the other is, and
// follow the weight when both are.
func TestSharesProperty(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		for _, service := range irtest.Random(random).Services {
			split := service.Split
			split.Weight = uint32(random.IntN(120))
			split = split.WithShares(service.Subsets)
			if split.Canary == "" {
				if split.Shares != nil {
					t.Fatalf("shares without a canary: %v", split.Shares)
				}
				continue
			}
			for _, port := range service.Ports {
				service.Split = split
				checkSum(t, service.SharesOn(port.Name))
			}
			checkSum(t, split.Shares)
			stable, _ := service.Subset(split.Stable)
			canary, _ := service.Subset(split.Canary)
			baseline, _ := service.Subset(split.Baseline)
			someone := stable.Ready() || canary.Ready() || split.Baseline != "" && baseline.Ready()
			for _, share := range split.Shares {
				if subset, _ := service.Subset(share.Subset); someone && !subset.Ready() {
					t.Fatalf("share %v for a subset that is not ready", share)
				}
			}
			if stable.Ready() && canary.Ready() && (split.Baseline == "" || baseline.Ready()) && split.Clamped() {
				t.Fatalf("clamped with all ready: %+v", split)
			}
		}
	}
}

func checkSum(t *testing.T, shares []ir.Share) {
	t.Helper()
	var sum uint32
	for _, share := range shares {
		if share.Weight == 0 {
			t.Fatalf("a share of zero: %v", shares)
		}
		sum += share.Weight
	}
	if sum != 100 {
		t.Fatalf("shares %v sum to %d", shares, sum)
	}
}

func TestValidateNamesWhatIsWrong(t *testing.T) {
	good := func() ir.Service {
		return ir.Service{
			Namespace: "shop", Name: "cart",
			Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.1")},
			Ports:     []ir.Port{{Name: "http", Number: 80, Protocol: ir.HTTP}},
			Subsets:   []ir.Subset{{Name: "a1", Endpoints: []ir.Endpoint{endpoint("10.0.0.1", false, map[string]uint16{"http": 8080})}}},
		}
	}
	cases := map[string]struct {
		spoil func(*ir.Service)
		want  string
	}{
		"namespace":    {func(s *ir.Service) { s.Namespace = "a/b" }, `namespace "a/b" is not a DNS label`},
		"name":         {func(s *ir.Service) { s.Name = "" }, `name "" is not a DNS label`},
		"no port":      {func(s *ir.Service) { s.Ports = nil }, "has no port"},
		"port zero":    {func(s *ir.Service) { s.Ports[0].Number = 0 }, "number 0"},
		"protocol":     {func(s *ir.Service) { s.Ports[0].Protocol = "quic" }, `unknown protocol "quic"`},
		"port twice":   {func(s *ir.Service) { s.Ports = append(s.Ports, s.Ports[0]) }, "listed twice"},
		"address":      {func(s *ir.Service) { s.Addresses[0] = netip.Addr{} }, "is not an address"},
		"zone":         {func(s *ir.Service) { s.Addresses[0] = netip.MustParseAddr("fe80::1%eth0") }, "has a zone"},
		"unspecified":  {func(s *ir.Service) { s.Addresses[0] = netip.MustParseAddr("0.0.0.0") }, "not a unicast"},
		"subset star":  {func(s *ir.Service) { s.Subsets[0].Name = "*" }, "malformed"},
		"subset dash":  {func(s *ir.Service) { s.Subsets[0].Name = "-" }, "malformed"},
		"subset twice": {func(s *ir.Service) { s.Subsets = append(s.Subsets, ir.Subset{Name: "a1"}) }, `subset "a1" is listed twice`},
		"endpoint twice": {func(s *ir.Service) {
			s.Subsets = append(s.Subsets, ir.Subset{Name: "b", Endpoints: s.Subsets[0].Endpoints})
		}, "10.0.0.1 is listed twice"},
		"foreign port":       {func(s *ir.Service) { s.Subsets[0].Endpoints[0].Ports = map[string]uint16{"x": 1} }, `port "x" that the service has not`},
		"same revisions":     {func(s *ir.Service) { s.Split = ir.Split{Stable: "a", Canary: "a"} }, "as stable and canary"},
		"baseline is stable": {func(s *ir.Service) { s.Split = ir.Split{Stable: "a", Canary: "b", Baseline: "a"} }, `"a" as baseline of "a"`},
		"baseline alone":     {func(s *ir.Service) { s.Split = ir.Split{Stable: "a", Baseline: "b"} }, "as baseline"},
		"baseline's weight":  {func(s *ir.Service) { s.Split = ir.Split{Stable: "a", BaselineWeight: 1} }, "baseline weight of 1"},
		"weight":             {func(s *ir.Service) { s.Split.Weight = 101 }, "above 100"},
		"epoch":              {func(s *ir.Service) { s.Split.Epoch = -1 }, "negative"},
		"shares too few":     {func(s *ir.Service) { s.Split.Shares = []ir.Share{{"a1", 99}} }, "sum to 99"},
		"shares wrap around": {func(s *ir.Service) { s.Split.Shares = []ir.Share{{"a1", 1 << 31}, {"b", 1<<31 + 100}} }, "sum to 4294967396"},
		"share zero":         {func(s *ir.Service) { s.Split.Shares = []ir.Share{{"a1", 100}, {"b", 0}} }, "is zero"},
	}
	if err := ir.Validate(ir.Mesh{Services: []ir.Service{good()}}); err != nil {
		t.Fatalf("a valid mesh: %v", err)
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			service := good()
			c.spoil(&service)
			err := ir.Validate(ir.Mesh{Services: []ir.Service{service}})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "service "+service.Key()) {
				t.Errorf("Validate: %v\nwant it to name %q and %q", err, "service "+service.Key(), c.want)
			}
		})
	}
	other := good()
	other.Name = "orders"
	if err := ir.Validate(ir.Mesh{Services: []ir.Service{good(), other}}); err == nil || !strings.Contains(err.Error(), "also that of shop/cart") {
		t.Errorf("one address for two services: %v", err)
	}
	if err := ir.Validate(ir.Mesh{Services: []ir.Service{good(), good()}}); err == nil || !strings.Contains(err.Error(), "listed twice") {
		t.Errorf("one service twice: %v", err)
	}
}

// Order in which things were listed does not change the normal form, the hash, or equality; a change of
// anything does.
func TestNormalFormAndHash(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 400 {
		mesh := irtest.Random(random)
		if err := ir.Validate(mesh); err != nil {
			t.Fatal(err)
		}
		shuffled := irtest.Shuffle(random, mesh)
		if diff := cmp.Diff(mesh, ir.Normalise(shuffled), addresses); diff != "" {
			t.Fatalf("normal form of a shuffled mesh (-want +got):\n%s", diff)
		}
		if mesh.Hash() != shuffled.Hash() || !ir.EqualMeshes(mesh, ir.Normalise(shuffled)) {
			t.Fatal("order changed hash or equality")
		}
		if len(mesh.Services) == 0 {
			continue
		}
		changed := irtest.Shuffle(random, mesh)
		changed.Services[0].Split.Epoch++
		if mesh.Hash() == changed.Hash() || ir.EqualMeshes(mesh, ir.Normalise(changed)) {
			t.Fatal("an epoch changed neither hash nor equality")
		}
	}
}

// The hash is the same in every build: replicas compare it.
func TestHashIsPinned(t *testing.T) {
	service := ir.Service{
		Namespace: "shop", Name: "cart",
		Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.1")},
		Ports:     []ir.Port{{Name: "http", Number: 80, Protocol: ir.HTTP}},
	}
	const want = "a3abd856"
	if got := service.Hash(); !strings.HasPrefix(got, want) {
		t.Errorf("Hash() = %s, want %s...", got, want)
	}
}

func TestIndex(t *testing.T) {
	http := ir.Port{Name: "http", Number: 80, Protocol: ir.HTTP}
	pod := func(address string) []ir.Subset {
		return []ir.Subset{{Name: "a1", Endpoints: []ir.Endpoint{endpoint(address, false, map[string]uint16{"http": 8080})}}}
	}
	mesh := ir.Mesh{Services: []ir.Service{
		{Namespace: "shop", Name: "cart", Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("fd00::1")}, Ports: []ir.Port{http}, Subsets: pod("10.0.0.1")},
		{Namespace: "shop", Name: "db", Ports: []ir.Port{http}, Subsets: pod("10.0.0.2")},
		{Namespace: "shop", Name: "two-a", Ports: []ir.Port{http}, Subsets: pod("10.0.0.3")},
		{Namespace: "shop", Name: "two-b", Ports: []ir.Port{http}, Subsets: pod("10.0.0.3")},
	}}
	index := ir.NewIndex(mesh)
	virtual := map[string]string{
		"10.96.0.1:80": "shop/cart", "[fd00::1]:80": "shop/cart", "[::ffff:10.96.0.1]:80": "shop/cart",
		"10.96.0.1:81": "", "10.0.0.1:8080": "",
	}
	for address, want := range virtual {
		target, found := index.Virtual(netip.MustParseAddrPort(address))
		if found != (want != "") || found && target.Service.Key() != want {
			t.Errorf("Virtual(%s) = %+v, want %q", address, target, want)
		}
	}
	headless := map[string]string{"10.0.0.2:8080": "shop/db", "10.0.0.2:80": "", "10.0.0.1:8080": "", "10.0.0.3:8080": ""}
	for address, want := range headless {
		target, found := index.Headless(netip.MustParseAddrPort(address))
		if found != (want != "") || found && (target.Service.Key() != want || target.Subset != "a1") {
			t.Errorf("Headless(%s) = %+v, want %q", address, target, want)
		}
	}
	if index.Service("shop", "db") == nil || index.Service("shop", "nope") != nil {
		t.Error("Service finds the wrong ones")
	}
}

// Whatever text a mesh is read from, nothing panics, and what Validate accepts has a stable normal form.
func FuzzNormalise(f *testing.F) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 5 {
		text, err := json.Marshal(irtest.Random(random))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var mesh ir.Mesh
		if json.Unmarshal(text, &mesh) != nil {
			return
		}
		err := ir.Validate(mesh)
		once := ir.Normalise(mesh)
		if twice := ir.Normalise(once); !ir.EqualMeshes(once, twice) {
			t.Fatal("the normal form has another normal form")
		}
		if err == nil && ir.Validate(once) != nil {
			t.Fatalf("valid, but not in normal form: %v", ir.Validate(once))
		}
		ir.NewIndex(once)
		for _, service := range once.Services {
			if err == nil && service.Split.Canary != "" {
				checkSum(t, service.Split.WithShares(service.Subsets).Shares)
			}
			if !slices.IsSortedFunc(service.Subsets, func(a, b ir.Subset) int { return strings.Compare(a.Name, b.Name) }) {
				t.Fatal("subsets are not sorted")
			}
		}
	})
}
