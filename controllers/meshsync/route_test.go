package meshsync

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// matched are a service's routes without the last, which refuses what none of them matches.
func matched(t *testing.T, service ir.Service) []ir.Route {
	t.Helper()
	if len(service.Routes) == 0 {
		return nil
	}
	last := service.Routes[len(service.Routes)-1]
	if last.Fault == nil || last.Fault.AbortStatus != 404 || last.Fault.AbortShare != ir.Million || len(last.Matches) > 0 {
		t.Errorf("the last route does not refuse what no route matches: %+v", last)
	}
	return service.Routes[:len(service.Routes)-1]
}

// What a rule of an HTTPRoute means, without its matches.
func TestHTTPRouteRule(t *testing.T) {
	every := []ir.Match{{Path: ir.PathMatch{Kind: ir.Prefix, Value: "/"}}}
	lost := func(share uint32) *ir.Fault { return &ir.Fault{AbortStatus: 500, AbortGRPC: 14, AbortShare: share} }
	const accepted, resolved = "HTTPRoute/r Accepted=True Accepted\n", "HTTPRoute/r ResolvedRefs=True ResolvedRefs"
	unresolved := func(reason string) string { return accepted + "HTTPRoute/r ResolvedRefs=False " + reason }
	cases := map[string]struct {
		rule string
		want ir.Route
		// said is accepted and resolved where it is empty.
		said string
	}{
		"nothing: the service itself": {"{}", ir.Route{}, ""},
		"backends": {
			"{backendRefs: [{name: cart, port: 80, weight: 90}, {name: v2, port: 80, weight: 10, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Version, value: two}]}}]}]}",
			ir.Route{Backends: []ir.Backend{
				{Service: "shop/cart", Port: 80, Weight: 90},
				{Service: "shop/v2", Port: 80, Weight: 10, RequestHeaders: ir.HeaderChanges{Set: []ir.Header{{Name: "x-version", Value: "two"}}}},
			}}, "",
		},
		"a backend without a weight": {"{backendRefs: [{name: v2, port: 80}]}", ir.Route{Backends: []ir.Backend{{Service: "shop/v2", Port: 80, Weight: 1}}}, ""},
		"a backend of weight 0":      {"{backendRefs: [{name: v2, port: 80, weight: 0}]}", ir.Route{Backends: []ir.Backend{{Service: "shop/v2", Port: 80}}}, ""},
		"a backend that is not there": {
			"{backendRefs: [{name: gone, port: 80, weight: 1}, {name: v2, port: 80, weight: 3}]}",
			ir.Route{Backends: []ir.Backend{{Service: "shop/v2", Port: 80, Weight: 3}}, Fault: lost(250_000)}, unresolved("BackendNotFound"),
		},
		"no backend that is there":           {"{backendRefs: [{name: gone, port: 80}]}", ir.Route{Fault: lost(ir.Million)}, unresolved("BackendNotFound")},
		"none that is there, of weight 0":    {"{backendRefs: [{name: gone, port: 80, weight: 0}]}", ir.Route{Fault: lost(ir.Million)}, unresolved("BackendNotFound")},
		"a backend's port that is not there": {"{backendRefs: [{name: v2, port: 81}]}", ir.Route{Fault: lost(ir.Million)}, unresolved("BackendNotFound")},
		"a backend without a port":           {"{backendRefs: [{name: v2}]}", ir.Route{Fault: lost(ir.Million)}, unresolved("BackendNotFound")},
		"a backend of another kind":          {"{backendRefs: [{group: example.com, kind: Bucket, name: v2}]}", ir.Route{Fault: lost(ir.Million)}, unresolved("InvalidKind")},
		"an external name":                   {"{backendRefs: [{name: external, port: 80}]}", ir.Route{Fault: lost(ir.Million)}, unresolved("BackendNotFound")},
		"a backend that speaks Redis":        {"{backendRefs: [{name: v2, port: 6379}]}", ir.Route{Fault: lost(ir.Million)}, unresolved("UnsupportedProtocol")},
		"a backend that nobody grants":       {"{backendRefs: [{name: cart, namespace: other, port: 80}]}", ir.Route{Fault: lost(ir.Million)}, unresolved("RefNotPermitted")},
		"headers": {
			"{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: A, value: '1'}], add: [{name: B, value: '2'}], remove: [C]}}, {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [Server]}}]}",
			ir.Route{
				RequestHeaders:  ir.HeaderChanges{Set: []ir.Header{{Name: "a", Value: "1"}}, Add: []ir.Header{{Name: "b", Value: "2"}}, Remove: []string{"c"}},
				ResponseHeaders: ir.HeaderChanges{Remove: []string{"server"}},
			}, "",
		},
		"a redirect": {
			"{filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: example.com, path: {type: ReplaceFullPath, replaceFullPath: /new}, statusCode: 301}}]}",
			ir.Route{Redirect: &ir.Redirect{Scheme: "https", Host: "example.com", Port: 443, Path: ir.Path{Full: "/new"}, Status: 301}}, "",
		},
		"a redirect of the prefix": {
			"{filters: [{type: RequestRedirect, requestRedirect: {port: 8080, path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]}",
			ir.Route{Redirect: &ir.Redirect{Port: 8080, Path: ir.Path{Prefix: "/", ReplacePrefix: true}, Status: 302}}, "",
		},
		"a rewrite": {
			"{filters: [{type: URLRewrite, urlRewrite: {hostname: v2.example, path: {type: ReplaceFullPath, replaceFullPath: /x}}}]}",
			ir.Route{Rewrite: &ir.Rewrite{Host: "v2.example", Path: ir.Path{Full: "/x"}}}, "",
		},
		"mirrors": {
			"{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: shadow, port: 80}}}, {type: RequestMirror, requestMirror: {backendRef: {name: v2, port: 80}, percent: 5}}, {type: RequestMirror, requestMirror: {backendRef: {name: v2, port: 80}, fraction: {numerator: 1, denominator: 3}}}]}",
			ir.Route{Mirrors: []ir.Mirror{{Service: "shop/shadow", Port: 80, Share: ir.Million}, {Service: "shop/v2", Port: 80, Share: 50_000}, {Service: "shop/v2", Port: 80, Share: 333_333}}}, "",
		},
		"a mirror that is not there": {"{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: gone, port: 80}}}]}", ir.Route{}, unresolved("BackendNotFound")},
		"timeouts":                   {"{timeouts: {request: 10s, backendRequest: 1m30s}}", ir.Route{Timeouts: ir.Timeouts{Request: 10 * time.Second, PerTry: 90 * time.Second}}, ""},
		"no timeout":                 {"{timeouts: {request: 0s}}", ir.Route{Timeouts: ir.Timeouts{Request: forever}}, ""},
		"a retry": {
			"{retry: {attempts: 3, codes: [503, 500], backoff: 100ms}}",
			ir.Route{Retry: &ir.Retry{Attempts: 3, On: []ir.RetryOn{ir.OnConnectFailure, ir.OnReset, ir.OnTimeout, ir.OnStatus}, Statuses: []int{500, 503}, BackOff: 100 * time.Millisecond}}, "",
		},
		"a retry by default": {"{retry: {}}", ir.Route{Retry: &ir.Retry{Attempts: 1, On: []ir.RetryOn{ir.OnConnectFailure, ir.OnReset, ir.OnTimeout}}}, ""},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			got, verdicts := apply(t, read(t, httpText("r", "rules: ["+test.rule+"]")))
			test.want.Name, test.want.Matches = "HTTPRoute/shop/r/0", every
			if diff := cmp.Diff([]ir.Route{test.want}, matched(t, got), cmpopts.IgnoreFields(ir.Fault{}, "Reason")); diff != "" {
				t.Errorf("routes (-want +got):\n%s", diff)
			}
			if f := matched(t, got)[0].Fault; f != nil && !strings.HasPrefix(f.Reason, "backend ") {
				t.Errorf("callers are told %q", f.Reason)
			}
			if test.said == "" {
				test.said = accepted + resolved
			}
			if text := said(verdicts); text != test.said {
				t.Errorf("verdicts:\n%s\nwant:\n%s", text, test.said)
			}
		})
	}
}

