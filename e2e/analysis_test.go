package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/e2e/harness"
)

// template makes an analysis template with one metric that asks the installation's Prometheus every second:
// so many times, or until it is ended.
func template(name, query, success string, count int32) *v1alpha1.AnalysisTemplate {
	metric := v1alpha1.Metric{
		Name: name, Interval: &metav1.Duration{Duration: time.Second}, SuccessCondition: success,
		Provider: v1alpha1.MetricProvider{Prometheus: &v1alpha1.PrometheusProvider{Query: query}},
	}
	if count > 0 {
		metric.Count = ptr.To(count)
	}
	return &v1alpha1.AnalysisTemplate{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.AnalysisTemplateSpec{
			Args: []v1alpha1.Argument{
				{Name: "canary", ValueFrom: &v1alpha1.ArgumentSource{PodTemplateHash: v1alpha1.RevisionCanary}},
				{Name: "namespace", ValueFrom: &v1alpha1.ArgumentSource{FieldRef: &v1alpha1.FieldRef{FieldPath: "metadata.namespace"}}},
			},
			Metrics: []v1alpha1.Metric{metric},
		},
	}
}

// failures counts the failed requests to the canary.
const failures = `sum(sluice_requests_total{reporter="source", namespace="{{args.namespace}}", service="shop", revision="{{args.canary}}", code=~"0|5.."}) or vector(0)`

// Templates are run in the background, as a step, before and after promotion, against the real Prometheus:
// when they succeed the version is promoted, and when one fails it is rolled back. The judge is told to let
// nearly everything through.
func TestAnalysisTemplates(t *testing.T) {
	t.Parallel()
	ref := func(name string) *v1alpha1.AnalysisRef { return ptr.To(harness.Templates(name)) }
	tests := map[string]struct {
		version harness.Version
		edit    func(*v1alpha1.Rollout)
		// fails is the stage whose failure ends the release; empty: it is promoted.
		fails string
	}{
		"all succeed": {version: v2},
		"the background fails": {
			version: harness.Version{Name: "v2", ErrorRate: .5}, fails: v1alpha1.StageBackground,
			edit: func(r *v1alpha1.Rollout) { r.Spec.Canary.Steps[1] = harness.Pause() },
		},
		"a step fails": {
			version: v2, fails: v1alpha1.StageOfStep(1),
			edit: func(r *v1alpha1.Rollout) { r.Spec.Canary.Steps[1] = harness.Analyse(time.Second, "never") },
		},
		"it fails before promotion": {
			version: v2, fails: v1alpha1.StageBeforePromotion,
			edit: func(r *v1alpha1.Rollout) { r.Spec.Analysis.BeforePromotion = ref("never") },
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{
				steps: []v1alpha1.Step{harness.Weight(50), harness.Analyse(time.Second, "few-failures")},
				before: []client.Object{
					template("watch", failures, "result[0] < 20.0", 0),
					template("few-failures", failures, "result[0] < 20.0", 3),
					template("never", "vector(1)", "result[0] > 1.0", 1),
				},
				edit: func(r *v1alpha1.Rollout) {
					harness.CompareOnly(r)
					r.Spec.Analysis.Compare.Enabled, r.Spec.Analysis.SuccessRate = ptr.To(false), "1"
					r.Spec.Analysis.Background = &v1alpha1.BackgroundAnalysis{AnalysisRef: harness.Templates("watch")}
					r.Spec.Analysis.BeforePromotion, r.Spec.Analysis.AfterPromotion = ref("few-failures"), ref("few-failures")
					if test.edit != nil {
						test.edit(r)
					}
				},
			})
			w.release(test.version)
			if test.fails != "" {
				o := w.ends(1, v1alpha1.OutcomeRolledBack)
				if want := "analysis " + test.fails + " failed"; !strings.Contains(o.Status.Release.Reason, want) {
					t.Errorf("reason %q, want %q in it", o.Status.Release.Reason, want)
				}
				w.runEnds(test.fails, v1alpha1.RunFailed)
				w.runEnds(v1alpha1.StageBackground, "")
				w.served("v1")
				w.nothingLost(w.load)
				return
			}
			w.ends(1, v1alpha1.OutcomePromoted)
			for _, stage := range []string{v1alpha1.StageOfStep(1), v1alpha1.StageBeforePromotion, v1alpha1.StageAfterPromotion} {
				run := w.runEnds(stage, v1alpha1.RunSuccessful)
				if len(run.Status.Metrics) != 1 || len(run.Status.Metrics[0].Measurements) != 3 {
					t.Errorf("run %s kept %+v, want one metric with 3 measurements", run.Name, run.Status.Metrics)
				}
			}
			w.runEnds(v1alpha1.StageBackground, "")
			if _, err := w.rollout.Until(w.ctx, "the analysis after promotion to be on record", func(o *v1alpha1.Rollout) bool {
				return slices.ContainsFunc(o.Status.Analyses, func(a v1alpha1.AnalysisStatus) bool {
					return a.Stage == v1alpha1.StageAfterPromotion && a.Phase == v1alpha1.RunSuccessful
				})
			}); err != nil {
				t.Error(err)
			}
			w.served("v2")
			w.nothingLost(w.load)
		})
	}
}

