package meshsync

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
	gatewaybeta "sigs.k8s.io/gateway-api/apis/v1beta1"
	"sigs.k8s.io/yaml"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/mesh/ir"
)

// cart is the service of most tests: HTTP on 80, gRPC on 90, Redis on 6379.
var cart = ir.Service{
	Namespace: "shop", Name: "cart",
	Ports: []ir.Port{{Name: "http", Number: 80, Protocol: ir.HTTP}, {Name: "grpc", Number: 90, Protocol: ir.GRPC}, {Name: "redis", Number: 6379, Protocol: ir.TCP}},
}

// read makes objects of YAML documents, in the namespace shop where they name none.
func read(t *testing.T, text string) Traffic {
	t.Helper()
	traffic := Traffic{
		Authority: func(key types.NamespacedName, field string) (string, error) {
			return "", fmt.Errorf("there is no ConfigMap %s", key.Name)
		},
		References: References{Service: func(key types.NamespacedName) *corev1.Service {
			s := &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "grpc", Port: 90}, {Name: "redis", Port: 6379}}}}
			switch key.String() {
			case "shop/cart", "shop/v2", "shop/shadow", "other/cart":
				return s
			case "shop/external":
				s.Spec.Type = corev1.ServiceTypeExternalName
				return s
			}
			return nil
		}},
	}
	for i, document := range strings.Split(text, "---\n") {
		var head struct{ Kind string }
		decode := func(into any) {
			t.Helper()
			if err := yaml.UnmarshalStrict([]byte(document), into); err != nil {
				t.Fatalf("document %d: %v", i, err)
			}
		}
		if err := yaml.Unmarshal([]byte(document), &head); err != nil {
			t.Fatalf("document %d: %v", i, err)
		}
		switch head.Kind {
		case "TrafficPolicy":
			p := &v1alpha1.TrafficPolicy{}
			decode(p)
			p.Namespace = "shop"
			traffic.Policies = append(traffic.Policies, p)
		case "HTTPRoute":
			r := &gateway.HTTPRoute{}
			decode(r)
			if r.Namespace == "" {
				r.Namespace = "shop"
			}
			traffic.HTTPRoutes = append(traffic.HTTPRoutes, r)
		case "GRPCRoute":
			r := &gateway.GRPCRoute{}
			decode(r)
			r.Namespace = "shop"
			traffic.GRPCRoutes = append(traffic.GRPCRoutes, r)
		case "ReferenceGrant":
			g := &gatewaybeta.ReferenceGrant{}
			decode(g)
			traffic.References.Grants = append(traffic.References.Grants, g)
		default:
			t.Fatalf("document %d: unknown kind %q", i, head.Kind)
		}
	}
	return traffic
}

// policyText is a policy for cart.
func policyText(spec string) string {
	return "kind: TrafficPolicy\nmetadata: {name: p}\nspec:\n  targetRef: {name: cart}\n" + indent(spec)
}

// httpText is a route for cart.
func httpText(name, spec string) string {
	return "kind: HTTPRoute\nmetadata: {name: " + name + "}\nspec:\n  parentRefs: [{group: '', kind: Service, name: cart}]\n" + indent(spec)
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ") + "\n"
}

// said is a verdict's conditions, one a line: type=status reason.
func said(verdicts []Verdict) string {
	var lines []string
	for _, v := range verdicts {
		for _, c := range v.Conditions {
			lines = append(lines, fmt.Sprintf("%s/%s %s=%s %s", v.Subject.Kind, v.Subject.Name, c.Type, c.Status, c.Reason))
		}
	}
	return strings.Join(lines, "\n")
}

// apply applies and checks what must always hold: a valid service.
func apply(t *testing.T, traffic Traffic) (ir.Service, []Verdict) {
	t.Helper()
	service, verdicts := traffic.Apply(cart)
	if err := service.Validate(); err != nil {
		t.Errorf("the service is not valid: %v", err)
	}
	return service, verdicts
}

