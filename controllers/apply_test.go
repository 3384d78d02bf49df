package controllers

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/controllers/plan"
	"github.com/sluice-mesh/sluice/internal/apiserver"
)

// bench is one Deployment with its Service and Rollout on a real API server, without the controllers of
// Kubernetes: nothing moves but what the test and Sluice write.
type bench struct {
	*testing.T
	c          client.Client
	r          *RolloutReconciler
	rollout    *v1alpha1.Rollout
	deployment *appsv1.Deployment
	service    *corev1.Service
}

func newBench(t *testing.T, c client.Client, namespace string) *bench {
	t.Helper()
	b := &bench{T: t, c: c, r: &RolloutReconciler{Client: c, Reader: c, Now: time.Now}}
	labels := map[string]string{"app": "shop"}
	b.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	b.deployment = &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop", Labels: map[string]string{v1alpha1.LabelRollout: "shop"}},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](4), Paused: true, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "shop", Image: "shop:v2", Resources: corev1.ResourceRequirements{}}}},
			},
		},
	}
	b.create(b.deployment)
	b.service = &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop", Labels: map[string]string{"argocd.argoproj.io/instance": "shop"}},
		Spec:       corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}
	b.create(b.service)
	b.rollout = &v1alpha1.Rollout{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop"},
		Spec: v1alpha1.RolloutSpec{
			WorkloadRef: v1alpha1.WorkloadRef{Name: "shop"}, Service: v1alpha1.ServiceRef{Name: "shop"},
			Canary: v1alpha1.CanaryStrategy{Steps: []v1alpha1.Step{{SetWeight: ptr.To[int32](10)}}},
		},
	}
	b.create(b.rollout)
	return b
}

func (b *bench) create(o client.Object) {
	b.Helper()
	if err := b.c.Create(context.Background(), o); err != nil {
		b.Fatalf("create %T: %v", o, err)
	}
}

// look gathers the part of the world that writes need, as the reconciler does from its cache.
func (b *bench) look() *world {
	b.Helper()
	w := &world{rollout: b.rollout, replicaSets: map[string]*unstructured.Unstructured{}}
	for _, gather := range []func(context.Context, *world) error{b.r.gatherWorkload, b.r.gatherReplicaSets, b.r.gatherService, b.r.gatherAnalyses} {
		if err := gather(context.Background(), w); err != nil {
			b.Fatalf("gather: %v", err)
		}
	}
	return w
}

func (b *bench) apply(w *world, op plan.Op) error { return b.r.apply(context.Background(), w, op) }

func (b *bench) must(w *world, op plan.Op) {
	b.Helper()
	if err := b.apply(w, op); err != nil {
		b.Fatalf("%s: %v", op.Kind, err)
	}
}

// start makes the canary of the Deployment's present template.
func (b *bench) start() *world {
	b.Helper()
	hash := b.look().observed.Workload.TemplateHash
	b.rollout.Status.Canary = &v1alpha1.Revision{Hash: hash, TemplateHash: hash, ReplicaSet: "shop-" + hash}
	b.must(b.look(), plan.Op{Kind: plan.OpCreateCanary, Size: 1, Hash: hash})
	return b.look()
}

func TestApply(t *testing.T) {
	config := apiserver.Start(t)
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]func(*bench){
		"canary":    testCanary,
		"handover":  testHandOver,
		"outdated":  testOutdated,
		"service":   testService,
		"hold":      testHold,
		"revert":    testRevert,
		"take-over": testTakeOver,
		"clean-up":  testCleanUp,
		"baseline":  testBaseline,
		"analyses":  testAnalyses,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test(newBench(t, c, "apply-"+name)) })
	}
}

