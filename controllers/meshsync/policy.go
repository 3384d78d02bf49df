package meshsync

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/mesh/ir"
)

// policyOf says a policy's spec, but for its rules, in the mesh's terms. Authority is the bundle that
// spec.tls.caConfigMap names.
func policyOf(spec v1alpha1.TrafficPolicySpec, authority string) ir.Policy {
	p := ir.Policy{Timeouts: timeoutsOf(spec.Timeouts), Retry: retryOf(spec.Retry), RateLimit: rateLimitOf(spec.RateLimit)}
	if b := spec.Balance; b != nil {
		p.Balance = ir.Balance{
			Balancer: balancers[b.Balancer], SlowStart: duration(b.SlowStart), AnyZone: b.AnyZone, Panic: number(b.PanicPercent),
		}
		if on := b.HashOn; on != nil {
			p.Balance.HashOn = ir.HashOn{Header: strings.ToLower(on.Header), Source: on.Source}
			if on.Cookie != nil {
				p.Balance.HashOn.Cookie, p.Balance.HashOn.CookieTTL = on.Cookie.Name, duration(on.Cookie.TTL)
			}
		}
	}
	if s := spec.Sticky; s != nil {
		p.Sticky = &ir.Sticky{Cookie: s.Cookie, TTL: duration(s.TTL)}
	}
	if l := spec.Limits; l != nil {
		p.Limits = ir.Limits{MaxConnections: number(l.MaxConnections), MaxPending: number(l.MaxPending), MaxRequests: number(l.MaxRequests)}
	}
	if o := spec.Outlier; o != nil {
		p.Outlier = &ir.Outlier{Consecutive: number(o.Consecutive), Ejection: duration(o.Ejection), MaxPercent: number(o.MaxPercent)}
	}
	if t := spec.TLS; t != nil {
		p.TLS = &ir.UpstreamTLS{ServerName: t.ServerName, CA: authority, Insecure: t.InsecureSkipVerify}
	}
	return p
}

var balancers = map[v1alpha1.Balancer]ir.Balancer{
	v1alpha1.BalancerLeastRequest: ir.LeastRequest, v1alpha1.BalancerRoundRobin: ir.RoundRobin,
	v1alpha1.BalancerRandom: ir.Random, v1alpha1.BalancerRingHash: ir.RingHash,
}

func timeoutsOf(t *v1alpha1.TimeoutPolicy) ir.Timeouts {
	if t == nil {
		return ir.Timeouts{}
	}
	return ir.Timeouts{Request: duration(t.Request), PerTry: duration(t.PerTry), Idle: duration(t.Idle), Connect: duration(t.Connect)}
}

var failures = map[v1alpha1.Failure]ir.RetryOn{
	v1alpha1.FailureConnect: ir.OnConnectFailure, v1alpha1.FailureReset: ir.OnReset, v1alpha1.FailureTimeout: ir.OnTimeout,
	v1alpha1.FailureServerError: ir.On5xx, v1alpha1.FailureGatewayError: ir.OnGatewayError,
}

func retryOf(r *v1alpha1.RetryPolicy) *ir.Retry {
	if r == nil {
		return nil
	}
	retry := &ir.Retry{
		Attempts: number(r.Attempts), BackOff: duration(r.BackOff), MaxBackOff: duration(r.MaxBackOff),
		Budget: number(r.BudgetPercent), BudgetMin: number(r.BudgetMin), NonIdempotent: r.NonIdempotent,
	}
	for _, failure := range r.Failures {
		retry.On = append(retry.On, failures[failure])
	}
	if len(r.Statuses) > 0 {
		retry.On, retry.Statuses = append(retry.On, ir.OnStatus), sorted(r.Statuses)
	}
	if len(r.GRPCStatuses) > 0 {
		retry.On, retry.GRPCStatuses = append(retry.On, ir.OnGRPC), sorted(r.GRPCStatuses)
	}
	return retry
}

func sorted(statuses []int32) []int {
	out := make([]int, len(statuses))
	for i, status := range statuses {
		out[i] = int(status)
	}
	slices.Sort(out)
	return out
}

