package table

import (
	"fmt"
	"strings"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// matches says in words which requests a route is for.
func matches(r ir.Route) []string {
	var all []string
	for _, m := range r.Matches {
		var words []string
		say := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
		if len(m.Hosts) > 0 {
			say("host %s", strings.Join(m.Hosts, " or "))
		}
		switch m.Path.Kind {
		case ir.Exact:
			say("path %s", m.Path.Value)
		case ir.Prefix:
			say("path below %s", m.Path.Value)
		case ir.Regex:
			say("path like %s", m.Path.Value)
		}
		if m.Method != "" {
			say("method %s", m.Method)
		}
		for _, v := range m.Headers {
			say("header %s", valueWords(v))
		}
		for _, v := range m.Query {
			say("query %s", valueWords(v))
		}
		for _, v := range m.Cookies {
			say("cookie %s", valueWords(v))
		}
		if len(words) == 0 {
			say("any")
		}
		all = append(all, strings.Join(words, ", "))
	}
	return all
}

func valueWords(v ir.ValueMatch) string {
	words := v.Name
	if v.Not {
		words += " not"
	}
	switch v.Kind {
	case ir.Present:
		return words + " present"
	case ir.Prefix:
		return words + " beginning with " + v.Value
	case ir.Regex:
		return words + " like " + v.Value
	default:
		return words + " = " + v.Value
	}
}

// actions says in words what a route does.
func actions(r ir.Route) []string {
	var words []string
	say := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	if f := r.Fault; f != nil {
		if f.DelayShare > 0 {
			say("delay %s by %s", percent(f.DelayShare), f.Delay)
		}
		if f.AbortShare > 0 {
			say("abort %s with %d, gRPC %d", percent(f.AbortShare), f.AbortStatus, f.AbortGRPC)
		}
	}
	if to := r.Redirect; to != nil {
		say("redirect with %d%s", to.Status, named("to scheme", to.Scheme)+named("to host", to.Host)+pathWords(to.Path))
	}
	for _, to := range r.Backends {
		say("to %s:%d by weight %d%s", to.Service, to.Port, to.Weight,
			headerWords(", request", to.RequestHeaders)+headerWords(", response", to.ResponseHeaders))
	}
	if r.Revision != ir.AnyRevision {
		say("to %s alone", r.Revision)
	}
	if to := r.Rewrite; to != nil {
		say("rewrite%s", named("to host", to.Host)+pathWords(to.Path))
	}
	words = appendSaid(words, headerWords("request", r.RequestHeaders))
	words = appendSaid(words, headerWords("response", r.ResponseHeaders))
	for _, m := range r.Mirrors {
		say("mirror %s to %s:%d", percent(m.Share), m.Service, m.Port)
	}
	if l := r.RateLimit; l != nil {
		say("limit to %d in %s at each pod", l.Requests, l.Per)
	}
	if t := r.Timeouts; t != (ir.Timeouts{}) {
		say("time out after %s, a try after %s, idle after %s", t.Request, t.PerTry, t.Idle)
	}
	if r.Retry != nil {
		say("retry up to %d times", r.Retry.Attempts)
	}
	return words
}

func appendSaid(words []string, more string) []string {
	if more == "" {
		return words
	}
	return append(words, more)
}

func named(what, value string) string {
	if value == "" {
		return ""
	}
	return " " + what + " " + value
}

func pathWords(p ir.Path) string {
	if p.ReplacePrefix {
		return fmt.Sprintf(" to %q in place of the path's prefix", p.Prefix)
	}
	return named("to path", p.Full)
}

// headerWords names the fields that change, not their values: those may be nobody's business.
func headerWords(of string, c ir.HeaderChanges) string {
	words := ""
	for _, name := range c.Remove {
		words += " -" + name
	}
	for _, h := range c.Set {
		words += " =" + h.Name
	}
	for _, h := range c.Add {
		words += " +" + h.Name
	}
	if words == "" {
		return ""
	}
	return of + " headers" + words
}

// percent writes a share in parts of a million.
func percent(share uint32) string { return fmt.Sprintf("%g%%", float64(share)*100/ir.Million) }
