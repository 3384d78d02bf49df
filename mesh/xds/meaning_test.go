package xds_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/ir/irtest"
	"github.com/sluice-mesh/sluice/mesh/xds"
)

// request is one, as far as routes look at it.
type request struct {
	host, method, path, query string
	headers                   map[string]string
	cookies                   map[string]string
}

// outcome is what becomes of a request.
type outcome struct {
	Route string
	// Answer made here: "redirect 301 ..." or "500"; else Shares of the requests by cluster, and for each what
	// the headers x-a and x-b and the path become.
	Answer  string
	Shares  map[string]float64
	Headers map[string]map[string][]string
	Path    string
}

// What Envoy does with a request, by its documentation, is what the mesh means: which route matches, which
// share of the requests each revision of which service gets, and what they look like there.
func TestEnvoyMeansTheSame(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	seen := map[string]int{}
	for range 500 {
		mesh := irtest.Random(random)
		resources, err := xds.Encode(mesh)
		if err != nil {
			t.Fatal(err)
		}
		routes := map[string]*routev3.RouteConfiguration{}
		for _, route := range travel(t, resources).Routes {
			routes[route.Name] = route
		}
		for _, service := range mesh.Services {
			for _, port := range service.Ports {
				for range 6 {
					sent := randomRequest(random)
					want := meant(mesh, service, port, sent)
					got := routed(t, routes[xds.RouteName(service, port)], sent)
					if diff := cmp.Diff(want, got, cmpopts.EquateApprox(0, 1e-9), cmpopts.EquateEmpty()); diff != "" {
						t.Fatalf("%s, port %d: %+v (-meant +Envoy):\n%s\nroutes: %+v", service.Key(), port.Number, sent, diff, service.Routes)
					}
					switch {
					case want.Answer != "":
						seen["answered"]++
					case want.Route != "":
						seen["routed"]++
					default:
						seen["by the split"]++
					}
				}
			}
		}
	}
	t.Log(seen)
	if seen["answered"] < 100 || seen["routed"] < 500 || seen["by the split"] < 500 {
		t.Errorf("the requests test too little: %v", seen)
	}
}

func randomRequest(random *rand.Rand) request {
	one := func(list ...string) string { return list[random.IntN(len(list))] }
	some := func() map[string]string {
		made := map[string]string{}
		for _, name := range irtest.Names {
			if random.IntN(2) == 0 {
				made[name] = one(irtest.Values...)
			}
		}
		return made
	}
	sent := request{
		host:    strings.Replace(one(irtest.Hosts...), "*", "x", 1) + one("", ":80"),
		method:  one(irtest.Methods...),
		path:    one(irtest.Paths...) + one("", "", "/c"),
		headers: some(),
		cookies: some(),
	}
	sent.path = strings.Replace(sent.path, "//", "/", 1)
	var query []string
	for name, value := range some() {
		query = append(query, name+"="+value)
	}
	sent.query = strings.Join(query, "&")
	if len(sent.cookies) > 0 {
		var list []string
		for _, name := range slices.Sorted(maps.Keys(sent.cookies)) {
			list = append(list, name+"="+sent.cookies[name])
		}
		sent.headers["cookie"] = strings.Join(list, "; ")
	}
	return sent
}

// meant is what the mesh says, read as ir documents it.
func meant(mesh ir.Mesh, service ir.Service, port ir.Port, sent request) outcome {
	var route ir.Route
	prefix := ""
	if port.Protocol.SpeaksHTTP() {
	search:
		for _, candidate := range service.Routes {
			if len(candidate.Ports) > 0 && !slices.Contains(candidate.Ports, port.Number) {
				continue
			}
			matches := candidate.Matches
			if len(matches) == 0 {
				matches = []ir.Match{{}}
			}
			for _, match := range matches {
				if holds(match, sent) {
					route, prefix = candidate, strings.TrimRight(match.Path.Value, "/")
					break search
				}
			}
		}
	}
	result := outcome{Route: route.Name}
	if r := route.Redirect; r != nil {
		result.Answer = fmt.Sprintf("redirect %d to %s %s %d %s", r.Status, r.Scheme, r.Host, r.Port, replaced(r.Path, sent.path, prefix))
		return result
	}
	result.Shares, result.Headers = map[string]float64{}, map[string]map[string][]string{}
	add := func(to ir.Service, at ir.Port, weight float64, backend ir.Backend) {
		headers := changed(changed(original(sent), route.RequestHeaders), backend.RequestHeaders)
		shares := to.SharesFor(at.Name, route.Revision)
		for _, share := range shares {
			name := xds.ClusterName(to, at, share.Subset)
			result.Shares[name] += weight * float64(share.Weight) / 100
			result.Headers[name] = headers
		}
		if len(shares) == 0 {
			name := xds.RouteName(to, at) + "/*"
			if len(to.Subsets) == 1 {
				name = xds.ClusterName(to, at, to.Subsets[0].Name)
			}
			result.Shares[name] += weight
			result.Headers[name] = headers
		}
	}
	total := uint32(0)
	for _, backend := range route.Backends {
		total += backend.Weight
	}
	for _, backend := range route.Backends {
		if backend.Weight == 0 {
			continue
		}
		weight := float64(backend.Weight) / float64(total)
		to, at, found := target(mesh, backend)
		if found {
			add(to, at, weight, backend)
			continue
		}
		name := xds.RouteName(service, port) + "/!"
		result.Shares[name] += weight
		result.Headers[name] = changed(changed(original(sent), route.RequestHeaders), backend.RequestHeaders)
	}
	switch {
	case len(route.Backends) == 0:
		add(service, port, 1, ir.Backend{})
	case total == 0:
		return outcome{Route: route.Name, Answer: "500"}
	}
	result.Path = sent.path
	if route.Rewrite != nil {
		result.Path = replaced(route.Rewrite.Path, sent.path, prefix)
	}
	return result
}

