package docs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	"sigs.k8s.io/controller-runtime/pkg/client"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/sluice-mesh/sluice/internal/apiserver"
)

// objects reads the Kubernetes objects of one block.
func objects(text string) ([]*unstructured.Unstructured, error) {
	var all []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		u := &unstructured.Unstructured{}
		err := decoder.Decode(u)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if u.GetKind() == "" || u.GetAPIVersion() == "" || u.GetName() == "" {
			return nil, errors.New("an object without apiVersion, kind or name; Helm values are marked as yaml values")
		}
		all = append(all, u)
	}
	if len(all) == 0 {
		return nil, errors.New("no object")
	}
	return all, nil
}

// TestExamplesParse needs no API server.
func TestExamplesParse(t *testing.T) {
	rollouts := 0
	for _, b := range blocksOf(t, "yaml", 10) {
		all, err := objects(b.text)
		if err != nil {
			t.Errorf("%s: %v", b.where, err)
		}
		for _, u := range all {
			if u.GetKind() == "Rollout" {
				rollouts++
			}
		}
	}
	if rollouts < 6 {
		t.Errorf("found %d Rollouts only", rollouts)
	}
	for _, b := range blocksOf(t, "yaml other", 1) {
		if _, err := objects(b.text); err != nil {
			t.Errorf("%s: %v", b.where, err)
		}
	}
	for _, b := range blocksOf(t, "yaml prometheus", 1) {
		var config struct {
			Scrape []struct {
				Job    string           `json:"job_name"`
				Honor  bool             `json:"honor_labels"`
				Always bool             `json:"always_scrape_classic_histograms"`
				Rules  []map[string]any `json:"relabel_configs"`
			} `json:"scrape_configs"`
		}
		if err := sigsyaml.Unmarshal([]byte(b.text), &config); err != nil {
			t.Errorf("%s: %v", b.where, err)
		}
		for _, job := range config.Scrape {
			if !job.Honor || !job.Always || len(job.Rules) == 0 {
				t.Errorf("%s: job %s is not what the judge needs", b.where, job.Job)
			}
		}
		if len(config.Scrape) == 0 {
			t.Errorf("%s: no jobs", b.where)
		}
	}
}

// TestExamplesApply applies every object to a real API server, as a dry run with strict validation, so
// that a field which does not exist is found as well as a value that is refused.
func TestExamplesApply(t *testing.T) {
	c := apiServer(t)
	applied := 0
	for _, b := range blocksOf(t, "yaml", 10) {
		all, err := objects(b.text)
		if err != nil {
			t.Errorf("%s: %v", b.where, err)
		}
		for _, u := range all {
			if err := apply(t.Context(), c, u); err != nil {
				t.Errorf("%s: apply %s %s: %v", b.where, u.GetKind(), u.GetName(), err)
			}
			applied++
		}
	}
	t.Logf("%d objects applied", applied)

	t.Run("a field that is not there", func(t *testing.T) {
		u := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout",
			"metadata": map[string]any{"name": "a", "namespace": "shop"},
			"spec": map[string]any{
				"workloadRef": map[string]any{"name": "a"}, "service": map[string]any{"name": "a"},
				"canary": map[string]any{"steps": []any{map[string]any{"setWeight": int64(10)}}},
				"speed":  "fast",
			},
		}}
		if err := apply(t.Context(), c, u); err == nil || !strings.Contains(err.Error(), "speed") {
			t.Errorf("got %v, want a refusal that names the field", err)
		}
		delete(u.Object["spec"].(map[string]any), "speed")
		if err := apply(t.Context(), c, u); err != nil {
			t.Errorf("refused without it too: %v", err)
		}
	})

	t.Run("other kinds are unknown here", func(t *testing.T) {
		for _, b := range blocksOf(t, "yaml other", 1) {
			all, err := objects(b.text)
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range all {
				if err := apply(t.Context(), c, u); err == nil {
					t.Errorf("%s: %s %s is known to this API server: make it a plain yaml block", b.where, u.GetKind(), u.GetName())
				}
			}
		}
	})
}

// apply is a server-side apply without effect, into a namespace that is made for it.
func apply(ctx context.Context, c client.Client, u *unstructured.Unstructured) error {
	if namespace := u.GetNamespace(); namespace != "" {
		n := &corev1.Namespace{}
		n.Name = namespace
		if err := c.Create(ctx, n); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create namespace: %w", err)
		}
	}
	object, err := u.MarshalJSON()
	if err != nil {
		return fmt.Errorf("write object: %w", err)
	}
	return c.Patch(ctx, u.DeepCopy(), client.RawPatch(types.ApplyPatchType, object),
		client.DryRunAll, client.ForceOwnership, client.FieldOwner("docs"), client.FieldValidation("Strict"))
}

// apiServer starts a real API server that knows Sluice's CRDs.
func apiServer(t *testing.T) client.Client {
	t.Helper()
	config := apiserver.Start(t)
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestValues holds examples of Helm values against the chart's schema.
func TestValues(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "charts", "sluice", "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	schema := &spec.Schema{}
	if err := json.Unmarshal(text, schema); err != nil {
		t.Fatalf("read schema: %v", err)
	}
	validator := validate.NewSchemaValidator(schema, nil, "values", strfmt.Default)
	check := func(values string) error {
		var read map[string]any
		if err := sigsyaml.UnmarshalStrict([]byte(values), &read); err != nil {
			return err
		}
		return validator.Validate(read).AsError()
	}
	for _, b := range blocksOf(t, "yaml values", 2) {
		if len(bytes.TrimSpace([]byte(b.text))) == 0 {
			t.Errorf("%s is empty", b.where)
		}
		if err := check(b.text); err != nil {
			t.Errorf("%s: %v", b.where, err)
		}
	}
	for name, values := range map[string]string{
		"a value that is not there": "operator: {speed: fast}",
		"a value of another kind":   "operator: {replicas: many}",
		"an address that is none":   "prometheus: {address: prometheus}",
	} {
		if check(values) == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
