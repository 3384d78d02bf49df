package v1alpha1_test

import (
	"context"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// TestTrafficPolicyAdmission has an accepted and a rejected case for every rule of the kind. Each rejection
// names the field and the remedy.
func TestTrafficPolicyAdmission(t *testing.T) {
	c := apiServer(t)
	rule := func(more string) string { return "rules: [{" + more + "}]" }
	match := func(more string) string { return "rules: [{revision: Canary, matches: [{" + more + "}]}]" }
	cases := map[string]struct {
		spec string
		// refused is part of the message; empty: accepted.
		refused string
	}{
		"every field": {spec: `
balance: {balancer: RingHash, hashOn: {cookie: {name: session, ttl: 1h}}, slowStart: 30s, anyZone: true, panicPercent: 1}
sticky: {cookie: seen, ttl: 24h}
timeouts: {request: 5s, perTry: 1s, idle: 5m, connect: 500ms}
retry: {attempts: 3, failures: [ConnectFailure, Reset, Timeout, ServerError, GatewayError], statuses: [429, 503], grpcStatuses: [14], backOff: 10ms, maxBackOff: 1s, budgetPercent: 10, budgetMin: 5, nonIdempotent: true}
limits: {maxConnections: 10, maxPending: 20, maxRequests: 30}
outlier: {consecutive: 3, ejection: 10s, maxPercent: 20}
rateLimit: {requests: 100, per: 1m, burst: 10}
tls: {serverName: cart.shop.svc, caConfigMap: {name: ca, key: root.pem}}
rules:
- matches:
  - hosts: [cart, "*.example.com"]
    path: {type: Exact, value: /a}
    method: GET
    headers: [{name: X-User, value: jane}, {name: x-agent, type: RegularExpression, value: "curl/.*", not: true}]
    query: [{name: debug, type: Present}]
    cookies: [{name: group, type: Prefix, value: beta-}]
  - path: {value: /b}
  - path: {type: RegularExpression, value: "/c/[0-9]+"}
  revision: Canary
  fault: {delay: {duration: 2s, percent: "0.5"}, abort: {status: 500, grpcStatus: 13, percent: "10"}}
  rateLimit: {requests: 1}
  timeouts: {request: 1s}
  retry: {failures: [Reset]}
`},
		"nothing":                           {spec: "", refused: "spec: the policy says nothing; give at least one of balance"},
		"a rule for every request":          {spec: rule("revision: Stable")},
		"outliers by default":               {spec: "outlier: {}"},
		"another kind of balancer":          {spec: "balance: {balancer: Fastest}", refused: "spec.balance.balancer"},
		"a ring without a hash":             {spec: "balance: {balancer: RingHash}", refused: "hashOn and balancer RingHash go together"},
		"a hash without a ring":             {spec: "balance: {hashOn: {source: true}}", refused: "hashOn and balancer RingHash go together"},
		"a hash of the source":              {spec: "balance: {balancer: RingHash, hashOn: {source: true}}"},
		"a hash of a header":                {spec: "balance: {balancer: RingHash, hashOn: {header: X-User}}"},
		"a hash of nothing":                 {spec: "balance: {balancer: RingHash, hashOn: {source: false}}", refused: "hashOn has exactly one of header, cookie, source"},
		"a hash of two things":              {spec: "balance: {balancer: RingHash, hashOn: {source: true, header: a}}", refused: "hashOn has exactly one of header, cookie, source"},
		"a hash of a header with a space":   {spec: "balance: {balancer: RingHash, hashOn: {header: a b}}", refused: "hashOn.header is a header's name"},
		"a hash of a cookie without name":   {spec: `balance: {balancer: RingHash, hashOn: {cookie: {name: ""}}}`, refused: "hashOn.cookie.name is a cookie's name"},
		"a hash of a cookie for a moment":   {spec: "balance: {balancer: RingHash, hashOn: {cookie: {name: a, ttl: 1ms}}}", refused: "hashOn.cookie.ttl is a duration such as 1h"},
		"a slow start of zero":              {spec: "balance: {slowStart: 0s}", refused: "spec.balance.slowStart: a duration such as 30s"},
		"a slow start of hours":             {spec: "balance: {slowStart: 2h}", refused: "spec.balance.slowStart"},
		"never any panic":                   {spec: "balance: {panicPercent: 0}", refused: "spec.balance.panicPercent"},
		"sticky by default":                 {spec: "sticky: {}"},
		"a cookie with a semicolon":         {spec: "sticky: {cookie: 'a;b'}", refused: "spec.sticky.cookie: a cookie's name"},
		"a cookie for a moment":             {spec: "sticky: {ttl: 0s}", refused: "spec.sticky.ttl: a duration such as 24h"},
		"a request timeout of zero":         {spec: "timeouts: {request: 0s}", refused: "timeouts.request: a duration such as 5s, at least 1ms; leave it out"},
		"a timeout per try of zero":         {spec: "timeouts: {perTry: 0s}", refused: "timeouts.perTry"},
		"an idle timeout of zero":           {spec: "timeouts: {idle: 0s}", refused: "timeouts.idle"},
		"a long connect timeout":            {spec: "timeouts: {connect: 2m}", refused: "timeouts.connect: a duration such as 500ms, between"},
		"tries longer than the request":     {spec: "timeouts: {request: 1s, perTry: 2s}", refused: "perTry is at most as long as request"},
		"a timeout that is none":            {spec: "timeouts: {request: soon}", refused: "spec.timeouts.request"},
		"retries of nothing":                {spec: "retry: {attempts: 2}", refused: "retry: it is not said what is repeated"},
		"retries of a status":               {spec: "retry: {statuses: [503]}"},
		"retries of gRPC":                   {spec: "retry: {grpcStatuses: [14]}"},
		"no retry":                          {spec: "retry: {attempts: 0, failures: [Reset]}", refused: "spec.retry.attempts"},
		"too many retries":                  {spec: "retry: {attempts: 11, failures: [Reset]}", refused: "spec.retry.attempts"},
		"retries of a failure that is none": {spec: "retry: {failures: [Always]}", refused: "spec.retry.failures[0]"},
		"retries of success":                {spec: "retry: {statuses: [200]}", refused: "spec.retry.statuses[0]"},
		"retries of gRPC's success":         {spec: "retry: {grpcStatuses: [0]}", refused: "spec.retry.grpcStatuses[0]"},
		"a pause of zero":                   {spec: "retry: {failures: [Reset], backOff: 0s}", refused: "retry.backOff: a duration such as 25ms"},
		"a longest pause of hours":          {spec: "retry: {failures: [Reset], maxBackOff: 1h}", refused: "retry.maxBackOff: a duration such as 250ms"},
		"a pause beyond the longest":        {spec: "retry: {failures: [Reset], backOff: 2s, maxBackOff: 1s}", refused: "backOff is at most maxBackOff"},
		"no budget":                         {spec: "retry: {failures: [Reset], budgetPercent: 0}", refused: "spec.retry.budgetPercent"},
		"no least budget":                   {spec: "retry: {failures: [Reset], budgetMin: 0}", refused: "spec.retry.budgetMin"},
		"no connections":                    {spec: "limits: {maxConnections: 0}", refused: "spec.limits.maxConnections"},
		"no pending requests":               {spec: "limits: {maxPending: 0}", refused: "spec.limits.maxPending"},
		"no requests":                       {spec: "limits: {maxRequests: 0}", refused: "spec.limits.maxRequests"},
		"outliers after no failure":         {spec: "outlier: {consecutive: 0}", refused: "spec.outlier.consecutive"},
		"an ejection of zero":               {spec: "outlier: {ejection: 0s}", refused: "spec.outlier.ejection: a duration such as 30s"},
		"all ejected":                       {spec: "outlier: {maxPercent: 101}", refused: "spec.outlier.maxPercent"},
		"a rate of nothing":                 {spec: "rateLimit: {requests: 0}", refused: "spec.rateLimit.requests"},
		"a rate in no time":                 {spec: "rateLimit: {requests: 1, per: 0s}", refused: "rateLimit.per: a duration such as 1s or 1m"},
		"a burst of nothing":                {spec: "rateLimit: {requests: 1, burst: 0}", refused: "spec.rateLimit.burst"},
		"TLS to anybody":                    {spec: "tls: {}", refused: "serverName is needed to verify"},
		"TLS unverified":                    {spec: "tls: {insecureSkipVerify: true}"},
		"an authority that is not asked":    {spec: "tls: {insecureSkipVerify: true, caConfigMap: {name: a}}", refused: "remove caConfigMap or insecureSkipVerify"},
		"a server's name with a slash":      {spec: "tls: {serverName: a/b}", refused: "spec.tls.serverName: a DNS name"},
		"a ConfigMap without name":          {spec: "tls: {serverName: a, caConfigMap: {}}", refused: "spec.tls.caConfigMap.name"},

		"a rule that does nothing":        {spec: rule("matches: [{method: GET}]"), refused: "the rule does nothing; give at least one of revision"},
		"a rule's connect timeout":        {spec: rule("timeouts: {connect: 1s}"), refused: "timeouts.connect is for the whole Service"},
		"the baseline":                    {spec: rule("revision: Baseline"), refused: "spec.rules[0].revision"},
		"an empty match":                  {spec: match(""), refused: "a match is empty; give at least one of hosts"},
		"a host with a port":              {spec: match(`hosts: ["a:80"]`), refused: "hosts[0]"},
		"a method in lower case":          {spec: match("method: get"), refused: "method is in upper case"},
		"a path without a slash":          {spec: match("path: {value: a}"), refused: "a path begins with /"},
		"a path with a query":             {spec: match("path: {value: '/a?b=c'}"), refused: "a path has no query; match parameters with query"},
		"a path that is no expression":    {spec: match("path: {type: RegularExpression, value: '('}"), refused: "spec.rules[0].matches[0].path"},
		"a path of another type":          {spec: match("path: {type: Prefix, value: /a}"), refused: "path.type"},
		"a header that is no expression":  {spec: match("headers: [{name: a, type: RegularExpression, value: '('}]"), refused: "spec.rules[0].matches[0].headers[0]"},
		"a header without value":          {spec: match("headers: [{name: a}]"), refused: "type Present goes without a value, every other type with one"},
		"a present header with a value":   {spec: match("headers: [{name: a, type: Present, value: b}]"), refused: "type Present goes without a value"},
		"a parameter's name with a space": {spec: match("query: [{name: a b, value: c}]"), refused: "a name has letters, digits"},
		"a cookie of another type":        {spec: match("cookies: [{name: a, type: PathPrefix, value: c}]"), refused: "cookies[0].type"},
		"a fault without a failure":       {spec: rule("fault: {}"), refused: "fault has delay, abort or both"},
		"an abort by default":             {spec: rule("fault: {abort: {}}")},
		"a delay of zero":                 {spec: rule("fault: {delay: {duration: 0s}}"), refused: "fault.delay.duration is a duration such as 2s"},
		"a delay with a percent sign":     {spec: rule("fault: {delay: {duration: 1s, percent: 10%}}"), refused: "fault.delay.percent is a percentage such as 10 or 0.5, without"},
		"an abort of more than all":       {spec: rule(`fault: {abort: {percent: "101"}}`), refused: "fault.abort.percent is a percentage"},
		"an abort with half a status":     {spec: rule("fault: {abort: {status: 100}}"), refused: "fault.abort.status"},
		"an abort with gRPC's success":    {spec: rule("fault: {abort: {grpcStatus: 0}}"), refused: "fault.abort.grpcStatus"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			err := c.Create(context.Background(), trafficPolicy(t, test.spec), client.DryRunAll)
			switch {
			case test.refused == "" && err != nil:
				t.Fatalf("refused: %v", err)
			case test.refused != "" && err == nil:
				t.Fatal("accepted")
			case test.refused != "" && !strings.Contains(err.Error(), test.refused):
				t.Fatalf("refused with %q, want a message with %q", err, test.refused)
			}
		})
	}

	t.Run("defaults", func(t *testing.T) {
		u := trafficPolicy(t, "balance: {}\nsticky: {}\nretry: {failures: [Reset]}\nlimits: {}\noutlier: {}\nrateLimit: {requests: 1}\ntls: {serverName: a, caConfigMap: {name: a}}\n"+
			"rules: [{fault: {delay: {duration: 1s}, abort: {}}, matches: [{path: {value: /a}, headers: [{name: a, value: b}]}]}]")
		if err := c.Create(context.Background(), u); err != nil {
			t.Fatal(err)
		}
		var got v1alpha1.TrafficPolicy
		if err := c.Get(context.Background(), client.ObjectKeyFromObject(u), &got); err != nil {
			t.Fatal(err)
		}
		s := got.Spec
		if s.Balance.Balancer != v1alpha1.BalancerLeastRequest || *s.Balance.PanicPercent != 50 || s.Sticky.Cookie != "sluice-revision" ||
			*s.Retry.Attempts != 2 || *s.Retry.BudgetPercent != 20 || *s.Retry.BudgetMin != 3 || *s.Limits.MaxConnections != 1024 ||
			*s.Outlier.Consecutive != 5 || s.Outlier.Ejection.Duration.String() != "30s" || *s.Outlier.MaxPercent != 50 ||
			s.RateLimit.Per.Duration.String() != "1s" || s.TLS.CAConfigMap.Key != "ca.crt" {
			t.Errorf("defaults are not as documented: %+v", s)
		}
		r := s.Rules[0]
		if r.Fault.Delay.Percent != "100" || *r.Fault.Abort.Status != 503 || r.Fault.Abort.Percent != "100" ||
			r.Matches[0].Path.Type != v1alpha1.PathPrefix || r.Matches[0].Headers[0].Type != v1alpha1.ValueExact {
			t.Errorf("defaults of the rule are not as documented: %+v", r)
		}
	})
}

func trafficPolicy(t *testing.T, spec string) *unstructured.Unstructured {
	t.Helper()
	values := map[string]any{}
	if err := yaml.Unmarshal([]byte(spec), &values); err != nil {
		t.Fatalf("the case's own YAML: %v", err)
	}
	values["targetRef"] = map[string]any{"name": "cart"}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": values}}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("TrafficPolicy"))
	u.SetNamespace(metav1.NamespaceDefault)
	u.SetName("case")
	return u
}