func target(mesh ir.Mesh, backend ir.Backend) (ir.Service, ir.Port, bool) {
	for _, service := range mesh.Services {
		for _, port := range service.Ports {
			if service.Key() == backend.Service && port.Number == backend.Port {
				return service, port, true
			}
		}
	}
	return ir.Service{}, ir.Port{}, false
}

func holds(match ir.Match, sent request) bool {
	host, _, _ := strings.Cut(sent.host, ":")
	if len(match.Hosts) > 0 && !slices.ContainsFunc(match.Hosts, func(h string) bool {
		suffix, wildcard := strings.CutPrefix(h, "*")
		return h == host || wildcard && strings.HasSuffix(host, suffix)
	}) {
		return false
	}
	values := func(list []ir.ValueMatch, in map[string]string) bool {
		for _, match := range list {
			value, found := in[match.Name]
			switch match.Kind {
			case ir.Exact:
				found = found && value == match.Value
			case ir.Prefix:
				found = found && strings.HasPrefix(value, match.Value)
			case ir.Regex:
				found = found && whole(match.Value, value)
			}
			if found == match.Not {
				return false
			}
		}
		return true
	}
	value, path := match.Path.Value, true
	switch match.Path.Kind {
	case ir.Exact:
		path = sent.path == value
	case ir.Prefix:
		path = value == "/" || sent.path == value || strings.HasPrefix(sent.path, value+"/")
	case ir.Regex:
		path = whole(value, sent.path)
	}
	return path && (match.Method == "" || match.Method == sent.method) &&
		values(match.Headers, sent.headers) && values(match.Query, parameters(sent)) && values(match.Cookies, sent.cookies)
}

func parameters(sent request) map[string]string {
	found := map[string]string{}
	for pair := range strings.SplitSeq(sent.query, "&") {
		if name, value, is := strings.Cut(pair, "="); is {
			found[name] = value
		}
	}
	return found
}

func whole(pattern, text string) bool {
	return regexp.MustCompile(`\A(?:` + pattern + `)\z`).MatchString(text)
}

func replaced(by ir.Path, path, prefix string) string {
	switch {
	case by.Full != "":
		return by.Full
	case by.ReplacePrefix:
		if made := by.Prefix + strings.TrimPrefix(path, prefix); made != "" {
			return made
		}
		return "/"
	default:
		return path
	}
}

func original(sent request) map[string][]string {
	headers := map[string][]string{}
	for _, name := range irtest.Names {
		if value, found := sent.headers[name]; found {
			headers[name] = []string{value}
		}
	}
	return headers
}

func changed(headers map[string][]string, by ir.HeaderChanges) map[string][]string {
	headers = maps.Clone(headers)
	for _, name := range by.Remove {
		delete(headers, name)
	}
	for _, header := range by.Set {
		headers[header.Name] = []string{header.Value}
	}
	for _, header := range by.Add {
		headers[header.Name] = append(slices.Clone(headers[header.Name]), header.Value)
	}
	return headers
}

// A client that an Envoy has sent to the canary by its hash stays there while the weight rises: the canary is
// the first that is drawn, and the weights' sum stays.
func TestStickyFollowsTheRelease(t *testing.T) {
	service := release()
	service.Policy.Sticky = &ir.Sticky{Cookie: "release"}
	before := uint32(0)
	for _, weight := range []uint32{1, 10, 50, 99} {
		service.Split.Weight = weight
		service.Split = service.Split.WithShares(service.Subsets)
		resources, err := xds.EncodeService(service)
		if err != nil {
			t.Fatal(err)
		}
		action := resources.Routes[0].VirtualHosts[0].Routes[0].GetRoute()
		drawn := action.GetWeightedClusters()
		if cookie := action.HashPolicy[0].GetCookie(); cookie.GetName() != "release" || cookie.Ttl == nil || !drawn.GetUseHashPolicy().GetValue() {
			t.Fatalf("not sticky: %v", action)
		}
		first, sum := drawn.Clusters[0], uint32(0)
		for _, cluster := range drawn.Clusters {
			sum += cluster.Weight.GetValue()
		}
		if first.Name != "shop/cart:80/7b8c6d" || first.Weight.GetValue() <= before || sum != 100 {
			t.Errorf("at %d the canary has the first %d of %d: %v", weight, first.Weight.GetValue(), sum, drawn)
		}
		before = first.Weight.GetValue()
	}
}

// Parameters are compared as they are sent.
func TestPatternsOfParameters(t *testing.T) {
	service := plain("cart")
	service.Routes = []ir.Route{{Name: "not", Matches: []ir.Match{{Query: []ir.ValueMatch{{Name: "a.b", Kind: ir.Exact, Value: "1+1", Not: true}}}}}}
	resources, err := xds.EncodeService(service)
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"": "not", "a.b=1+1": "", "x=y&a.b=1+1": "", "a.b=1+1&x=y": "", "a.b=1+12": "not", "xa.b=1+1": "not", "axb=1+1": "not", "a.b=11": "not",
		url.QueryEscape("a.b=1+1"): "not",
	} {
		if got := routed(t, resources.Routes[0], request{host: "cart", method: "GET", path: "/", query: query}); got.Route != want {
			t.Errorf("query %q takes route %q, want %q", query, got.Route, want)
		}
	}
}
