package main

import (
	"strings"
	"testing"
)

const (
	crd   = "---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  annotations:\n    a: b\n  name: gates.sluice.dev\nspec:\n  description: braces {{ here\n"
	other = "---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  annotations:\n    a: b\n  name: pipes.sluice.dev\n"
)

func TestWrap(t *testing.T) {
	got, err := wrapAll(crd + other)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got["crd-pipes.yaml"] == "" || strings.Contains(got["crd-pipes.yaml"], "gates") {
		t.Errorf("got %d templates, want one for gates and one for pipes", len(got))
	}
	for _, want := range []string{
		"{{- if .Values.crds.enabled }}\napiVersion:",
		"    helm.sh/resource-policy: keep\n    {{- end }}\n    a: b\n  name: gates.sluice.dev\n",
		`braces {{ "{{" }} here`,
		"\n{{- end }}\n",
	} {
		if !strings.Contains(got["crd-gates.yaml"], want) {
			t.Errorf("wrap: no %q in\n%s", want, got["crd-gates.yaml"])
		}
	}
}

func TestRefused(t *testing.T) {
	for name, bad := range map[string]string{
		"empty":                "",
		"no CRD":               "---\nkind: List\nmetadata:\n  annotations:\n    a: b\n  name: gates.sluice.dev\n",
		"no annotations":       "---\nkind: CustomResourceDefinition\nmetadata:\n  name: gates.sluice.dev\n",
		"of another group":     strings.ReplaceAll(crd, "sluice.dev", "example.com"),
		"two without division": crd + strings.TrimPrefix(other, "---\n"),
	} {
		if _, err := wrapAll(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
