package table

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

var start = time.Unix(1000, 0)

// routed is a service with one route that takes all.
func routed(r ir.Route) ir.Service {
	s := shop(release(1, 30), pods("v1", web, 1), pods("v2", web, 2))
	r.Name = "it"
	s.Routes = []ir.Route{r}
	return s
}

func matching(kind ir.MatchKind, path string) []ir.Match {
	return []ir.Match{{Path: ir.PathMatch{Kind: kind, Value: path}}}
}

func TestLocalAnswers(t *testing.T) {
	cases := map[string]struct {
		route  ir.Route
		r      *request
		random Rand
		want   *Local
	}{
		"weights of zero": {ir.Route{Backends: []ir.Backend{{Service: "demo/shop", Port: 80}}}, get("/"), always(0),
			&Local{Status: 500, Reason: "all backends of the route have weight 0"}},
		"not in the mesh": {ir.Route{Backends: []ir.Backend{{Service: "demo/gone", Port: 80, Weight: 1}}}, get("/"), always(0),
			&Local{Status: 500, Reason: "route it leads to demo/gone port 80, which the mesh does not have"}},
		"no such port": {ir.Route{Backends: []ir.Backend{{Service: "demo/shop", Port: 81, Weight: 1}}}, get("/"), always(0),
			&Local{Status: 500, Reason: "route it leads to demo/shop port 81, which the mesh does not have"}},
		"aborted":      {ir.Route{Fault: &ir.Fault{AbortStatus: 418, AbortGRPC: 7, AbortShare: 10}}, get("/"), always(9), &Local{418, 7, "", "aborted on purpose by route it"}},
		"not aborted":  {ir.Route{Fault: &ir.Fault{AbortStatus: 418, AbortShare: 10}}, get("/"), always(10), nil},
		"gRPC's alone": {ir.Route{Fault: &ir.Fault{AbortGRPC: 7, AbortShare: 10}}, &request{path: "/", grpc: true}, always(9), &Local{503, 7, "", "aborted on purpose by route it"}},
		"not for HTTP": {ir.Route{Fault: &ir.Fault{AbortGRPC: 7, AbortShare: 10}}, get("/"), always(9), nil},
		"aborted before redirected": {ir.Route{Fault: &ir.Fault{AbortStatus: 418, AbortShare: ir.Million}, Redirect: &ir.Redirect{Status: 301}}, get("/"), always(0),
			&Local{Status: 418, Reason: "aborted on purpose by route it"}},
		"redirected": {ir.Route{Redirect: &ir.Redirect{Status: 308, Scheme: "https"}}, get("/"), always(0),
			&Local{Status: 308, Location: "https://shop/", Reason: "redirected by route it"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var plan Plan
			door(t, routed(c.route)).Plan(&plan, c.r, c.random, start)
			if diff := cmp.Diff(c.want, plan.Local); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			if c.want != nil && (plan.Revision != "" || plan.Series == nil) {
				t.Errorf("revision %q and series %v, want nobody's", plan.Revision, plan.Series)
			}
			if c.want != nil {
				if _, err := plan.Next(c.random, nil, start); err == nil {
					t.Error("an endpoint for what is answered here")
				}
			}
		})
	}
}

func TestLocation(t *testing.T) {
	cases := map[string]struct {
		to        ir.Redirect
		authority string
		want      string
	}{
		"host":               {ir.Redirect{Host: "b"}, "a", "http://b/x/y?q"},
		"host keeps port":    {ir.Redirect{Host: "b"}, "a:8080", "http://b:8080/x/y?q"},
		"scheme drops port":  {ir.Redirect{Scheme: "https"}, "a:8080", "https://a/x/y?q"},
		"port":               {ir.Redirect{Port: 81}, "a:8080", "http://a:81/x/y?q"},
		"scheme's own port":  {ir.Redirect{Scheme: "https", Port: 443}, "[::1]:8080", "https://[::1]/x/y?q"},
		"default port":       {ir.Redirect{Host: "b"}, "a:80", "http://b/x/y?q"},
		"whole path":         {ir.Redirect{Path: ir.Path{Full: "/z"}}, "a", "http://a/z?q"},
		"prefix":             {ir.Redirect{Path: ir.Path{Prefix: "/z", ReplacePrefix: true}}, "a", "http://a/z/y?q"},
		"prefix for nothing": {ir.Redirect{Path: ir.Path{ReplacePrefix: true}}, "a", "http://a/y?q"},
	}
	for name, c := range cases {
		c.to.Status = 302
		r := get("/x/y")
		r.query, r.authority = "q", c.authority
		var plan Plan
		door(t, routed(ir.Route{Matches: matching(ir.Prefix, "/x"), Redirect: &c.to})).Plan(&plan, r, always(0), start)
		if plan.Local == nil || plan.Local.Location != c.want {
			t.Errorf("%s: %+v, want %s", name, plan.Local, c.want)
		}
	}
}

