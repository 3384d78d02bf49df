package ir

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// maxWeights is what the weights of a route's backends may sum to: multiplied by shares in percent, as
// Envoy needs them, they still fit 32 bits.
const maxWeights = math.MaxUint32 / 100

type reporter func(format string, args ...any)

// in puts words before what is reported.
func (r reporter) in(format string, args ...any) reporter {
	prefix := fmt.Sprintf(format, args...)
	return func(format string, args ...any) { r("%s: %s", prefix, fmt.Sprintf(format, args...)) }
}

// validateRoutes does not look at other services: a backend that is not in the mesh is not an error but
// answered by the proxy, since services come and go without their routes.
func (s Service) validateRoutes(report reporter) {
	numbers := map[uint16]bool{}
	for _, port := range s.Ports {
		numbers[port.Number] = true
	}
	for i, route := range s.Routes {
		in := report.in("route %d %q", i, route.Name)
		if !printed.MatchString(route.Name) {
			in("name is too long or not printable")
		}
		for _, port := range route.Ports {
			if !numbers[port] {
				in("port %d is not one of the service's", port)
			}
		}
		route.validate(in)
	}
}

func (r Route) validate(report reporter) {
	for i, match := range r.Matches {
		match.validate(report.in("match %d", i))
	}
	if r.Redirect != nil {
		r.Redirect.validate(report.in("redirect"))
		if len(r.Backends) > 0 || r.Rewrite != nil {
			report("redirects, so it has neither backends nor a rewrite")
		}
		r.validatePath(r.Redirect.Path, report.in("redirect"))
	}
	r.validateBackends(report)
	switch r.Revision {
	case AnyRevision, StableRevision, CanaryRevision:
	default:
		report("unknown revision %q", r.Revision)
	}
	if r.Rewrite != nil {
		if r.Rewrite.Host != "" && !isHost(r.Rewrite.Host, false) {
			report("rewrite: host %q is not a name in lower case", r.Rewrite.Host)
		}
		r.validatePath(r.Rewrite.Path, report.in("rewrite"))
	}
	r.RequestHeaders.validate(report.in("request headers"))
	r.ResponseHeaders.validate(report.in("response headers"))
	for i, mirror := range r.Mirrors {
		in := report.in("mirror %d", i)
		validateTarget(mirror.Service, mirror.Port, in)
		checkShare(mirror.Share, "share", in)
	}
	if r.Fault != nil {
		r.Fault.validate(report.in("fault"))
	}
	if r.RateLimit != nil {
		r.RateLimit.validate(report.in("rate limit"))
	}
	r.Timeouts.validate(report.in("timeouts"))
	if r.Retry != nil {
		r.Retry.validate(report.in("retry"))
	}
}

func (r Route) validateBackends(report reporter) {
	sum := uint64(0)
	for i, backend := range r.Backends {
		in := report.in("backend %d", i)
		validateTarget(backend.Service, backend.Port, in)
		backend.RequestHeaders.validate(in.in("request headers"))
		backend.ResponseHeaders.validate(in.in("response headers"))
		sum += uint64(backend.Weight)
	}
	if sum > maxWeights {
		report("weights of backends sum to %d, more than %d", sum, maxWeights)
	}
}

func validateTarget(service string, port uint16, report reporter) {
	if !isKey(service) {
		report(`service %q is not "<namespace>/<name>"`, service)
	}
	if port == 0 {
		report("port is 0")
	}
}

// validatePath checks a replacement against what the route matches.
func (r Route) validatePath(path Path, report reporter) {
	if path.Full != "" {
		if problem := badPath(path.Full); problem != "" {
			report("path %q %s", path.Full, problem)
		}
	}
	if path.Prefix != "" {
		if problem := badPath(path.Prefix); problem != "" {
			report("prefix %q %s", path.Prefix, problem)
		}
	}
	if path.Full != "" && path.ReplacePrefix || path.Prefix != "" && !path.ReplacePrefix {
		report("a path is replaced as a whole or by its prefix")
	}
	if !path.ReplacePrefix {
		return
	}
	for i, match := range r.Matches {
		if match.Path.Kind == Exact || match.Path.Kind == Regex {
			report("replaces a prefix, but match %d has none", i)
		}
	}
}

