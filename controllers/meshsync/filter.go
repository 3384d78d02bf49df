package meshsync

import (
	"cmp"
	"strings"
	"time"

	"k8s.io/utils/ptr"
	gateway "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// ruleRoute says where one rule of a route leads, without its matches. Unsupported is what of the rule the
// mesh cannot do: then the rule is not to be followed. Unresolved are references that lead nowhere: the share
// of requests that would go there is answered with an error.
func (r References) ruleRoute(from route, rule routeRule) (out ir.Route, unsupported, unresolved *problem) {
	out = ir.Route{Name: from.String() + "/" + rule.name}
	if rule.persistence {
		return out, problemf(gateway.RouteReasonUnsupportedValue, "rule %s: sessionPersistence is not supported; use sticky or balance of a TrafficPolicy", rule.name), nil
	}
	for _, f := range rule.filters {
		switch {
		case f.RequestMirror != nil:
			mirror, missing := r.mirror(from, f.RequestMirror)
			if missing != nil {
				unresolved = missing
				continue
			}
			out.Mirrors = append(out.Mirrors, mirror)
		case f.RequestRedirect != nil:
			out.Redirect = redirectOf(f.RequestRedirect)
		case f.URLRewrite != nil:
			out.Rewrite = &ir.Rewrite{Host: string(ptr.Deref(f.URLRewrite.Hostname, "")), Path: pathOf(f.URLRewrite.Path)}
		default:
			if !headerFilter(f, &out.RequestHeaders, &out.ResponseHeaders) {
				return out, problemf(gateway.RouteReasonUnsupportedValue, "rule %s: filter %s is not supported", rule.name, f.Type), nil
			}
		}
	}
	missing, unsupported := r.backends(from, rule, &out)
	if unsupported != nil {
		return out, unsupported, nil
	}
	if out.Timeouts, unsupported = routeTimeouts(rule); unsupported != nil {
		return out, unsupported, nil
	}
	if out.Retry, unsupported = routeRetry(rule); unsupported != nil {
		return out, unsupported, nil
	}
	if missing != nil {
		unresolved = missing
	}
	return out, nil, unresolved
}

// headerFilter adds a filter that changes headers; false when it is another filter.
func headerFilter(f gateway.HTTPRouteFilter, request, response *ir.HeaderChanges) bool {
	switch {
	case f.RequestHeaderModifier != nil:
		*request = headerChanges(f.RequestHeaderModifier)
	case f.ResponseHeaderModifier != nil:
		*response = headerChanges(f.ResponseHeaderModifier)
	default:
		return false
	}
	return true
}

func headerChanges(f *gateway.HTTPHeaderFilter) ir.HeaderChanges {
	fields := func(in []gateway.HTTPHeader) []ir.Header {
		var out []ir.Header
		for _, h := range in {
			out = append(out, ir.Header{Name: strings.ToLower(string(h.Name)), Value: h.Value})
		}
		return out
	}
	changes := ir.HeaderChanges{Set: fields(f.Set), Add: fields(f.Add)}
	for _, name := range f.Remove {
		changes.Remove = append(changes.Remove, strings.ToLower(name))
	}
	return changes
}

func pathOf(p *gateway.HTTPPathModifier) ir.Path {
	switch {
	case p == nil:
		return ir.Path{}
	case p.Type == gateway.FullPathHTTPPathModifier:
		return ir.Path{Full: cmp.Or(ptr.Deref(p.ReplaceFullPath, ""), "/")}
	default:
		return ir.Path{Prefix: ptr.Deref(p.ReplacePrefixMatch, ""), ReplacePrefix: true}
	}
}

// redirectOf says the port where a scheme is given, since the request's own port is that of its own scheme.
func redirectOf(f *gateway.HTTPRequestRedirectFilter) *ir.Redirect {
	redirect := &ir.Redirect{
		Scheme: ptr.Deref(f.Scheme, ""), Host: string(ptr.Deref(f.Hostname, "")),
		Port: uint16(ptr.Deref(f.Port, 0)), //nolint:gosec // at most 65535 by its CRD
		Path: pathOf(f.Path), Status: ptr.Deref(f.StatusCode, 302),
	}
	if redirect.Port == 0 {
		switch redirect.Scheme {
		case "http":
			redirect.Port = 80
		case "https":
			redirect.Port = 443
		}
	}
	return redirect
}

func (r References) mirror(from route, f *gateway.HTTPRequestMirrorFilter) (ir.Mirror, *problem) {
	key, port, missing := r.resolve(from, f.BackendRef)
	mirror := ir.Mirror{Service: key.String(), Port: port, Share: ir.Million}
	switch {
	case f.Percent != nil:
		mirror.Share = uint32(min(max(*f.Percent, 0), 100)) * (ir.Million / 100) //nolint:gosec // bounded
	case f.Fraction != nil:
		of := max(ptr.Deref(f.Fraction.Denominator, 100), 1)
		part := min(max(f.Fraction.Numerator, 0), of)
		mirror.Share = uint32(int64(part) * ir.Million / int64(of)) //nolint:gosec // at most a million
	}
	return mirror, missing
}

// backends are drawn by weight. The share of those that are not there is aborted: nobody else may get it.
func (r References) backends(from route, rule routeRule, out *ir.Route) (missing, unsupported *problem) {
	var total, lost int64
	for _, b := range rule.backends {
		backend := ir.Backend{Weight: uint32(max(ptr.Deref(b.Weight, 1), 0))} //nolint:gosec // not negative
		for _, f := range b.Filters {
			if !headerFilter(f, &backend.RequestHeaders, &backend.ResponseHeaders) {
				return nil, problemf(gateway.RouteReasonUnsupportedValue, "rule %s: filter %s of a backend is not supported; give it to the rule", rule.name, f.Type)
			}
		}
		total += int64(backend.Weight)
		key, port, problem := r.resolve(from, b.BackendObjectReference)
		if problem != nil {
			missing = problem
			lost += int64(backend.Weight)
			continue
		}
		backend.Service, backend.Port = key.String(), port
		out.Backends = append(out.Backends, backend)
	}
	switch {
	case lost > 0:
		out.Fault = failing(uint32(lost*ir.Million/total), missing.message) //nolint:gosec // at most a million
	case len(rule.backends) > 0 && len(out.Backends) == 0: // of weight 0, all of them
		out.Fault = failing(ir.Million, missing.message)
	}
	return missing, nil
}

// failing answers a share of the requests as those are to be whose backend is not there.
func failing(share uint32, reason string) *ir.Fault {
	const unavailable = 14
	return &ir.Fault{AbortStatus: 500, AbortGRPC: unavailable, AbortShare: share, Reason: printable(reason)}
}

// printable shortens a reason to what callers may be told.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
	return text[:min(len(text), 300)]
}

