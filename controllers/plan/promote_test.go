package plan

import (
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

func TestBaking(t *testing.T) {
	given := releaseFixture(bakePhase, 6, 100)
	done := t0.Add(defaultBake)
	runCases(t, map[string]planCase{
		"bakes":                     {given: given, want: want{phase: bakePhase, weight: 100, requeue: 59 * time.Second}},
		"passed":                    {given: said(given, v1alpha1.VerdictPass, done), at: done, want: want{phase: promotePhase, weight: 100}},
		"not passed":                {given: given, at: done, want: want{phase: bakePhase, weight: 100}},
		"inconclusive for too long": {given: given, at: done.Add(defaultPatience), want: want{phase: bakePhase, weight: 100, stalled: v1alpha1.ReasonInconclusive, notice: NoticeInconclusive}},
		"fails":                     {given: said(given, v1alpha1.VerdictFail, now), want: want{phase: backPhase}},
		"no bake asked for":         {given: given, with: func(o *Observed) { o.Spec.BakeTime = seconds(0) }, want: want{phase: promotePhase, weight: 100}},
		"expedited: no pass needed": {given: given, with: func(o *Observed) { o.Status.Release.ExpeditedBy = "ada" }, at: done, want: want{phase: promotePhase, weight: 100}},
		"expedited: still bakes":    {given: given, with: func(o *Observed) { o.Status.Release.ExpeditedBy = "ada" }, want: want{phase: bakePhase, weight: 100}},
		"expedited, and it fails":   {given: said(given, v1alpha1.VerdictFail, now), with: func(o *Observed) { o.Status.Release.ExpeditedBy = "ada" }, want: want{phase: backPhase}},
		"the autoscaler takes away": {given: given, with: func(o *Observed) { o.Workload.Replicas = 3 }, want: want{phase: bakePhase, weight: 100, ops: []OpKind{OpScaleCanary}}},
		"a newer template":          {given: given, with: func(o *Observed) { o.Workload.TemplateHash = "c" }, want: want{phase: backPhase}},
	})
}

func TestPromoting(t *testing.T) {
	given := releaseFixture(promotePhase, 6, 100)
	after := given
	after.Canary.Owned, after.Canary.Ours = true, false
	done := after
	done.Workload.Paused, done.Workload.Held, done.Stable.Replicas, done.Stable.Available, done.Mesh.StableEndpoints = false, false, 0, 0, 0
	newer := func(o *Observed) { o.Workload.TemplateHash = "c" }
	runCases(t, map[string]planCase{
		"hands over":             {given: given, want: want{phase: promotePhase, weight: 100, ops: []OpKind{OpHandOver, OpUnpause}}},
		"the Service first":      {given: given, with: func(o *Observed) { o.Service.Narrowed = "ka" }, want: want{phase: promotePhase, weight: 100, ops: []OpKind{OpRestore}}},
		"kube-proxy's moment":    {given: given, with: func(o *Observed) { o.Status.Narrowed = &v1alpha1.NarrowedStatus{} }, want: want{phase: promotePhase, weight: 100, requeue: kubeProxyMoment}},
		"not in the Service yet": {given: given, with: func(o *Observed) { o.Service.CanaryReady = 3 }, want: want{phase: promotePhase, weight: 100, reason: "3 of 4"}},
		"not all available":      {given: given, with: func(o *Observed) { o.Canary.Available = 3 }, want: want{phase: promotePhase, weight: 100}},
		"the autoscaler adds":    {given: given, with: func(o *Observed) { o.Workload.Replicas = 5 }, want: want{phase: promotePhase, weight: 100, ops: []OpKind{OpScaleCanary}}},
		"stable is not exact":    {given: given, with: func(o *Observed) { o.Stable.Replicas = 5 }, want: want{phase: promotePhase, weight: 100, reason: "stable has 5"}},
		"another is active":      {given: given, with: func(o *Observed) { o.Workload.Settled = false }, want: want{phase: promotePhase, weight: 100, ops: []OpKind{OpSettle}}},
		"an older equal one": {given: given, with: func(o *Observed) {
			o.Native = ReplicaSet{Exists: true, Name: "web-old", Hash: "old", TemplateHash: "b", Owned: true}
		}, want: want{phase: promotePhase, weight: 100, ops: []OpKind{OpDropNative}}},
		"not live":                   {given: given, with: notLive, want: want{phase: promotePhase, weight: 100}},
		"stuck before the handover":  {given: given, with: func(o *Observed) { o.Service.CanaryReady = 3 }, at: t0.Add(defaultProgress), want: want{phase: promotePhase, weight: 100, notice: NoticeDegraded}},
		"stuck until the end":        {given: given, with: func(o *Observed) { o.Service.CanaryReady = 3 }, at: t0.Add(defaultRelease), want: want{phase: backPhase}},
		"paused before the handover": {given: given, with: func(o *Observed) { o.Status.Paused = &v1alpha1.PausedStatus{By: "ada"} }, want: want{phase: promotePhase, weight: 100, reason: "paused"}},
		"newer before the handover":  {given: given, with: newer, want: want{phase: backPhase, reason: superseded}},
		"fails before the handover":  {given: said(given, v1alpha1.VerdictFail, now), want: want{phase: backPhase}},
		"died before the unpause":    {given: after, want: want{phase: promotePhase, weight: 100, ops: []OpKind{OpUnpause}}},
		"the old pods go":            {given: done, with: func(o *Observed) { o.Workload.Settled = false }, want: want{phase: promotePhase, weight: 100}},
		"until nobody is sent there": {given: done, with: func(o *Observed) { o.Mesh.StableEndpoints = 1 }, want: want{phase: promotePhase, weight: 100, reason: "the old pods go"}},
		"but not for ever":           {given: done, with: func(o *Observed) { o.Mesh.StableEndpoints = 1 }, at: t0.Add(defaultProgress), want: want{phase: healthyPhase, notice: NoticePromoted}},
		"nor to the baseline": {given: done, with: func(o *Observed) {
			o.Status.Baseline, o.Mesh.BaselineEndpoints = &v1alpha1.Revision{Hash: "ka-baseline"}, 1
		}, want: want{phase: promotePhase, weight: 100, reason: "the old pods go"}},
		"promoted":                   {given: done, want: want{phase: healthyPhase, reason: "promoted", notice: NoticePromoted}},
		"fails after the handover":   {given: said(done, v1alpha1.VerdictFail, now), want: want{phase: healthyPhase, notice: NoticePromoted}},
		"newer after the handover":   {given: after, with: func(o *Observed) { newer(o); o.Workload.Settled = false }, want: want{phase: promotePhase, weight: 100, ops: []OpKind{OpSettle}}},
		"newer, and settled":         {given: after, with: func(o *Observed) { newer(o); o.Mesh.StableEndpoints = 0 }, want: want{phase: healthyPhase, notice: NoticePromoted}},
		"deleted after the handover": {given: after, with: func(o *Observed) { o.Deleting = true }, want: want{phase: promotePhase, weight: 100, ops: []OpKind{OpUnpause}}},
		"went back in that moment": {given: after, with: func(o *Observed) {
			o.Workload.TemplateHash, o.Canary.Replicas = "a", 0
		}, want: want{phase: backPhase}},
		"the Deployment does not finish": {given: done, with: func(o *Observed) { o.Workload.Settled = false }, at: t0.Add(defaultProgress), want: want{phase: pendingPhase, notice: NoticePromoted}},
		"the Deployment is gone":         {given: done, with: func(o *Observed) { o.Workload = Workload{} }, want: want{phase: pendingPhase}},
	})
}

// However long the handover was waited for, the Deployment has the whole deadline after it.
func TestDeadlineCountsFromTheHandover(t *testing.T) {
	o := releaseFixture(promotePhase, 6, 100)
	late := t0.Add(2 * defaultProgress)
	d := Next(o, late)
	if len(d.Ops) == 0 || d.Ops[0].Kind != OpHandOver {
		t.Fatalf("%+v", d)
	}
	o.Status = d.Status
	o.Canary.Owned, o.Canary.Ours, o.Workload.Paused, o.Workload.Held, o.Workload.Settled = true, false, false, false, false
	if d := Next(o, late.Add(defaultProgress-time.Second)); d.Status.Phase != promotePhase {
		t.Errorf("%s: %s", d.Status.Phase, d.Reason)
	}
	if d := Next(o, late.Add(defaultProgress)); d.Status.Phase != pendingPhase {
		t.Errorf("%s: %s", d.Status.Phase, d.Reason)
	}
}

func TestPromotedStatus(t *testing.T) {
	o := releaseFixture(promotePhase, 6, 100)
	o.Canary.Owned, o.Canary.Ours, o.Workload.Paused, o.Workload.Held, o.Mesh.StableEndpoints = true, false, false, false, 0
	s := Next(o, now).Status
	if s.Stable.Hash != "b" || s.Stable.ReplicaSet != "web-b" || s.Canary != nil || s.Step != nil {
		t.Errorf("stable %+v, canary %+v, step %+v", s.Stable, s.Canary, s.Step)
	}
	if s.Weight.Desired != 0 || s.Weight.Epoch != 8 || s.Release.Outcome != v1alpha1.OutcomePromoted || s.Release.EndedAt == nil {
		t.Errorf("weight %+v, release %+v", s.Weight, s.Release)
	}
}
