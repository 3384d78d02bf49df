package xds

import (
	"cmp"
	"net/http"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// route makes one of Envoy's routes from ours and one form of one of its matches.
func (s scope) route(from ir.Route, path form, match ir.Match) *routev3.Route {
	made := &routev3.Route{
		Name:                 from.Name,
		Match:                withConditions(path.match, match),
		TypedPerFilterConfig: filterConfig(from.Fault, from.RateLimit, s.port),
	}
	to := s.destinations(from)
	switch {
	case from.Redirect != nil:
		made.Action = &routev3.Route_Redirect{Redirect: redirect(*from.Redirect, path)}
	case len(to) == 0:
		made.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
			Status: http.StatusInternalServerError,
			Body: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{
				InlineString: "all backends of route " + from.Name + " have weight 0\n",
			}},
		}}
	default:
		made.Action = &routev3.Route_Route{Route: s.action(from, path, to)}
	}
	mutate(made, from, to)
	return made
}

func (s scope) action(from ir.Route, path form, to []weighted) *routev3.RouteAction {
	policy := s.service.Policy
	request := cmp.Or(from.Timeouts.Request, policy.Timeouts.Request)
	specifier := clusters(to)
	if policy.Sticky != nil {
		specifier.WeightedClusters.RandomValueSpecifier = &routev3.WeightedCluster_UseHashPolicy{UseHashPolicy: wrapperspb.Bool(true)}
	}
	made := &routev3.RouteAction{
		ClusterSpecifier: specifier,
		// Envoy's defaults would cut every answer at 15 seconds, and every silence at 5 minutes.
		Timeout:               duration(request),
		IdleTimeout:           duration(cmp.Or(from.Timeouts.Idle, policy.Timeouts.Idle)),
		HashPolicy:            hashPolicies(policy),
		RequestMirrorPolicies: s.mirrors(from.Mirrors),
	}
	if from.Retry != nil || from.Timeouts.PerTry > 0 { // else the virtual host's holds
		made.RetryPolicy = retryPolicy(cmp.Or(from.Retry, policy.Retry), cmp.Or(from.Timeouts.PerTry, policy.Timeouts.PerTry))
	}
	if request > 0 {
		// The timeout begins when the request has been sent, this one with its head. It is also gRPC's.
		made.MaxStreamDuration = &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: duration(request)}
	}
	if from.Rewrite == nil {
		return made
	}
	if from.Rewrite.Host != "" {
		made.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: from.Rewrite.Host}
	}
	switch replace := from.Rewrite.Path; {
	case replace.Full != "":
		made.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{
			Pattern:      regex("^/.*$"),
			Substitution: strings.ReplaceAll(replace.Full, `\`, `\\`),
		}
	case replace.ReplacePrefix:
		made.PrefixRewrite = path.rewritten(replace.Prefix)
	}
	return made
}

// rewritten is what takes the place of what this form matched, where the prefix is replaced. A path is never
// empty.
func (f form) rewritten(prefix string) string {
	return cmp.Or(strings.TrimRight(prefix, "/")+f.prefix, "/")
}

var redirectCodes = map[int]routev3.RedirectAction_RedirectResponseCode{
	http.StatusMovedPermanently:  routev3.RedirectAction_MOVED_PERMANENTLY,
	http.StatusFound:             routev3.RedirectAction_FOUND,
	http.StatusSeeOther:          routev3.RedirectAction_SEE_OTHER,
	http.StatusTemporaryRedirect: routev3.RedirectAction_TEMPORARY_REDIRECT,
	http.StatusPermanentRedirect: routev3.RedirectAction_PERMANENT_REDIRECT,
}

func redirect(from ir.Redirect, path form) *routev3.RedirectAction {
	made := &routev3.RedirectAction{
		HostRedirect: from.Host,
		PortRedirect: uint32(from.Port),
		ResponseCode: redirectCodes[from.Status],
	}
	if from.Scheme != "" {
		made.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: from.Scheme}
	}
	switch replace := from.Path; {
	case replace.Full != "":
		made.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: replace.Full}
	case replace.ReplacePrefix:
		made.PathRewriteSpecifier = &routev3.RedirectAction_PrefixRewrite{PrefixRewrite: path.rewritten(replace.Prefix)}
	}
	return made
}

// mirrors send copies to all endpoints of a service; its split has no say in them. Those to services that are
// not there are left out.
func (s scope) mirrors(from []ir.Mirror) []*routev3.RouteAction_RequestMirrorPolicy {
	var made []*routev3.RouteAction_RequestMirrorPolicy
	for _, mirror := range from {
		if service, port, found := s.lookup(mirror.Service, mirror.Port); found {
			made = append(made, &routev3.RouteAction_RequestMirrorPolicy{
				Cluster:         everyCluster(service, port),
				RuntimeFraction: &corev3.RuntimeFractionalPercent{DefaultValue: fraction(mirror.Share)},
			})
		}
	}
	return made
}

// stickyPath lets a browser send a cookie of ours with every request.
const stickyPath = "/"

// hashPolicies say what ring hashes hash, and stickiness. A service with both is sticky by what its ring
// hashes. Envoy makes cookies with values of its own: a client moves once when it goes from a proxy of ours to
// an Envoy, and Envoy does not mark a client's first request. gRPC has neither cookies nor addresses to hash.
func hashPolicies(policy ir.Policy) []*routev3.RouteAction_HashPolicy {
	hashOn := policy.Balance.HashOn
	made := &routev3.RouteAction_HashPolicy{}
	cookie := func(name string, ttl *durationpb.Duration) {
		made.PolicySpecifier = &routev3.RouteAction_HashPolicy_Cookie_{
			Cookie: &routev3.RouteAction_HashPolicy_Cookie{Name: name, Ttl: ttl, Path: stickyPath},
		}
	}
	switch {
	case hashOn.Header != "":
		made.PolicySpecifier = &routev3.RouteAction_HashPolicy_Header_{
			Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: hashOn.Header},
		}
	case hashOn.Cookie != "" && hashOn.CookieTTL > 0:
		cookie(hashOn.Cookie, duration(hashOn.CookieTTL))
	case hashOn.Cookie != "":
		cookie(hashOn.Cookie, nil)
	case hashOn.Source:
		made.PolicySpecifier = &routev3.RouteAction_HashPolicy_ConnectionProperties_{
			ConnectionProperties: &routev3.RouteAction_HashPolicy_ConnectionProperties{SourceIp: true},
		}
	case policy.Sticky != nil:
		cookie(policy.Sticky.Cookie, duration(policy.Sticky.TTL))
	default:
		return nil
	}
	return []*routev3.RouteAction_HashPolicy{made}
}

func fraction(share uint32) *typev3.FractionalPercent {
	return &typev3.FractionalPercent{Numerator: share, Denominator: typev3.FractionalPercent_MILLION}
}

// duration rounds up to whole milliseconds: Envoy cuts the rest off, and takes 0 for no limit.
func duration(d time.Duration) *durationpb.Duration {
	if rest := d % time.Millisecond; rest > 0 {
		d += time.Millisecond - rest
	}
	return durationpb.New(d)
}
