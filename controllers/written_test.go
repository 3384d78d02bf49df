package controllers

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

func TestWritten(t *testing.T) {
	at := func(version string) *v1alpha1.Rollout {
		return &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{UID: "a", ResourceVersion: version}}
	}
	var w written
	if w.behind(at("1")) {
		t.Error("nothing was written, so nothing is behind")
	}
	w.note(at("10"))
	for version, want := range map[string]bool{"9": true, "2": true} {
		if w.behind(at(version)) != want {
			t.Errorf("behind at %s is %v, want %v", version, !want, want)
		}
	}
	if w.behind(at("10")) {
		t.Error("the cache has caught up")
	}
	if w.behind(at("9")) {
		t.Error("what was caught up with is forgotten")
	}
	if w.behind(at("unreadable")) {
		t.Error("a version that cannot be compared must not hold anything up")
	}
}