// testCanary: the template survives the way into the ReplicaSet, so that it can be handed over.
func testCanary(b *bench) {
	w := b.start()
	canary := w.observed.Canary
	if !canary.Ours || canary.Owned || canary.Replicas != 1 {
		b.Fatalf("the canary is %+v, want one pod, controlled by the holder", canary)
	}
	if canary.TemplateHash != w.observed.Workload.TemplateHash {
		b.Errorf("the template changed on its way: %s, want %s", canary.TemplateHash, w.observed.Workload.TemplateHash)
	}
	if err := b.apply(w, plan.Op{Kind: plan.OpCreateCanary, Size: 1}); !errors.Is(err, errOutdated) {
		b.Errorf("creating it again gives %v, want a word to look again", err)
	}
	b.must(w, plan.Op{Kind: plan.OpScaleCanary, Size: 3})
	if got := b.look().observed.Canary.Replicas; got != 3 {
		b.Errorf("scaled to %d, want 3", got)
	}
	b.must(b.look(), plan.Op{Kind: plan.OpDeleteCanary})
	if b.look().observed.Canary.Exists {
		b.Error("the canary is still there")
	}
}

// testHandOver: one write exchanges the controller and carries the annotations of saturation.
func testHandOver(b *bench) {
	w := b.start()
	b.must(w, plan.Op{Kind: plan.OpHandOver})
	w = b.look()
	if !w.observed.Canary.Owned || w.observed.Canary.Ours {
		b.Fatalf("the canary is %+v, want the Deployment as controller", w.observed.Canary)
	}
	annotations := w.replicaSets[w.observed.Canary.Name].GetAnnotations()
	if annotations[desiredReplicasAnnotation] != "4" || annotations[maxReplicasAnnotation] != "5" {
		b.Errorf("annotations %v, want 4 desired and 5 at most", annotations)
	}
	if err := b.apply(w, plan.Op{Kind: plan.OpDeleteCanary}); err != nil || !b.look().observed.Canary.Exists {
		b.Errorf("a canary that was handed over is stable: it must not be deleted (error %v)", err)
	}
}

// testOutdated: a write from an old view is refused, whatever it is.
func testOutdated(b *bench) {
	w := b.start()
	now := b.look()
	now.deployment.SetAnnotations(map[string]string{"edited": "since"})
	if err := unstructured.SetNestedField(now.deployment.Object, int64(5), "spec", "replicas"); err != nil {
		b.Fatal(err)
	}
	if err := b.c.Update(context.Background(), now.deployment); err != nil {
		b.Fatal(err)
	}
	for _, op := range []plan.Op{{Kind: plan.OpHandOver}, {Kind: plan.OpUnpause, Hash: w.observed.Workload.TemplateHash}, {Kind: plan.OpHold}} {
		if err := b.apply(w, op); !errors.Is(err, errOutdated) {
			b.Errorf("%s from an old view gives %v, want a word to look again", op.Kind, err)
		}
	}
	if err := b.apply(b.look(), plan.Op{Kind: plan.OpUnpause, Hash: "another"}); !errors.Is(err, errOutdated) {
		b.Errorf("unpausing another template gives %v, want a word to look again", err)
	}
	if !b.look().observed.Workload.Paused {
		b.Error("the Deployment was unpaused")
	}
}

// testService: narrowing touches one key and copies no tracking label to what Sluice creates.
func testService(b *bench) {
	b.start()
	b.rollout.Status.Stable = &v1alpha1.Revision{Hash: "stable", ReplicaSet: "shop-stable"}
	w := b.look()
	b.must(w, plan.Op{Kind: plan.OpCanaryService, Hash: "new"})
	b.must(w, plan.Op{Kind: plan.OpNarrow, Hash: "stable"})
	if err := b.apply(w, plan.Op{Kind: plan.OpNarrow, Hash: "other"}); !errors.Is(err, errOutdated) {
		b.Errorf("narrowing from an old view gives %v, want a word to look again", err)
	}
	var service, canary corev1.Service
	if err := b.c.Get(context.Background(), client.ObjectKeyFromObject(b.service), &service); err != nil {
		b.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"app": "shop", hashLabel: "stable"}, service.Spec.Selector); diff != "" {
		b.Errorf("unexpected selector (-want +got):\n%s", diff)
	}
	if err := b.c.Get(context.Background(), client.ObjectKey{Namespace: service.Namespace, Name: "shop-canary"}, &canary); err != nil {
		b.Fatal(err)
	}
	if canary.Spec.ClusterIP != corev1.ClusterIPNone || canary.Spec.Selector[hashLabel] != "new" || len(maps.Clone(canary.Labels)) != 1 {
		b.Errorf("the canary Service is %+v with labels %v, want a headless one for the canary with our label only", canary.Spec, canary.Labels)
	}
	w = b.look()
	if w.observed.Service.Narrowed != "stable" || !w.observed.Service.Selects || w.observed.Service.CanaryServiceHash != "new" {
		b.Errorf("observed %+v", w.observed.Service)
	}
	b.must(w, plan.Op{Kind: plan.OpRestore})
	if b.look().observed.Service.Narrowed != "" {
		b.Error("the Service is still narrowed")
	}
}

