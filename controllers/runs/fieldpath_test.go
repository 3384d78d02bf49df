package runs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

func TestFieldOf(t *testing.T) {
	rollout := &v1alpha1.Rollout{
		ObjectMeta: metav1.ObjectMeta{Name: "cart", Generation: 3, Labels: map[string]string{"team": "carts", "a.b/c": "d", "it's": "so"}},
		Spec: v1alpha1.RolloutSpec{
			Service: v1alpha1.ServiceRef{Name: "cart", Narrow: true},
			Canary:  v1alpha1.CanaryStrategy{Steps: []v1alpha1.Step{{SetWeight: ptr.To[int32](10)}}},
		},
	}
	for path, want := range map[string]string{
		"metadata.name":                  "cart",
		"metadata.generation":            "3",
		"metadata.labels.team":           "carts",
		"metadata.labels['team']":        "carts",
		`metadata.labels["a.b/c"]`:       "d",
		"metadata.labels['it's']":        "so",
		"spec.service.narrow":            "true",
		"spec.canary.steps[0].setWeight": "10",
		"spec.canary.steps[1].setWeight": "! the Rollout has no field spec.canary.steps.1",
		"spec.canary.steps[x].setWeight": "! " + errPath.Error(),
		"spec.service":                   "! the Rollout's field spec.service is not a text, a number or a truth value",
		"metadata.labels['none']":        "! the Rollout has no field metadata.labels.none",
		"metadata.name.more":             "! the Rollout has no field metadata.name.more",
		"metadata..name":                 "! " + errPath.Error(),
		"metadata.labels['team'":         "! " + errPath.Error(),
		"metadata.labels['team']name":    "! " + errPath.Error(),
		"metadata.labels['']":            "! " + errPath.Error(),
		"":                               "! " + errPath.Error(),
		"['metadata']":                   "! " + errPath.Error(),
		"spec.canary.steps[-1]":          "! " + errPath.Error(),
		"spec.canary.steps[99999999999]": "! " + errPath.Error(),
	} {
		got, err := fieldOf(rollout, path)
		if err != nil {
			got = "! " + err.Error()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

// FuzzParsePath: no path is a surprise, and keys in quotes come back as they are.
func FuzzParsePath(f *testing.F) {
	f.Add("metadata.labels['a.b/c'].d[0]")
	f.Add("a[")
	f.Fuzz(func(t *testing.T, path string) {
		keys, err := parsePath(path)
		if err != nil {
			return
		}
		quoted := keys[0]
		for _, key := range keys[1:] {
			if key == "" || strings.Contains(key, "']") {
				return
			}
			quoted += "['" + key + "']"
		}
		again, err := parsePath(quoted)
		if err != nil && !strings.HasPrefix(quoted, "[") {
			t.Fatalf("%q gives %q, which gives %v", path, quoted, err)
		}
		if err == nil && !cmp.Equal(keys, again) {
			t.Fatalf("%q gives %q, and again %q", path, keys, again)
		}
	})
}
