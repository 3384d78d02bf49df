package controllers

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	appsv1 "k8s.io/api/apps/v1"
)

// hashLabel is the label by which the Deployment controller tells revisions apart.
const hashLabel = appsv1.DefaultDeploymentUniqueLabelKey

// template returns a copy of a workload's spec.template as raw JSON values, without the
// pod-template-hash. Templates are kept raw because an older typed client would drop fields that it
// does not know, and a canary whose template differs would be adopted as an old revision.
func template(workload *unstructured.Unstructured) map[string]any {
	t, found, err := unstructured.NestedMap(workload.Object, "spec", "template")
	if err != nil || !found {
		return nil
	}
	unstructured.RemoveNestedField(t, "metadata", "labels", hashLabel)
	return t
}

// templateHash names a pod template: equal templates, equal hash, whatever their pod-template-hash.
// Ten characters that are valid in a label and in an object's name.
func templateHash(workload *unstructured.Unstructured) string {
	t := template(workload)
	if t == nil {
		return ""
	}
	canonical, err := json.Marshal(withoutEmpty(t)) // maps are sorted by key
	if err != nil {
		return ""
	}
	return safeHash(canonical)
}

// withoutEmpty drops nulls and empty maps, which an API server may or may not write out.
func withoutEmpty(value any) any {
	switch v := value.(type) {
	case map[string]any:
		kept := map[string]any{}
		for key, element := range v {
			element = withoutEmpty(element)
			if m, isMap := element.(map[string]any); element == nil || isMap && len(m) == 0 {
				continue
			}
			kept[key] = element
		}
		return kept
	case []any:
		kept := make([]any, len(v))
		for i, element := range v {
			kept[i] = withoutEmpty(element)
		}
		return kept
	default:
		return value
	}
}

// safeHash renders a digest in the alphabet that Kubernetes uses for generated names: no vowels, so
// that no word appears by chance.
func safeHash(data []byte) string {
	const alphabet = "bcdfghjklmnpqrstvwxz2456789"
	sum := sha256.Sum256(data)
	out := make([]byte, 10)
	for i := range out {
		out[i] = alphabet[int(sum[i])%len(alphabet)]
	}
	return string(out)
}

// images lists the containers' images of a template, for people.
func images(workload *unstructured.Unstructured) []string {
	containers, _, err := unstructured.NestedSlice(workload.Object, "spec", "template", "spec", "containers")
	if err != nil {
		return nil
	}
	var out []string
	for _, c := range containers {
		if m, ok := c.(map[string]any); ok {
			if image, ok := m["image"].(string); ok {
				out = append(out, image)
			}
		}
	}
	return out
}

// deploymentOf reads the typed form of a Deployment, for the fields that Sluice understands. It is
// never written back.
func deploymentOf(u *unstructured.Unstructured) (*appsv1.Deployment, error) {
	var d appsv1.Deployment
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &d); err != nil {
		return nil, fmt.Errorf("read deployment %s: %w", u.GetName(), err)
	}
	return &d, nil
}

// replicaSetOf is deploymentOf for a ReplicaSet.
func replicaSetOf(u *unstructured.Unstructured) (*appsv1.ReplicaSet, error) {
	var rs appsv1.ReplicaSet
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &rs); err != nil {
		return nil, fmt.Errorf("read replicaset %s: %w", u.GetName(), err)
	}
	return &rs, nil
}
