package plan

import (
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

func noCanary(o *Observed) {
	o.Canary, o.Mesh.CanaryEndpoints, o.Service.CanaryReady = ReplicaSet{}, 0, 0
}

func notLive(o *Observed) {
	o.Status.Weight.LiveAt, o.Mesh.Live, o.Mesh.Pending = nil, false, []string{"p.x"}
}

func TestStarting(t *testing.T) {
	given := releaseFixture(startPhase, 0, 0)
	native := ReplicaSet{Exists: true, Name: "web-b", Hash: "b", TemplateHash: "b", Owned: true}
	runCases(t, map[string]planCase{
		"ready: weight":             {given: given, want: want{phase: progress, weight: 20}},
		"the mesh must know first":  {given: given, with: func(o *Observed) { noCanary(o); notLive(o) }, want: want{phase: startPhase, reason: "waiting for p.x"}},
		"then the canary comes":     {given: given, with: noCanary, want: want{phase: startPhase, ops: []OpKind{OpCreateCanary}}},
		"and its Service":           {given: given, with: func(o *Observed) { noCanary(o); o.Service.CanaryServiceHash = "" }, want: want{phase: startPhase, ops: []OpKind{OpCanaryService, OpCreateCanary}}},
		"narrowed before":           {given: given, with: func(o *Observed) { noCanary(o); o.Spec.Service.Narrow = true }, want: want{phase: startPhase, ops: []OpKind{OpNarrow}}},
		"narrowing is not fought":   {given: given, with: func(o *Observed) { o.Spec.Service.Narrow = true }, want: want{phase: progress, weight: 20}},
		"others behind the Service": {given: given, with: func(o *Observed) { noCanary(o); o.Spec.Service.Narrow, o.Service.OnlyStable = true, false }, want: want{phase: startPhase, reason: "cannot be narrowed", notice: NoticeDegraded}},
		"takes an equal one over":   {given: given, with: func(o *Observed) { noCanary(o); o.Native = native }, want: want{phase: startPhase, ops: []OpKind{OpTakeOver}}},
		"takes the name of an equal one": {given: given, with: func(o *Observed) {
			noCanary(o)
			o.Native = native
			o.Native.Name, o.Native.Hash = "web-kb", "kb"
		}, want: want{phase: startPhase, reason: "becomes the canary", requeue: soon}},
		"half taken over":                {given: given, with: func(o *Observed) { o.Canary.Replicas, o.Canary.Available, o.Mesh.CanaryEndpoints = 0, 0, 0 }, want: want{phase: startPhase, ops: []OpKind{OpScaleCanary}}},
		"not in the mesh yet":            {given: given, with: func(o *Observed) { o.Mesh.CanaryEndpoints = 0 }, want: want{phase: startPhase, reason: "0 of 1"}},
		"the earlier one is still going": {given: given, with: func(o *Observed) { o.Canary.Terminating = true }, want: want{phase: startPhase, reason: "earlier"}},
		"changed by a webhook":           {given: given, with: func(o *Observed) { o.Canary.TemplateHash = "b'" }, want: want{phase: backPhase, reason: "webhook"}},
		"not ready in time":              {given: given, with: func(o *Observed) { o.Canary.Available, o.Canary.Trouble = 0, "CrashLoopBackOff" }, at: t0.Add(defaultProgress), want: want{phase: backPhase, reason: "CrashLoopBackOff", notice: NoticeRollingBack}},
		"crashing is not waited for": {given: given, with: func(o *Observed) {
			o.Canary.Available, o.Canary.Crashing, o.Canary.Trouble = 0, true, "CrashLoopBackOff"
		}, want: want{phase: backPhase, reason: "crash", notice: NoticeRollingBack}},
		"ready and paused is not late": {given: given, with: func(o *Observed) { o.Status.Paused = &v1alpha1.PausedStatus{By: "ada"} }, at: t0.Add(defaultProgress), want: want{phase: startPhase, reason: "paused by ada"}},
		"a proxy refuses":              {given: given, with: func(o *Observed) { noCanary(o); notLive(o); o.Mesh.Rejected = map[string]string{"p.x": "no"} }, want: want{phase: backPhase, reason: "p.x rejected"}},
		"stable is lost":               {given: given, with: func(o *Observed) { o.Mesh.StableEndpoints = 0 }, want: want{phase: startPhase, notice: NoticeDegraded}},
		"invalid":                      {given: given, with: func(o *Observed) { o.Invalid = "no" }, want: want{phase: startPhase, stalled: v1alpha1.ReasonInvalid}},
		"expedited":                    {given: given, with: func(o *Observed) { o.Status.Release.ExpeditedBy, o.Status.Step.Index = "ada", 6 }, want: want{phase: startPhase, ops: []OpKind{OpScaleCanary}}},
	})
}

func TestSteps(t *testing.T) {
	const look = defaultAnalysis
	passing := func(o Observed, at time.Time) Observed { return said(o, v1alpha1.VerdictPass, at) }
	at20, at50 := releaseFixture(progress, 0, 20), releaseFixture(progress, 3, 50)
	judging := releaseFixture(progress, 1, 20)
	lastStep := releaseFixture(progress, 5, 50)
	lastStep.Status.Step.ApprovedBy = "ada"
	onRecord := func(o *Observed) {
		o.Status.Verdicts = []v1alpha1.Verdict{{Outcome: v1alpha1.VerdictPass, Reason: "ok", Epoch: 7, At: *micro(t0.Add(look))}}
	}
	runCases(t, map[string]planCase{
		"live: the next step":              {given: at20, want: want{phase: progress, weight: 20, reason: "2/6 analysis"}},
		"not live":                         {given: at20, with: notLive, want: want{phase: progress, weight: 20, requeue: 29 * time.Second}},
		"not live by the deadline":         {given: at20, with: notLive, at: t0.Add(defaultAcknowledge), want: want{phase: progress, weight: 20, notice: NoticeLagging}},
		"nobody reports by the deadline":   {given: at20, with: func(o *Observed) { notLive(o); o.Mesh.Epoch = 6 }, at: t0.Add(time.Hour), want: want{phase: progress, weight: 20, reason: "waiting"}},
		"rejected while raising":           {given: at20, with: func(o *Observed) { notLive(o); o.Mesh.Rejected = map[string]string{"p.x": "bad route"} }, at: t0.Add(time.Hour), want: want{phase: backPhase, reason: "bad route"}},
		"the judge must look":              {given: passing(judging, now), want: want{phase: progress, weight: 20, requeue: 59 * time.Second}},
		"the judge passes":                 {given: passing(judging, t0.Add(look)), at: t0.Add(look), want: want{phase: progress, weight: 20, reason: "3/6 pause"}},
		"a pass that came too early":       {given: passing(judging, t0.Add(look-time.Second)), at: t0.Add(look), want: want{phase: progress, weight: 20, reason: "waiting for the judge"}},
		"a pass of an earlier weight":      {given: passing(judging, t0.Add(look)), with: func(o *Observed) { o.Verdict.Epoch = 6 }, at: t0.Add(look), want: want{phase: progress, weight: 20, reason: "has not spoken"}},
		"a pass that is old":               {given: passing(judging, t0.Add(look)), at: t0.Add(look + 11*time.Second), want: want{phase: progress, weight: 20, reason: "has not spoken"}},
		"inconclusive":                     {given: said(judging, v1alpha1.VerdictInconclusive, t0.Add(look)), at: t0.Add(look), want: want{phase: progress, weight: 20}},
		"inconclusive for too long":        {given: said(judging, v1alpha1.VerdictInconclusive, t0.Add(look+defaultPatience)), at: t0.Add(look + defaultPatience), want: want{phase: progress, weight: 20, notice: NoticeInconclusive, stalled: v1alpha1.ReasonInconclusive}},
		"silence for too long":             {given: judging, at: t0.Add(look + defaultPatience), want: want{phase: progress, weight: 20, notice: NoticeInconclusive, stalled: v1alpha1.ReasonInconclusive}},
		"a pass after all":                 {given: passing(judging, t0.Add(time.Hour)), with: func(o *Observed) { o.Status.Step.InconclusiveSince = micro(t0) }, at: t0.Add(time.Hour), want: want{phase: progress, weight: 20, reason: "3/6"}},
		"a failure, whatever the step":     {given: said(releaseFixture(progress, 2, 20), v1alpha1.VerdictFail, now), want: want{phase: backPhase, reason: "9 of 100", notice: NoticeRollingBack}},
		"a failure before it is live":      {given: said(at20, v1alpha1.VerdictFail, now), with: notLive, want: want{phase: backPhase}},
		"an indefinite pause":              {given: releaseFixture(progress, 2, 20), at: t0.Add(time.Hour), want: want{phase: progress, weight: 20, reason: "until somebody resumes"}},
		"resumed, judged":                  {given: releaseFixture(progress, 2, 20), with: func(o *Observed) { o.Status.Step.ApprovedBy = "ada"; onRecord(o) }, want: want{phase: progress, weight: 20, reason: "4/6"}},
		"a timed pause":                    {given: releaseFixture(progress, 4, 50), want: want{phase: progress, weight: 50, requeue: 29 * time.Second}},
		"a timed pause ends":               {given: releaseFixture(progress, 4, 50), at: t0.Add(30 * time.Second), want: want{phase: progress, weight: 50, reason: "6/6", notice: NoticeApproval}},
		"approval":                         {given: releaseFixture(progress, 5, 50), want: want{phase: progress, weight: 50, reason: "approval", requeue: 599 * time.Second}},
		"approval times out":               {given: releaseFixture(progress, 5, 50), at: t0.Add(600 * time.Second), want: want{phase: backPhase, reason: "nobody approved"}},
		"approved, not judged":             {given: lastStep, at: t0.Add(2 * look), want: want{phase: progress, weight: 50, reason: "waiting for the judge"}},
		"approved and judged: the end":     {given: passing(lastStep, t0.Add(2*look)), at: t0.Add(2 * look), want: want{phase: progress, weight: 50, reason: "6/6 done"}},
		"a bigger weight, a bigger canary": {given: releaseFixture(progress, 3, 20), with: onRecord, want: want{phase: progress, weight: 20, ops: []OpKind{OpScaleCanary}}},
		"not ready for it":                 {given: releaseFixture(progress, 3, 20), with: func(o *Observed) { onRecord(o); o.Canary.Replicas = 2 }, want: want{phase: progress, weight: 20, reason: "1 of 2"}},
		"not ready for it in time":         {given: releaseFixture(progress, 3, 20), with: func(o *Observed) { onRecord(o); o.Canary.Replicas = 2 }, at: t0.Add(defaultProgress), want: want{phase: backPhase}},
		"ready for it": {given: releaseFixture(progress, 3, 20), with: func(o *Observed) {
			onRecord(o)
			o.Canary.Replicas, o.Canary.Available, o.Mesh.CanaryEndpoints = 2, 2, 2
		}, want: want{phase: progress, weight: 50}},
		"ready for it, no pass on record": {given: releaseFixture(progress, 3, 20), with: func(o *Observed) { o.Canary.Replicas, o.Canary.Available, o.Mesh.CanaryEndpoints = 2, 2, 2 }, want: want{phase: progress, weight: 20, reason: "judging"}},
		"the weight never falls": {given: at50, with: func(o *Observed) {
			o.Spec.Canary.Steps = []v1alpha1.Step{weight(5), weight(6), weight(7), weight(8), weight(9)}
		}, want: want{phase: progress, weight: 50, reason: "judging"}},
		"the autoscaler adds":        {given: releaseFixture(progress, 4, 50), with: func(o *Observed) { o.Workload.Replicas = 9 }, want: want{phase: progress, weight: 50, ops: []OpKind{OpScaleCanary}}},
		"the autoscaler takes away":  {given: releaseFixture(progress, 4, 50), with: func(o *Observed) { o.Workload.Replicas = 2 }, want: want{phase: progress, weight: 50}},
		"paused by a person":         {given: releaseFixture(progress, 4, 50), with: func(o *Observed) { o.Status.Paused = &v1alpha1.PausedStatus{By: "ada"} }, at: t0.Add(time.Hour), want: want{phase: progress, weight: 50, reason: "paused by ada"}},
		"paused, and it fails":       {given: said(at50, v1alpha1.VerdictFail, now), with: func(o *Observed) { o.Status.Paused = &v1alpha1.PausedStatus{By: "ada"} }, want: want{phase: backPhase}},
		"invalid in mid-release":     {given: at20, with: func(o *Observed) { o.Invalid = "no" }, want: want{phase: progress, weight: 20, stalled: v1alpha1.ReasonInvalid}},
		"the canary is lost":         {given: at20, with: func(o *Observed) { o.Mesh.CanaryEndpoints = 0 }, want: want{phase: backPhase, reason: "no ready endpoints"}},
		"stable is lost: freeze":     {given: at20, with: func(o *Observed) { o.Mesh.StableEndpoints = 0 }, want: want{phase: progress, weight: 20, notice: NoticeDegraded}},
		"both are lost":              {given: at20, with: func(o *Observed) { o.Mesh.StableEndpoints, o.Mesh.CanaryEndpoints = 0, 0 }, want: want{phase: backPhase}},
		"a newer template":           {given: at20, with: func(o *Observed) { o.Workload.TemplateHash = "c" }, want: want{phase: backPhase, reason: superseded}},
		"back to stable's template":  {given: at20, with: func(o *Observed) { o.Workload.TemplateHash = "a" }, want: want{phase: backPhase, reason: wentBack}},
		"scaled to zero":             {given: at20, with: func(o *Observed) { o.Workload.Replicas = 0 }, want: want{phase: backPhase, reason: scaledToZero}},
		"the label is lost":          {given: at20, with: func(o *Observed) { o.Workload.Labelled = false }, want: want{phase: backPhase, reason: "label"}},
		"the Deployment is gone":     {given: at20, with: func(o *Observed) { o.Workload = Workload{} }, want: want{phase: backPhase, reason: "gone"}},
		"the Deployment is going":    {given: at20, with: func(o *Observed) { o.Workload.Terminating = true }, want: want{phase: backPhase, reason: "gone"}},
		"the Service is gone":        {given: at20, with: func(o *Observed) { o.Service = Service{} }, want: want{phase: backPhase, reason: "does not exist"}},
		"the Rollout is deleted":     {given: at20, with: func(o *Observed) { o.Deleting = true }, want: want{phase: backPhase, reason: "being deleted"}},
		"somebody ended the hold":    {given: at20, with: func(o *Observed) { o.Workload.Paused, o.Workload.Held = false, false }, want: want{phase: progress, weight: 20, ops: []OpKind{OpHold}}},
		"the release takes too long": {given: releaseFixture(progress, 2, 20), at: t0.Add(defaultRelease), want: want{phase: backPhase, reason: "longer than 24h"}},
	})
}