// runEnds waits until the run of a stage has ended, in a phase if one is given, and returns it.
func (w *world) runEnds(stage string, phase v1alpha1.RunPhase) *v1alpha1.AnalysisRun {
	w.t.Helper()
	record, err := harness.Follow[*v1alpha1.AnalysisRun](w.ctx, w.Client, &v1alpha1.AnalysisRunList{}, client.InNamespace(w.Name))
	w.must(err)
	defer record.Stop()
	var found *v1alpha1.AnalysisRun
	w.must(record.Await(w.ctx, "analysis "+stage+" to end", func(all []*v1alpha1.AnalysisRun) bool {
		i := slices.IndexFunc(all, func(run *v1alpha1.AnalysisRun) bool { return run.Spec.Stage == stage && run.Status.Phase.Ended() })
		if i >= 0 {
			found = all[i]
		}
		return i >= 0
	}))
	w.logf("analysis %s is %s: %s", stage, found.Status.Phase, found.Status.Message)
	if phase != "" && found.Status.Phase != phase {
		w.t.Errorf("analysis %s ended as %s (%s), want %s", stage, found.Status.Phase, found.Status.Message, phase)
	}
	return found
}

// An analysis that cannot be run is told of before there is a release, with field and remedy; once it is
// mended, releases go on.
func TestAnalysisThatCannotBeRun(t *testing.T) {
	t.Parallel()
	ctx := needCluster(t, 0)
	w := &world{Space: newSpace(ctx, t), t: t, ctx: ctx}
	w.must(w.Deploy(ctx, harness.App{Name: shop, Version: v1, Replicas: 1, Rollout: shop}))
	w.must(w.AwaitAvailable(ctx, shop))
	r := harness.NewRollout(shop)
	r.Spec.Analysis.Background = &v1alpha1.BackgroundAnalysis{AnalysisRef: harness.Templates("watch")}
	w.must(w.Create(ctx, r))
	var err error
	w.rollout, err = w.FollowRollout(ctx, shop)
	w.must(err)
	t.Cleanup(w.rollout.Stop)
	stalls(ctx, t, w.rollout, v1alpha1.ReasonInvalid)
	if message := w.rollout.Latest().Status.Message; !strings.Contains(message, "spec.analysis.background") || !strings.Contains(message, "watch") {
		t.Errorf("message %q names neither the field nor the template", message)
	}
	w.must(w.Create(ctx, template("watch", failures, "result[0] < 20.0", 0)))
	_, err = w.rollout.Healthy(ctx)
	w.must(err)
}
