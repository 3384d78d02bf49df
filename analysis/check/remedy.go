package check

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/operators"
)

var (
	undeclared = regexp.MustCompile(`^undeclared reference to '([^']*)'`)
	overload   = regexp.MustCompile(`^found no matching overload for '([^']*)' applied to '\((.*)\)'`)
	undefined  = regexp.MustCompile(`^undefined field '([^']*)'`)
)

// replacements are what people write who know other languages of conditions, and what to write here.
var replacements = map[string]string{
	"len":     "size(result)",
	"count":   "size(result)",
	"asFloat": "double(result)",
	"float":   "double(result)",
	"asInt":   "int(result)",
	"isNil":   "result == null",
	"nil":     "null",
	"None":    "null",
	"True":    "true",
	"False":   "false",
	"all":     "result.all(v, v >= 0.95)",
	"any":     "result.exists(v, v < 0.95)",
	"none":    "!result.exists(v, v < 0.95)",
	"filter":  "result.filter(v, v >= 0.95)",
	"isnan":   "isNaN(x)",
	"NaN":     "isNaN(result)",
	"Inf":     "isInf(result)",
	"results": "result",
	"value":   "result",
	"canary":  "result",
}

// words are operators of other languages, as a syntax error leaves them in the text.
var words = []struct {
	find  *regexp.Regexp
	write string
}{
	{regexp.MustCompile(`\band\b`), "&& instead of and"},
	{regexp.MustCompile(`\bor\b`), "|| instead of or"},
	{regexp.MustCompile(`\bnot\b`), "! instead of not"},
	{regexp.MustCompile(`=>`), ">= instead of =>"},
	{regexp.MustCompile(`=<`), "<= instead of =<"},
	{regexp.MustCompile(`(^|[^=!<>])=($|[^=~])`), "== to compare"},
	{regexp.MustCompile(`\{\{`), "the condition without {{ }}"},
	{regexp.MustCompile(`%(\D|$)`), "a share such as 0.95 instead of a percentage"},
	{regexp.MustCompile(`\d,\d`), "a point in numbers, such as 0.95"},
}

// explain makes one sentence for people, with a remedy, of what CEL says about a condition.
func explain(name, text string, kind Kind, compare Compare, issues *cel.Issues) error {
	all := issues.Errors()
	if len(all) == 0 {
		return wrong(name, "%s", short(issues.Err().Error(), 200))
	}
	message := all[0].Message
	if match := undeclared.FindStringSubmatch(message); match != nil {
		return wrong(name, "unknown name %q: %s", short(match[1], 60), meant(match[1], kind, compare))
	}
	if match := undefined.FindStringSubmatch(message); match != nil {
		return wrong(name, "a series has no field %q: it has labels and value", short(match[1], 60))
	}
	if match := overload.FindStringSubmatch(message); match != nil {
		return wrong(name, "%s%s", mismatch(match[1], match[2]), example(kind))
	}
	if strings.HasPrefix(message, "Syntax error") {
		for _, word := range words {
			if word.find.MatchString(text) {
				return wrong(name, "%q is not a CEL expression: write %s", short(text, 80), word.write)
			}
		}
		message, _, _ = strings.Cut(strings.TrimPrefix(message, "Syntax error: "), " expecting")
		if strings.Contains(message, "<EOF>") {
			message = "it ends too soon"
		}
		return wrong(name, "%q is not a CEL expression, from column %d on: %s", short(text, 80), all[0].Location.Column()+1, short(message, 160))
	}
	return wrong(name, "%q, column %d: %s", short(text, 80), all[0].Location.Column()+1, short(message, 160))
}

// meant says what to write instead of an unknown name.
func meant(unknown string, kind Kind, compare Compare) string {
	switch unknown {
	case CompareStable.variable(), CompareBaseline.variable():
		if compare == CompareNone {
			return fmt.Sprintf("set compare: %s%s to have it", strings.ToUpper(unknown[:1]), unknown[1:])
		}
		return fmt.Sprintf("the metric compares with %s", compare)
	case "series":
		return "only a vector has series" + example(kind)
	case "args":
		return "write {{args.name}}"
	}
	if write, ok := replacements[unknown]; ok {
		return "write " + write
	}
	names := []string{"result"}
	if kind == KindVector {
		names = append(names, "series")
	}
	if control := compare.variable(); control != "" {
		names = append(names, control)
	}
	return "there are " + strings.Join(names, ", ") + " and the functions of CEL, isNaN, isInf, default"
}

// mismatch says which operands an operator does not take.
func mismatch(operator, operands string) string {
	symbol := strings.Trim(strings.TrimPrefix(operator, "@"), "_")
	parts := split(operands)
	for i, part := range parts {
		parts[i] = named(part)
	}
	switch {
	case operator == operators.Conditional && len(parts) == 3:
		return fmt.Sprintf("a ? b : c gives %s or %s, which must be the same", parts[1], parts[2])
	case operator == operators.Index && len(parts) == 2:
		return fmt.Sprintf("%s has no [ ]", parts[0])
	case comparisons[operator] && len(parts) == 2:
		return fmt.Sprintf("%s cannot be compared with %s by %s", parts[0], parts[1], symbol)
	}
	return fmt.Sprintf("%s does not take %s", symbol, strings.Join(parts, " and "))
}

// split cuts a list of types at its commas, not at those within brackets.
func split(list string) []string {
	var parts []string
	depth, from := 0, 0
	for i, r := range list {
		switch r {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				parts = append(parts, strings.TrimSpace(list[from:i]))
				from = i + 1
			}
		}
	}
	return append(parts, strings.TrimSpace(list[from:]))
}

// typeNames are CEL's types as people call them.
var typeNames = map[string]string{
	"double": "a number", "int": "a whole number", "uint": "a whole number", "string": "a text", "bool": "true or false",
	"null": "null", "dyn": "a value", "list(double)": "a vector", "list(Series)": "a list of series", "Series": "a series",
	"map(string, string)": "a set of labels",
}

func named(celType string) string {
	if name, ok := typeNames[celType]; ok {
		return name
	}
	return "a " + short(celType, 40)
}

// example says what a condition over a kind of result looks like.
func example(kind Kind) string {
	switch kind {
	case KindScalar:
		return "; result is one number here: write, for instance, result >= 0.95"
	case KindVector:
		return "; result is a vector here: write result[0] >= 0.95 for its one series, or result.all(v, v >= 0.95) for all of them"
	case KindString:
		return `; result is a text here: write result == "ok", or double(result) >= 0.95`
	case KindJSON:
		return `; result is a JSON document here: write, for instance, result.rate >= 0.95 or result.status == "ok"`
	}
	return ""
}

// kindNames are the kinds with their article.
var kindNames = map[Kind]string{
	KindScalar: "a scalar", KindVector: "a vector", KindRange: "a range", KindString: "a text", KindJSON: "a JSON document",
}

func kindName(kind Kind) string {
	if name, ok := kindNames[kind]; ok {
		return name
	}
	return fmt.Sprintf("%q, which is none of %s", short(string(kind), 20), strings.Join(slices.Sorted(maps.Values(kindNames)), ", "))
}
