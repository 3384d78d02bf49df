package table

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// matcher finds the first route, in the order of the service's list, that a request matches. Candidates for
// one path, and those below one first element of a path, are found by map, so that a long list costs little.
// Each list is in order of precedence.
type matcher struct {
	exact    map[string][]*candidate // by path
	prefixes map[string][]*candidate // by first element of the path
	others   []*candidate
}

// candidate is one match of a route.
type candidate struct {
	order int // in which it comes, of all of the service
	rule  *Rule

	path    ir.MatchKind // "": any
	value   string       // the path, or the prefix without a slash at its end
	regex   *regexp.Regexp
	hosts   []string
	method  string
	headers []valueMatch
	query   []valueMatch
	cookies []valueMatch
}

type valueMatch struct {
	name  string
	kind  ir.MatchKind
	value string
	regex *regexp.Regexp
	not   bool
}

// add enters a candidate, which comes after all that were entered before.
func (m *matcher) add(c *candidate) {
	switch {
	case c.path == ir.Exact:
		m.exact[c.value] = append(m.exact[c.value], c)
	case c.path == ir.Prefix && strings.HasPrefix(c.value, "/"):
		element := firstElement(c.value)
		m.prefixes[element] = append(m.prefixes[element], c)
	default:
		m.others = append(m.others, c)
	}
}

// find returns the candidate that counts; nil when none matches. A nil matcher has none.
func (m *matcher) find(r Request) *candidate {
	if m == nil {
		return nil
	}
	path := r.Path()
	best := before(m.exact[path], r, path, nil)
	best = before(m.prefixes[firstElement(path)], r, path, best)
	return before(m.others, r, path, best)
}

// before returns the first of the list that matches, unless best comes before it.
func before(list []*candidate, r Request, path string, best *candidate) *candidate {
	for _, c := range list {
		if best != nil && best.order < c.order {
			break
		}
		if c.matches(r, path) {
			return c
		}
	}
	return best
}

func (c *candidate) matches(r Request, path string) bool {
	switch c.path {
	case ir.Exact:
		if path != c.value {
			return false
		}
	case ir.Prefix:
		if !below(path, c.value) {
			return false
		}
	case ir.Regex:
		if !c.regex.MatchString(path) {
			return false
		}
	}
	if c.method != "" && c.method != r.Method() || len(c.hosts) > 0 && !anyHost(c.hosts, r.Authority()) {
		return false
	}
	for i := range c.headers {
		value, found := r.Header(c.headers[i].name)
		if !c.headers[i].matches(value, found) {
			return false
		}
	}
	for i := range c.query {
		value, found := parameter(r.Query(), c.query[i].name)
		if !c.query[i].matches(value, found) {
			return false
		}
	}
	for i := range c.cookies {
		value, found := cookie(r, c.cookies[i].name)
		if !c.cookies[i].matches(value, found) {
			return false
		}
	}
	return true
}

// matches tells whether a value, if found, is as asked.
func (v *valueMatch) matches(value string, found bool) bool {
	if found {
		switch v.kind {
		case ir.Exact:
			found = value == v.value
		case ir.Prefix:
			found = strings.HasPrefix(value, v.value)
		case ir.Regex:
			found = v.regex.MatchString(value)
		}
	}
	return found != v.not
}

// below reports whether a path is the prefix or has it as its first whole elements. The prefix has no slash
// at its end; "" is that of all paths that begin with a slash.
func below(path, prefix string) bool {
	return strings.HasPrefix(path, prefix) && (len(path) == len(prefix) || path[len(prefix)] == '/')
}

// firstElement of a path: "a" of "/a/b".
func firstElement(path string) string {
	element, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return element
}

// anyHost reports whether one of the hosts is that of the authority. "*.example.com" is every name below.
func anyHost(hosts []string, authority string) bool {
	name, _ := splitAuthority(authority)
	for _, host := range hosts {
		if suffix, wild := strings.CutPrefix(host, "*"); wild {
			if len(name) > len(suffix) && strings.EqualFold(name[len(name)-len(suffix):], suffix) {
				return true
			}
		} else if strings.EqualFold(name, host) {
			return true
		}
	}
	return false
}

// splitAuthority cuts a port off, "" where there is none. IPv6 addresses keep their brackets.
func splitAuthority(authority string) (host, port string) {
	if i := strings.LastIndexByte(authority, ':'); i >= 0 && strings.IndexByte(authority[i:], ']') < 0 {
		return authority[:i], authority[i+1:]
	}
	return authority, ""
}

// newCandidate compiles a match. The error says which part cannot be.
func newCandidate(m ir.Match) (*candidate, error) {
	c := &candidate{path: m.Path.Kind, value: m.Path.Value, hosts: m.Hosts, method: m.Method}
	var err error
	switch m.Path.Kind {
	case "", ir.Exact:
	case ir.Prefix:
		c.value = strings.TrimRight(c.value, "/")
	case ir.Regex:
		if c.regex, err = whole(m.Path.Value); err != nil {
			return nil, fmt.Errorf("path: %w", err)
		}
	default:
		return nil, fmt.Errorf("path: unknown kind of match %q", m.Path.Kind)
	}
	if c.headers, err = newValues(m.Headers); err != nil {
		return nil, fmt.Errorf("header %w", err)
	}
	if c.query, err = newValues(m.Query); err != nil {
		return nil, fmt.Errorf("query parameter %w", err)
	}
	if c.cookies, err = newValues(m.Cookies); err != nil {
		return nil, fmt.Errorf("cookie %w", err)
	}
	return c, nil
}

func newValues(matches []ir.ValueMatch) ([]valueMatch, error) {
	var values []valueMatch
	for _, m := range matches {
		v := valueMatch{name: m.Name, kind: m.Kind, value: m.Value, not: m.Not}
		switch m.Kind {
		case ir.Exact, ir.Prefix, ir.Present:
		case ir.Regex:
			var err error
			if v.regex, err = whole(m.Value); err != nil {
				return nil, fmt.Errorf("%s: %w", m.Name, err)
			}
		default:
			return nil, fmt.Errorf("%s: unknown kind of match %q", m.Name, m.Kind)
		}
		values = append(values, v)
	}
	return values, nil
}

// whole compiles an expression that must match a whole text.
func whole(expression string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(expression); err != nil {
		return nil, err // as it was written
	}
	return regexp.Compile(`\A(?:` + expression + `)\z`)
}
