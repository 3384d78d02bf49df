package e2e

import (
	"fmt"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/e2e/harness"
)

// jobTemplate makes an analysis template whose one measurement is a Job, in a pod that gets a proxy as any
// other does.
func jobTemplate(name string, command ...string) *v1alpha1.AnalysisTemplate {
	spec := fmt.Sprintf(`{"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [
		{"name": "check", "image": "sluice.dev/proxy:dev", "imagePullPolicy": "IfNotPresent", "command": ["%s"]}]}}}`, strings.Join(command, `", "`))
	job := &v1alpha1.JobProvider{}
	if err := job.Spec.UnmarshalJSON([]byte(spec)); err != nil {
		panic(err) // a mistake in this file
	}
	return &v1alpha1.AnalysisTemplate{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.AnalysisTemplateSpec{Metrics: []v1alpha1.Metric{{
			Name: name, Count: ptr.To[int32](1), Provider: v1alpha1.MetricProvider{Job: job},
		}}},
	}
}

// A Job is a measurement: before promotion one that completes lets a version through, one that fails brings
// it back. Jobs that are done with go.
func TestAnalysisJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{
		steps:  []v1alpha1.Step{harness.Weight(50)},
		before: []client.Object{jobTemplate("completes", "/proxy", "version"), jobTemplate("fails", "/proxy", "nonsense")},
		edit:   func(r *v1alpha1.Rollout) { r.Spec.Analysis.BeforePromotion = ptr.To(harness.Templates("completes")) },
	})
	w.release(v2)
	w.ends(1, v1alpha1.OutcomePromoted)
	w.runEnds(v1alpha1.StageBeforePromotion, v1alpha1.RunSuccessful)
	w.served("v2")
	jobs, err := harness.Follow[*batchv1.Job](w.ctx, w.Client, &batchv1.JobList{}, client.InNamespace(w.Name))
	w.must(err)
	defer jobs.Stop()
	w.must(jobs.Await(w.ctx, "the Job to go", func(all []*batchv1.Job) bool { return len(all) == 0 }))

	r := w.rollout.Latest().DeepCopy()
	patch := client.MergeFrom(r.DeepCopy())
	r.Spec.Analysis.BeforePromotion = ptr.To(harness.Templates("fails"))
	w.must(w.Client.Patch(w.ctx, r, patch))
	w.release(v3)
	o := w.ends(2, v1alpha1.OutcomeRolledBack)
	if want := "analysis before-promotion failed: metric fails"; !strings.Contains(o.Status.Release.Reason, want) {
		t.Errorf("reason %q, want %q in it", o.Status.Release.Reason, want)
	}
	w.served("v2")
	w.nothingLost(w.load)
}
