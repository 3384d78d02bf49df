package ir_test

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/ir/irtest"
)

func cart() ir.Service {
	return ir.Service{
		Namespace: "shop", Name: "cart",
		Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.1")},
		Ports:     []ir.Port{{Name: "http", Number: 80, Protocol: ir.HTTP}},
	}
}

func TestValidateNamesWhatIsWrongWithARoute(t *testing.T) {
	changes := func(name, value string) ir.HeaderChanges {
		return ir.HeaderChanges{Set: []ir.Header{{Name: name, Value: value}}}
	}
	match := func(m ir.Match) ir.Route { return ir.Route{Matches: []ir.Match{m}} }
	backend := func(b ir.Backend) ir.Route { return ir.Route{Backends: []ir.Backend{b}} }
	to := ir.Backend{Service: "shop/cart", Port: 80, Weight: 1}
	heavy := to
	heavy.Weight = 1 << 31
	header := func(v ir.ValueMatch) ir.Route { return match(ir.Match{Headers: []ir.ValueMatch{v}}) }
	cases := map[string]struct {
		route ir.Route
		want  string // "": it is valid
	}{
		"nothing":              {ir.Route{}, ""},
		"own port":             {ir.Route{Ports: []uint16{80}}, ""},
		"foreign port":         {ir.Route{Ports: []uint16{81}}, "port 81 is not one of the service's"},
		"name":                 {ir.Route{Name: "a\n"}, "name is too long or not printable"},
		"host":                 {match(ir.Match{Hosts: []string{"*.example.com", "cart"}}), ""},
		"host in upper case":   {match(ir.Match{Hosts: []string{"Cart"}}), `match 0: host "Cart"`},
		"host with a port":     {match(ir.Match{Hosts: []string{"cart:80"}}), `host "cart:80"`},
		"every host":           {match(ir.Match{Hosts: []string{"*"}}), `host "*"`},
		"path without a slash": {match(ir.Match{Path: ir.PathMatch{Kind: ir.Prefix, Value: "a"}}), `path "a" does not begin with "/"`},
		"path with a query":    {match(ir.Match{Path: ir.PathMatch{Kind: ir.Exact, Value: "/a?b"}}), "has a query"},
		"path without a kind":  {match(ir.Match{Path: ir.PathMatch{Value: "/a"}}), "has no kind"},
		"path is there":        {match(ir.Match{Path: ir.PathMatch{Kind: ir.Present}}), `unknown kind "present"`},
		"path's pattern":       {match(ir.Match{Path: ir.PathMatch{Kind: ir.Regex, Value: "/(a"}}), "does not compile"},
		"look-ahead":           {header(ir.ValueMatch{Name: "x", Kind: ir.Regex, Value: "(?=a)"}), "does not compile"},
		"method":               {match(ir.Match{Method: "get"}), `method "get"`},
		"header":               {header(ir.ValueMatch{Name: "x-a", Kind: ir.Exact}), ""},
		"header in upper case": {header(ir.ValueMatch{Name: "X-A", Kind: ir.Exact}), `header "X-A": is not in lower case`},
		"pseudo-header":        {header(ir.ValueMatch{Name: ":path", Kind: ir.Exact}), `header ":path": is not a header's name`},
		"header's value":       {header(ir.ValueMatch{Name: "x-a", Kind: ir.Exact, Value: "a\r\nb"}), "control characters"},
		"header's kind":        {header(ir.ValueMatch{Name: "x-a"}), `unknown kind ""`},
		"presence of a value":  {header(ir.ValueMatch{Name: "x-a", Kind: ir.Present, Value: "a"}), "only presence"},
		"query":                {match(ir.Match{Query: []ir.ValueMatch{{Kind: ir.Present}}}), "not a parameter's name"},
		"cookie":               {match(ir.Match{Cookies: []ir.ValueMatch{{Name: "a b", Kind: ir.Present}}}), "not a cookie's name"},
		"redirect":             {ir.Route{Redirect: &ir.Redirect{Status: 302, Scheme: "https", Host: "a.b", Path: ir.Path{ReplacePrefix: true}}}, ""},
		"redirect's status":    {ir.Route{Redirect: &ir.Redirect{Status: 304}}, "redirect: status 304"},
		"redirect's scheme":    {ir.Route{Redirect: &ir.Redirect{Status: 302, Scheme: "ftp"}}, `scheme "ftp"`},
		"redirect to backends": {ir.Route{Redirect: &ir.Redirect{Status: 302}, Backends: []ir.Backend{to}}, "neither backends nor a rewrite"},
		"backend":              {backend(to), ""},
		"backend elsewhere":    {backend(ir.Backend{Service: "not/there", Port: 1}), ""},
		"backend's name":       {backend(ir.Backend{Service: "cart", Port: 80}), `backend 0: service "cart" is not "<namespace>/<name>"`},
		"backend's port":       {backend(ir.Backend{Service: "shop/cart"}), "backend 0: port is 0"},
		"weights":              {ir.Route{Backends: []ir.Backend{heavy, heavy}}, "weights of backends sum to 4294967296"},
		"backend's headers":    {backend(ir.Backend{Service: "shop/cart", Port: 80, RequestHeaders: changes("te", "x")}), "backend 0: request headers: \"te\""},
		"revision":             {ir.Route{Revision: "old"}, `unknown revision "old"`},
		"rewrite":              {ir.Route{Rewrite: &ir.Rewrite{Host: "a.b", Path: ir.Path{Full: "/a"}}}, ""},
		"rewrite's host":       {ir.Route{Rewrite: &ir.Rewrite{Host: "a:1"}}, "rewrite: host"},
		"rewrite's path":       {ir.Route{Rewrite: &ir.Rewrite{Path: ir.Path{Full: "a"}}}, "rewrite: path"},
		"rewrite twice":        {ir.Route{Rewrite: &ir.Rewrite{Path: ir.Path{Full: "/a", ReplacePrefix: true}}}, "as a whole or by its prefix"},
		"prefix of a pattern": {ir.Route{
			Matches: []ir.Match{{Path: ir.PathMatch{Kind: ir.Prefix, Value: "/a"}}, {Path: ir.PathMatch{Kind: ir.Regex, Value: "/a"}}},
			Rewrite: &ir.Rewrite{Path: ir.Path{ReplacePrefix: true}},
		}, "replaces a prefix, but match 1 has none"},
		"changes":                {ir.Route{RequestHeaders: changes("x-a", "é\t")}, ""},
		"change of the host":     {ir.Route{RequestHeaders: changes("host", "a")}, `request headers: "host"`},
		"change of the framing":  {ir.Route{ResponseHeaders: ir.HeaderChanges{Remove: []string{"transfer-encoding"}}}, `response headers: "transfer-encoding"`},
		"change of ours":         {ir.Route{RequestHeaders: changes("sluice-intended", "a")}, "one of the mesh's own"},
		"a line in a value":      {ir.Route{RequestHeaders: changes("x-a", "a\nb")}, "control characters"},
		"a value that is binary": {ir.Route{RequestHeaders: changes("x-a", "\xff")}, "not UTF-8"},
		"set twice":              {ir.Route{RequestHeaders: ir.HeaderChanges{Set: []ir.Header{{"a", "1"}, {"a", "2"}}}}, `"a" is set twice`},
		"set and added":          {ir.Route{RequestHeaders: ir.HeaderChanges{Set: []ir.Header{{"a", "1"}}, Add: []ir.Header{{"a", "2"}, {"a", "3"}}}}, ""},
		"mirror's share":         {ir.Route{Mirrors: []ir.Mirror{{Service: "shop/cart", Port: 80, Share: 1_000_001}}}, "mirror 0: share of 1000001"},
		"mirror's service":       {ir.Route{Mirrors: []ir.Mirror{{Service: "shop", Port: 80}}}, "mirror 0: service"},
		"delay":                  {ir.Route{Fault: &ir.Fault{DelayShare: 1}}, "without saying how long"},
		"delay backwards":        {ir.Route{Fault: &ir.Fault{Delay: -1}}, "fault: delay is negative"},
		"abort":                  {ir.Route{Fault: &ir.Fault{AbortShare: 1}}, "aborts without a status"},
		"abort's status":         {ir.Route{Fault: &ir.Fault{AbortStatus: 199}}, "status 199"},
		"abort's gRPC status":    {ir.Route{Fault: &ir.Fault{AbortGRPC: 17}}, "gRPC status 17"},
		"fault's share":          {ir.Route{Fault: &ir.Fault{Delay: 1, DelayShare: 2_000_000}}, "share of delays"},
		"rate limit":             {ir.Route{RateLimit: &ir.RateLimit{Requests: 1}}, "rate limit: 1 requests in 0s"},
		"timeouts":               {ir.Route{Timeouts: ir.Timeouts{PerTry: -time.Second}}, "timeouts: per try is negative"},
		"retry":                  {ir.Route{Retry: &ir.Retry{Attempts: 1}}, "retry: has no condition"},
		"no retry":               {ir.Route{Retry: &ir.Retry{}}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			service := cart()
			c.route.Name = "HTTPRoute/shop/x/0" + c.route.Name
			service.Routes = []ir.Route{c.route}
			err := ir.Validate(ir.Mesh{Services: []ir.Service{service}})
			switch {
			case c.want == "" && err != nil:
				t.Errorf("Validate: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) ||
				!strings.Contains(err.Error(), "service shop/cart: ") || !strings.Contains(err.Error(), `route 0 "HTTPRoute/shop/x/0`)):
				t.Errorf("Validate: %v\nwant it to name the service, the route and %q", err, c.want)
			}
		})
	}
}

