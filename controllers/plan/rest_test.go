package plan

import (
	"testing"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

const (
	pendingPhase = v1alpha1.PhasePending
	healthyPhase = v1alpha1.PhaseHealthy
	startPhase   = v1alpha1.PhaseStarting
	progress     = v1alpha1.PhaseProgressing
	bakePhase    = v1alpha1.PhaseBaking
	promotePhase = v1alpha1.PhasePromoting
	backPhase    = v1alpha1.PhaseRollingBack
	backedPhase  = v1alpha1.PhaseRolledBack
)

func pendingFixture() Observed {
	o := healthyFixture()
	o.Status = v1alpha1.RolloutStatus{}
	return o
}

func TestPending(t *testing.T) {
	held := func(o *Observed) { o.Workload.TemplateHash, o.Workload.Paused, o.Workload.Held = "b", true, true }
	runCases(t, map[string]planCase{
		"settled: its version is stable":    {given: pendingFixture(), want: want{phase: healthyPhase, reason: "ka is stable"}},
		"the Deployment is missing":         {given: pendingFixture(), with: func(o *Observed) { o.Workload = Workload{} }, want: want{phase: pendingPhase, stalled: v1alpha1.ReasonWorkloadMissing, notice: NoticeStalled}},
		"the label is missing":              {given: pendingFixture(), with: func(o *Observed) { o.Workload.Labelled = false }, want: want{phase: pendingPhase, stalled: v1alpha1.ReasonNotLabelled}},
		"invalid":                           {given: pendingFixture(), with: func(o *Observed) { o.Invalid, o.InvalidReason = "two Rollouts", v1alpha1.ReasonConflict }, want: want{phase: pendingPhase, stalled: v1alpha1.ReasonConflict}},
		"still rolling out":                 {given: pendingFixture(), with: func(o *Observed) { o.Workload.Settled = false }, want: want{phase: pendingPhase, reason: "rolling out by itself"}},
		"settled, nothing available":        {given: pendingFixture(), with: func(o *Observed) { o.Stable.Available = 0 }, want: want{phase: pendingPhase, reason: "rolling out by itself"}},
		"no replicas":                       {given: pendingFixture(), with: func(o *Observed) { o.Workload.Replicas, o.Stable.Replicas, o.Stable.Available = 0, 0, 0 }, want: want{phase: healthyPhase}},
		"a fix for a broken first version":  {given: pendingFixture(), with: func(o *Observed) { held(o); o.Stable.Available = 0 }, want: want{phase: pendingPhase, ops: []OpKind{OpUnpause}, reason: "without a canary"}},
		"held in the middle of a rollout":   {given: pendingFixture(), with: func(o *Observed) { held(o); o.Workload.Settled = false }, want: want{phase: healthyPhase, reason: "most available pods"}},
		"a person's pause is left alone":    {given: pendingFixture(), with: func(o *Observed) { o.Workload.Settled, o.Workload.Paused = false, true }, want: want{phase: pendingPhase, stalled: v1alpha1.ReasonWaiting}},
		"deleted before anything was known": {given: pendingFixture(), with: func(o *Observed) { o.Deleting = true }, want: want{phase: pendingPhase, reason: "deleted"}},
		"deleted, of another's Deployment": {given: pendingFixture(), with: func(o *Observed) {
			held(o)
			o.Deleting, o.Invalid, o.InvalidReason = true, "conflict", v1alpha1.ReasonConflict
		}, want: want{phase: pendingPhase, reason: "deleted"}},
		"a Service left narrowed is restored": {given: pendingFixture(), with: func(o *Observed) { o.Service.Narrowed = "ka" }, want: want{phase: pendingPhase, ops: []OpKind{OpRestore}}},
	})
}

func TestHealthy(t *testing.T) {
	native := ReplicaSet{Exists: true, Name: "web-kb", Hash: "kb", TemplateHash: "b", Owned: true}
	running := native
	running.Replicas, running.Available = 1, 1
	runCases(t, map[string]planCase{
		"nothing to do":                    {given: healthyFixture(), want: want{phase: healthyPhase}},
		"a new template":                   {given: heldFixture(), want: want{phase: startPhase, reason: "releasing version b", notice: NoticeStarted}},
		"an older version comes again":     {given: heldFixture(), with: func(o *Observed) { o.Native = native }, want: want{phase: startPhase, reason: "releasing version kb"}},
		"not held, not begun":              {given: heldFixture(), with: func(o *Observed) { o.Workload.Paused, o.Workload.Held = false, false }, want: want{phase: healthyPhase, ops: []OpKind{OpHold}}},
		"not held, rolling out":            {given: heldFixture(), with: func(o *Observed) { o.Workload.Paused, o.Workload.Held, o.Native = false, false, running }, want: want{phase: pendingPhase, reason: "by itself"}},
		"held in the middle":               {given: heldFixture(), with: func(o *Observed) { o.Workload.Settled, o.Native = false, running }, want: want{phase: healthyPhase, ops: []OpKind{OpSettle}}},
		"a person paused and changed it":   {given: heldFixture(), with: func(o *Observed) { o.Workload.Held = false }, want: want{phase: healthyPhase, stalled: v1alpha1.ReasonWaiting}},
		"back to stable's template":        {given: healthyFixture(), with: func(o *Observed) { o.Workload.Paused, o.Workload.Held = true, true }, want: want{phase: healthyPhase, ops: []OpKind{OpUnpause}}},
		"no replicas: nothing to release":  {given: heldFixture(), with: func(o *Observed) { o.Workload.Replicas, o.Stable.Available = 0, 0 }, want: want{phase: pendingPhase, reason: "no replicas"}},
		"stable is down: the fix gets out": {given: heldFixture(), with: func(o *Observed) { o.Stable.Available = 0 }, want: want{phase: pendingPhase, reason: "without a canary"}},
		"the Service is missing":           {given: heldFixture(), with: func(o *Observed) { o.Service = Service{} }, want: want{phase: healthyPhase, stalled: v1alpha1.ReasonServiceMissing}},
		"the Service selects others":       {given: heldFixture(), with: func(o *Observed) { o.Service.Selects = false }, want: want{phase: healthyPhase, stalled: v1alpha1.ReasonServiceMismatch}},
		"invalid: held, not begun":         {given: heldFixture(), with: func(o *Observed) { o.Invalid = "overlap" }, want: want{phase: healthyPhase, stalled: v1alpha1.ReasonInvalid}},
		"stable crashed":                   {given: healthyFixture(), with: func(o *Observed) { o.Stable.Available = 0 }, want: want{phase: healthyPhase, notice: NoticeDegraded}},
		"stable's ReplicaSet is gone":      {given: healthyFixture(), with: func(o *Observed) { o.Stable = ReplicaSet{} }, want: want{phase: pendingPhase}},
		"another runs in stable's place": {given: healthyFixture(), with: func(o *Observed) {
			o.Stable.Replicas, o.Stable.Available, o.Running = 0, 0, running
		}, want: want{phase: pendingPhase}},
		"leftovers go first":              {given: heldFixture(), with: func(o *Observed) { o.Leftovers = true }, want: want{phase: healthyPhase, ops: []OpKind{OpCleanUp}}},
		"deleted with nothing held":       {given: healthyFixture(), with: func(o *Observed) { o.Deleting = true }, want: want{phase: healthyPhase, reason: "deleted"}},
		"deleted with a held template":    {given: heldFixture(), with: func(o *Observed) { o.Deleting = true }, want: want{phase: healthyPhase, ops: []OpKind{OpRevert}}},
		"deleted, the Deployment too":     {given: heldFixture(), with: func(o *Observed) { o.Deleting, o.Workload = true, Workload{} }, want: want{phase: healthyPhase, reason: "deleted"}},
		"deleted, stable is gone":         {given: heldFixture(), with: func(o *Observed) { o.Deleting, o.Stable = true, ReplicaSet{} }, want: want{phase: healthyPhase, reason: "stays paused"}},
		"deleted, the Service is missing": {given: healthyFixture(), with: func(o *Observed) { o.Deleting, o.Service = true, Service{} }, want: want{phase: healthyPhase, reason: "deleted"}},
	})
}

func TestRolledBack(t *testing.T) {
	reason := func(text string) func(*Observed) { return func(o *Observed) { o.Status.Release.Reason = text } }
	runCases(t, map[string]planCase{
		"the rejected template is held": {given: rolledBackFixture(), want: want{phase: backedPhase, reason: "too many errors", stalled: v1alpha1.ReasonRolledBack}},
		"newer ReplicaSets at zero go":  {given: rolledBackFixture(), with: func(o *Observed) { o.Workload.Prunable = 1 }, want: want{phase: backedPhase, ops: []OpKind{OpPrune}, stalled: v1alpha1.ReasonRolledBack}},
		"its own ReplicaSet goes": {given: rolledBackFixture(), with: func(o *Observed) {
			o.Native = ReplicaSet{Exists: true, Name: "web-kb", Hash: "kb", TemplateHash: "b", Owned: true}
		}, want: want{phase: backedPhase, ops: []OpKind{OpDropNative}, stalled: v1alpha1.ReasonRolledBack}},
		"back to stable":             {given: rolledBackFixture(), with: func(o *Observed) { o.Workload.TemplateHash = "a" }, want: want{phase: backedPhase, ops: []OpKind{OpUnpause}}},
		"back to stable, unpaused":   {given: rolledBackFixture(), with: func(o *Observed) { o.Workload.TemplateHash, o.Workload.Paused = "a", false }, want: want{phase: healthyPhase}},
		"the next version":           {given: rolledBackFixture(), with: func(o *Observed) { o.Workload.TemplateHash = "c" }, want: want{phase: startPhase, notice: NoticeStarted}},
		"the next, stable is down":   {given: rolledBackFixture(), with: func(o *Observed) { o.Workload.TemplateHash, o.Stable.Available = "c", 0 }, want: want{phase: pendingPhase}},
		"rejected, scaled to zero":   {given: rolledBackFixture(), with: func(o *Observed) { o.Workload.Replicas, o.Stable.Replicas, o.Stable.Available = 0, 0, 0 }, want: want{phase: backedPhase, stalled: v1alpha1.ReasonRolledBack}},
		"was scaled to zero, is up":  {given: rolledBackFixture(), with: reason(scaledToZero), want: want{phase: startPhase}},
		"was superseded, came again": {given: rolledBackFixture(), with: reason(superseded), want: want{phase: startPhase}},
		"somebody ended the hold":    {given: rolledBackFixture(), with: func(o *Observed) { o.Workload.Paused, o.Workload.Held = false, false }, want: want{phase: backedPhase, ops: []OpKind{OpHold}}},
		"a canary turns up late":     {given: rolledBackFixture(), with: func(o *Observed) { o.Canary = releaseFixture(backPhase, 0, 20).Canary }, want: want{phase: backPhase}},
		"the label is lost":          {given: rolledBackFixture(), with: func(o *Observed) { o.Workload.Labelled = false }, want: want{phase: backedPhase, stalled: v1alpha1.ReasonNotLabelled}},
		"deleted":                    {given: rolledBackFixture(), with: func(o *Observed) { o.Deleting = true }, want: want{phase: backedPhase, ops: []OpKind{OpRevert}}},
		"deleted, narrowed":          {given: rolledBackFixture(), with: func(o *Observed) { o.Deleting, o.Service.Narrowed = true, "ka" }, want: want{phase: backedPhase, ops: []OpKind{OpRestore}}},
		"deleted, back to stable":    {given: rolledBackFixture(), with: func(o *Observed) { o.Deleting, o.Workload.TemplateHash = true, "a" }, want: want{phase: backedPhase, ops: []OpKind{OpUnpause}}},
		"deleted, everything is gone": {given: rolledBackFixture(), with: func(o *Observed) {
			o.Deleting, o.Workload, o.Service, o.Stable = true, Workload{}, Service{}, ReplicaSet{}
		}, want: want{phase: backedPhase}},
	})
}

func TestUnknownPhaseHolds(t *testing.T) {
	o := releaseFixture(progress, 0, 20)
	o.Status.Phase, o.Status.Message = "Dancing", "so"
	if d := Next(o, now); d.Status.Phase != "Dancing" || len(d.Ops) > 0 || d.Status.Weight.Desired != 20 || !d.KeepFinalizer {
		t.Errorf("a phase that is not known must change nothing: %+v", d)
	}
}
