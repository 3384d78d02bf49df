package cli

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

func (w *world) addStable(t *testing.T) {
	t.Helper()
	set := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "shop-5d97989fcc"},
		Spec: appsv1.ReplicaSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "shop", "pod-template-hash": "5d97989fcc"}},
			Template: template("shop:v1"),
		},
	}
	set.Spec.Template.Labels["pod-template-hash"] = "5d97989fcc"
	if err := w.Create(t.Context(), set); err != nil {
		t.Fatal(err)
	}
}

func (w *world) deployment(t *testing.T) *appsv1.Deployment {
	t.Helper()
	var d appsv1.Deployment
	if err := w.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "shop"}, &d); err != nil {
		t.Fatal(err)
	}
	return &d
}

func TestUndo(t *testing.T) {
	w := newWorld(t)
	w.add(t, states["rolled back"])
	w.addStable(t)
	w.addDeployment(t, "shop:v2", true)
	w.operate(t, func(r *v1alpha1.Rollout) bool {
		if r.Status.Phase == v1alpha1.PhaseHealthy {
			return false
		}
		d := w.deployment(t)
		if d.Spec.Template.Spec.Containers[0].Image != "shop:v1" {
			return false
		}
		d.Spec.Paused = false
		delete(d.Annotations, v1alpha1.AnnotationHeld)
		if err := w.Update(t.Context(), d); err != nil {
			t.Errorf("unpause: %v", err)
		}
		r.Status.Phase, r.Status.Message = v1alpha1.PhaseHealthy, "the template is stable's again"
		return true
	})
	code, out, problems := w.run(t, "undo", "shop")
	want := "the template of shop-5d97989fcc is back in the Deployment\nshop is Healthy: the template is stable's again\n"
	if code != ExitDone || out != want || problems != "" {
		t.Errorf("exit %d, %q, %q", code, out, problems)
	}
	if diff := cmp.Diff(map[string]string{"app": "shop"}, w.deployment(t).Spec.Template.Labels); diff != "" {
		t.Errorf("labels of the template: %s", diff)
	}
}

func TestUndoLeavesTheHold(t *testing.T) {
	w := newWorld(t)
	w.add(t, progressing)
	w.addStable(t)
	w.addDeployment(t, "shop:v2", true)
	if code, out, problems := w.run(t, "undo", "shop", "--wait=false"); code != ExitDone {
		t.Fatalf("exit %d, %q, %q", code, out, problems)
	}
	d := w.deployment(t)
	if _, held := d.Annotations[v1alpha1.AnnotationHeld]; !held || !d.Spec.Paused {
		t.Error("the hold is gone: only the operator may end it")
	}
	if got := d.Spec.Template.Spec.Containers[0].Image; got != "shop:v1" {
		t.Errorf("image %s", got)
	}
}

func TestUndoNothing(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*v1alpha1.Rollout)
		image  string
		held   bool
		want   string
	}{
		"already stable":  {progressing, "shop:v1", true, "has the template of shop-5d97989fcc already"},
		"not held":        {nil, "shop:v2", false, "kubectl rollout undo deployment/shop"},
		"nothing is good": {states["unseen"], "shop:v2", true, "no version of shop is known to be good yet"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.add(t, test.change)
			w.addStable(t)
			w.addDeployment(t, test.image, test.held)
			code, _, problems := w.run(t, "undo", "shop")
			if code != ExitError || !strings.Contains(problems, test.want) {
				t.Errorf("exit %d, %q; want %q", code, problems, test.want)
			}
			if got := w.deployment(t).Spec.Template.Spec.Containers[0].Image; got != test.image {
				t.Errorf("image %s, want %s", got, test.image)
			}
		})
	}
}
