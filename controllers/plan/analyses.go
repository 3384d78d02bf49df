package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// This file is about runs of analysis templates. Those of steps and the one before promotion are gates:
// they must succeed. The one in the background must be neither failed nor undecided. The one after
// promotion is told of, no more.

// run is the present release's run for a stage as it is now; nil when there is none.
func (t *turn) run(stage string) *Analysis {
	if t.status.Release == nil {
		return nil
	}
	for i := range t.o.Analyses {
		if run := &t.o.Analyses[i]; run.Stage == stage && run.Release == t.status.Release.ID {
			return run
		}
	}
	return nil
}

// analysis is what is on record about a stage of the present release; nil when nothing is.
func (t *turn) analysis(stage string) *v1alpha1.AnalysisStatus {
	for i := range t.status.Analyses {
		if a := &t.status.Analyses[i]; a.Stage == stage {
			return a
		}
	}
	return nil
}

// hear brings what is on record about runs up to date. A success or failure stays on record, though its run
// may go; a run that went without one is run again, which is how a person repeats it.
func (t *turn) hear() {
	for i := range t.status.Analyses {
		a := &t.status.Analyses[i]
		if a.Phase == v1alpha1.RunSuccessful || a.Phase == v1alpha1.RunFailed {
			continue
		}
		run := t.run(a.Stage)
		if run == nil {
			a.Phase, a.Message = v1alpha1.RunPending, ""
			continue
		}
		a.Run, a.Phase, a.Message = run.Run, run.Phase, ""
		if a.Phase == "" {
			a.Phase = v1alpha1.RunPending
		}
		if a.Phase.Ended() {
			a.Message = clip(run.Message)
		}
	}
}

// maxAnalysisMessage is what the API takes as the message of an analysis.
const maxAnalysisMessage = 1024

func clip(text string) string {
	if len(text) <= maxAnalysisMessage {
		return text
	}
	return strings.ToValidUTF8(text[:maxAnalysisMessage], "")
}

// analyse makes sure that the release's run for a stage is there, and returns what is on record about it.
func (t *turn) analyse(stage string) v1alpha1.AnalysisStatus {
	a := t.analysis(stage)
	if a == nil {
		t.status.Analyses = append(t.status.Analyses, v1alpha1.AnalysisStatus{Stage: stage, Phase: v1alpha1.RunPending})
		a = t.analysis(stage)
	} else if !a.Phase.Ended() && t.run(stage) == nil && a.Run != "" && t.status.Step != nil {
		t.status.Step.InconclusiveSince = nil // it is run again
	}
	if op := (Op{Kind: OpAnalyse, Stage: stage}); !a.Phase.Ended() && t.run(stage) == nil && !slices.Contains(t.ops, op) {
		t.do(op)
	}
	return *a
}

// analysed is the gate of a stage: its run must have succeeded. An end without success or failure waits for
// a person.
func (t *turn) analysed(stage string) bool {
	if t.analyse(stage).Phase == v1alpha1.RunSuccessful {
		return true
	}
	if !t.undecided(stage) {
		t.say(fmt.Sprintf("weight %d: waiting for analysis %s", t.status.Weight.Desired, stage))
	}
	return false
}

// undecided tells whether the run for a stage ended with neither success nor failure, and says so.
func (t *turn) undecided(stage string) bool {
	a := t.analysis(stage)
	if a == nil || a.Phase != v1alpha1.RunInconclusive && a.Phase != v1alpha1.RunError {
		return false
	}
	t.hold(fmt.Sprintf("analysis %s ended in phase %s: %s; promote or abort, or delete AnalysisRun %s to run it again", stage, a.Phase, a.Message, a.Run))
	return true
}

// background runs the analysis beside the steps, from its step on.
func (t *turn) background() {
	spec := t.o.Spec.Analysis.Background
	if spec != nil && t.status.Release.ExpeditedBy == "" && t.status.Step.Index >= spec.StartingStep {
		t.analyse(v1alpha1.StageBackground)
	}
}

// backgroundUndecided tells whether the analysis in the background keeps the release where it is.
func (t *turn) backgroundUndecided() bool {
	return t.o.Spec.Analysis.Background != nil && t.status.Release.ExpeditedBy == "" && t.undecided(v1alpha1.StageBackground)
}

// beforePromotion begins the analysis before promotion.
func (t *turn) beforePromotion() {
	if t.o.Spec.Analysis.BeforePromotion != nil && t.status.Release.ExpeditedBy == "" {
		t.analyse(v1alpha1.StageBeforePromotion)
	}
}

// promotable is the gate of the analyses before promotion. The one in the background may still run, but one
// that has not measured anything is no evidence.
func (t *turn) promotable() bool {
	if t.status.Release.ExpeditedBy != "" {
		return true
	}
	if t.o.Spec.Analysis.BeforePromotion != nil && !t.analysed(v1alpha1.StageBeforePromotion) {
		return false
	}
	if t.o.Spec.Analysis.Background == nil {
		return true
	}
	run := t.run(v1alpha1.StageBackground)
	if t.analyse(v1alpha1.StageBackground).Phase == v1alpha1.RunSuccessful || run != nil && run.Measured {
		return true
	}
	t.say("before promotion: waiting for the first results of the analysis in the background")
	return false
}

// afterPromotion keeps the analysis after promotion going.
func (t *turn) afterPromotion() {
	if t.analysis(v1alpha1.StageAfterPromotion) != nil {
		t.analyse(v1alpha1.StageAfterPromotion)
	}
}

// analysisFailed says which analysis ends the release; empty: none.
func (t *turn) analysisFailed() string {
	for _, a := range t.status.Analyses {
		if a.Phase == v1alpha1.RunFailed && a.Stage != v1alpha1.StageAfterPromotion {
			return fmt.Sprintf("analysis %s failed: %s", a.Stage, a.Message)
		}
	}
	return ""
}

// stopAnalyses ends the runs that nothing waits for any more.
func (t *turn) stopAnalyses() {
	if t.finished {
		return
	}
	for _, run := range t.o.Analyses {
		if !run.Phase.Ended() && !run.Terminated && !t.wanted(run) {
			t.do(Op{Kind: OpStopAnalysis, Run: run.Run})
		}
	}
}

// wanted tells whether somebody waits for a run: the release that is on, the step that is the present one,
// or who wants to know afterwards.
func (t *turn) wanted(run Analysis) bool {
	if t.status.Release == nil || run.Release != t.status.Release.ID {
		return false
	}
	on := releasing(t.status.Phase) && t.status.Phase != v1alpha1.PhaseRollingBack
	switch run.Stage {
	case v1alpha1.StageAfterPromotion:
		return t.status.Release.Outcome == v1alpha1.OutcomePromoted
	case v1alpha1.StageBackground, v1alpha1.StageBeforePromotion:
		return on
	default:
		return on && t.status.Step != nil && run.Stage == v1alpha1.StageOfStep(t.status.Step.Index)
	}
}