// forever stands for a timeout of 0, which switches a timeout off: longer than any request.
const forever = 10 * 365 * 24 * time.Hour

func routeTimeouts(rule routeRule) (ir.Timeouts, *problem) {
	if rule.timeouts == nil {
		return ir.Timeouts{}, nil
	}
	request, badRequest := gatewayDuration(rule.timeouts.Request)
	try, badTry := gatewayDuration(rule.timeouts.BackendRequest)
	if badRequest != nil || badTry != nil {
		return ir.Timeouts{}, problemf(gateway.RouteReasonUnsupportedValue, "rule %s: a timeout is no duration such as 5s", rule.name)
	}
	return ir.Timeouts{Request: request, PerTry: try}, nil
}

func gatewayDuration(d *gateway.Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	parsed, err := time.ParseDuration(string(*d))
	if err == nil && parsed == 0 {
		parsed = forever
	}
	return parsed, err
}

// routeRetry repeats what failed on the way, as the specification wants where a retry is given at all.
func routeRetry(rule routeRule) (*ir.Retry, *problem) {
	if rule.retry == nil {
		return nil, nil
	}
	retry := &ir.Retry{
		Attempts: uint32(min(max(ptr.Deref(rule.retry.Attempts, 1), 1), 10)), //nolint:gosec // bounded
		On:       []ir.RetryOn{ir.OnConnectFailure, ir.OnReset, ir.OnTimeout},
	}
	if rule.retry.Backoff != nil {
		pause, err := time.ParseDuration(string(*rule.retry.Backoff))
		if err != nil {
			return nil, problemf(gateway.RouteReasonUnsupportedValue, "rule %s: retry.backoff is no duration such as 100ms", rule.name)
		}
		retry.BackOff = pause
	}
	if len(rule.retry.Codes) > 0 {
		codes := make([]int32, len(rule.retry.Codes))
		for i, code := range rule.retry.Codes {
			codes[i] = int32(code) //nolint:gosec // 400 to 599 by its CRD
		}
		retry.On, retry.Statuses = append(retry.On, ir.OnStatus), sorted(codes)
	}
	return retry, nil
}
