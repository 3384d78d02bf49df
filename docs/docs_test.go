// Package docs_test tests the documentation: every example is applied to a real API server, every link
// leads somewhere, and what the pages name is there.
package docs_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-mesh/sluice/notifier"
)

// root of the repository, seen from this folder.
const root = ".."

// page is one Markdown file.
type page struct {
	// path from the root.
	path   string
	text   string
	blocks []block
	// anchors of its headings.
	anchors map[string]bool
}

// block is one fenced block.
type block struct {
	where string // path:line, for people
	info  string // what follows the fence: "yaml", "yaml values"
	text  string
}

// pages reads the README, CONTRIBUTING and docs. Fewer than there are pages in the README's table is a
// mistake of the test itself.
func pages(t *testing.T) []page {
	t.Helper()
	paths, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range paths {
		paths[i] = "docs/" + p
	}
	paths = append(paths, "README.md", "CONTRIBUTING.md", "charts/sluice/README.md")
	if len(paths) < 15 {
		t.Fatalf("found %d pages only: %v", len(paths), paths)
	}
	var all []page
	for _, path := range paths {
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		p, err := parse(path, string(text))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// parse reads a page's fences and headings.
func parse(path, text string) (page, error) {
	p := page{path: path, text: text, anchors: map[string]bool{}}
	var open *block
	for i, line := range strings.Split(text, "\n") {
		fence, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence && open == nil:
			open = &block{where: fmt.Sprintf("%s:%d", path, i+1), info: strings.TrimSpace(fence)}
		case isFence:
			p.blocks = append(p.blocks, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		case strings.HasPrefix(line, "#"):
			p.anchors[anchor(strings.TrimLeft(line, "# "))] = true
		}
	}
	if open != nil {
		return page{}, fmt.Errorf("%s: the block is never closed", open.where)
	}
	return p, nil
}

// anchor is what a heading is linked by.
func anchor(heading string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(heading) {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			b.WriteRune(r)
		case r == ' ':
			b.WriteRune('-')
		}
	}
	return b.String()
}

// kinds of block. What is none of these is a typing mistake that would hide an example from the tests.
var kinds = []string{
	"yaml", "yaml values", "yaml other", "yaml prometheus", "json", "json event", "sh", "text", "dockerfile", "promql",
}

// blocksOf returns the blocks of one kind, at least so many.
func blocksOf(t *testing.T, kind string, least int) []block {
	t.Helper()
	var found []block
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if b.info == kind {
				found = append(found, b)
			}
		}
	}
	if len(found) < least {
		t.Fatalf("found %d blocks of %s, want at least %d", len(found), kind, least)
	}
	return found
}

func TestBlocksHaveAKind(t *testing.T) {
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if !slices.Contains(kinds, b.info) {
				t.Errorf("%s: a block of %q, want one of %s", b.where, b.info, strings.Join(kinds, ", "))
			}
		}
	}
}

