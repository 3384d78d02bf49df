package xds

import (
	"regexp"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// Matches are made so that they mean the same to Envoy and to gRPC, or never match for gRPC: it rejects
// path_separated_prefix, passes over routes with query parameters, does not know cookies, knows no headers
// but the call's metadata (no :method, no :path), and takes a header that is not there for one that does not
// match, inverted or not.
//
// Envoy compares query parameters as they are sent, without decoding them, and joins the values of a header
// that comes more than once with commas.

// form is one way in which a path matches.
type form struct {
	match *routev3.RouteMatch
	// prefix is where prefix_rewrite, given the path's new prefix, has to put it: "" exchanges the whole
	// path, "/" what comes before a further element.
	prefix string
}

// forms of a match on the path. A prefix of whole elements is two: the path itself, and all below it.
func forms(path ir.PathMatch) []form {
	exact := func(value string) *routev3.RouteMatch {
		return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: value}}
	}
	below := func(value string) *routev3.RouteMatch {
		return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: value}}
	}
	switch {
	case path.Kind == ir.Exact:
		return []form{{match: exact(path.Value)}}
	case path.Kind == ir.Regex:
		return []form{{match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_SafeRegex{SafeRegex: regex(path.Value)}}}}
	case path.Kind == "", path.Value == "/":
		return []form{{match: below("/"), prefix: "/"}}
	default:
		return []form{{match: exact(path.Value)}, {match: below(path.Value + "/"), prefix: "/"}}
	}
}

// withConditions returns the match with all that is asked for but path and host.
func withConditions(match *routev3.RouteMatch, from ir.Match) *routev3.RouteMatch {
	match = proto.CloneOf(match)
	if from.Method != "" {
		match.Headers = append(match.Headers, header(":method", ir.ValueMatch{Kind: ir.Exact, Value: from.Method}))
	}
	for _, value := range from.Headers {
		match.Headers = append(match.Headers, header(value.Name, value))
	}
	for _, value := range from.Query {
		if value.Not {
			// There are no inverted matches of parameters.
			match.Headers = append(match.Headers, header(":path", within(value, `[^?]*\?(?:.*&)?`, `&`)))
			continue
		}
		match.QueryParameters = append(match.QueryParameters, parameter(value))
	}
	for _, value := range from.Cookies {
		match.Headers = append(match.Headers, header("cookie", within(value, `(?:.*;\s*)?`, `\s*;`)))
	}
	return match
}

// header makes a match on a header. One that is not there is as good as an empty one to what is inverted.
func header(name string, value ir.ValueMatch) *routev3.HeaderMatcher {
	made := &routev3.HeaderMatcher{Name: name, InvertMatch: value.Not}
	if value.Kind == ir.Present {
		made.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}
		return made
	}
	made.TreatMissingHeaderAsEmpty = value.Not
	made.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: text(value)}
	return made
}

func parameter(value ir.ValueMatch) *routev3.QueryParameterMatcher {
	made := &routev3.QueryParameterMatcher{Name: value.Name}
	if value.Kind == ir.Present {
		made.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: true}
	} else {
		made.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_StringMatch{StringMatch: text(value)}
	}
	return made
}

// within turns a match on one of several "name=value" into a match on their whole list. Before is a pattern
// for what may come before one, end one for what ends it where others follow.
func within(value ir.ValueMatch, before, end string) ir.ValueMatch {
	pattern := before + regexp.QuoteMeta(value.Name)
	switch value.Kind {
	case ir.Exact:
		pattern += "=" + regexp.QuoteMeta(value.Value) + "(?:" + end + ".*)?"
	case ir.Prefix:
		pattern += "=" + regexp.QuoteMeta(value.Value) + ".*"
	case ir.Regex:
		pattern += "=(?:" + value.Value + ")(?:" + end + ".*)?"
	default:
		pattern += "(?:=.*|" + end + ".*)?"
	}
	return ir.ValueMatch{Kind: ir.Regex, Value: pattern, Not: value.Not}
}

func text(value ir.ValueMatch) *matcherv3.StringMatcher {
	switch value.Kind {
	case ir.Exact:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: value.Value}}
	case ir.Prefix:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: value.Value}}
	default:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: regex(value.Value)}}
	}
}

// regex must match the whole text, for Envoy and for gRPC. An empty pattern is not allowed.
func regex(pattern string) *matcherv3.RegexMatcher {
	if pattern == "" {
		pattern = "^$"
	}
	return &matcherv3.RegexMatcher{Regex: pattern}
}

// covers reports whether a match holds for a host, given as one of ours: a name, or "*." and a name.
func covers(match ir.Match, host string) bool {
	return len(match.Hosts) == 0 || slices.ContainsFunc(match.Hosts, func(own string) bool {
		suffix, wildcard := strings.CutPrefix(own, "*")
		return own == host || wildcard && strings.HasSuffix(strings.TrimPrefix(host, "*"), suffix)
	})
}
