package plan

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// beside adds a baseline with its pods to a release of the fixtures.
func beside(o Observed) Observed {
	share := BaselineShare(max(o.Status.Weight.Desired, 20))
	size := max(1, (share*4+99)/100)
	o.Spec.Analysis.Compare.Against = v1alpha1.RevisionBaseline
	o.Status.Baseline = &v1alpha1.Revision{Hash: "ka-baseline", TemplateHash: "a", ReplicaSet: "web-ka-baseline"}
	o.Status.Weight.Baseline = BaselineShare(o.Status.Weight.Desired)
	o.Baseline = ReplicaSet{
		Exists: true, Name: "web-ka-baseline", Hash: "ka-baseline", TemplateHash: "a", Replicas: size, Pods: size, Ready: size, Available: size, Ours: true,
	}
	o.Mesh.BaselineEndpoints = size
	return o
}

func TestBaseline(t *testing.T) {
	away := func(o *Observed) { o.Baseline, o.Mesh.BaselineEndpoints = ReplicaSet{}, 0 }
	down := func(o *Observed) { o.Baseline.Available, o.Baseline.Ready, o.Mesh.BaselineEndpoints = 0, 0, 0 }
	late := t0.Add(time.Hour)
	lowTraffic := func(policy v1alpha1.LowTrafficPolicy, youngest time.Time) func(*Observed) {
		return func(o *Observed) {
			o.Spec.Analysis.LowTraffic, o.CanaryYoungest = policy, youngest
			*o = said(*o, v1alpha1.VerdictInconclusive, late)
			o.Verdict.LowTraffic = true
		}
	}
	runCases(t, map[string]planCase{
		"comes after the canary": {given: beside(releaseFixture(startPhase, 0, 0)), with: away,
			want: want{phase: startPhase, ops: []OpKind{OpCreateBaseline}, reason: "0 of 1 baseline pods ready"}},
		"not before": {given: beside(releaseFixture(startPhase, 0, 0)), with: func(o *Observed) { away(o); o.Canary = ReplicaSet{} },
			want: want{phase: startPhase, ops: []OpKind{OpCreateCanary}}},
		"not before the mesh knows it": {given: beside(releaseFixture(startPhase, 0, 0)), with: func(o *Observed) { away(o); notLive(o) },
			want: want{phase: startPhase}},
		"ready before the first weight": {given: beside(releaseFixture(startPhase, 0, 0)),
			want: want{phase: progress, weight: 20}},
		"late at the first weight: held": {given: beside(releaseFixture(startPhase, 0, 0)), with: down, at: t0.Add(defaultProgress),
			want: want{phase: startPhase, reason: "no baseline to compare with", stalled: v1alpha1.ReasonInconclusive, notice: NoticeInconclusive}},
		"a ReplicaSet in its place": {given: beside(releaseFixture(startPhase, 0, 0)), with: func(o *Observed) { down(o); o.Baseline.Ours = false },
			want: want{phase: startPhase, reason: "web-ka-baseline exists and is not Sluice's"}},
		"comes again when it is lost": {given: beside(releaseFixture(progress, 1, 20)), with: away,
			want: want{phase: progress, weight: 20, ops: []OpKind{OpCreateBaseline}}},
		"waits for the one that goes": {given: beside(releaseFixture(progress, 1, 20)), with: func(o *Observed) { down(o); o.Baseline.Terminating = true },
			want: want{phase: progress, weight: 20}},
		"grows for the next weight": {given: beside(releaseFixture(progress, 3, 20)), with: func(o *Observed) { o.Workload.Replicas = 8 },
			want: want{phase: progress, weight: 20, ops: []OpKind{OpScaleBaseline, OpScaleCanary}}},
		"shrinks when its share is small": {given: beside(releaseFixture(progress, 5, 50)), with: func(o *Observed) { o.Baseline.Replicas = 3 },
			want: want{phase: progress, weight: 50, ops: []OpKind{OpScaleBaseline}}},
		"does not shrink before that is live": {given: beside(releaseFixture(progress, 5, 50)), with: func(o *Observed) { o.Baseline.Replicas = 3; notLive(o) },
			want: want{phase: progress, weight: 50}},
		"crashes: the weight stays and no pass counts": {given: said(beside(releaseFixture(progress, 1, 20)), v1alpha1.VerdictPass, late), with: down, at: late,
			want: want{phase: progress, weight: 20, reason: "the baseline has no ready endpoints", stalled: v1alpha1.ReasonInconclusive}},
		"crashes: a failure counts": {given: said(beside(releaseFixture(progress, 1, 20)), v1alpha1.VerdictFail, now), with: down,
			want: want{phase: backPhase, reason: "9 of 100 failed"}},
		"crashes: few requests are no reason to pass": {given: beside(releaseFixture(progress, 1, 20)), at: late,
			with: func(o *Observed) { lowTraffic(v1alpha1.LowTrafficPass, t0)(o); down(o) },
			want: want{phase: progress, weight: 20, reason: "the baseline has no ready endpoints", stalled: v1alpha1.ReasonInconclusive}},
		"was away: few requests are no reason to fail": {given: beside(releaseFixture(progress, 1, 20)), at: late,
			with: lowTraffic(v1alpha1.LowTrafficFail, late.Add(-time.Second)),
			want: want{phase: progress, weight: 20, stalled: v1alpha1.ReasonInconclusive}},
		"was there: few requests are": {given: beside(releaseFixture(progress, 1, 20)), at: late,
			with: lowTraffic(v1alpha1.LowTrafficFail, t0), want: want{phase: backPhase, reason: "too few requests"}},
		"stands in for stable": {given: beside(releaseFixture(progress, 1, 20)), with: func(o *Observed) { o.Mesh.StableEndpoints = 0 },
			want: want{phase: progress, weight: 20, reason: "requests go to the baseline"}},
		"stays while the canary gets all": {given: beside(releaseFixture(bakePhase, 6, 100)),
			want: want{phase: bakePhase, weight: 100}},
		"goes when that has drained": {given: beside(releaseFixture(bakePhase, 6, 100)), at: t0.Add(defaultDrain),
			want: want{phase: bakePhase, weight: 100, ops: []OpKind{OpDeleteBaseline}}},
		"before the handover": {given: beside(releaseFixture(promotePhase, 6, 100)), at: t0.Add(defaultDrain), with: func(o *Observed) { o.Service.CanaryReady = 4 },
			want: want{phase: promotePhase, weight: 100, ops: []OpKind{OpDeleteBaseline}, reason: "the baseline drains and goes"}},
		"goes with the canary": {given: beside(releaseFixture(backPhase, 1, 0)), at: t0.Add(defaultDrain),
			want: want{phase: backPhase, ops: []OpKind{OpDeleteCanary, OpDeleteBaseline}}},
		"is not left behind by a canary that is gone": {given: beside(releaseFixture(backPhase, 1, 0)), at: t0.Add(defaultDrain), with: func(o *Observed) { o.Canary, o.Mesh.CanaryEndpoints = ReplicaSet{}, 0 },
			want: want{phase: backPhase, ops: []OpKind{OpDeleteBaseline}}},
		"stays while it alone can serve": {given: beside(releaseFixture(backPhase, 1, 0)), at: t0.Add(defaultDrain),
			with: func(o *Observed) { o.Canary, o.Mesh.CanaryEndpoints, o.Mesh.StableEndpoints = ReplicaSet{}, 0, 0 },
			want: want{phase: backPhase, reason: "the baseline stays until it has", stalled: v1alpha1.ReasonDegraded}},
		"somebody else's is left alone": {given: beside(releaseFixture(backPhase, 1, 0)), at: t0.Add(defaultDrain),
			with: func(o *Observed) { o.Canary, o.Mesh.CanaryEndpoints, o.Baseline.Ours = ReplicaSet{}, 0, false },
			want: want{phase: backedPhase}},
	})
}

