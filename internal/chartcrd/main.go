// Command chartcrd turns the CustomResourceDefinitions of the types in api/ into templates of the chart, one
// file each. It runs controller-gen and adds what only the chart knows: whether the CRDs are wanted, their
// labels, and whether an uninstallation leaves them in place. It knows nothing of their content.
//
//	chartcrd CONTROLLER-GEN FOLDER
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
		return errors.New("give the path of controller-gen and of the folder to write to")
	}
	generate := exec.CommandContext(context.Background(), args[0], "crd", "paths=github.com/sluice-mesh/sluice/api/...", "output:stdout")
	var problems bytes.Buffer
	generate.Stderr = &problems
	crds, err := generate.Output()
	if err != nil {
		return fmt.Errorf("run controller-gen: %w\n%s", err, problems.String())
	}
	templates, err := wrapAll(string(crds))
	if err != nil {
		return err
	}
	for name, template := range templates {
		if err := os.WriteFile(filepath.Join(args[1], name), []byte(template), 0o644); err != nil {
			return fmt.Errorf("write template: %w", err)
		}
	}
	return nil
}

var resource = regexp.MustCompile(`(?m)^  name: ([a-z]+)\.sluice\.dev$`)

// wrapAll makes each CRD a template, by the name of its file.
func wrapAll(crds string) (map[string]string, error) {
	templates := map[string]string{}
	for document := range strings.SplitSeq("\n"+crds, "\n---\n") {
		if strings.TrimSpace(document) == "" {
			continue
		}
		found := resource.FindStringSubmatch(document)
		if found == nil {
			return nil, errors.New("wrap CRD: no resource of sluice.dev is named")
		}
		template, err := wrap(document)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", found[1], err)
		}
		templates["crd-"+found[1]+".yaml"] = template
	}
	if len(templates) == 0 {
		return nil, errors.New("wrap CRD: there is none; is it controller-gen's output?")
	}
	return templates, nil
}

// wrap makes one CRD a template. The CRD is as controller-gen writes it: its own metadata begins with
// annotations.
func wrap(crd string) (string, error) {
	crd = strings.TrimSpace(crd)
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