func TestPolicy(t *testing.T) {
	traffic := read(t, policyText(`
balance: {balancer: RingHash, hashOn: {cookie: {name: Session, ttl: 1h}}, slowStart: 30s, anyZone: true, panicPercent: 20}
sticky: {cookie: seen, ttl: 24h}
timeouts: {request: 5s, perTry: 1s, idle: 5m, connect: 500ms}
retry: {attempts: 3, failures: [ConnectFailure, Reset, Timeout, ServerError, GatewayError], statuses: [503, 429], grpcStatuses: [14, 8], backOff: 10ms, maxBackOff: 1s, budgetPercent: 10, budgetMin: 5, nonIdempotent: true}
limits: {maxConnections: 10, maxPending: 20, maxRequests: 30}
outlier: {consecutive: 3, ejection: 10s, maxPercent: 20}
rateLimit: {requests: 100, per: 1m, burst: 10}
tls: {serverName: cart.shop.svc, insecureSkipVerify: true}
rules:
- matches:
  - hosts: [cart, "*.example.com"]
    path: {type: Exact, value: /a}
    method: GET
    headers: [{name: X-User, value: jane}, {name: x-agent, type: RegularExpression, value: "curl/.*", not: true}]
    query: [{name: Debug, type: Present}]
    cookies: [{name: Group, type: Prefix, value: beta-}]
  - path: {value: /b/}
  revision: Canary
  fault: {delay: {duration: 2s, percent: "0.5"}, abort: {status: 500, grpcStatus: 13, percent: "0.0001"}}
  rateLimit: {requests: 1}
  timeouts: {request: 1s}
  retry: {attempts: 1, failures: [Reset]}
`))
	got, verdicts := apply(t, traffic)
	if text := said(verdicts); text != "TrafficPolicy/p Accepted=True Accepted" {
		t.Errorf("verdicts: %s", text)
	}
	want := cart
	want.Policy = ir.Policy{
		Balance:  ir.Balance{Balancer: ir.RingHash, HashOn: ir.HashOn{Cookie: "Session", CookieTTL: time.Hour}, SlowStart: 30 * time.Second, AnyZone: true, Panic: 20},
		Sticky:   &ir.Sticky{Cookie: "seen", TTL: 24 * time.Hour},
		Timeouts: ir.Timeouts{Request: 5 * time.Second, PerTry: time.Second, Idle: 5 * time.Minute, Connect: 500 * time.Millisecond},
		Retry: &ir.Retry{
			Attempts: 3, On: []ir.RetryOn{ir.OnConnectFailure, ir.OnReset, ir.OnTimeout, ir.On5xx, ir.OnGatewayError, ir.OnStatus, ir.OnGRPC},
			Statuses: []int{429, 503}, GRPCStatuses: []int{8, 14}, BackOff: 10 * time.Millisecond, MaxBackOff: time.Second,
			Budget: 10, BudgetMin: 5, NonIdempotent: true,
		},
		Limits:    ir.Limits{MaxConnections: 10, MaxPending: 20, MaxRequests: 30},
		Outlier:   &ir.Outlier{Consecutive: 3, Ejection: 10 * time.Second, MaxPercent: 20},
		RateLimit: &ir.RateLimit{Requests: 100, Per: time.Minute, Burst: 10},
		TLS:       &ir.UpstreamTLS{ServerName: "cart.shop.svc", Insecure: true},
	}
	want.Routes = []ir.Route{{
		Name: "TrafficPolicy/shop/p/0",
		Matches: []ir.Match{{
			Hosts: []string{"cart", "*.example.com"}, Path: ir.PathMatch{Kind: ir.Exact, Value: "/a"}, Method: "GET",
			Headers: []ir.ValueMatch{{Name: "x-user", Kind: ir.Exact, Value: "jane"}, {Name: "x-agent", Kind: ir.Regex, Value: "curl/.*", Not: true}},
			Query:   []ir.ValueMatch{{Name: "Debug", Kind: ir.Present}},
			Cookies: []ir.ValueMatch{{Name: "Group", Kind: ir.Prefix, Value: "beta-"}},
		}, {Path: ir.PathMatch{Kind: ir.Prefix, Value: "/b"}}},
		Revision:  ir.CanaryRevision,
		Fault:     &ir.Fault{Delay: 2 * time.Second, DelayShare: 5000, AbortStatus: 500, AbortGRPC: 13, AbortShare: 1},
		RateLimit: &ir.RateLimit{Requests: 1, Per: time.Second},
		Timeouts:  ir.Timeouts{Request: time.Second},
		Retry:     &ir.Retry{Attempts: 1, On: []ir.RetryOn{ir.OnReset}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("unexpected service (-want +got):\n%s", diff)
	}
}

// A policy that does not count takes nothing away: the service is as without it.
func TestPolicyLeftOut(t *testing.T) {
	cases := map[string]struct {
		text, want, message string
	}{
		"an expression that is none": {
			policyText("rules: [{revision: Canary, matches: [{headers: [{name: a, type: RegularExpression, value: '('}]}]}]"),
			"TrafficPolicy/p Accepted=False Invalid", `route 0 "TrafficPolicy/shop/p/0"`,
		},
		"no authority": {
			policyText("tls: {serverName: a, caConfigMap: {name: gone, key: ca.crt}}"),
			"TrafficPolicy/p Accepted=False Invalid", "spec.tls.caConfigMap: there is no ConfigMap gone",
		},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			got, verdicts := apply(t, read(t, test.text))
			if diff := cmp.Diff(cart, got); diff != "" {
				t.Errorf("the service has changed (-want +got):\n%s", diff)
			}
			if text := said(verdicts); text != test.want {
				t.Errorf("verdicts %s, want %s", text, test.want)
			}
			if message := verdicts[0].Conditions[0].Message; !strings.Contains(message, test.message) {
				t.Errorf("message %q, want %q in it", message, test.message)
			}
		})
	}
}