func testHold(b *bench) {
	b.must(b.look(), plan.Op{Kind: plan.OpHold})
	w := b.look()
	if !w.observed.Workload.Held || !w.observed.Workload.Paused {
		b.Fatalf("observed %+v, want held and paused", w.observed.Workload)
	}
	b.must(w, plan.Op{Kind: plan.OpUnpause, Hash: w.observed.Workload.TemplateHash})
	if o := b.look().observed.Workload; o.Held || o.Paused {
		b.Errorf("observed %+v, want neither held nor paused", o)
	}
}

// testRevert: stable's template comes back and the hold ends in one write.
func testRevert(b *bench) {
	w := b.start()
	stable := w.observed.Canary
	b.must(w, plan.Op{Kind: plan.OpHandOver})
	b.rollout.Status.Stable, b.rollout.Status.Canary = b.rollout.Status.Canary, nil
	w = b.look()
	containers := []any{map[string]any{"name": "shop", "image": "shop:v3"}}
	if err := unstructured.SetNestedSlice(w.deployment.Object, containers, "spec", "template", "spec", "containers"); err != nil {
		b.Fatal(err)
	}
	if err := b.c.Update(context.Background(), w.deployment); err != nil {
		b.Fatal(err)
	}
	w = b.look()
	if w.observed.Workload.TemplateHash == stable.TemplateHash {
		b.Fatal("the template did not change")
	}
	before := w.deployment.GetGeneration()
	b.must(w, plan.Op{Kind: plan.OpRevert})
	o := b.look()
	if o.observed.Workload.TemplateHash != stable.TemplateHash || o.observed.Workload.Paused {
		b.Errorf("observed %+v, want stable's template, unpaused", o.observed.Workload)
	}
	if got := o.deployment.GetGeneration(); got != before+1 {
		b.Errorf("it took %d writes, want 1: the rejected template must never be unpaused", got-before)
	}
}

// testTakeOver: a version that was there before becomes the canary in one write.
func testTakeOver(b *bench) {
	w := b.start()
	b.must(w, plan.Op{Kind: plan.OpScaleCanary, Size: 0})
	b.must(b.look(), plan.Op{Kind: plan.OpHandOver})
	canary := b.rollout.Status.Canary
	b.rollout.Status.Canary = nil
	w = b.look()
	if w.observed.Native.Name != canary.ReplicaSet {
		b.Fatalf("native is %+v, want the owned ReplicaSet with the same template", w.observed.Native)
	}
	b.rollout.Status.Canary = canary
	b.must(w, plan.Op{Kind: plan.OpTakeOver, Size: 2})
	if o := b.look().observed.Canary; !o.Ours || o.Replicas != 2 {
		b.Errorf("the canary is %+v, want two pods, controlled by the holder", o)
	}
}

func testCleanUp(b *bench) {
	w := b.start()
	b.rollout.Status.Release = &v1alpha1.Release{ID: "1"}
	b.must(w, plan.Op{Kind: plan.OpCanaryService, Hash: "new"})
	if !b.look().observed.Leftovers {
		b.Fatal("the holder and the canary Service are not seen")
	}
	b.must(b.look(), plan.Op{Kind: plan.OpCleanUp})
	b.must(b.look(), plan.Op{Kind: plan.OpCleanUp})
	if b.look().observed.Leftovers {
		b.Error("something is left")
	}
}