func (m Match) validate(report reporter) {
	for _, host := range m.Hosts {
		if !isHost(host, true) {
			report("host %q is not a name in lower case", host)
		}
	}
	problem := ""
	switch m.Path.Kind {
	case "":
		if m.Path.Value != "" {
			problem = "has no kind"
		}
	case Exact, Prefix:
		problem = badPath(m.Path.Value)
	case Regex:
		problem = badPattern(m.Path.Value)
	default:
		problem = fmt.Sprintf("has unknown kind %q", m.Path.Kind)
	}
	if problem != "" {
		report("path %q %s", m.Path.Value, problem)
	}
	if m.Method != "" && (!isToken(m.Method) || m.Method != strings.ToUpper(m.Method)) {
		report("method %q is not one in upper case", m.Method)
	}
	for _, header := range m.Headers {
		in := report.in("header %q", header.Name)
		if problem := badHeaderName(header.Name); problem != "" {
			in("%s", problem)
		}
		header.validate(in)
	}
	for _, query := range m.Query {
		in := report.in("query %q", query.Name)
		if query.Name == "" || badText(query.Name, false) != "" {
			in("is not a parameter's name")
		}
		query.validate(in)
	}
	for _, cookie := range m.Cookies {
		in := report.in("cookie %q", cookie.Name)
		if !isToken(cookie.Name) {
			in("is not a cookie's name")
		}
		cookie.validate(in)
	}
}

func (m ValueMatch) validate(report reporter) {
	problem := ""
	switch m.Kind {
	case Exact, Prefix:
		problem = badText(m.Value, true)
	case Regex:
		problem = badPattern(m.Value)
	case Present:
		if m.Value != "" {
			problem = "is there, but only presence is asked for"
		}
	default:
		problem = fmt.Sprintf("has unknown kind %q", m.Kind)
	}
	if problem != "" {
		report("value %q %s", m.Value, problem)
	}
}

func (r Redirect) validate(report reporter) {
	if !slices.Contains([]int{301, 302, 303, 307, 308}, r.Status) {
		report("status %d is none of 301, 302, 303, 307, 308", r.Status)
	}
	if !slices.Contains([]string{"", "http", "https"}, r.Scheme) {
		report("scheme %q is neither http nor https", r.Scheme)
	}
	if r.Host != "" && !isHost(r.Host, false) {
		report("host %q is not a name in lower case", r.Host)
	}
}

func (c HeaderChanges) validate(report reporter) {
	seen := map[string]bool{}
	for i, header := range slices.Concat(c.Set, c.Add) {
		if problem := badChange(header.Name); problem != "" {
			report("%q %s", header.Name, problem)
		}
		if problem := badText(header.Value, true); problem != "" {
			report("value of %q %s", header.Name, problem)
		}
		if i < len(c.Set) && seen[header.Name] {
			report("%q is set twice", header.Name)
		}
		seen[header.Name] = true
	}
	for _, name := range c.Remove {
		if problem := badChange(name); problem != "" {
			report("%q %s", name, problem)
		}
	}
}

func (f Fault) validate(report reporter) {
	checkDuration(f.Delay, "delay", report)
	checkShare(f.DelayShare, "share of delays", report)
	checkShare(f.AbortShare, "share of aborts", report)
	if f.DelayShare > 0 && f.Delay == 0 {
		report("delays without saying how long")
	}
	if !printed.MatchString(f.Reason) {
		report("reason is too long or not printable")
	}
	if f.AbortShare > 0 && f.AbortStatus == 0 && f.AbortGRPC == 0 {
		report("aborts without a status")
	}
	if f.AbortStatus != 0 && (f.AbortStatus < 200 || f.AbortStatus > 599) {
		report("status %d is not from 200 to 599", f.AbortStatus)
	}
	if f.AbortGRPC < 0 || f.AbortGRPC > maxGRPCStatus {
		report("gRPC status %d is not from 1 to %d", f.AbortGRPC, maxGRPCStatus)
	}
}

func (l RateLimit) validate(report reporter) {
	if l.Requests == 0 || l.Per <= 0 {
		report("%d requests in %v: both must be above zero", l.Requests, l.Per)
	}
}

func checkDuration(d time.Duration, field string, report reporter) {
	if d < 0 {
		report("%s is negative: %v", field, d)
	}
}