func TestOldestPolicyCounts(t *testing.T) {
	traffic := read(t, `kind: TrafficPolicy
metadata: {name: b, creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {targetRef: {name: cart}, timeouts: {request: 1s}}
---
kind: TrafficPolicy
metadata: {name: a, creationTimestamp: "2026-01-02T00:00:00Z"}
spec: {targetRef: {name: cart}, timeouts: {request: 2s}}
---
kind: TrafficPolicy
metadata: {name: c, creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {targetRef: {name: cart}, timeouts: {request: 3s}}
`)
	got, verdicts := apply(t, traffic)
	if got.Policy.Timeouts.Request != time.Second {
		t.Errorf("the timeout is %v, want that of the oldest policy", got.Policy.Timeouts.Request)
	}
	want := "TrafficPolicy/b Accepted=True Accepted\nTrafficPolicy/c Accepted=False Conflicted\nTrafficPolicy/a Accepted=False Conflicted"
	if text := said(verdicts); text != want {
		t.Errorf("verdicts:\n%s\nwant:\n%s", text, want)
	}
}

func TestAuthority(t *testing.T) {
	traffic := read(t, policyText("tls: {serverName: a, caConfigMap: {name: ca, key: ca.crt}}"))
	asked := ""
	traffic.Authority = func(key types.NamespacedName, field string) (string, error) {
		asked = key.String() + ":" + field
		return "", errors.New("not now")
	}
	_, _ = traffic.Apply(cart)
	if asked != "shop/ca:ca.crt" {
		t.Errorf("asked for %s", asked)
	}
}

func TestMissing(t *testing.T) {
	traffic := read(t, policyText("sticky: {}")+"---\n"+httpText("r", "rules: [{}]"))
	key := types.NamespacedName{Namespace: "shop", Name: "cart"}
	gone := traffic.Missing(key, false)
	if want := "TrafficPolicy/p Accepted=False TargetNotFound\nHTTPRoute/r Accepted=False NoMatchingParent\nHTTPRoute/r ResolvedRefs=True ResolvedRefs"; said(gone) != want {
		t.Errorf("verdicts:\n%s\nwant:\n%s", said(gone), want)
	}
	outside := traffic.Missing(key, true)
	if want := "TrafficPolicy/p Accepted=False TargetNotFound"; said(outside) != want {
		t.Errorf("verdicts:\n%s\nwant:\n%s", said(outside), want)
	}
	if message := outside[0].Conditions[0].Message; !strings.Contains(message, "label its namespace sluice.dev/inject=enabled") {
		t.Errorf("the message has no remedy: %s", message)
	}
}

