package main

import (
	"fmt"
	"slices"
	"strings"
)

const preamble = `# Reference

<!-- Generated from api/v1alpha1 by internal/apidoc ("make generate"). Change the comments there, not this file. -->

The API group is ` + "`sluice.dev`" + `, the version ` + "`v1alpha1`" + `. The kind ` + "`Rollout`" + ` (short name ` + "`ro`" + `) comes first; those that
analyses need follow, then ` + "`TrafficPolicy`" + ` (short name ` + "`tp`" + `). All are namespaced but ` + "`ClusterAnalysisTemplate`" + `.
A duration is written like ` + "`90s`, `5m` or `24h`" + `. A field without *required* may be left out.

`

// kinds are those besides Rollout, in the order in which they are described.
var kinds = []string{"AnalysisTemplate", "ClusterAnalysisTemplate", "AnalysisRun", "TrafficPolicy"}

// render writes the page: the types as users meet them, spec first, then status, then what is no field.
func render(a *api) (string, error) {
	var b strings.Builder
	b.WriteString(preamble)
	rollout := a.structs["Rollout"]
	if rollout == nil {
		return "", fmt.Errorf("render reference: there is no type Rollout")
	}
	b.WriteString(rollout.doc + "\n\n")
	list(&b, rollout.rules)
	described := map[string]bool{}
	for _, part := range []struct{ title, path, root string }{
		{"Spec", "spec", "RolloutSpec"},
		{"Status", "status", "RolloutStatus"},
		{"Commands", "", "Command"},
	} {
		if a.structs[part.root] == nil {
			return "", fmt.Errorf("render reference: there is no type %s", part.root)
		}
		fmt.Fprintf(&b, "## %s\n\n", part.title)
		if part.root == "Command" {
			b.WriteString("The command line and Slack give orders by writing the annotation `sluice.dev/command` on a Rollout, as JSON.\n\n")
		}
		for _, t := range a.reachable(part.root, part.path) {
			a.section(&b, t, described)
		}
	}
	a.otherKinds(&b, described)
	b.WriteString("## Labels and annotations\n\n| name | meaning |\n|---|---|\n")
	named := 0
	for _, c := range a.constants[""] {
		if strings.HasPrefix(c.value, "sluice.dev/") && c.doc != "" {
			named++
			fmt.Fprintf(&b, "| `%s` | %s |\n", c.value, cell(about(c)))
		}
	}
	b.WriteString("\n## Conditions\n\n| type | meaning |\n|---|---|\n")
	for _, c := range a.constants[""] {
		if strings.HasPrefix(c.name, "Condition") && c.doc != "" {
			fmt.Fprintf(&b, "| `%s` | %s |\n", c.value, cell(about(c)))
		}
	}
	b.WriteString("\nThe reasons of `Stalled` are in [troubleshooting](troubleshooting.md).\n")
	if named == 0 {
		return "", fmt.Errorf("render reference: no labels found")
	}
	return b.String(), nil
}

// otherKinds describes the kinds besides Rollout, and of their types those that were not met before.
func (a *api) otherKinds(b *strings.Builder, described map[string]bool) {
	met := map[string]bool{}
	note := func(types []*placed) {
		for _, t := range types {
			met[t.name] = true
		}
	}
	note(a.reachable("RolloutSpec", "spec"))
	for _, name := range kinds {
		kind := a.structs[name]
		if kind == nil {
			continue
		}
		fmt.Fprintf(b, "## %s\n\n%s\n\n", name, kind.doc)
		list(b, kind.rules)
		for _, f := range kind.fields {
			types := a.reachable(f.goType, f.name)
			if len(types) > 0 && met[f.goType] {
				fmt.Fprintf(b, "Its %s is %s.\n\n", f.name, a.typeText(f.goType))
			}
			for _, t := range types {
				if !met[t.name] {
					a.section(b, t, described)
				}
			}
			note(types)
		}
	}
}

// placed is a type and where users meet it.
type placed struct {
	*structType
	paths []string
}

// reachable lists the types below one, each once, in the order in which they are met.
func (a *api) reachable(root, path string) []*placed {
	var out []*placed
	var visit func(name, path string)
	visit = func(name, path string) {
		s := a.structs[name]
		if s == nil {
			return
		}
		at := slices.IndexFunc(out, func(p *placed) bool { return p.name == name })
		if at >= 0 {
			out[at].paths = append(out[at].paths, path)
			return
		}
		out = append(out, &placed{s, []string{path}})
		for _, f := range s.fields {
			element, isList := strings.CutPrefix(f.goType, "[]")
			below := f.name
			if isList {
				below += "[]"
			}
			if path != "" {
				below = path + "." + below
			}
			visit(element, below)
		}
	}
	visit(root, path)
	return out
}