// A rule that cannot be followed gets its requests an error, and a route without any other is not in force.
func TestUnsupportedRules(t *testing.T) {
	cases := map[string]string{
		"CORS":                            "{filters: [{type: CORS, cors: {allowOrigins: ['*'], maxAge: 5}}]}",
		"an extension":                    "{filters: [{type: ExtensionRef, extensionRef: {group: example.com, kind: Filter, name: a}}]}",
		"an external authorizer":          "{filters: [{type: ExternalAuth, externalAuth: {protocol: GRPC, backendRef: {name: v2, port: 90}}}]}",
		"a backend's rewrite":             "{backendRefs: [{name: v2, port: 80, filters: [{type: URLRewrite, urlRewrite: {hostname: a.example}}]}]}",
		"session persistence":             "{sessionPersistence: {sessionName: a}}",
		"a timeout that is none":          "{timeouts: {request: soon}}",
		"a prefix that is not matched":    "{matches: [{path: {type: Exact, value: /a}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]}",
		"an expression that is none":      "{matches: [{path: {type: RegularExpression, value: '('}}]}",
		"a header's name that is not one": "{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: 'a b', value: c}]}}]}",
	}
	for name, rule := range cases {
		t.Run(name, func(t *testing.T) {
			got, verdicts := apply(t, read(t, httpText("r", "rules: ["+rule+"]")))
			if len(got.Routes) > 0 {
				t.Errorf("the route is in force: %+v", got.Routes)
			}
			if text := said(verdicts); !strings.Contains(text, "Accepted=False UnsupportedValue") {
				t.Errorf("verdicts:\n%s", text)
			}
			got, verdicts = apply(t, read(t, httpText("r", "rules: ["+rule+", {matches: [{path: {value: /good}}]}]")))
			if text := said(verdicts); !strings.Contains(text, "Accepted=True Accepted") || !strings.Contains(text, "PartiallyInvalid=True UnsupportedValue") {
				t.Errorf("verdicts with another rule:\n%s", text)
			}
			for _, r := range matched(t, got) {
				if r.Name == "HTTPRoute/shop/r/0" && (r.Fault == nil || r.Fault.AbortStatus != 500 || r.Fault.AbortShare != ir.Million) {
					t.Errorf("requests for the rule are answered: %+v", r)
				}
			}
		})
	}
}