func TestParse(t *testing.T) {
	p, err := parse("a.md", "# A *heading*, twice\n```yaml values\na: 1\n```\n  ```sh\nls\n  ```\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []block{{"a.md:2", "yaml values", "a: 1\n"}, {"a.md:5", "sh", "ls\n"}}
	if diff := cmp.Diff(want, p.blocks, cmp.AllowUnexported(block{})); diff != "" {
		t.Errorf("blocks (-want +got):\n%s", diff)
	}
	if !p.anchors["a-heading-twice"] {
		t.Errorf("anchors %v, want a-heading-twice", p.anchors)
	}
	if _, err := parse("a.md", "```yaml\na: 1\n"); err == nil {
		t.Error("a block that is never closed was read")
	}
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// TestLinks follows every link between pages and to files of the repository.
func TestLinks(t *testing.T) {
	all := pages(t)
	byPath := map[string]page{}
	for _, p := range all {
		byPath[p.path] = p
	}
	followed := 0
	linked := map[string]bool{}
	for _, p := range all {
		for _, match := range link.FindAllStringSubmatch(p.text, -1) {
			target, fragment, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			path := p.path
			if target != "" {
				path = filepath.Join(filepath.Dir(p.path), target)
			}
			followed++
			linked[path] = true
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s: link to %s, which is not there", p.path, match[1])
				continue
			}
			if to, isPage := byPath[path]; fragment != "" && (!isPage || !to.anchors[fragment]) {
				t.Errorf("%s: link to %s, where there is no heading for it", p.path, match[1])
			}
		}
	}
	if followed < 50 {
		t.Errorf("followed %d links only", followed)
	}
	for path := range byPath {
		if strings.HasPrefix(path, "docs/") && !linked[path] {
			t.Errorf("no page links to %s", path)
		}
	}
}

var (
	goFile   = regexp.MustCompile("`([A-Za-z0-9_./-]+\\.(?:go|tpl|yaml|json|mk))`")
	testName = regexp.MustCompile("`(Test[A-Za-z0-9]+)`")
	testFunc = regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9]+)\(`)
	hazard   = regexp.MustCompile(`(?m)^\| (\d+) \|.*\| (kept|partly|waits)`)
)

// TestNamedFilesAndTestsExist holds the pages to the code: a file or a test that is named as the place
// where something is kept must be there.
func TestNamedFilesAndTestsExist(t *testing.T) {
	tests := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && path != root && (name == "build" || strings.HasPrefix(name, ".")) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		source, err := os.ReadFile(path)
		for _, match := range testFunc.FindAllStringSubmatch(string(source), -1) {
			tests[match[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	files, named := 0, 0
	for _, p := range pages(t) {
		for _, match := range goFile.FindAllStringSubmatch(p.text, -1) {
			if !strings.Contains(match[1], "/") || strings.HasPrefix(match[1], "build/") {
				continue // of a program's own folder, or not in Git
			}
			files++
			if _, err := os.Stat(filepath.Join(root, match[1])); err != nil {
				t.Errorf("%s names the file %s, which is not there", p.path, match[1])
			}
		}
		for _, match := range testName.FindAllStringSubmatch(p.text, -1) {
			named++
			if !tests[match[1]] {
				t.Errorf("%s names the test %s, which is not there", p.path, match[1])
			}
		}
	}
	if files < 40 || named < 40 {
		t.Errorf("found %d files and %d tests named only", files, named)
	}
}

// TestHazardsAreComplete: each rule of the two lists has a row, in order.
func TestHazardsAreComplete(t *testing.T) {
	text, err := os.ReadFile("hazards.md")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, match := range hazard.FindAllStringSubmatch(string(text), -1) {
		got = append(got, match[1])
	}
	var want []string
	for _, rules := range []int{14, 18} {
		for i := range rules {
			want = append(want, strconv.Itoa(i+1))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// constants of a Go file whose names begin with a prefix.
func constants(t *testing.T, path, prefix string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, path), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, is := n.(*ast.ValueSpec)
		if !is {
			return true
		}
		for i, name := range spec.Names {
			if strings.HasPrefix(name.Name, prefix) && i < len(spec.Values) {
				if literal, is := spec.Values[i].(*ast.BasicLit); is {
					value, err := strconv.Unquote(literal.Value)
					if err != nil {
						t.Fatal(err)
					}
					values = append(values, value)
				}
			}
		}
		return true
	})
	if len(values) == 0 {
		t.Fatalf("%s has no constants %s...", path, prefix)
	}
	return values
}

// TestEverythingIsExplained: what people meet in status, events and the command line is on the page where
// they look for it.
func TestEverythingIsExplained(t *testing.T) {
	for name, test := range map[string]struct{ page, from, prefix, format string }{
		"reasons":  {"troubleshooting.md", "api/v1alpha1/status.go", "Reason", "`%s`"},
		"kinds":    {"webhooks.md", "notifier/notifier.go", "Kind", "`%s`"},
		"commands": {"watch-and-steer.md", "api/v1alpha1/command.go", "Verb", "`sluice %s NAME`"},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(test.page)
			if err != nil {
				t.Fatal(err)
			}
			for _, value := range constants(t, test.from, test.prefix) {
				if want := fmt.Sprintf(test.format, value); !strings.Contains(string(text), want) {
					t.Errorf("%s does not mention %s", test.page, want)
				}
			}
		})
	}
}

// TestWebhookPayload: the example has the fields that are sent, and no others.
func TestWebhookPayload(t *testing.T) {
	keys := func(text []byte) []string {
		var values map[string]any
		if err := json.Unmarshal(text, &values); err != nil {
			t.Fatal(err)
		}
		return slices.Sorted(maps.Keys(values))
	}
	sent, err := json.Marshal(notifier.Event{Step: "a", StableImages: []string{"a"}, CanaryImages: []string{"a"}, Verdict: "a"})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocksOf(t, "json event", 1) {
		if diff := cmp.Diff(keys(sent), keys([]byte(b.text))); diff != "" {
			t.Errorf("%s: fields (-sent +documented):\n%s", b.where, diff)
		}
	}
	for _, b := range blocksOf(t, "json", 1) {
		if !json.Valid([]byte(b.text)) {
			t.Errorf("%s is no JSON", b.where)
		}
	}
}

var (
	series        = regexp.MustCompile("`(sluice_[a-z_]+)`")
	seriesLiteral = regexp.MustCompile(`"(sluice_[a-z_]+)"`)
	suffixLiteral = regexp.MustCompile(`"([a-z_]+_total)"`)
)

// TestMetricsArePageAndCode: the page lists every series of ours, and none that is not there.
func TestMetricsArePageAndCode(t *testing.T) {
	exists := map[string]bool{}
	for _, folder := range []string{"mesh", "controllers", "notifier", "cmd"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			for _, match := range seriesLiteral.FindAllStringSubmatch(string(source), -1) {
				if prefix := match[1]; strings.HasSuffix(prefix, "_") { // put together in the code
					for _, suffix := range suffixLiteral.FindAllStringSubmatch(string(source), -1) {
						exists[prefix+suffix[1]] = true
					}
					continue
				}
				exists[match[1]] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile("metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, match := range series.FindAllStringSubmatch(string(text), -1) {
		documented[match[1]] = true
	}
	if len(exists) < 15 {
		t.Fatalf("found %d series in the code only", len(exists))
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(exists)), slices.Sorted(maps.Keys(documented))); diff != "" {
		t.Errorf("series (-code +page):\n%s", diff)
	}
}
