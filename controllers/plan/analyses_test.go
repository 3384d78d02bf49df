package plan

import (
	"slices"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// analysing gives the fixture analyses of every kind: the first analysis step runs templates too.
func analysing(o Observed) Observed {
	ref := v1alpha1.AnalysisRef{Templates: []v1alpha1.TemplateRef{{Name: "t"}}}
	o.Spec.Analysis.Background = &v1alpha1.BackgroundAnalysis{AnalysisRef: ref}
	o.Spec.Analysis.BeforePromotion, o.Spec.Analysis.AfterPromotion = &ref, &ref
	o.Spec.Canary.Steps = append([]v1alpha1.Step{weight(20), templates(nil)}, fixtureSteps[2:]...)
	if o.Status.Release != nil {
		o = ran(o, v1alpha1.StageBackground, v1alpha1.RunRunning)
	}
	return o
}

// ran puts a run on record and into the world.
func ran(o Observed, stage string, phase v1alpha1.RunPhase) Observed {
	name := o.Status.Release.ID + "-" + stage
	o.Status = *o.Status.DeepCopy()
	o.Status.Analyses = append(o.Status.Analyses, v1alpha1.AnalysisStatus{Stage: stage, Run: name, Phase: v1alpha1.RunRunning})
	o.Analyses = append(slices.Clone(o.Analyses), Analysis{
		Run: name, Release: o.Status.Release.ID, Stage: stage, Phase: phase, Message: "3 of 5 failed", Measured: true,
	})
	return o
}

func TestAnalyses(t *testing.T) {
	const look = defaultAnalysis
	end := t0.Add(look)
	passing := func(o Observed) Observed { return said(o, v1alpha1.VerdictPass, end) }
	step := analysing(releaseFixture(progress, 1, 20))
	baking := analysing(releaseFixture(bakePhase, 6, 100))
	done := ran(baking, v1alpha1.StageBeforePromotion, v1alpha1.RunSuccessful)
	finishing := analysing(releaseFixture(promotePhase, 6, 100))
	finishing.Canary.Owned, finishing.Canary.Ours, finishing.Canary.Replicas = true, false, 4
	finishing.Workload.Paused, finishing.Workload.Held, finishing.Mesh.StableEndpoints = false, false, 0
	promoted := analysing(healthyFixture())
	promoted.Status.Release = &v1alpha1.Release{ID: "a-1", Attempt: 1, StartedAt: *micro(t0), PhaseSince: *micro(t0), Outcome: v1alpha1.OutcomePromoted, EndedAt: micro(t0)}
	promoted.Status.Analyses = []v1alpha1.AnalysisStatus{{Stage: v1alpha1.StageAfterPromotion, Phase: v1alpha1.RunPending}}
	undecided := []v1alpha1.RunPhase{v1alpha1.RunInconclusive, v1alpha1.RunError}
	cases := map[string]planCase{
		"the background begins with its step": {given: releaseFixture(progress, 0, 20), with: func(o *Observed) {
			*o = analysing(*o)
			o.Analyses, o.Status.Analyses = nil, nil
		}, want: want{phase: progress, weight: 20, ops: []OpKind{OpAnalyse}}},
		"and not before": {given: analysing(releaseFixture(progress, 0, 20)), with: func(o *Observed) {
			o.Analyses, o.Status.Analyses, o.Spec.Analysis.Background.StartingStep = nil, nil, 1
		}, want: want{phase: progress, weight: 20}},
		"a step begins its run":            {given: step, want: want{phase: progress, weight: 20, ops: []OpKind{OpAnalyse}, reason: "waiting for analysis step-1"}},
		"a run that goes on is waited for": {given: passing(ran(step, "step-1", v1alpha1.RunRunning)), at: end, want: want{phase: progress, weight: 20, reason: "waiting for analysis step-1"}},
		"the judge is waited for, too":     {given: ran(step, "step-1", v1alpha1.RunSuccessful), want: want{phase: progress, weight: 20, reason: "judging for 1m0s", notice: NoticeVerdict}},
		"both say yes":                     {given: passing(ran(step, "step-1", v1alpha1.RunSuccessful)), at: end, want: want{phase: progress, weight: 20, reason: "3/6"}},
		"a run that fails":                 {given: ran(step, "step-1", v1alpha1.RunFailed), want: want{phase: backPhase, reason: "analysis step-1 failed: 3 of 5 failed", ops: []OpKind{OpStopAnalysis}}},
		"a run that vanishes is run again": {given: passing(ran(step, "step-1", v1alpha1.RunRunning)), at: end, with: func(o *Observed) { o.Analyses = o.Analyses[:1] }, want: want{phase: progress, weight: 20, ops: []OpKind{OpAnalyse}}},
		"a success that is gone stays one": {given: passing(step), at: end, with: func(o *Observed) {
			o.Status.Analyses = append(o.Status.Analyses, v1alpha1.AnalysisStatus{Stage: "step-1", Phase: v1alpha1.RunSuccessful})
		}, want: want{phase: progress, weight: 20, reason: "3/6"}},
		"another release's success is none": {given: passing(ran(step, "step-1", v1alpha1.RunSuccessful)), at: end, with: func(o *Observed) {
			o.Analyses[len(o.Analyses)-1].Release = "b-0"
		}, want: want{phase: progress, weight: 20, ops: []OpKind{OpAnalyse}}},
		"the background fails":             {given: ranBackground(step, v1alpha1.RunFailed), want: want{phase: backPhase, reason: "analysis background failed"}},
		"paused, and the background fails": {given: ranBackground(step, v1alpha1.RunFailed), with: func(o *Observed) { o.Status.Paused = &v1alpha1.PausedStatus{By: "ada"} }, want: want{phase: backPhase}},
		"before promotion, in the bake":    {given: baking, want: want{phase: bakePhase, weight: 100, ops: []OpKind{OpAnalyse}, reason: "baking"}},
		"before promotion it goes on":      {given: passing(ran(baking, v1alpha1.StageBeforePromotion, v1alpha1.RunRunning)), at: end, want: want{phase: bakePhase, weight: 100, reason: "waiting for analysis before-promotion"}},
		"before promotion it fails":        {given: ran(baking, v1alpha1.StageBeforePromotion, v1alpha1.RunFailed), want: want{phase: backPhase, ops: []OpKind{OpStopAnalysis}}},
		"all succeed: promoting":           {given: passing(done), at: end, want: want{phase: promotePhase, weight: 100}},
		"the background measured nothing":  {given: passing(done), at: end, with: func(o *Observed) { o.Analyses[0].Measured = false }, want: want{phase: bakePhase, weight: 100, reason: "first results"}},
		"expedited: no gate":               {given: baking, at: end, with: func(o *Observed) { o.Status.Release.ExpeditedBy = "ada" }, want: want{phase: promotePhase, weight: 100}},
		"expedited, and one fails":         {given: ranBackground(baking, v1alpha1.RunFailed), at: end, with: func(o *Observed) { o.Status.Release.ExpeditedBy = "ada" }, want: want{phase: backPhase}},
		"promoted: the last one begins":    {given: finishing, want: want{phase: healthyPhase, ops: []OpKind{OpAnalyse, OpStopAnalysis}}},
		"it is made again if it vanishes":  {given: promoted, want: want{phase: healthyPhase, ops: []OpKind{OpAnalyse}}},
		"it fails: people are told": {given: promoted, with: func(o *Observed) {
			o.Analyses = []Analysis{{Run: "r", Release: "a-1", Stage: v1alpha1.StageAfterPromotion, Phase: v1alpha1.RunFailed, Message: "3 of 5 failed"}}
		}, want: want{phase: healthyPhase, notice: NoticeDegraded}},
		"an earlier release's run is ended": {given: promoted, with: func(o *Observed) {
			o.Status.Analyses = nil
			o.Analyses = []Analysis{{Run: "r", Release: "a-0", Stage: v1alpha1.StageAfterPromotion, Phase: v1alpha1.RunRunning}}
		}, want: want{phase: healthyPhase, ops: []OpKind{OpStopAnalysis}}},
		"once told to end is enough": {given: promoted, with: func(o *Observed) {
			o.Status.Analyses = nil
			o.Analyses = []Analysis{{Run: "r", Release: "a-0", Stage: v1alpha1.StageAfterPromotion, Phase: v1alpha1.RunRunning, Terminated: true}}
		}, want: want{phase: healthyPhase}},
	}
	for _, phase := range undecided {
		cases["a step's run ends as "+string(phase)] = planCase{given: passing(ran(step, "step-1", phase)), at: end,
			want: want{phase: progress, weight: 20, stalled: v1alpha1.ReasonInconclusive, reason: "delete AnalysisRun b-1-step-1", notice: NoticeInconclusive}}
		cases["the background ends as "+string(phase)] = planCase{given: passing(ran(ranBackground(step, phase), "step-1", v1alpha1.RunSuccessful)), at: end,
			want: want{phase: progress, weight: 20, stalled: v1alpha1.ReasonInconclusive, reason: "background"}}
		cases["before promotion it ends as "+string(phase)] = planCase{given: passing(ran(baking, v1alpha1.StageBeforePromotion, phase)), at: end,
			want: want{phase: bakePhase, weight: 100, stalled: v1alpha1.ReasonInconclusive}}
		cases["deleted, it is run again after "+string(phase)] = planCase{given: step, at: end, with: func(o *Observed) {
			o.Status.Analyses = append(o.Status.Analyses, v1alpha1.AnalysisStatus{Stage: "step-1", Run: "b-1-step-1", Phase: phase})
			o.Status.Step.InconclusiveSince = micro(t0)
		}, want: want{phase: progress, weight: 20, ops: []OpKind{OpAnalyse}}}
	}
	runCases(t, cases)
}

// ranBackground gives the run in the background a phase.
func ranBackground(o Observed, phase v1alpha1.RunPhase) Observed {
	o.Analyses = slices.Clone(o.Analyses)
	o.Analyses[0].Phase = phase
	return o
}

func TestLowTraffic(t *testing.T) {
	deadline := t0.Add(defaultAnalysis + defaultPatience)
	lacking := func(policy v1alpha1.LowTrafficPolicy, at time.Time, lowTraffic bool) Observed {
		o := said(releaseFixture(progress, 1, 20), v1alpha1.VerdictInconclusive, at)
		o.Spec.Analysis.LowTraffic, o.Verdict.LowTraffic = policy, lowTraffic
		return o
	}
	early := deadline.Add(-time.Second)
	held := want{phase: progress, weight: 20, stalled: v1alpha1.ReasonInconclusive, notice: NoticeInconclusive}
	runCases(t, map[string]planCase{
		"by default it holds":             {given: lacking("", deadline, true), at: deadline, want: held},
		"it holds":                        {given: lacking(v1alpha1.LowTrafficHold, deadline, true), at: deadline, want: held},
		"it fails":                        {given: lacking(v1alpha1.LowTrafficFail, deadline, true), at: deadline, want: want{phase: backPhase, reason: "too few requests to judge by: 9 of 100"}},
		"it does not fail before":         {given: lacking(v1alpha1.LowTrafficFail, early, true), at: early, want: want{phase: progress, weight: 20, reason: "waiting for the judge"}},
		"it passes":                       {given: lacking(v1alpha1.LowTrafficPass, deadline, true), at: deadline, want: want{phase: progress, weight: 20, reason: "3/6", notice: NoticeVerdict}},
		"it does not pass before":         {given: lacking(v1alpha1.LowTrafficPass, early, true), at: early, want: want{phase: progress, weight: 20, reason: "waiting for the judge"}},
		"doubt always holds":              {given: lacking(v1alpha1.LowTrafficPass, deadline, false), at: deadline, want: held},
		"doubt does not fail":             {given: lacking(v1alpha1.LowTrafficFail, deadline, false), at: deadline, want: held},
		"silence always holds":            {given: lacking(v1alpha1.LowTrafficPass, t0, true), at: deadline, want: held},
		"requests come, and it is a pass": {given: said(lacking(v1alpha1.LowTrafficHold, deadline, true), v1alpha1.VerdictPass, deadline), at: deadline, want: want{phase: progress, weight: 20, reason: "3/6"}},
	})
}
