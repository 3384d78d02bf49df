package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// api is what the reference needs of the package.
type api struct {
	structs map[string]*structType
	// texts are the named string types, and constants the values of each; "" is for untyped ones.
	texts     map[string]string
	constants map[string][]constant
}

// structType is one type with fields.
type structType struct {
	name, doc string
	rules     []string
	fields    []field
	// inline are the types whose fields are this one's too, by the index of the field that they go before.
	inline map[int]string
}

// field is one field as users write it.
type field struct {
	// name in YAML; goType as written in Go, without pointers.
	name, goType string
	doc          string
	required     bool
	// byDefault is the marker's value; rules are the limits and the messages of CEL rules.
	byDefault string
	rules     []string
}

// constant is one value of a string type.
type constant struct{ name, value, doc string }

// load reads the types of one folder.
func load(folder string) (*api, error) {
	names, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("read types in %s: no Go files (run this in the root of the repository)", folder)
	}
	a := &api{structs: map[string]*structType{}, texts: map[string]string{}, constants: map[string][]constant{}}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") || strings.HasPrefix(filepath.Base(name), "zz_generated") {
			continue
		}
		source, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read types: %w", err)
		}
		if err := a.read(name, source); err != nil {
			return nil, err
		}
	}
	a.flatten()
	return a, nil
}

// flatten gives each type the fields of those that are inline in it.
func (a *api) flatten() {
	for _, s := range a.structs {
		var fields []field
		for i := range len(s.fields) + 1 {
			if from := a.structs[s.inline[i]]; from != nil {
				fields = append(fields, from.fields...)
			}
			if i < len(s.fields) {
				fields = append(fields, s.fields[i])
			}
		}
		s.fields, s.inline = fields, nil
	}
}

// inlined is the type of this package whose fields an embedded field stands for.
func inlined(f *ast.Field) (string, bool) {
	if f.Tag == nil || len(f.Names) != 0 || !strings.Contains(f.Tag.Value, `json:",inline"`) {
		return "", false
	}
	ident, ok := f.Type.(*ast.Ident)
	if !ok {
		return "", false
	}
	return ident.Name, true
}

// read takes the types and constants of one file.
func (a *api) read(name string, source []byte) error {
	file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ParseComments)
	if err != nil {
		return fmt.Errorf("parse types: %w", err)
	}
	for _, decl := range file.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range group.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				doc := spec.Doc
				if doc == nil {
					doc = group.Doc
				}
				if err := a.addType(spec, doc); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			case *ast.ValueSpec:
				if group.Tok == token.CONST {
					a.addConstants(spec)
				}
			}
		}
	}
	return nil
}

func (a *api) addType(spec *ast.TypeSpec, comment *ast.CommentGroup) error {
	text, markers := split(comment)
	switch t := spec.Type.(type) {
	case *ast.Ident:
		a.texts[spec.Name.Name] = text
	case *ast.StructType:
		if strings.HasSuffix(spec.Name.Name, "List") {
			return nil // nobody writes a list
		}
		s := &structType{name: spec.Name.Name, doc: text, rules: rules(markers), inline: map[int]string{}}
		for _, f := range t.Fields.List {
			if embedded, ok := inlined(f); ok {
				s.inline[len(s.fields)] = embedded
				continue
			}
			read, ok, err := readField(f)
			if err != nil {
				return fmt.Errorf("type %s: %w", s.name, err)
			}
			if ok {
				s.fields = append(s.fields, read)
			}
		}
		a.structs[s.name] = s
	}
	return nil
}

func (a *api) addConstants(spec *ast.ValueSpec) {
	doc, _ := split(spec.Doc)
	kind := ""
	if ident, ok := spec.Type.(*ast.Ident); ok {
		kind = ident.Name
	}
	for i, name := range spec.Names {
		if i >= len(spec.Values) {
			continue
		}
		literal, ok := spec.Values[i].(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			continue
		}
		value, err := strconv.Unquote(literal.Value)
		if err != nil {
			continue
		}
		a.constants[kind] = append(a.constants[kind], constant{name.Name, value, doc})
	}
}