func TestRewritePath(t *testing.T) {
	prefix := func(with string) ir.Path { return ir.Path{Prefix: with, ReplacePrefix: true} }
	cases := []struct {
		match      []ir.Match
		to         ir.Path
		path, want string
	}{
		{matching(ir.Prefix, "/foo"), prefix("/xyz"), "/foo/bar", "/xyz/bar"},
		{matching(ir.Prefix, "/foo"), prefix("/xyz/"), "/foo/bar", "/xyz/bar"},
		{matching(ir.Prefix, "/foo/"), prefix("/xyz"), "/foo/bar", "/xyz/bar"},
		{matching(ir.Prefix, "/foo"), prefix("/xyz"), "/foo", "/xyz"},
		{matching(ir.Prefix, "/foo"), prefix("/xyz"), "/foo/", "/xyz/"},
		{matching(ir.Prefix, "/foo"), prefix(""), "/foo/bar", "/bar"},
		{matching(ir.Prefix, "/foo"), prefix(""), "/foo", "/"},
		{matching(ir.Prefix, "/foo"), prefix("/"), "/foo/", "/"},
		{matching(ir.Prefix, "/foo"), prefix("/"), "/foo", "/"},
		{matching(ir.Prefix, "/"), prefix("/xyz"), "/foo", "/xyz/foo"},
		{nil, prefix("/xyz"), "/foo", "/xyz/foo"},
		{nil, prefix("/xyz"), "*", "*"},
		{matching(ir.Exact, "/foo"), ir.Path{Full: "/z"}, "/foo", "/z"},
		{nil, ir.Path{}, "/foo", "/foo"},
	}
	for _, c := range cases {
		port := door(t, routed(ir.Route{Matches: c.match, Rewrite: &ir.Rewrite{Host: "inner", Path: c.to}}))
		var plan Plan
		port.Plan(&plan, get(c.path), always(0), start)
		if plan.Rule.Name != "it" {
			t.Fatalf("%s does not match %+v", c.path, c.match)
		}
		if got := plan.RewritePath(c.path); got != c.want {
			t.Errorf("%s by %+v of %+v: %s, want %s", c.path, c.to, c.match, got, c.want)
		}
	}
}

func TestDelay(t *testing.T) {
	port := door(t, routed(ir.Route{Fault: &ir.Fault{Delay: time.Second, DelayShare: 250_000}}))
	random, delayed := seeded(1), 0
	const n = 4000
	for range n {
		var plan Plan
		if port.Plan(&plan, get("/"), random, start); plan.Delay == time.Second {
			delayed++
		}
	}
	near(t, "delayed", delayed, n, .25)
}

// A route's backends are drawn by weight, and each by its own split then.
func TestBackends(t *testing.T) {
	s := routed(ir.Route{Backends: []ir.Backend{
		{Service: "demo/shop", Port: 80, Weight: 3},
		{Service: "demo/none", Port: 80},
		{Service: "demo/other", Port: 80, Weight: 1, RequestHeaders: ir.HeaderChanges{Remove: []string{"x"}}},
	}})
	split := release(1, 50)
	split.Stable, split.Canary = "w1", "w2"
	port := door(t, s, other("other", 2, split, pods("w1", web, 3), pods("w2", web, 4)))
	random, drawn := seeded(1), map[string]int{}
	const n = 20000
	for range n {
		plan, e := carried(t, port, get("/"), random, start)
		drawn[plan.Port.Service+" "+plan.Revision]++
		if plan.Backend.Service != plan.Port.Service || !strings.HasPrefix(e.Intended, plan.Port.Service+";") {
			t.Fatalf("backend %s, port of %s, endpoint of %s", plan.Backend.Service, plan.Port.Service, e.Intended)
		}
		plan.Done(e, Succeeded, start)
	}
	for what, want := range map[string]float64{"demo/shop v1": .75 * .7, "demo/shop v2": .75 * .3, "demo/other w1": .125, "demo/other w2": .125} {
		near(t, what, drawn[what], n, want)
		delete(drawn, what)
	}
	if len(drawn) > 0 {
		t.Errorf("also drawn: %v", drawn)
	}
}

