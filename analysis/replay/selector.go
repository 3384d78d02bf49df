package replay

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
)

// A Selector picks series by name and labels: PromQL's instant selector, such as
// istio_requests_total{reporter="source"}, and nothing else of PromQL. The zero value picks every series.
type Selector struct {
	// Name of the metric; empty: any.
	Name     string
	Matchers []Matcher
}

// Matcher is one condition about a label. A label that is not there has the value "".
type Matcher struct {
	Label, Operator, Value string
	// pattern of the operators =~ and !~, anchored.
	pattern *regexp.Regexp
}

// most is the longest selector that is read.
const most = 4096

var (
	metricName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*`)
	labelName  = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*`)
)

// ParseSelector reads a selector. The braces may be left out, before or after a name: cart, {a="b"} and
// a="b" are all selectors.
func ParseSelector(text string) (Selector, error) {
	if len(text) > most {
		return Selector{}, fmt.Errorf("a selector of more than %d characters", most)
	}
	rest := strings.TrimSpace(text)
	var s Selector
	if name := metricName.FindString(rest); name != "" {
		after := strings.TrimSpace(rest[len(name):])
		if after == "" || after[0] == '{' {
			s.Name, rest = name, after
		}
	}
	if rest == "" && s.Name != "" {
		return s, nil
	}
	if inner, open := strings.CutPrefix(rest, "{"); open {
		if !strings.HasSuffix(inner, "}") {
			return Selector{}, errors.New("a selector that does not end with }: write metric{label=\"value\"}")
		}
		rest = strings.TrimSuffix(inner, "}")
	}
	matchers, err := parseMatchers(rest)
	s.Matchers = matchers
	return s, err
}

// parseMatchers reads a list such as a="b",c=~"d.*"; it may be empty and may end with a comma.
func parseMatchers(text string) ([]Matcher, error) {
	var all []Matcher
	for rest := strings.TrimSpace(text); rest != ""; {
		m, after, err := parseMatcher(rest)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
		after = strings.TrimSpace(after)
		next, more := strings.CutPrefix(after, ",")
		if after != "" && !more {
			return nil, fmt.Errorf("%q follows a label's value where a comma is expected", clip(after))
		}
		rest = strings.TrimSpace(next)
	}
	return all, nil
}

func parseMatcher(text string) (m Matcher, rest string, err error) {
	m.Label = labelName.FindString(text)
	if m.Label == "" {
		return m, "", fmt.Errorf("%q is no label's name: write label=\"value\"", clip(text))
	}
	rest = strings.TrimSpace(text[len(m.Label):])
	for _, operator := range []string{"=~", "!~", "!=", "="} {
		if after, found := strings.CutPrefix(rest, operator); found {
			m.Operator, rest = operator, strings.TrimSpace(after)
			break
		}
	}
	if m.Operator == "" {
		return m, "", fmt.Errorf("label %s: %q is none of =, !=, =~, !~", m.Label, clip(rest))
	}
	quoted, err := quotedPrefix(rest)
	if err != nil {
		return m, "", fmt.Errorf("label %s: its value is not in quotes: write %s%s\"value\"", m.Label, m.Label, m.Operator)
	}
	if m.Value, err = unquote(quoted); err != nil {
		return m, "", fmt.Errorf("label %s: its value %s cannot be read", m.Label, clip(quoted))
	}
	if m.Operator == "=~" || m.Operator == "!~" {
		if m.pattern, err = regexp.Compile("^(?s:" + m.Value + ")$"); err != nil {
			return m, "", fmt.Errorf("label %s: the pattern is not a regular expression: %w", m.Label, err)
		}
	}
	return m, rest[len(quoted):], nil
}

// quotedPrefix finds the quoted text at the beginning: double, single or back quotes, as in PromQL.
func quotedPrefix(text string) (string, error) {
	if text == "" || !strings.ContainsRune("\"'`", rune(text[0])) {
		return "", errors.New("no quote")
	}
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == '\\' && text[0] != '`':
			i++
		case text[i] == text[0]:
			return text[:i+1], nil
		}
	}
	return "", errors.New("no closing quote")
}

// unquote reads quoted text; unlike Go's own it knows single quotes around more than one character.
func unquote(quoted string) (string, error) {
	if inner := quoted[1 : len(quoted)-1]; quoted[0] == '\'' {
		var double strings.Builder
		double.WriteByte('"')
		for i := 0; i < len(inner); i++ {
			switch {
			case inner[i] == '"':
				double.WriteString(`\"`)
			case inner[i] == '\\' && i+1 < len(inner) && inner[i+1] == '\'':
				double.WriteByte('\'')
				i++
			case inner[i] == '\\' && i+1 < len(inner):
				double.WriteString(inner[i : i+2])
				i++
			default:
				double.WriteByte(inner[i])
			}
		}
		double.WriteByte('"')
		quoted = double.String()
	}
	text, err := strconv.Unquote(quoted)
	if err != nil {
		return "", fmt.Errorf("unquote: %w", err)
	}
	return text, nil
}

// And is the selector that also demands what another one does. Two different names are an error.
func (s Selector) And(other Selector) (Selector, error) {
	if s.Name != "" && other.Name != "" && s.Name != other.Name {
		return Selector{}, fmt.Errorf("a series cannot be called both %s and %s", s.Name, other.Name)
	}
	both := Selector{Name: s.Name, Matchers: slices.Concat(s.Matchers, other.Matchers)}
	if both.Name == "" {
		both.Name = other.Name
	}
	return both, nil
}

// Matches reports whether a series is picked.
func (s Selector) Matches(metric model.Metric) bool {
	if s.Name != "" && string(metric[model.MetricNameLabel]) != s.Name {
		return false
	}
	for _, m := range s.Matchers {
		if !m.matches(string(metric[model.LabelName(m.Label)])) {
			return false
		}
	}
	return true
}

func (m Matcher) matches(value string) bool {
	switch m.Operator {
	case "=":
		return value == m.Value
	case "!=":
		return value != m.Value
	case "=~":
		return m.pattern.MatchString(value)
	case "!~":
		return !m.pattern.MatchString(value)
	}
	return false
}

// String is the selector in PromQL.
func (s Selector) String() string {
	matchers := make([]string, len(s.Matchers))
	for i, m := range s.Matchers {
		matchers[i] = m.Label + m.Operator + strconv.Quote(m.Value)
	}
	return s.Name + "{" + strings.Join(matchers, ",") + "}"
}

// clip shortens a text for an error.
func clip(text string) string {
	if runes := []rune(text); len(runes) > 40 {
		return string(runes[:40]) + "…"
	}
	return text
}

// quote writes a label's value.
func quote(value string) string { return strconv.Quote(value) }