// The order of the specification, over all routes of a service.
func TestPrecedence(t *testing.T) {
	old := `kind: HTTPRoute
metadata: {name: z-old, creationTimestamp: "2026-01-01T00:00:00Z"}
spec:
  parentRefs: [{group: '', kind: Service, name: cart}]
  rules:
  - name: prefix
    matches: [{path: {type: PathPrefix, value: /a/b/}}]
  - name: methods
    matches: [{path: {type: PathPrefix, value: /a}, method: GET}]
  - name: twice
    matches: [{path: {type: PathPrefix, value: /a}}, {path: {type: Exact, value: /a}}]
`
	young := `kind: HTTPRoute
metadata: {name: a-young, creationTimestamp: "2026-01-02T00:00:00Z"}
spec:
  parentRefs: [{group: '', kind: Service, name: cart}]
  rules:
  - name: headers
    matches: [{path: {type: PathPrefix, value: /a}, headers: [{name: A, value: x}, {name: a, value: ignored}, {name: b, value: y, type: RegularExpression}]}]
  - name: header
    matches: [{path: {type: PathPrefix, value: /a}, headers: [{name: A, value: x}]}]
  - name: query
    matches: [{path: {type: PathPrefix, value: /a}, queryParams: [{name: q, value: x}, {name: q, value: ignored}]}]
  - name: same
    matches: [{path: {type: PathPrefix, value: /a}}]
  - name: expression
    matches: [{path: {type: RegularExpression, value: "/[a-z]+"}}]
  - name: every
`
	for name, order := range map[string]string{"old first": old + "---\n" + young, "young first": young + "---\n" + old} {
		t.Run(name, func(t *testing.T) {
			got, _ := apply(t, read(t, order))
			var rules []string
			for _, r := range matched(t, got) {
				rules = append(rules, fmt.Sprintf("%s %d %d", r.Name[strings.LastIndex(r.Name, "/")+1:], len(r.Matches[0].Headers), len(r.Matches[0].Query)))
			}
			want := []string{"twice 0 0", "expression 0 0", "prefix 0 0", "methods 0 0", "headers 2 0", "header 1 0", "query 0 1", "twice 0 0", "same 0 0", "every 0 0"}
			if diff := cmp.Diff(want, rules); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGRPCRoute(t *testing.T) {
	got, verdicts := apply(t, read(t, `kind: GRPCRoute
metadata: {name: g}
spec:
  parentRefs: [{group: '', kind: Service, name: cart}]
  rules:
  - name: every
    backendRefs: [{name: v2, port: 90, weight: 2, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: A, value: b}]}}]}]
  - matches:
    - {method: {service: shop.Cart, method: Add}, headers: [{name: User, value: jane}]}
    - {method: {service: shop.Cart}}
    - {method: {method: Get}}
    - {method: {type: RegularExpression, service: "shop[.].*"}}
    filters: [{type: RequestMirror, requestMirror: {backendRef: {name: shadow, port: 90}}}]
`))
	var lines []string
	for _, r := range matched(t, got) {
		lines = append(lines, fmt.Sprint(r.Name, " ", r.Ports, " ", r.Matches[0].Path.Kind, " ", r.Matches[0].Path.Value, " ", len(r.Matches[0].Headers), len(r.Backends), len(r.Mirrors)))
	}
	want := []string{
		"GRPCRoute/shop/g/1 [90] exact /shop.Cart/Add 1 0 1",
		"GRPCRoute/shop/g/1 [90] prefix /shop.Cart 0 0 1",
		"GRPCRoute/shop/g/1 [90] regex /(shop[.].*)/([^/]+) 0 0 1",
		"GRPCRoute/shop/g/1 [90] regex /[^/]+/Get 0 0 1",
		"GRPCRoute/shop/g/every [90] prefix / 0 1 0",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	if text := said(verdicts); text != "GRPCRoute/g Accepted=True Accepted\nGRPCRoute/g ResolvedRefs=True ResolvedRefs" {
		t.Errorf("verdicts: %s", text)
	}
}

// Which ports a reference means, and what is said where it means none.
func TestParents(t *testing.T) {
	route := func(kind, name, parent string) string {
		return "kind: " + kind + "\nmetadata: {name: " + name + "}\nspec:\n  parentRefs: [" + parent + "]\n  rules: [{}]\n"
	}
	const service = "{group: '', kind: Service, name: cart"
	cases := map[string]struct {
		text, accepted string
		ports          []uint16
	}{
		"all that speak HTTP":         {route("HTTPRoute", "r", service+"}"), "HTTPRoute/r True Accepted", nil},
		"by number":                   {route("HTTPRoute", "r", service+", port: 80}"), "HTTPRoute/r True Accepted", []uint16{80}},
		"by name":                     {route("HTTPRoute", "r", service+", sectionName: grpc}"), "HTTPRoute/r True Accepted", []uint16{90}},
		"by both":                     {route("HTTPRoute", "r", service+", sectionName: http, port: 80}"), "HTTPRoute/r True Accepted", []uint16{80}},
		"by both, which differ":       {route("HTTPRoute", "r", service+", sectionName: http, port: 90}"), "HTTPRoute/r False NoMatchingParent", nil},
		"by a number that is not":     {route("HTTPRoute", "r", service+", port: 81}"), "HTTPRoute/r False NoMatchingParent", nil},
		"a port that speaks Redis":    {route("HTTPRoute", "r", service+", port: 6379}"), "HTTPRoute/r False NoMatchingParent", nil},
		"gRPC where HTTP/1.1 is said": {route("GRPCRoute", "r", service+", port: 80}"), "GRPCRoute/r False NoMatchingParent", nil},
		"two references": {
			route("HTTPRoute", "r", service+", port: 80}, "+service+", port: 81}"),
			"HTTPRoute/r True Accepted, HTTPRoute/r False NoMatchingParent", []uint16{80},
		},
		"a Gateway besides": {route("HTTPRoute", "r", "{name: cart}, "+service+"}"), "HTTPRoute/r True Accepted", nil},
		"a consumer's": {
			strings.Replace(route("HTTPRoute", "r", service+", namespace: shop}"), "{name: r}", "{name: r, namespace: elsewhere}", 1),
			"HTTPRoute/r False UnsupportedValue", nil,
		},
		"gRPC goes before HTTP": {
			route("HTTPRoute", "r", service+", port: 90}") + "---\n" + route("GRPCRoute", "g", service+"}"),
			"GRPCRoute/g True Accepted, HTTPRoute/r False Conflicted", []uint16{90},
		},
		"gRPC and HTTP side by side": {
			route("HTTPRoute", "r", service+"}") + "---\n" + route("GRPCRoute", "g", service+"}"),
			"GRPCRoute/g True Accepted, HTTPRoute/r True Accepted", []uint16{90},
		},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			got, verdicts := apply(t, read(t, test.text))
			var accepted []string
			for _, v := range verdicts {
				accepted = append(accepted, fmt.Sprintf("%s/%s %s %s", v.Subject.Kind, v.Subject.Name, v.Conditions[0].Status, v.Conditions[0].Reason))
			}
			if text := strings.Join(accepted, ", "); text != test.accepted {
				t.Errorf("verdicts %s, want %s", text, test.accepted)
			}
			if !strings.Contains(test.accepted, "True") {
				if len(got.Routes) > 0 {
					t.Errorf("the route is in force: %+v", got.Routes)
				}
				return
			}
			if diff := cmp.Diff(test.ports, got.Routes[0].Ports); diff != "" {
				t.Errorf("ports (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReferenceGrant(t *testing.T) {
	grant := func(from, to string) string {
		return "---\nkind: ReferenceGrant\nmetadata: {name: a, namespace: other}\nspec:\n  from: [{group: gateway.networking.k8s.io, " + from + "}]\n  to: [{group: '', kind: Service" + to + "}]\n"
	}
	cases := map[string]struct {
		grant   string
		granted bool
	}{
		"to all":            {grant("kind: HTTPRoute, namespace: shop", ""), true},
		"to this one":       {grant("kind: HTTPRoute, namespace: shop", ", name: cart"), true},
		"to another":        {grant("kind: HTTPRoute, namespace: shop", ", name: orders"), false},
		"to another kind":   {grant("kind: GRPCRoute, namespace: shop", ""), false},
		"to somebody else":  {grant("kind: HTTPRoute, namespace: elsewhere", ""), false},
		"somewhere else":    {strings.Replace(grant("kind: HTTPRoute, namespace: shop", ""), "namespace: other", "namespace: third", 1), false},
		"to no Service":     {strings.Replace(grant("kind: HTTPRoute, namespace: shop", ""), "kind: Service", "kind: Secret", 1), false},
		"from another kind": {strings.Replace(grant("kind: HTTPRoute, namespace: shop", ""), "gateway.networking.k8s.io", "example.com", 1), false},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			got, verdicts := apply(t, read(t, httpText("r", "rules: [{backendRefs: [{name: cart, namespace: other, port: 80}]}]")+test.grant))
			if backends := len(got.Routes[0].Backends); (backends == 1) != test.granted {
				t.Errorf("%d backends, granted %v", backends, test.granted)
			}
			if refused := strings.Contains(said(verdicts), "ResolvedRefs=False RefNotPermitted"); refused == test.granted {
				t.Errorf("verdicts: %s", said(verdicts))
			}
		})
	}
}