// Narrowed requests go to their side while it has a share, and are not counted at a weight.
func TestNarrowed(t *testing.T) {
	weights := func(p *Plan) string { return keyOf(p).Weight }
	for _, c := range []struct {
		weight   uint32
		side     ir.Revision
		revision string
		label    string
	}{
		{30, ir.CanaryRevision, "v2", ""}, {30, ir.StableRevision, "v1", ""},
		{0, ir.CanaryRevision, "v1", "0"}, {100, ir.StableRevision, "v2", "100"},
		{0, ir.StableRevision, "v1", ""}, {100, ir.CanaryRevision, "v2", ""},
	} {
		s := routed(ir.Route{Revision: c.side})
		s.Split = release(1, c.weight).WithShares(s.Subsets)
		port := door(t, s)
		for number := range uint32(100) {
			var plan Plan
			port.Plan(&plan, get("/"), always(number), start)
			if plan.Revision != c.revision || weights(&plan) != c.label {
				t.Fatalf("weight %d, %s: %s counted at %q, want %s at %q", c.weight, c.side, plan.Revision, weights(&plan), c.revision, c.label)
			}
		}
	}
	// The baseline is on stable's side.
	s := routed(ir.Route{Revision: ir.StableRevision})
	s.Split.Baseline, s.Split.BaselineWeight = "b", 30
	s.Subsets = append(s.Subsets, pods("b", web, 3))
	s.Split = s.Split.WithShares(s.Subsets)
	port, drawn := door(t, s), map[string]int{}
	for number := range uint32(70) {
		var plan Plan
		port.Plan(&plan, get("/"), always(number), start)
		drawn[plan.Revision]++
	}
	if drawn["b"] != 30 || drawn["v1"] != 40 {
		t.Errorf("stable's side is drawn as %v", drawn)
	}
}

func TestMirrored(t *testing.T) {
	s := routed(ir.Route{Mirrors: []ir.Mirror{
		{Service: "demo/other", Port: 80, Share: ir.Million}, {Service: "demo/shop", Port: 80, Share: 100_000}, {Service: "demo/gone", Port: 80, Share: ir.Million},
	}})
	port := door(t, s, other("other", 2, ir.Split{}, pods("w1", web, 3)))
	random, sent := seeded(1), map[string]int{}
	const n = 5000
	for range n {
		var plan Plan
		port.Plan(&plan, get("/"), random, start)
		plan.Mirrored(random, func(copied *Plan) {
			sent[copied.Port.Service]++
			e, err := copied.Next(random, nil, start)
			if err != nil || copied.Series != nil || copied.Rule == nil {
				t.Fatalf("copy %+v: %v", copied, err)
			}
			copied.Done(e, Failed, start)
		})
	}
	if sent["demo/other"] != n || len(sent) != 2 {
		t.Errorf("sent %v", sent)
	}
	near(t, "copies to shop", sent["demo/shop"], n, .1)
}

func TestRuleHasThePolicysTimeoutsAndRetries(t *testing.T) {
	s := routed(ir.Route{Timeouts: ir.Timeouts{PerTry: 2}, Matches: matching(ir.Exact, "/a")})
	s.Policy = ir.Policy{Timeouts: ir.Timeouts{Request: 7, PerTry: 8}, Retry: &ir.Retry{Attempts: 1, On: []ir.RetryOn{ir.On5xx}}}
	port := door(t, s)
	for path, want := range map[string]ir.Timeouts{"/a": {Request: 7, PerTry: 2}, "/": {Request: 7, PerTry: 8}} {
		var plan Plan
		port.Plan(&plan, get(path), always(0), start)
		if plan.Rule.Timeouts != want || plan.Rule.Retry == nil {
			t.Errorf("%s: %+v", path, plan.Rule)
		}
	}
}

