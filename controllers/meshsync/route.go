package meshsync

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	gateway "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// route is an HTTPRoute or a GRPCRoute: what they have in common.
type route struct {
	kind    string
	meta    metav1.ObjectMeta
	parents []gateway.ParentReference
	rules   []routeRule
}

// routeRule is one rule of a route. A GRPCRoute's filters and backends are those of HTTP by other names.
type routeRule struct {
	name        string
	matches     []routeMatch
	filters     []gateway.HTTPRouteFilter
	backends    []gateway.HTTPBackendRef
	timeouts    *gateway.HTTPRouteTimeouts
	retry       *gateway.HTTPRouteRetry
	persistence bool
}

// routeMatch is a match and its weight in the order of precedence: of two weights the greater one in the first
// number that differs comes first.
type routeMatch struct {
	ir.Match
	weight [5]int
}

func (r route) namespace() string { return r.meta.Namespace }

// String names the route for people and as the beginning of an ir.Route's name.
func (r route) String() string { return r.kind + "/" + r.meta.Namespace + "/" + r.meta.Name }

func httpRoute(in *gateway.HTTPRoute) route {
	r := route{kind: KindHTTPRoute, meta: in.ObjectMeta, parents: in.Spec.ParentRefs}
	for i, rule := range in.Spec.Rules {
		out := routeRule{
			name:    string(cmp.Or(ptr.Deref(rule.Name, ""), gateway.SectionName(strconv.Itoa(i)))),
			filters: rule.Filters, backends: rule.BackendRefs, timeouts: rule.Timeouts, retry: rule.Retry,
			persistence: rule.SessionPersistence != nil,
		}
		for _, match := range rule.Matches {
			out.matches = append(out.matches, httpMatch(match))
		}
		if len(rule.Matches) == 0 {
			out.matches = []routeMatch{httpMatch(gateway.HTTPRouteMatch{})}
		}
		r.rules = append(r.rules, out)
	}
	return r
}

// httpMatch follows the order of HTTPRouteRule.matches: an exact path, then the longest prefix, a method, the
// most headers, the most parameters. An expression comes between an exact path and a prefix.
func httpMatch(in gateway.HTTPRouteMatch) routeMatch {
	m := routeMatch{Match: ir.Match{Path: ir.PathMatch{Kind: ir.Prefix, Value: "/"}, Method: string(ptr.Deref(in.Method, ""))}}
	if in.Path != nil {
		m.Path.Value = ptr.Deref(in.Path.Value, "/")
		switch ptr.Deref(in.Path.Type, gateway.PathMatchPathPrefix) {
		case gateway.PathMatchExact:
			m.Path.Kind, m.weight[0] = ir.Exact, 2
		case gateway.PathMatchRegularExpression:
			m.Path.Kind, m.weight[0] = ir.Regex, 1
		default:
			m.Path.Value = trimSlash(m.Path.Value)
			m.weight[1] = len(m.Path.Value)
		}
	}
	if m.Method != "" {
		m.weight[2] = 1
	}
	m.addHeaders(headersOf(in.Headers, func(h gateway.HTTPHeaderMatch) (string, string, bool) {
		return string(h.Name), h.Value, ptr.Deref(h.Type, gateway.HeaderMatchExact) == gateway.HeaderMatchRegularExpression
	}), 3)
	seen := map[string]bool{}
	for _, q := range in.QueryParams {
		if name := string(q.Name); !seen[name] {
			seen[name] = true
			m.Query = append(m.Query, ir.ValueMatch{Name: name, Value: q.Value, Kind: kindOf(ptr.Deref(q.Type, gateway.QueryParamMatchExact) == gateway.QueryParamMatchRegularExpression)})
		}
	}
	m.weight[4] = len(m.Query)
	return m
}

