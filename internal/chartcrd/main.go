// Command chartcrd turns the CustomResourceDefinition of the types in api/ into a template of the chart.
// It runs controller-gen and adds what only the chart knows: whether the CRD is wanted, its labels, and
// whether an uninstallation leaves it in place. It knows nothing of the CRD's content.
//
//	chartcrd CONTROLLER-GEN TEMPLATE
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
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
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "chartcrd:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return errors.New("give the path of controller-gen and of the template to write")
	}
	generate := exec.CommandContext(context.Background(), args[0], "crd", "paths=github.com/sluice-mesh/sluice/api/...", "output:stdout")
	var problems bytes.Buffer
	generate.Stderr = &problems
	crd, err := generate.Output()
	if err != nil {
		return fmt.Errorf("run controller-gen: %w\n%s", err, problems.String())
	}
	template, err := wrap(string(crd))
	if err != nil {
		return err
	}
	return os.WriteFile(args[1], []byte(template), 0o644)
}

// wrap makes one CRD a template. The CRD is as controller-gen writes it: its own metadata begins with
// annotations.
func wrap(crd string) (string, error) {
	crd = strings.TrimPrefix(strings.TrimSpace(crd), "---\n")
	if n := strings.Count(crd, "kind: CustomResourceDefinition"); n != 1 {
		return "", fmt.Errorf("wrap CRD: %d definitions, want 1", n)
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