// section describes one type, and the values of string types that are not described yet.
func (a *api) section(b *strings.Builder, t *placed, described map[string]bool) {
	fmt.Fprintf(b, "### %s\n\n", t.name)
	if t.paths[0] != "" {
		fmt.Fprintf(b, "At `%s`.\n\n", strings.Join(t.paths, "`, `"))
	}
	b.WriteString(t.doc + "\n\n")
	list(b, t.rules)
	// Who reads a status writes none, so what is required of it is of no interest.
	written := !strings.HasPrefix(t.paths[0], "status")
	if written {
		b.WriteString("| field | type | default | meaning |\n|---|---|---|---|\n")
	} else {
		b.WriteString("| field | type | meaning |\n|---|---|---|\n")
	}
	for _, f := range t.fields {
		meaning := f.doc
		element := strings.TrimPrefix(f.goType, "[]")
		if values := a.constants[element]; len(values) > 0 && a.texts[element] != "" {
			meaning += " One of" + names(values) + "."
		}
		for _, rule := range f.rules {
			meaning += " *" + sentence(rule) + "*"
		}
		if written {
			fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", f.name, a.typeText(f.goType), byDefault(f), cell(meaning))
		} else {
			fmt.Fprintf(b, "| `%s` | %s | %s |\n", f.name, a.typeText(f.goType), cell(meaning))
		}
	}
	b.WriteString("\n")
	for _, f := range t.fields {
		if element := strings.TrimPrefix(f.goType, "[]"); !described[element] {
			described[element] = true
			a.valuesOf(b, element)
		}
	}
}

// byDefault is what a field is when it is left out.
func byDefault(f field) string {
	switch {
	case f.byDefault != "" && f.byDefault != "{}":
		return "`" + f.byDefault + "`"
	case f.required:
		return "*required*"
	default:
		return ""
	}
}

// valuesOf describes the values of a string type, where they have comments of their own.
func (a *api) valuesOf(b *strings.Builder, kind string) {
	values := slices.DeleteFunc(slices.Clone(a.constants[kind]), func(c constant) bool { return c.doc == "" })
	if a.texts[kind] == "" || len(values) == 0 {
		return
	}
	fmt.Fprintf(b, "| %s | meaning |\n|---|---|\n", strings.ToLower(kind))
	for _, c := range values {
		fmt.Fprintf(b, "| `%s` | %s |\n", c.value, cell(about(c)))
	}
	b.WriteString("\n")
}

func names(values []constant) string {
	var b strings.Builder
	for i, c := range values {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString(" `" + c.value + "`")
	}
	return b.String()
}

// about is a constant's comment without its Go name.
func about(c constant) string {
	text := strings.TrimPrefix(strings.TrimPrefix(c.doc, c.name), ":")
	return sentence(strings.TrimSpace(text))
}

// basic are types by the names that users know.
var basic = map[string]string{
	"string": "text", "bool": "true or false", "int32": "number", "int64": "number",
	"metav1.Duration": "duration", "metav1.MicroTime": "time", "metav1.Condition": "condition",
}

// typeText is a field's type for people, with a link where the page describes it.
func (a *api) typeText(goType string) string {
	if element, isList := strings.CutPrefix(goType, "[]"); isList {
		return "list of " + a.typeText(element)
	}
	if strings.HasPrefix(goType, "map[string]") {
		return "texts by name"
	}
	if known := basic[goType]; known != "" {
		return known
	}
	if a.structs[goType] != nil {
		return fmt.Sprintf("[%s](#%s)", goType, strings.ToLower(goType))
	}
	return "text"
}

// sentence begins large and ends with a full stop.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	if text[0] >= 'a' && text[0] <= 'z' && !strings.HasPrefix(text, "spec.") && !strings.HasPrefix(text, "metadata.") {
		text = strings.ToUpper(text[:1]) + text[1:]
	}
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}

// cell makes a text fit into a table.
func cell(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "\n", " "), "|", "\\|")
}

func list(b *strings.Builder, rules []string) {
	for _, rule := range rules {
		fmt.Fprintf(b, "- *%s*\n", sentence(rule))
	}
	if len(rules) > 0 {
		b.WriteString("\n")
	}
}
