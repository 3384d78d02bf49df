package controllers

import (
	"context"
	"errors"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/controllers/plan"
)

// testBaseline: stable's template, whatever the Deployment's is by now, in a ReplicaSet that is nobody's but the
// holder's: it is not taken for stable, for what runs, or for the Deployment's own.
func testBaseline(b *bench) {
	ctx := context.Background()
	w := b.start()
	b.must(w, plan.Op{Kind: plan.OpHandOver})
	b.must(b.look(), plan.Op{Kind: plan.OpSettle, Hash: "none"})
	b.rollout.Status.Stable, b.rollout.Status.Canary = b.rollout.Status.Canary, nil
	stable := b.rollout.Status.Stable
	w = b.look()
	containers := []any{map[string]any{"name": "shop", "image": "shop:v3"}}
	if err := unstructured.SetNestedSlice(w.deployment.Object, containers, "spec", "template", "spec", "containers"); err != nil {
		b.Fatal(err)
	}
	if err := b.c.Update(ctx, w.deployment); err != nil {
		b.Fatal(err)
	}
	if err := b.c.Get(ctx, client.ObjectKeyFromObject(b.deployment), b.deployment); err != nil {
		b.Fatal(err)
	}
	b.deployment.Status.ObservedGeneration = b.deployment.Generation
	if err := b.c.Status().Update(ctx, b.deployment); err != nil {
		b.Fatal(err)
	}

	hash := stable.Hash + "-baseline"
	b.rollout.Status.Baseline = &v1alpha1.Revision{Hash: hash, TemplateHash: stable.TemplateHash, ReplicaSet: "shop-" + hash}
	if got := b.look().observed.Baseline; got.Exists {
		b.Fatalf("the baseline is %+v before it is made", got)
	}
	b.must(b.look(), plan.Op{Kind: plan.OpCreateBaseline, Size: 2, Hash: hash})
	w = b.look()
	baseline := w.observed.Baseline
	if !baseline.Ours || baseline.Owned || baseline.Replicas != 2 || baseline.Hash != hash || baseline.TemplateHash != stable.TemplateHash {
		b.Fatalf("the baseline is %+v, want two pods of stable's template, controlled by the holder", baseline)
	}
	u, of := w.replicaSets[baseline.Name], w.replicaSets[stable.ReplicaSet]
	if diff := cmp.Diff(template(of), template(u)); diff != "" {
		b.Errorf("the template is not stable's (-stable +baseline):\n%s", diff)
	}
	selector, _, _ := unstructured.NestedMap(u.Object, "spec", "selector", "matchLabels")
	labels, _, _ := unstructured.NestedMap(u.Object, "spec", "template", "metadata", "labels")
	want := map[string]any{"app": "shop", hashLabel: hash}
	if diff := cmp.Diff(want, selector) + cmp.Diff(want, labels); diff != "" {
		b.Errorf("selector and the pods' labels (-want +got):\n%s", diff)
	}
	if err := b.apply(w, plan.Op{Kind: plan.OpCreateBaseline, Size: 2}); !errors.Is(err, errOutdated) {
		b.Errorf("creating it again gives %v, want a word to look again", err)
	}

	for _, named := range []*v1alpha1.Revision{stable, nil} {
		b.rollout.Status.Stable = named
		if o := b.look().observed; o.Stable.Name == baseline.Name || o.Native.Exists || o.Running.Exists || !o.Workload.Settled {
			b.Errorf("with stable %+v: stable %q, native %q, running %q, settled %v; the baseline counts for none of it",
				named, o.Stable.Name, o.Native.Name, o.Running.Name, o.Workload.Settled)
		}
	}
	b.rollout.Status.Stable = stable

	b.must(b.look(), plan.Op{Kind: plan.OpScaleBaseline, Size: 1})
	if got := b.look().observed.Baseline.Replicas; got != 1 {
		b.Errorf("scaled to %d, want 1", got)
	}
	b.must(b.look(), plan.Op{Kind: plan.OpSettle, Hash: "none"})
	if got := b.look().observed.Baseline.Replicas; got != 1 {
		b.Errorf("settling the Deployment scaled the baseline to %d", got)
	}
	if err := b.c.Delete(ctx, b.deployment); err != nil {
		b.Fatal(err)
	}
	w = b.look()
	if !w.observed.Baseline.Ours {
		b.Fatalf("without the Deployment the baseline is %+v", w.observed.Baseline)
	}
	b.must(w, plan.Op{Kind: plan.OpDeleteBaseline})
	b.must(b.look(), plan.Op{Kind: plan.OpDeleteBaseline})
	gone := &unstructured.Unstructured{}
	gone.SetGroupVersionKind(replicaSetKind)
	if err := b.c.Get(ctx, client.ObjectKeyFromObject(u), gone); client.IgnoreNotFound(err) != nil || err == nil {
		b.Errorf("the baseline is still there (error %v)", err)
	}

	// One that is not Sluice's is left alone.
	other := u.DeepCopy()
	other.SetResourceVersion("")
	other.SetUID("")
	other.SetOwnerReferences([]metav1.OwnerReference{})
	b.create(other)
	w = b.look()
	b.must(w, plan.Op{Kind: plan.OpDeleteBaseline})
	if err := b.apply(w, plan.Op{Kind: plan.OpScaleBaseline, Size: 3}); !errors.Is(err, errOutdated) {
		b.Errorf("scaling somebody else's gives %v, want a word to look again", err)
	}
	if o := b.look().observed.Baseline; !o.Exists || o.Ours {
		b.Errorf("somebody else's ReplicaSet is %+v", o)
	}
}
