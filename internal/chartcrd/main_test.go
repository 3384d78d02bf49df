package main

import (
	"strings"
	"testing"
)

func TestWrap(t *testing.T) {
	const crd = "---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  annotations:\n    a: b\n  name: x\nspec:\n  description: braces {{ here\n"
	got, err := wrap(crd)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"{{- if .Values.crds.enabled }}\napiVersion:",
		"    helm.sh/resource-policy: keep\n    {{- end }}\n    a: b\n  name: x\n",
		`braces {{ "{{" }} here`,
		"\n{{- end }}\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("wrap: no %q in\n%s", want, got)
		}
	}
	for name, bad := range map[string]string{"empty": "", "two": crd + crd, "other": "kind: CustomResourceDefinition\n"} {
		if _, err := wrap(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
