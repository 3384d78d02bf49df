// Command chartcrd turns a CustomResourceDefinition into a template of the chart. It reads what
// controller-gen writes and adds what only the chart knows: whether the CRD is wanted, its labels, and
// whether an uninstallation leaves it in place. It knows nothing of the CRD's content.
//
//	controller-gen crd paths=./api/... output:stdout | chartcrd > charts/sluice/templates/crd-rollouts.yaml
package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

const header = `{{- /* Generated from api/ by "make generate". Change the types, not this file. */ -}}
{{- if .Values.crds.enabled }}
`

const metadata = `metadata:
  labels:
    {{- include "sluice.labels" (list . "crds") | nindent 4 }}
  annotations:
    {{- if .Values.crds.keep }}
    helm.sh/resource-policy: keep
    {{- end }}
`

func main() {
	crd, err := io.ReadAll(io.LimitReader(os.Stdin, 4<<20))
	if err == nil {
		var template string
		if template, err = wrap(string(crd)); err == nil {
			_, err = io.WriteString(os.Stdout, template)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chartcrd:", err)
		os.Exit(1)
	}
}

// wrap makes one CRD a template. The CRD is as controller-gen writes it: its own metadata begins with
// annotations.
func wrap(crd string) (string, error) {
	crd = strings.TrimPrefix(strings.TrimSpace(crd), "---\n")
	if n := strings.Count(crd, "kind: CustomResourceDefinition"); n != 1 {
		return "", fmt.Errorf("wrap CRD: %d definitions on standard input, want 1", n)
	}
	if strings.Contains(crd, "{{") {
		// Braces in a field's description would be taken for the chart's own.
		crd = strings.ReplaceAll(crd, "{{", `{{ "{{" }}`)
	}
	const before = "metadata:\n  annotations:\n"
	if strings.Count(crd, before) != 1 {
		return "", fmt.Errorf("wrap CRD: no metadata with annotations; is it controller-gen's output?")
	}
	return header + strings.Replace(crd, before, metadata, 1) + "\n{{- end }}\n", nil
}
