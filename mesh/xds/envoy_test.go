package xds_test

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// routed is what Envoy does with a request, read from the documentation of its route configuration.
func routed(t *testing.T, configuration *routev3.RouteConfiguration, sent request) outcome {
	t.Helper()
	host := sent.host
	if configuration.IgnorePortInHostMatching {
		host, _, _ = strings.Cut(host, ":")
	}
	var best *routev3.VirtualHost
	fit := -1
	for _, candidate := range configuration.VirtualHosts {
		for _, domain := range candidate.Domains {
			suffix, wildcard := strings.CutPrefix(domain, "*")
			quality := -1
			switch {
			case domain == host:
				quality = math.MaxInt
			case wildcard && strings.HasSuffix(host, suffix):
				quality = len(suffix)
			}
			if quality > fit {
				best, fit = candidate, quality
			}
		}
	}
	for _, route := range best.GetRoutes() {
		if matched, ok := envoyMatches(t, route.Match, sent); ok {
			return taken(t, route, matched, sent)
		}
	}
	t.Fatalf("no route of %s for %+v", configuration.Name, sent)
	return outcome{}
}

// envoyMatches returns the part of the path that matched.
func envoyMatches(t *testing.T, match *routev3.RouteMatch, sent request) (string, bool) {
	t.Helper()
	matched := sent.path
	switch {
	case match.GetSafeRegex() != nil:
		if !whole(match.GetSafeRegex().Regex, sent.path) {
			return "", false
		}
	case match.GetPath() != "":
		if match.GetPath() != sent.path {
			return "", false
		}
	default:
		if matched = match.GetPrefix(); matched == "" || !strings.HasPrefix(sent.path, matched) {
			return "", false
		}
	}
	for _, header := range match.Headers {
		value, found := sent.headers[header.Name]
		switch header.Name {
		case ":method":
			value, found = sent.method, true
		case ":path":
			value, found = sent.path, true
			if sent.query != "" {
				value += "?" + sent.query
			}
		}
		switch {
		case header.GetPresentMatch():
		case !found && !header.TreatMissingHeaderAsEmpty:
			return "", false
		default:
			found = stringMatches(t, header.GetStringMatch(), value)
		}
		if found == header.InvertMatch {
			return "", false
		}
	}
	for _, parameter := range match.QueryParameters {
		value, found := parameters(sent)[parameter.Name]
		if found && !parameter.GetPresentMatch() {
			found = stringMatches(t, parameter.GetStringMatch(), value)
		}
		if !found {
			return "", false
		}
	}
	return matched, true
}

func stringMatches(t *testing.T, match *matcherv3.StringMatcher, text string) bool {
	t.Helper()
	switch by := match.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return text == by.Exact
	case *matcherv3.StringMatcher_Prefix:
		return strings.HasPrefix(text, by.Prefix)
	case *matcherv3.StringMatcher_SafeRegex:
		return whole(by.SafeRegex.Regex, text)
	default:
		t.Fatalf("match %v", match)
		return false
	}
}

func taken(t *testing.T, route *routev3.Route, matched string, sent request) outcome {
	t.Helper()
	result := outcome{Route: route.Name}
	prefix := func(by string) string { return by + strings.TrimPrefix(sent.path, matched) }
	switch {
	case route.GetRedirect() != nil:
		r, path := route.GetRedirect(), sent.path
		if full := r.GetPathRedirect(); full != "" {
			path = full
		} else if by := r.GetPrefixRewrite(); by != "" {
			path = prefix(by)
		}
		codes := map[string]int{"MOVED_PERMANENTLY": 301, "FOUND": 302, "SEE_OTHER": 303, "TEMPORARY_REDIRECT": 307, "PERMANENT_REDIRECT": 308}
		result.Answer = fmt.Sprintf("redirect %d to %s %s %d %s", codes[r.ResponseCode.String()], r.GetSchemeRedirect(), r.HostRedirect, r.PortRedirect, path)
		return result
	case route.GetDirectResponse() != nil:
		result.Answer = fmt.Sprint(route.GetDirectResponse().Status)
		return result
	}
	action := route.GetRoute()
	result.Path = sent.path
	if by := action.RegexRewrite; by != nil {
		substitution := strings.ReplaceAll(by.Substitution, `\\`, `\`)
		result.Path = regexp.MustCompile(by.Pattern.Regex).ReplaceAllLiteralString(sent.path, substitution)
	} else if by := action.PrefixRewrite; by != "" {
		result.Path = prefix(by)
	}
	result.Shares, result.Headers = map[string]float64{}, map[string]map[string][]string{}
	total := uint64(0)
	for _, cluster := range action.GetWeightedClusters().GetClusters() {
		total += uint64(cluster.Weight.GetValue())
	}
	if total > math.MaxUint32 {
		t.Fatalf("weights of route %s sum to %d", route.Name, total)
	}
	for _, cluster := range action.GetWeightedClusters().GetClusters() {
		result.Shares[cluster.Name] += float64(cluster.Weight.GetValue()) / float64(total)
		headers := envoyChanges(original(sent), cluster.RequestHeadersToAdd, cluster.RequestHeadersToRemove)
		result.Headers[cluster.Name] = envoyChanges(headers, route.RequestHeadersToAdd, route.RequestHeadersToRemove)
	}
	return result
}

func envoyChanges(headers map[string][]string, add []*corev3.HeaderValueOption, remove []string) map[string][]string {
	headers = maps.Clone(headers)
	for _, name := range remove {
		delete(headers, name)
	}
	apply := func(action corev3.HeaderValueOption_HeaderAppendAction, keep bool) {
		for _, option := range add {
			value := strings.ReplaceAll(option.Header.Value, "%%", "\x00")
			if strings.Contains(value, "%") {
				value = "a variable"
			}
			value = strings.ReplaceAll(value, "\x00", "%")
			if option.AppendAction != action || value == "" && !option.KeepEmptyValue {
				continue
			}
			var before []string
			if keep {
				before = slices.Clone(headers[option.Header.Key])
			}
			headers[option.Header.Key] = append(before, value)
		}
	}
	apply(corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD, false)
	apply(corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD, true)
	return headers
}