// What an undeclared port turns out to speak is counted as such; at zero from the beginning of a release.
func TestUndeclared(t *testing.T) {
	s := routed(ir.Route{Backends: []ir.Backend{{Service: "demo/other", Port: 80, Weight: 1}}})
	s.Ports[0].Protocol = ir.Undeclared
	to := other("other", 2, ir.Split{}, pods("w1", web, 3))
	to.Ports[0].Protocol = ir.Undeclared
	c := newCompiler(pools{})
	registry := prometheus.NewRegistry()
	c.Recorder = telemetry.New(registry)
	compiled := compile(t, c, nil, s, to)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	atZero := map[string]bool{}
	for _, m := range families[slices.IndexFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == "sluice_requests_started_total" })].Metric {
		labels := map[string]string{}
		for _, l := range m.Label {
			labels[l.GetName()] = l.GetValue()
		}
		atZero[fmt.Sprint(labels["service"], " ", labels["revision"], " ", labels["protocol"], " ", labels["weight"])] = true
	}
	for _, revision := range []string{"v1", "v2"} {
		for _, protocol := range []string{"http", "http2", "tcp"} {
			if name := fmt.Sprintf("shop %s %s 30", revision, protocol); !atZero[name] {
				t.Errorf("no series of %s", name)
			}
		}
	}
	if len(atZero) != 6 {
		t.Errorf("series %v", atZero)
	}
	port := compiled.Outbound(netip.AddrPortFrom(clusterIP, 80))
	if port.Protocol != ir.Undeclared || port.As(ir.HTTP).As(ir.TCP) != port.As(ir.HTTP) {
		t.Errorf("port speaks %s", port.Protocol)
	}
	for protocol, want := range map[ir.Protocol]string{ir.HTTP: "http", ir.HTTP2: "http2", ir.GRPC: "http2", ir.TCP: "tcp", ir.TLS: "tcp"} {
		var plan Plan
		as := port.As(protocol)
		if want == "tcp" {
			as.PlanConnection(&plan, netip.Addr{}, always(0), start)
		} else {
			as.Plan(&plan, get("/"), always(0), start)
		}
		if protocol == ir.HTTP {
			var same Plan
			if port.Plan(&same, get("/"), always(0), start); same.Series != plan.Series || same.Port != plan.Port {
				t.Errorf("a request to the undeclared port is planned for %+v", same.Port)
			}
		}
		if got := keyOf(&plan).Protocol; got != want {
			t.Errorf("%s is counted as %q, want %q", protocol, got, want)
		}
		if isTCP := plan.Port.Service == "demo/shop"; isTCP != (want == "tcp") {
			t.Errorf("%s goes to %s: routes are for HTTP", protocol, plan.Port.Service)
		}
	}
	if declared := door(t, routed(ir.Route{})); declared.As(ir.TCP) != declared {
		t.Error("a declared port is another as TCP")
	}
}

func TestInboundRateLimit(t *testing.T) {
	s := shop(ir.Split{}, pods("v1", web, 9))
	s.Routes = []ir.Route{{Name: "it", Matches: matching(ir.Prefix, "/a"), RateLimit: &ir.RateLimit{Requests: 2, Per: time.Second}}}
	s.Policy.RateLimit = &ir.RateLimit{Requests: 10, Per: time.Second, Burst: 5}
	c := newCompiler(pools{})
	current := compile(t, c, nil, s)
	now := start
	ask := func(path string) int {
		var plan Plan
		current.Inbound(8080, "").PlanInbound(&plan, get(path), true, now)
		if plan.Local == nil {
			return 200
		}
		if plan.Local.GRPC != 8 || plan.Series == nil || keyOf(&plan).Reporter != telemetry.Destination {
			t.Errorf("answer %+v", plan.Local)
		}
		return plan.Local.Status
	}
	expect := func(want ...int) {
		t.Helper()
		for i, status := range want {
			path := "/a"
			if status < 0 {
				path, status = "/b", -status
			}
			if got := ask(path); got != status {
				t.Errorf("request %d: %d, want %d", i, got, status)
			}
		}
	}
	// Two of /a, then the service's own burst of five is used up by others.
	expect(200, 200, 429, -200, -200, -200, -429)
	// A change elsewhere leaves the buckets as they are.
	s.Subsets = []ir.Subset{pods("v1", web, 8, 9)}
	current = compile(t, c, current, s)
	expect(429, -429)
	now = now.Add(500 * time.Millisecond)
	expect(200, 429, -200, -200, -200, -200, -429)
	// Another limit is another bucket.
	s.Routes[0].RateLimit = &ir.RateLimit{Requests: 1, Per: time.Hour}
	s.Policy.RateLimit = nil
	current = compile(t, c, current, s)
	expect(200, 429, -200)
	if got := http.StatusText(ask("/a")); got != "Too Many Requests" {
		t.Errorf("status %q", got)
	}
}