// testAnalyses: what keeps a run from beginning is known at rest; a run is made once, told to end once, and
// another release's is seen until it has ended.
func testAnalyses(b *bench) {
	ctx := context.Background()
	b.rollout.Spec.Analysis.Background = &v1alpha1.BackgroundAnalysis{AnalysisRef: v1alpha1.AnalysisRef{Templates: []v1alpha1.TemplateRef{{Name: "errors"}}}}
	b.rollout.Spec.Analysis.BeforePromotion = &b.rollout.Spec.Analysis.Background.AnalysisRef
	w := b.look()
	if !strings.Contains(w.observed.Invalid, "spec.analysis.background") || !strings.Contains(w.observed.Invalid, "errors") || !w.remediable {
		b.Errorf("without its template: %q, want field and name", w.observed.Invalid)
	}
	template := &v1alpha1.AnalysisTemplate{
		ObjectMeta: metav1.ObjectMeta{Namespace: b.rollout.Namespace, Name: "errors"},
		Spec: v1alpha1.AnalysisTemplateSpec{Metrics: []v1alpha1.Metric{{
			Name: "errors", Interval: &metav1.Duration{Duration: time.Second}, SuccessCondition: "result < 1.0",
			Provider: v1alpha1.MetricProvider{Prometheus: &v1alpha1.PrometheusProvider{Query: "scalar(up)"}},
		}}},
	}
	b.create(template)
	if got := b.look().observed.Invalid; !strings.Contains(got, "spec.analysis.beforePromotion") || !strings.Contains(got, "never end") {
		b.Errorf("a gate that never ends: %q, want a word about it", got)
	}
	b.rollout.Spec.Analysis.BeforePromotion = nil
	if got := b.look().observed.Invalid; got != "" {
		b.Errorf("as it should be, it is invalid: %s", got)
	}
	if !names(b.rollout, v1alpha1.TemplateRef{Name: "errors"}) || names(b.rollout, v1alpha1.TemplateRef{Name: "errors", ClusterScope: true}) {
		b.Error("the Rollout is not woken by its own template only")
	}

	b.start()
	b.rollout.Status.Phase = v1alpha1.PhaseProgressing
	b.rollout.Status.Release = &v1alpha1.Release{ID: "x-1", Attempt: 1}
	b.rollout.Status.Analyses = []v1alpha1.AnalysisStatus{{Stage: v1alpha1.StageBackground, Phase: v1alpha1.RunPending}}
	for range 2 {
		b.must(b.look(), plan.Op{Kind: plan.OpAnalyse, Stage: v1alpha1.StageBackground})
	}
	seen := b.look().observed.Analyses
	if len(seen) != 1 || seen[0].Release != "x-1" || seen[0].Stage != v1alpha1.StageBackground || seen[0].Terminated || seen[0].Measured {
		b.Fatalf("runs %+v, want one, of this release, that goes on", seen)
	}
	for range 2 {
		b.must(b.look(), plan.Op{Kind: plan.OpStopAnalysis, Run: seen[0].Run})
	}
	b.rollout.Status.Release = &v1alpha1.Release{ID: "x-2", Attempt: 2}
	if seen = b.look().observed.Analyses; len(seen) != 1 || !seen[0].Terminated {
		b.Errorf("runs %+v, want the earlier release's, told to end", seen)
	}
	run := b.look().runs[0]
	run.Status = v1alpha1.AnalysisRunStatus{Phase: v1alpha1.RunInconclusive, Metrics: []v1alpha1.MetricStatus{{Name: "errors", Phase: v1alpha1.RunInconclusive, Count: 1}}}
	if !seeRun(run).Measured {
		b.Errorf("a run with a result counts as not measured")
	}
	if err := b.c.Status().Update(ctx, run); err != nil {
		b.Fatal(err)
	}
	if seen = b.look().observed.Analyses; len(seen) != 0 {
		b.Errorf("runs %+v, want none of an earlier release that has ended", seen)
	}
	if err := b.c.Delete(ctx, template); err != nil {
		b.Fatal(err)
	}
	if got := b.look().observed.Invalid; got == "" {
		b.Error("a run that is to begin in the middle of a release and cannot is not told of")
	}
	b.rollout.Status.Analyses[0].Phase = v1alpha1.RunSuccessful
	if got := b.look().observed.Invalid; got != "" {
		b.Errorf("in a release that does not need it: %s", got)
	}
	if err := b.apply(b.look(), plan.Op{Kind: plan.OpAnalyse, Stage: v1alpha1.StageBackground}); !errors.Is(err, errOutdated) {
		b.Errorf("without the template: %v, want a word to look again", err)
	}
}