func rateLimitOf(l *v1alpha1.RateLimit) *ir.RateLimit {
	if l == nil {
		return nil
	}
	return &ir.RateLimit{Requests: uint32(max(l.Requests, 0)), Per: cmp.Or(duration(l.Per), time.Second), Burst: number(l.Burst)} //nolint:gosec // bounded
}

// rulesOf says a policy's rules as routes to the service itself.
func rulesOf(p *v1alpha1.TrafficPolicy) []ir.Route {
	var routes []ir.Route
	for i, rule := range p.Spec.Rules {
		route := ir.Route{
			Name:     fmt.Sprintf("TrafficPolicy/%s/%s/%d", p.Namespace, p.Name, i),
			Revision: ir.Revision(strings.ToLower(string(rule.Revision))), Fault: faultOf(rule.Fault),
			RateLimit: rateLimitOf(rule.RateLimit), Timeouts: timeoutsOf(rule.Timeouts), Retry: retryOf(rule.Retry),
		}
		for _, match := range rule.Matches {
			route.Matches = append(route.Matches, matchOf(match))
		}
		routes = append(routes, route)
	}
	return routes
}

func faultOf(f *v1alpha1.Fault) *ir.Fault {
	if f == nil {
		return nil
	}
	fault := &ir.Fault{}
	if f.Delay != nil {
		fault.Delay, fault.DelayShare = f.Delay.Duration.Duration, share(f.Delay.Percent)
	}
	if f.Abort != nil {
		fault.AbortStatus = int(ptr.Deref(f.Abort.Status, 503))
		fault.AbortGRPC, fault.AbortShare = int(ptr.Deref(f.Abort.GRPCStatus, 0)), share(f.Abort.Percent)
	}
	return fault
}

// share of a percentage such as "0.5", in parts of a million; the CRD refuses what is none.
func share(percent string) uint32 {
	number, err := strconv.ParseFloat(cmp.Or(percent, "100"), 64)
	if err != nil || number < 0 || number > 100 {
		return 0
	}
	return uint32(math.Round(number * ir.Million / 100))
}

func matchOf(m v1alpha1.RequestMatch) ir.Match {
	match := ir.Match{Hosts: slices.Clone(m.Hosts), Method: m.Method}
	if m.Path != nil {
		match.Path = ir.PathMatch{Kind: pathKinds[m.Path.Type], Value: m.Path.Value}
		if match.Path.Kind == ir.Prefix {
			match.Path.Value = trimSlash(match.Path.Value)
		}
	}
	match.Headers = valuesOf(m.Headers, strings.ToLower)
	asIs := func(name string) string { return name }
	match.Query, match.Cookies = valuesOf(m.Query, asIs), valuesOf(m.Cookies, asIs)
	return match
}

// trimSlash takes the slash from the end of a prefix: "/a/" and "/a" match the same paths.
func trimSlash(prefix string) string { return cmp.Or(strings.TrimRight(prefix, "/"), "/") }

var pathKinds = map[v1alpha1.PathMatchType]ir.MatchKind{
	"": ir.Prefix, v1alpha1.PathPrefix: ir.Prefix, v1alpha1.PathExact: ir.Exact, v1alpha1.PathRegularExpression: ir.Regex,
}

var valueKinds = map[v1alpha1.ValueMatchType]ir.MatchKind{
	"": ir.Exact, v1alpha1.ValueExact: ir.Exact, v1alpha1.ValuePrefix: ir.Prefix,
	v1alpha1.ValueRegularExpression: ir.Regex, v1alpha1.ValuePresent: ir.Present,
}

func valuesOf(list []v1alpha1.ValueMatch, name func(string) string) []ir.ValueMatch {
	var out []ir.ValueMatch
	for _, v := range list {
		out = append(out, ir.ValueMatch{Name: name(v.Name), Kind: valueKinds[v.Type], Value: v.Value, Not: v.Not})
	}
	return out
}

func duration(d *metav1.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return d.Duration
}

func number(n *int32) uint32 { return uint32(max(ptr.Deref(n, 0), 0)) } //nolint:gosec // not negative