func TestNormalFormOfRoutes(t *testing.T) {
	service := cart()
	service.Routes = []ir.Route{{
		Ports: []uint16{80, 80},
		Matches: []ir.Match{{
			Hosts:   []string{"b", "A", "b"},
			Path:    ir.PathMatch{Kind: ir.Prefix, Value: "/a/"},
			Headers: []ir.ValueMatch{{Name: "X-B", Kind: ir.Prefix}, {Name: "x-a", Kind: ir.Exact, Value: "V"}},
			Query:   []ir.ValueMatch{},
		}, {Path: ir.PathMatch{Kind: ir.Prefix, Value: "/"}}},
		Backends:       []ir.Backend{},
		Rewrite:        &ir.Rewrite{},
		RequestHeaders: ir.HeaderChanges{Set: []ir.Header{{"X-B", "1"}, {"x-a", "2"}}, Remove: []string{"Z", "y", "z"}},
		Mirrors:        []ir.Mirror{{Service: "a/b", Port: 1}, {Service: "a/b", Port: 2, Share: 5}},
		Fault:          &ir.Fault{Delay: time.Second, AbortStatus: 503},
		RateLimit:      &ir.RateLimit{Requests: 5, Per: 1, Burst: 5},
		Retry:          &ir.Retry{Attempts: 1, On: []ir.RetryOn{ir.OnReset, ir.On5xx, ir.OnReset}, Statuses: []int{500}},
	}}
	service.Policy.Retry = &ir.Retry{On: []ir.RetryOn{ir.On5xx}}
	before := service.Hash()
	want := []ir.Route{{
		Ports: []uint16{80},
		Matches: []ir.Match{{
			Hosts:   []string{"a", "b"},
			Path:    ir.PathMatch{Kind: ir.Prefix, Value: "/a"},
			Headers: []ir.ValueMatch{{Name: "x-a", Kind: ir.Exact, Value: "V"}, {Name: "x-b", Kind: ir.Present}},
		}, {Path: ir.PathMatch{Kind: ir.Prefix, Value: "/"}}},
		RequestHeaders: ir.HeaderChanges{Set: []ir.Header{{"x-a", "2"}, {"x-b", "1"}}, Remove: []string{"y", "z"}},
		Mirrors:        []ir.Mirror{{Service: "a/b", Port: 2, Share: 5}},
		RateLimit:      &ir.RateLimit{Requests: 5, Per: 1},
		Retry:          &ir.Retry{Attempts: 1, On: []ir.RetryOn{ir.On5xx, ir.OnReset}},
	}}
	normal := service.Normalise()
	if diff := cmp.Diff(want, normal.Routes); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	if normal.Policy.Retry != nil {
		t.Errorf("a policy that repeats nothing: %+v", normal.Policy.Retry)
	}
	if service.Routes[0].Matches[0].Hosts[0] != "b" || service.Routes[0].RequestHeaders.Set[0].Name != "X-B" || service.Hash() != before {
		t.Error("the service that was given changed")
	}
}

