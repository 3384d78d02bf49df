package meshsync

import (
	"regexp"
	"slices"
	"strings"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// combined is what a rule of a policy and a route to backends mean together: the requests that both match go
// where the route leads, in the way that the rule says. The rule's name stays, since its rate limit is one for
// all routes. None: no request is matched by both. Unknown: it cannot be said (see bothPaths).
func combined(rule, route ir.Route) (routes []ir.Route, unknown bool) {
	out := route
	out.Name, out.Revision, out.RateLimit = rule.Name, rule.Revision, rule.RateLimit
	out.Timeouts = overTimeouts(rule.Timeouts, route.Timeouts)
	if rule.Retry != nil {
		out.Retry = rule.Retry
	}
	out.Fault = overFault(rule.Fault, route.Fault)
	if len(rule.Matches) == 0 {
		return []ir.Route{out}, false
	}
	theirs := route.Matches
	if len(theirs) == 0 {
		theirs = []ir.Match{{}}
	}
	out.Matches = nil
	for _, a := range rule.Matches {
		for _, b := range theirs {
			match, none, unknown := both(a, b)
			if unknown {
				return nil, true
			}
			if none {
				continue
			}
			if !replacesPrefix(out) || match.Path == b.Path {
				out.Matches = append(out.Matches, match)
				continue
			}
			// Less is matched of the path, so another part of it is replaced.
			one, unknown := narrowed(out, b.Path, match.Path)
			if unknown {
				return nil, true
			}
			one.Matches = []ir.Match{match}
			routes = append(routes, one)
		}
	}
	if len(out.Matches) > 0 {
		routes = append(routes, out)
	}
	return routes, false
}

func replacesPrefix(r ir.Route) bool {
	return r.Rewrite != nil && r.Rewrite.Path.ReplacePrefix || r.Redirect != nil && r.Redirect.Path.ReplacePrefix
}

func overTimeouts(rule, route ir.Timeouts) ir.Timeouts {
	if rule.Request > 0 {
		route.Request = rule.Request
	}
	if rule.PerTry > 0 {
		route.PerTry = rule.PerTry
	}
	if rule.Idle > 0 {
		route.Idle = rule.Idle
	}
	return route
}

// overFault keeps the abort of a route (for backends that are not there) where the rule has none of its own.
func overFault(rule, route *ir.Fault) *ir.Fault {
	if rule == nil || route == nil || rule.AbortShare > 0 {
		if rule == nil {
			return route
		}
		return rule
	}
	fault := *rule
	fault.AbortStatus, fault.AbortGRPC, fault.AbortShare, fault.Reason = route.AbortStatus, route.AbortGRPC, route.AbortShare, route.Reason
	return &fault
}

// both matches what a and b match.
func both(a, b ir.Match) (match ir.Match, none, unknown bool) {
	if a.Method != "" && b.Method != "" && a.Method != b.Method {
		return ir.Match{}, true, false
	}
	match = a
	if a.Method == "" {
		match.Method = b.Method
	}
	if match.Hosts, none = bothHosts(a.Hosts, b.Hosts); none {
		return ir.Match{}, true, false
	}
	match.Headers = slices.Concat(a.Headers, b.Headers)
	match.Query = slices.Concat(a.Query, b.Query)
	match.Cookies = slices.Concat(a.Cookies, b.Cookies)
	match.Path, none, unknown = bothPaths(a.Path, b.Path)
	return match, none, unknown
}

func bothHosts(a, b []string) (hosts []string, none bool) {
	if len(a) == 0 || len(b) == 0 {
		return slices.Concat(a, b), false
	}
	for _, x := range a {
		for _, y := range b {
			switch {
			case covers(x, y):
				hosts = append(hosts, y)
			case covers(y, x):
				hosts = append(hosts, x)
			}
		}
	}
	slices.Sort(hosts)
	hosts = slices.Compact(hosts)
	return hosts, len(hosts) == 0
}

// covers reports whether a host, or a pattern such as *.example.com, matches all that another one does.
func covers(pattern, host string) bool {
	below, wild := strings.CutPrefix(pattern, "*")
	return pattern == host || wild && strings.HasSuffix(host, below)
}

// bothPaths matches what a and b match. It is not known where one is a regular expression and the other is
// not an exact path: no expression of RE2 says "both".
func bothPaths(a, b ir.PathMatch) (path ir.PathMatch, none, unknown bool) {
	every := func(p ir.PathMatch) bool { return p.Kind == "" || p.Kind == ir.Prefix && p.Value == "/" }
	switch {
	case every(a), a == b:
		return b, false, false
	case every(b):
		return a, false, false
	case a.Kind == ir.Exact:
		known, matches := matchesPath(b, a.Value)
		return a, !matches, !known
	case b.Kind == ir.Exact:
		known, matches := matchesPath(a, b.Value)
		return b, !matches, !known
	case a.Kind == ir.Regex || b.Kind == ir.Regex:
		return ir.PathMatch{}, false, true
	case below(a.Value, b.Value):
		return a, false, false
	default:
		return b, !below(b.Value, a.Value), false
	}
}

// matchesPath reports whether a match matches a path; it is not known for an expression that is none.
func matchesPath(match ir.PathMatch, path string) (known, matches bool) {
	switch match.Kind {
	case ir.Exact:
		return true, match.Value == path
	case ir.Prefix:
		return true, below(path, match.Value)
	default:
		expression, err := regexp.Compile("^(?:" + match.Value + ")$")
		return err == nil, err == nil && expression.MatchString(path)
	}
}

// below reports whether a path is a prefix, or an element below it.
func below(path, prefix string) bool {
	prefix = strings.TrimRight(prefix, "/")
	rest, is := strings.CutPrefix(path, prefix)
	return is && (rest == "" || rest[0] == '/')
}

// narrowed keeps the meaning of a route that replaces the prefix it matched, when it is to match less.
func narrowed(route ir.Route, from, to ir.PathMatch) (out ir.Route, unknown bool) {
	change := func(p ir.Path) ir.Path {
		if !p.ReplacePrefix {
			return p
		}
		replaced := strings.TrimRight(p.Prefix, "/") + strings.TrimPrefix(to.Value, strings.TrimRight(from.Value, "/"))
		switch to.Kind {
		case ir.Exact:
			if replaced == "" {
				replaced = "/"
			}
			return ir.Path{Full: replaced}
		case ir.Prefix:
			return ir.Path{Prefix: replaced, ReplacePrefix: true}
		default:
			unknown = true
			return p
		}
	}
	if route.Rewrite != nil {
		rewrite := *route.Rewrite
		rewrite.Path = change(rewrite.Path)
		route.Rewrite = &rewrite
	}
	if route.Redirect != nil {
		redirect := *route.Redirect
		redirect.Path = change(redirect.Path)
		route.Redirect = &redirect
	}
	return route, unknown
}
