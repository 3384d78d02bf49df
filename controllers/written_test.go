package controllers

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

func TestWritten(t *testing.T) {
	at := func(version string) *v1alpha1.Rollout {
		return &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{UID: "a", ResourceVersion: version}}
	}
	var w written
	now := time.Unix(0, 0)
	if w.behind(at("1"), now) {
		t.Error("nothing was written, so nothing is behind")
	}
	w.note(at("10"), now)
	for version, want := range map[string]bool{"9": true, "2": true} {
		if w.behind(at(version), now) != want {
			t.Errorf("behind at %s is %v, want %v", version, !want, want)
		}
	}
	if w.behind(at("10"), now) {
		t.Error("the cache has caught up")
	}
	if w.behind(at("9"), now) {
		t.Error("what was caught up with is forgotten")
	}
	w.note(at("10"), now)
	if w.behind(at("9"), now.Add(time.Minute)) {
		t.Error("a cache that stays behind must be believed in the end")
	}
	if w.behind(at("unreadable"), now) {
		t.Error("a version that cannot be compared must not hold anything up")
	}
}