// Whatever field differs, equality and hash tell.
func TestEqualSeesEveryField(t *testing.T) {
	base := func() ir.Mesh {
		service := cart()
		service.Subsets = []ir.Subset{{Name: "a1", Endpoints: []ir.Endpoint{endpoint("10.0.0.1", false, map[string]uint16{"http": 8080})}}}
		service.Routes = []ir.Route{{Name: "r", Fault: &ir.Fault{Delay: 1, DelayShare: 2}}}
		service.Policy.Sticky = &ir.Sticky{Cookie: "c"}
		return ir.Mesh{Services: []ir.Service{service}}
	}
	for name, change := range map[string]func(*ir.Mesh){
		"zone":     func(m *ir.Mesh) { m.Services[0].Subsets[0].Endpoints[0].Zone = "z" },
		"protocol": func(m *ir.Mesh) { m.Services[0].Ports[0].Protocol = ir.HTTP2 },
		"route":    func(m *ir.Mesh) { m.Services[0].Routes[0].Name = "s" },
		"no route": func(m *ir.Mesh) { m.Services[0].Routes = nil },
		"in route": func(m *ir.Mesh) { m.Services[0].Routes[0].Fault.DelayShare = 3 },
		"policy":   func(m *ir.Mesh) { m.Services[0].Policy.Balance.AnyZone = true },
		"sticky":   func(m *ir.Mesh) { m.Services[0].Policy.Sticky.TTL = 1 },
		"settings": func(m *ir.Mesh) { m.Settings.AccessLog.Errors = true },
	} {
		changed := base()
		change(&changed)
		if ir.EqualMeshes(ir.Normalise(base()), ir.Normalise(changed)) || base().Hash() == changed.Hash() {
			t.Errorf("%s: not seen", name)
		}
	}
	if !ir.EqualMeshes(ir.Normalise(base()), ir.Normalise(base())) {
		t.Error("the same is not equal")
	}
}