// TestBaselineOfARelease looks at what a release that begins has as baseline.
func TestBaselineOfARelease(t *testing.T) {
	off := false
	long := strings.Repeat("k", 63)
	tests := map[string]struct {
		with func(*Observed)
		want *v1alpha1.Revision
	}{
		"not asked for": {func(o *Observed) { o.Spec.Analysis.Compare.Against = v1alpha1.RevisionStable }, nil},
		"asked for":     {nil, &v1alpha1.Revision{Hash: "ka-baseline", TemplateHash: "a", ReplicaSet: "web-ka-baseline"}},
		"of a long name": {func(o *Observed) { o.Status.Stable.Hash, o.Stable.Hash = long, long },
			&v1alpha1.Revision{Hash: long[:54] + "-baseline", TemplateHash: "a", ReplicaSet: "web-" + long[:54] + "-baseline"}},
		"nothing is compared": {func(o *Observed) { o.Spec.Analysis.Compare.Enabled = &off }, nil},
		"narrowed":            {func(o *Observed) { o.Spec.Service.Narrow = true }, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := heldFixture()
			o.Spec.Analysis.Compare.Against = v1alpha1.RevisionBaseline
			if test.with != nil {
				test.with(&o)
			}
			d := Next(o, now)
			if d.Status.Phase != startPhase || d.Status.Weight.Baseline != 0 {
				t.Fatalf("%s, %+v", d.Reason, d.Status.Weight)
			}
			if diff := cmp.Diff(test.want, d.Status.Baseline); diff != "" {
				t.Errorf("baseline (-want +got):\n%s", diff)
			}
		})
	}
}

// TestBaselineEndsWithItsRelease: nothing of it is on record afterwards, and its share goes with the weight.
func TestBaselineEndsWithItsRelease(t *testing.T) {
	back := beside(releaseFixture(backPhase, 1, 0))
	back.Canary, back.Baseline, back.Mesh.CanaryEndpoints, back.Mesh.BaselineEndpoints = ReplicaSet{}, ReplicaSet{}, 0, 0
	done := beside(releaseFixture(promotePhase, 6, 100))
	done.Baseline, done.Mesh.BaselineEndpoints, done.Mesh.StableEndpoints = ReplicaSet{}, 0, 0
	done.Canary.Ours, done.Canary.Owned, done.Workload.Paused, done.Workload.Held = false, true, false, false
	gone := done
	gone.Workload = Workload{}
	for phase, o := range map[v1alpha1.Phase]Observed{backedPhase: back, healthyPhase: done, pendingPhase: gone} {
		d := Next(o, t0.Add(defaultDrain))
		if d.Status.Phase != phase || d.Status.Baseline != nil || d.Status.Weight.Baseline != 0 {
			t.Errorf("%s: %s, baseline %+v, weight %+v", phase, d.Status.Phase, d.Status.Baseline, d.Status.Weight)
		}
	}
	aborted := Next(said(beside(releaseFixture(progress, 1, 20)), v1alpha1.VerdictFail, now), now)
	if w := aborted.Status.Weight; w.Baseline != 0 || aborted.Status.Baseline == nil || slices.ContainsFunc(aborted.Ops, func(op Op) bool { return op.Kind == OpDeleteBaseline }) {
		t.Errorf("aborted: %+v, ops %v; want the share to go first", w, aborted.Ops)
	}
}