// readField reads one field; false for one that users do not write by a name, such as TypeMeta.
func readField(f *ast.Field) (field, bool, error) {
	if f.Tag == nil || len(f.Names) != 1 {
		return field{}, false, nil
	}
	tag, err := strconv.Unquote(f.Tag.Value)
	if err != nil {
		return field{}, false, fmt.Errorf("field %s: read tag: %w", f.Names[0].Name, err)
	}
	name, options, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
	if name == "" || name == "-" {
		return field{}, false, nil
	}
	text, markers := split(f.Doc)
	read := field{name: name, goType: typeName(f.Type), doc: text, rules: rules(markers)}
	read.required = !strings.Contains(options, "omitempty")
	for _, m := range markers {
		switch m.name {
		case "optional":
			read.required = false
		case "kubebuilder:default":
			read.byDefault, read.required = strings.Trim(m.value, `"`), false
		}
	}
	if text == "" {
		return field{}, false, fmt.Errorf("field %s has no comment", name)
	}
	return read, true, nil
}

// typeName is a type as written, without pointers.
func typeName(e ast.Expr) string {
	switch t := e.(type) {
	case *ast.StarExpr:
		return typeName(t.X)
	case *ast.ArrayType:
		return "[]" + typeName(t.Elt)
	case *ast.MapType:
		return "map[" + typeName(t.Key) + "]" + typeName(t.Value)
	case *ast.SelectorExpr:
		return typeName(t.X) + "." + t.Sel.Name
	case *ast.Ident:
		return t.Name
	default:
		return fmt.Sprintf("%T", e)
	}
}

// marker is a line of a comment for generators: +name or +name=value or +name:arguments.
type marker struct{ name, value string }

// split tells a comment's text from its markers. Lines of a paragraph are joined.
func split(comment *ast.CommentGroup) (text string, markers []marker) {
	if comment == nil {
		return "", nil
	}
	var paragraphs []string
	var lines []string
	end := func() {
		if len(lines) > 0 {
			paragraphs = append(paragraphs, strings.Join(lines, " "))
			lines = nil
		}
	}
	for line := range strings.SplitSeq(comment.Text(), "\n") {
		line = strings.TrimSpace(line)
		rest, isMarker := strings.CutPrefix(line, "+")
		switch {
		case isMarker && strings.HasPrefix(rest, "kubebuilder:validation:XValidation:"):
			markers = append(markers, marker{"XValidation", strings.TrimPrefix(rest, "kubebuilder:validation:XValidation:")})
		case isMarker:
			name, value, _ := strings.Cut(rest, "=")
			markers = append(markers, marker{name, value})
		case line == "":
			end()
		default:
			lines = append(lines, line)
		}
	}
	end()
	return strings.Join(paragraphs, "\n\n"), markers
}

// limits say what a marker demands of a value.
var limits = map[string]string{
	"Minimum": "at least %s", "Maximum": "at most %s", "MinLength": "at least %s characters", "MaxLength": "at most %s characters",
	"MinItems": "at least %s items", "MaxItems": "at most %s items", "Enum": "one of %s",
}

var messages = regexp.MustCompile(`message="((?:[^"\\]|\\.)*)"`)

// rules are a type's or field's limits in words, and the messages of its CEL rules.
func rules(markers []marker) []string {
	var out []string
	for _, m := range markers {
		if m.name == "XValidation" {
			if found := messages.FindStringSubmatch(m.value); found != nil {
				out = append(out, found[1])
			}
			continue
		}
		short, is := strings.CutPrefix(m.name, "kubebuilder:validation:")
		if strings.HasPrefix(short, "Min") && short != "Minimum" && m.value == "1" {
			out = append(out, "not empty")
		} else if words := limits[short]; is && words != "" {
			out = append(out, fmt.Sprintf(words, strings.ReplaceAll(m.value, ";", ", ")))
		}
		if m.name == "listMapKey" {
			out = append(out, "each `"+m.value+"` once")
		}
		if m.name == "listType" && m.value == "set" {
			out = append(out, "each item once")
		}
	}
	return out
}
