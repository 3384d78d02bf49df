package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const source = `package v1

// Rollout is the kind.
//
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="metadata.name: too long | choose \"another\""
type Rollout struct {
	TypeMeta ` + "`json:\",inline\"`" + `
	// Spec of it.
	Spec RolloutSpec ` + "`json:\"spec\"`" + `
}

// RolloutSpec says what.
type RolloutSpec struct {
	// Speed is how fast,
	// on two lines.
	//
	// +kubebuilder:default="1m"
	// +optional
	Speed *metav1.Duration ` + "`json:\"speed,omitempty\"`" + `
	// Parts it has.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=9
	Parts []Part ` + "`json:\"parts\"`" + `
	hidden string
}

// Part of it.
type Part struct {
	// Colour to see | hear.
	Colour Colour ` + "`json:\"colour\"`" + `
}

// Colour of a part.
type Colour string

// Colours.
const (
	// ColourRed is hot.
	ColourRed Colour = "red"
	// ColourBlue: cold.
	ColourBlue Colour = "blue"
)

// RolloutStatus says where.
type RolloutStatus struct {
	// Parts that are.
	Parts []Part ` + "`json:\"parts,omitempty\"`" + `
}

// Command is an order.
type Command struct {
	// ID of it.
	ID string ` + "`json:\"id\"`" + `
}

const (
	// LabelA is on a Deployment.
	LabelA = "sluice.dev/a"
	// ConditionReady is True when ready.
	ConditionReady = "Ready"
)
`

func TestRender(t *testing.T) {
	a := &api{structs: map[string]*structType{}, texts: map[string]string{}, constants: map[string][]constant{}}
	if err := a.read("source.go", []byte(source)); err != nil {
		t.Fatal(err)
	}
	got, err := render(a)
	if err != nil {
		t.Fatal(err)
	}
	_, got, _ = strings.Cut(got, "may be left out.\n\n")
	const want = `Rollout is the kind.

- *metadata.name: too long | choose \"another\".*

## Spec

### RolloutSpec

At ''spec''.

RolloutSpec says what.

| field | type | default | meaning |
|---|---|---|---|
| ''speed'' | duration | ''1m'' | Speed is how fast, on two lines. |
| ''parts'' | list of [Part](#part) | *required* | Parts it has. *Not empty.* *At most 9 items.* |

### Part

At ''spec.parts[]''.

Part of it.

| field | type | default | meaning |
|---|---|---|---|
| ''colour'' | text | *required* | Colour to see \| hear. One of ''red'', ''blue''. |

| colour | meaning |
|---|---|
| ''red'' | Is hot. |
| ''blue'' | Cold. |

## Status

### RolloutStatus

At ''status''.

RolloutStatus says where.

| field | type | meaning |
|---|---|---|
| ''parts'' | list of [Part](#part) | Parts that are. |

### Part

At ''status.parts[]''.

Part of it.

| field | type | meaning |
|---|---|---|
| ''colour'' | text | Colour to see \| hear. One of ''red'', ''blue''. |

## Commands

The command line and Slack give orders by writing the annotation ''sluice.dev/command'' on a Rollout, as JSON.

### Command

Command is an order.

| field | type | default | meaning |
|---|---|---|---|
| ''id'' | text | *required* | ID of it. |

## Labels and annotations

| name | meaning |
|---|---|
| ''sluice.dev/a'' | Is on a Deployment. |

## Conditions

| type | meaning |
|---|---|
| ''Ready'' | Is True when ready. |

The reasons of ''Stalled'' are in [troubleshooting](troubleshooting.md).
`
	if diff := cmp.Diff(strings.ReplaceAll(want, "''", "`"), got); diff != "" {
		t.Errorf("rendered otherwise (-want +got):\n%s", diff)
	}
}

// TestOtherKinds: fields that are inline, maps, and types that were met before.
func TestOtherKinds(t *testing.T) {
	a := &api{structs: map[string]*structType{}, texts: map[string]string{}, constants: map[string][]constant{}}
	err := a.read("source.go", []byte(strings.Replace(source, "const (\n\t// LabelA", `
// AnalysisTemplate is another kind.
type AnalysisTemplate struct {
	// Spec of it.
	Spec TemplateSpec `+"`json:\"spec\"`"+`
}

// TemplateSpec has what Ref has.
type TemplateSpec struct {
	// Before it.
	Before string `+"`json:\"before,omitempty\"`"+`
	Ref `+"`json:\",inline\"`"+`
	// Parts as the other kind has them.
	Parts []Part `+"`json:\"parts,omitempty\"`"+`
}

// Ref of something.
type Ref struct {
	// Names of things.
	Names map[string]string `+"`json:\"names,omitempty\"`"+`
}

const (
	// LabelA`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	a.flatten()
	got, err := render(a)
	if err != nil {
		t.Fatal(err)
	}
	_, got, _ = strings.Cut(got, "## AnalysisTemplate")
	got, _, _ = strings.Cut(got, "## Labels")
	const want = `

AnalysisTemplate is another kind.

### TemplateSpec

At ''spec''.

TemplateSpec has what Ref has.

| field | type | default | meaning |
|---|---|---|---|
| ''before'' | text |  | Before it. |
| ''names'' | texts by name |  | Names of things. |
| ''parts'' | list of [Part](#part) |  | Parts as the other kind has them. |

`
	if diff := cmp.Diff(strings.ReplaceAll(want, "''", "`"), got); diff != "" {
		t.Errorf("rendered otherwise (-want +got):\n%s", diff)
	}
}

func TestFieldWithoutCommentIsRefused(t *testing.T) {
	a := &api{structs: map[string]*structType{}, texts: map[string]string{}, constants: map[string][]constant{}}
	err := a.read("source.go", []byte("package v1\ntype Spec struct { A string `json:\"a\"` }\n"))
	if err == nil || !strings.Contains(err.Error(), "type Spec: field a has no comment") {
		t.Errorf("got %v, want a refusal that names the field", err)
	}
}

// TestReferenceIsUpToDate compares the page in docs with the types as they are.
func TestReferenceIsUpToDate(t *testing.T) {
	root := filepath.Join("..", "..")
	pkg, err := load(filepath.Join(root, types))
	if err != nil {
		t.Fatal(err)
	}
	want, err := render(pkg)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root, "docs", "reference.md"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/reference.md is out of date; run make generate (-types +page):\n%s", diff)
	}
	for _, path := range []string{"`spec.canary.steps[].approval`", "`sluice.dev/rollout`", "`RollingBack`", "Not empty"} {
		if !strings.Contains(want, path) {
			t.Errorf("the reference does not mention %s", path)
		}
	}
}