// A rule adds to where routes lead: it holds for the same requests, wherever they go.
func TestRulesAndRoutes(t *testing.T) {
	traffic := read(t, policyText(`
rules:
- {matches: [{headers: [{name: x-beta, type: Present}]}], revision: Canary, timeouts: {request: 9s}}
- {matches: [{path: {value: /a/b}}], rateLimit: {requests: 5}}
- {matches: [{path: {type: RegularExpression, value: "/a/[0-9]+"}}], retry: {attempts: 1, failures: [Reset]}}
`)+"---\n"+httpText("r", `
rules:
- matches: [{path: {type: PathPrefix, value: /a}}]
  filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}}}]
  backendRefs: [{name: v2, port: 80}]
  timeouts: {request: 1s, backendRequest: 500ms}
`)+"---\n"+`kind: GRPCRoute
metadata: {name: g}
spec:
  parentRefs: [{group: '', kind: Service, name: cart, port: 90}]
  rules: [{backendRefs: [{name: v2, port: 90}]}]
`)
	got, verdicts := apply(t, traffic)
	var lines []string
	for _, r := range got.Routes {
		line := fmt.Sprint(r.Name, " ", r.Ports)
		for _, m := range r.Matches {
			line += fmt.Sprintf(" %s:%s", m.Path.Kind, m.Path.Value)
			for _, h := range m.Headers {
				line += " " + h.Name
			}
		}
		if r.Rewrite != nil {
			line += " -> " + r.Rewrite.Path.Prefix + r.Rewrite.Path.Full
		}
		for _, b := range r.Backends {
			line += fmt.Sprintf(" => %s:%d", b.Service, b.Port)
		}
		line += fmt.Sprintf(" %v %v %q %v %v %v", r.Timeouts.Request, r.Timeouts.PerTry, r.Revision, r.RateLimit != nil, r.Retry != nil, r.Fault != nil)
		lines = append(lines, line)
	}
	want := []string{
		`TrafficPolicy/shop/p/0 [80] prefix:/a x-beta -> /x => shop/v2:80 9s 500ms "canary" false false false`,
		`TrafficPolicy/shop/p/0 [90] prefix:/ x-beta => shop/v2:90 9s 0s "canary" false false false`,
		`TrafficPolicy/shop/p/1 [80] prefix:/a/b -> /x/b => shop/v2:80 1s 500ms "" true false false`,
		`TrafficPolicy/shop/p/1 [90] prefix:/a/b => shop/v2:90 0s 0s "" true false false`,
		`TrafficPolicy/shop/p/2 [90] regex:/a/[0-9]+ => shop/v2:90 0s 0s "" false true false`,
		`HTTPRoute/shop/r/0 [80] prefix:/a -> /x => shop/v2:80 1s 500ms "" false false false`,
		`GRPCRoute/shop/g/0 [90] prefix:/ => shop/v2:90 0s 0s "" false false false`,
		`unmatched [] 0s 0s "" false false true`,
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	note := verdicts[len(verdicts)-1].Conditions[0].Message
	if !strings.Contains(note, "TrafficPolicy/shop/p/2 does not hold for requests of HTTPRoute/shop/r/0") {
		t.Errorf("message %q says nothing of the rule that cannot be combined", note)
	}
}

// Rules stand for themselves on ports that have no routes.
func TestRulesBesideRoutes(t *testing.T) {
	got, _ := apply(t, read(t, policyText("rules: [{revision: Canary}]")+"---\n"+
		"kind: HTTPRoute\nmetadata: {name: r}\nspec:\n  parentRefs: [{group: '', kind: Service, name: cart, sectionName: http}]\n  rules: [{backendRefs: [{name: v2, port: 80}]}]\n"))
	var names []string
	for _, r := range got.Routes {
		names = append(names, fmt.Sprint(r.Name, " ", r.Ports, " ", r.Revision, " ", len(r.Backends)))
	}
	want := []string{"TrafficPolicy/shop/p/0 [80] canary 1", "TrafficPolicy/shop/p/0 [90] canary 0", "HTTPRoute/shop/r/0 [80]  1", "unmatched [80]  0"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
}
