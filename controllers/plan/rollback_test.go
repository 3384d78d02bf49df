package plan

import (
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

func TestRollingBack(t *testing.T) {
	given := releaseFixture(backPhase, 1, 0)
	given.Status.Release.Reason = "too many errors"
	drained := t0.Add(defaultDrain)
	gone := given
	noCanary(&gone)
	lostStable := func(o *Observed) { o.Stable.Available, o.Mesh.StableEndpoints = 0, 0 }
	handed := given
	handed.Canary.Owned, handed.Canary.Ours = true, false
	runCases(t, map[string]planCase{
		"weight 0 first":             {given: given, with: notLive, at: drained, want: want{phase: backPhase, reason: "waiting for p.x"}},
		"a refusal does not stop it": {given: given, with: func(o *Observed) { notLive(o); o.Mesh.Rejected = map[string]string{"p.x": "no"} }, at: t0.Add(defaultAcknowledge), want: want{phase: backPhase, notice: NoticeLagging}},
		"nor does silence":           {given: given, with: func(o *Observed) { notLive(o); o.Mesh = Mesh{StableEndpoints: 4, CanaryEndpoints: 1} }, at: t0.Add(defaultAcknowledge), want: want{phase: backPhase, notice: NoticeLagging}},
		"then it drains":             {given: given, want: want{phase: backPhase, reason: "draining", requeue: 9 * time.Second}},
		"then its pods go":           {given: given, at: drained, want: want{phase: backPhase, ops: []OpKind{OpDeleteCanary}}},
		"until they are gone":        {given: gone, with: func(o *Observed) { o.Canary.Pods = 1 }, at: drained, want: want{phase: backPhase, reason: "removing"}},
		"and nobody is sent there":   {given: gone, with: func(o *Observed) { o.Mesh.BaselineEndpoints = 1 }, at: drained, want: want{phase: backPhase, reason: "removing"}},
		"not for ever either":        {given: gone, with: func(o *Observed) { o.Mesh.BaselineEndpoints = 1 }, at: t0.Add(defaultProgress), want: want{phase: backedPhase}},
		"but not for ever":           {given: gone, with: func(o *Observed) { o.Canary.Pods = 1 }, at: t0.Add(defaultProgress), want: want{phase: backedPhase}},
		"then the Service":           {given: gone, with: func(o *Observed) { o.Service.Narrowed = "ka" }, at: drained, want: want{phase: backPhase, ops: []OpKind{OpRestore}}},
		"done":                       {given: gone, at: drained, want: want{phase: backedPhase, reason: "too many errors", notice: NoticeRolledBack}},
		"the canary alone can serve": {given: given, with: lostStable, at: drained, want: want{phase: backPhase, notice: NoticeDegraded, stalled: v1alpha1.ReasonDegraded}},
		"both are lost":              {given: given, with: func(o *Observed) { lostStable(o); o.Mesh.CanaryEndpoints = 0 }, at: drained, want: want{phase: backPhase, ops: []OpKind{OpDeleteCanary}}},
		"a fix gets out":             {given: given, with: func(o *Observed) { lostStable(o); o.Workload.TemplateHash = "c" }, at: drained, want: want{phase: backPhase, ops: []OpKind{OpUnpause}, stalled: v1alpha1.ReasonDegraded}},
		"a version that is not down is not passed by": {given: given, with: func(o *Observed) { o.Mesh.StableEndpoints, o.Workload.TemplateHash = 0, "c" }, at: drained, want: want{phase: backPhase, stalled: v1alpha1.ReasonDegraded}},
		"the fix takes stable's place": {given: given, with: func(o *Observed) {
			lostStable(o)
			o.Workload.TemplateHash = "c"
			o.Running = ReplicaSet{Exists: true, Name: "web-kc", Hash: "kc", TemplateHash: "c", Replicas: 1, Available: 1, Owned: true}
		}, at: drained, want: want{phase: backPhase, reason: "kc takes the place"}},
		"stable is back: drains again": {given: given, with: func(o *Observed) {
			o.Status = Next(frozenFixture(), t0.Add(defaultDrain)).Status
		}, at: drained, want: want{phase: backPhase, reason: "can serve again"}},
		"the Deployment is gone":           {given: given, with: func(o *Observed) { lostStable(o); o.Workload = Workload{} }, at: drained, want: want{phase: backPhase, ops: []OpKind{OpDeleteCanary}}},
		"scaled to zero":                   {given: given, with: func(o *Observed) { lostStable(o); o.Workload.Replicas = 0 }, at: drained, want: want{phase: backPhase, ops: []OpKind{OpDeleteCanary}}},
		"an aborted canary stays its size": {given: given, with: func(o *Observed) { o.Workload.Replicas = 40 }, want: want{phase: backPhase}},
		"somebody ended the hold":          {given: given, with: func(o *Observed) { o.Workload.Paused, o.Workload.Held = false, false }, want: want{phase: backPhase, ops: []OpKind{OpHold}}},
		"handed over in that moment":       {given: handed, with: func(o *Observed) { o.Stable.Replicas, o.Stable.Available = 0, 0 }, want: want{phase: pendingPhase, reason: "before the abort"}},
		"the Service is gone":              {given: gone, with: func(o *Observed) { o.Service = Service{} }, at: drained, want: want{phase: backedPhase}},
	})
}

func frozenFixture() Observed {
	o := releaseFixture(backPhase, 1, 0)
	o.Status.Release.Reason = "too many errors"
	o.Stable.Available, o.Mesh.StableEndpoints = 0, 0
	return o
}

// An abort always decides weight 0 in the write that decides the abort, with an epoch of its own.
func TestRollBackTakesWeightAtOnce(t *testing.T) {
	o := said(releaseFixture(progress, 3, 50), v1alpha1.VerdictFail, now)
	w := Next(o, now).Status.Weight
	if w.Desired != 0 || w.Epoch != 8 || w.LiveAt != nil || !w.DecidedAt.Time.Equal(now) || w.Live != 50 {
		t.Errorf("weight %+v", w)
	}
}