func TestDependencies(t *testing.T) {
	service := cart()
	if got := service.Dependencies(); got != nil {
		t.Errorf("without routes: %v", got)
	}
	service.Routes = []ir.Route{
		{Backends: []ir.Backend{{Service: "shop/cart"}, {Service: "shop/b"}}, Mirrors: []ir.Mirror{{Service: "a/z"}}},
		{Backends: []ir.Backend{{Service: "shop/b"}}},
	}
	if diff := cmp.Diff([]string{"a/z", "shop/b"}, service.Dependencies()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSharesFor(t *testing.T) {
	up := func(name, address string) ir.Subset {
		return ir.Subset{Name: name, Endpoints: []ir.Endpoint{endpoint(address, false, map[string]uint16{"http": 80})}}
	}
	service := cart()
	service.Subsets = []ir.Subset{up("b", "10.0.0.1"), up("c", "10.0.0.2"), up("s", "10.0.0.3")}
	at := func(weight, baseline uint32) ir.Service {
		s := service
		s.Split = ir.Split{Weight: weight, Stable: "s", Canary: "c", Baseline: "b", BaselineWeight: baseline}.WithShares(s.Subsets)
		return s
	}
	cases := map[string]struct {
		service ir.Service
		side    ir.Revision
		want    []ir.Share
	}{
		"no release":              {service, ir.CanaryRevision, nil},
		"any":                     {at(10, 20), ir.AnyRevision, []ir.Share{{"b", 20}, {"c", 10}, {"s", 70}}},
		"canary":                  {at(10, 20), ir.CanaryRevision, []ir.Share{{"c", 100}}},
		"stable":                  {at(50, 10), ir.StableRevision, []ir.Share{{"b", 20}, {"s", 80}}},
		"canary without a share":  {at(0, 10), ir.CanaryRevision, []ir.Share{{"b", 10}, {"s", 90}}},
		"stable without a share ": {at(100, 0), ir.StableRevision, []ir.Share{{"c", 100}}},
	}
	for name, c := range cases {
		if diff := cmp.Diff(c.want, c.service.SharesFor("http", c.side)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	random := rand.New(rand.NewPCG(7, 8))
	for range 300 {
		for _, service := range irtest.Random(random).Services {
			for _, port := range service.Ports {
				for _, side := range []ir.Revision{ir.StableRevision, ir.CanaryRevision} {
					if shares := service.SharesFor(port.Name, side); shares != nil {
						checkSum(t, shares)
					}
				}
			}
		}
	}
}