func grpcRoute(in *gateway.GRPCRoute) route {
	r := route{kind: KindGRPCRoute, meta: in.ObjectMeta, parents: in.Spec.ParentRefs}
	for i, rule := range in.Spec.Rules {
		out := routeRule{
			name:        string(cmp.Or(ptr.Deref(rule.Name, ""), gateway.SectionName(strconv.Itoa(i)))),
			filters:     grpcFilters(rule.Filters),
			persistence: rule.SessionPersistence != nil,
		}
		for _, backend := range rule.BackendRefs {
			out.backends = append(out.backends, gateway.HTTPBackendRef{BackendRef: backend.BackendRef, Filters: grpcFilters(backend.Filters)})
		}
		for _, match := range rule.Matches {
			out.matches = append(out.matches, grpcMatch(match))
		}
		if len(rule.Matches) == 0 {
			out.matches = []routeMatch{grpcMatch(gateway.GRPCRouteMatch{})}
		}
		r.rules = append(r.rules, out)
	}
	return r
}

func grpcFilters(in []gateway.GRPCRouteFilter) []gateway.HTTPRouteFilter {
	var out []gateway.HTTPRouteFilter
	for _, f := range in {
		out = append(out, gateway.HTTPRouteFilter{
			Type: gateway.HTTPRouteFilterType(f.Type), RequestHeaderModifier: f.RequestHeaderModifier,
			ResponseHeaderModifier: f.ResponseHeaderModifier, RequestMirror: f.RequestMirror, ExtensionRef: f.ExtensionRef,
		})
	}
	return out
}

// grpcMatch follows the order of GRPCRouteRule.matches: the longest service, the longest method, the most
// headers. The path of a call is /service/method.
func grpcMatch(in gateway.GRPCRouteMatch) routeMatch {
	m := routeMatch{Match: ir.Match{Path: ir.PathMatch{Kind: ir.Prefix, Value: "/"}}}
	if in.Method != nil {
		service, method := ptr.Deref(in.Method.Service, ""), ptr.Deref(in.Method.Method, "")
		m.weight[0], m.weight[1] = len(service), len(method)
		switch {
		case ptr.Deref(in.Method.Type, gateway.GRPCMethodMatchExact) == gateway.GRPCMethodMatchRegularExpression:
			m.Path = ir.PathMatch{Kind: ir.Regex, Value: fmt.Sprintf("/(%s)/(%s)", cmp.Or(service, "[^/]+"), cmp.Or(method, "[^/]+"))}
		case service != "" && method != "":
			m.Path = ir.PathMatch{Kind: ir.Exact, Value: "/" + service + "/" + method}
		case service != "":
			m.Path = ir.PathMatch{Kind: ir.Prefix, Value: "/" + service}
		case method != "":
			m.Path = ir.PathMatch{Kind: ir.Regex, Value: "/[^/]+/" + regexp.QuoteMeta(method)}
		}
	}
	m.addHeaders(headersOf(in.Headers, func(h gateway.GRPCHeaderMatch) (string, string, bool) {
		return string(h.Name), h.Value, ptr.Deref(h.Type, gateway.GRPCHeaderMatchExact) == gateway.GRPCHeaderMatchRegularExpression
	}), 2)
	return m
}

// headersOf takes the first match of each header, as the specification wants.
func headersOf[T any](in []T, fields func(T) (name, value string, regex bool)) []ir.ValueMatch {
	var out []ir.ValueMatch
	seen := map[string]bool{}
	for _, h := range in {
		name, value, regex := fields(h)
		name = strings.ToLower(name)
		if !seen[name] {
			seen[name] = true
			out = append(out, ir.ValueMatch{Name: name, Value: value, Kind: kindOf(regex)})
		}
	}
	return out
}

func kindOf(regex bool) ir.MatchKind {
	if regex {
		return ir.Regex
	}
	return ir.Exact
}

// addHeaders adds matches of headers. The host has a place of its own, since HTTP/2 has no such header.
func (m *routeMatch) addHeaders(headers []ir.ValueMatch, at int) {
	m.weight[at] = len(headers)
	for _, h := range headers {
		if h.Name == "host" && h.Kind == ir.Exact {
			host, _, _ := strings.Cut(strings.ToLower(h.Value), ":")
			m.Hosts = []string{host}
			continue
		}
		m.Headers = append(m.Headers, h)
	}
}
