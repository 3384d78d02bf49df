package check

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// RevisionArgument is the name of the argument that callers supply themselves where a metric compares: the
// pod-template hash of the revision that the question is about, the canary's or the control's.
const RevisionArgument = "revision"

// maxExpanded bounds the length of a text after expansion, in bytes.
const maxExpanded = 1 << 20

var (
	// placeholder is {{args.name}} or what was probably meant to be; other braces are left alone, since
	// Jobs and JSON have theirs.
	placeholder = regexp.MustCompile(`(?i)\{\{\s*args?(?:\b|[._])[^{}]*(?:\}\})?`)
	// proper is a placeholder as it must be.
	proper = regexp.MustCompile(`^\{\{\s*args\.([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*\}\}$`)
)

// Expand replaces each {{args.name}} of a text by the argument's value. A name that is not among the
// arguments is an error that lists the known ones; so is a placeholder that is not well formed. What the
// values contain is not expanded again, and never in an error.
func Expand(text string, args map[string]string) (string, error) {
	var (
		b    strings.Builder
		last int
	)
	for _, at := range placeholder.FindAllStringIndex(text, -1) {
		match := proper.FindStringSubmatch(text[at[0]:at[1]])
		if match == nil {
			return "", fmt.Errorf("%q is not a placeholder: write {{args.name}}", short(text[at[0]:at[1]], 60))
		}
		value, known := args[match[1]]
		if !known {
			return "", fmt.Errorf("unknown argument %q: %s", short(match[1], 60), listed(args))
		}
		b.WriteString(text[last:at[0]])
		b.WriteString(value)
		last = at[1]
		if b.Len() > maxExpanded {
			break
		}
	}
	b.WriteString(text[last:])
	if b.Len() > maxExpanded {
		return "", fmt.Errorf("longer than %d bytes with its arguments", maxExpanded)
	}
	return b.String(), nil
}

func listed(args map[string]string) string {
	if len(args) == 0 {
		return "there are no arguments"
	}
	return "there are " + short(strings.Join(slices.Sorted(maps.Keys(args)), ", "), 300)
}

// ExpandAll expands every text within a value as encoding/json decodes it: maps, lists, strings; not the
// keys of maps. The value that is given is not changed.
func ExpandAll(value any, args map[string]string) (any, error) {
	switch v := value.(type) {
	case string:
		return Expand(v, args)
	case []any:
		expanded := make([]any, len(v))
		for i, element := range v {
			e, err := ExpandAll(element, args)
			if err != nil {
				return nil, fmt.Errorf("[%d]: %w", i, err)
			}
			expanded[i] = e
		}
		return expanded, nil
	case map[string]any:
		expanded := make(map[string]any, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			e, err := ExpandAll(v[key], args)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			expanded[key] = e
		}
		return expanded, nil
	}
	return value, nil
}

// Arguments lists the names that a text's placeholders ask for, sorted, each once. Placeholders that are
// not well formed are left to Expand.
func Arguments(text string) []string {
	var names []string
	for _, match := range placeholder.FindAllString(text, -1) {
		if m := proper.FindStringSubmatch(match); m != nil {
			names = append(names, m[1])
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
