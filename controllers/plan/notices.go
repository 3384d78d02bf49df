package plan

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// notices tells people what changed between the old status and the new one. They come from the
// transition alone, so that each is told once: a status that stays the same tells nothing.
func (t *turn) notices() []Notice {
	if t.finished {
		return nil
	}
	var out []Notice
	tell := func(changed bool, kind NoticeKind, reason string) {
		if changed {
			out = append(out, Notice{Kind: kind, Reason: reason})
		}
	}
	before, after := t.o.Status, t.status
	if last := after.LastCommand; last != nil && last.Accepted && (before.LastCommand == nil || before.LastCommand.ID != last.ID) {
		tell(last.Verb == v1alpha1.VerbApprove, NoticeApproved, last.Message)
		tell(last.Verb == v1alpha1.VerbPause, NoticePaused, last.Message)
		tell(last.Verb == v1alpha1.VerbResume, NoticeResumed, last.Message)
	}
	if before.Phase != after.Phase {
		out = append(out, t.phaseNotices(before.Phase)...)
	}
	if releasing(after.Phase) && before.Weight.LiveAt == nil && after.Weight.LiveAt != nil && before.Weight.Epoch == after.Weight.Epoch {
		tell(after.Phase != v1alpha1.PhaseStarting, NoticeWeight, fmt.Sprintf("weight %d is live", after.Weight.Live))
		tell(len(after.Weight.Lagging) > 0, NoticeLagging, fmt.Sprintf("weight %d is not in force on %s, left out", after.Weight.Live, strings.Join(after.Weight.Lagging, ", ")))
	}
	if len(after.Verdicts) > 0 && (len(before.Verdicts) == 0 || before.Verdicts[0].Epoch != after.Verdicts[0].Epoch || before.Verdicts[0].Outcome != after.Verdicts[0].Outcome) {
		v := after.Verdicts[0]
		tell(v.Outcome != v1alpha1.VerdictInconclusive, NoticeVerdict, fmt.Sprintf("%s at weight %d: %s", strings.ToLower(string(v.Outcome)), v.Weight, v.Reason))
	}
	t.analysisNotices(tell)
	tell(t.arrivedAtApproval(), NoticeApproval, t.approvalText())
	tell(inconclusive(after) && !inconclusive(before), NoticeInconclusive, t.stalledBy)
	tell(t.degraded != "" && reasonOf(before, v1alpha1.ConditionReady) != v1alpha1.ReasonDegraded, NoticeDegraded, t.degraded)
	stalled := t.stalledFor != "" && t.stalledFor != v1alpha1.ReasonInconclusive && t.stalledFor != v1alpha1.ReasonRolledBack && t.stalledFor != v1alpha1.ReasonDegraded
	tell(stalled && reasonOf(before, v1alpha1.ConditionStalled) != t.stalledFor, NoticeStalled, t.stalledBy)
	return out
}

// analysisNotices tells of runs that ended. One that fails in the release is told of by its rollback, and
// one that is undecided when the release holds.
func (t *turn) analysisNotices(tell func(changed bool, kind NoticeKind, reason string)) {
	for _, a := range t.status.Analyses {
		i := slices.IndexFunc(t.o.Status.Analyses, func(b v1alpha1.AnalysisStatus) bool { return b.Stage == a.Stage })
		ended := a.Phase.Ended() && i >= 0 && !t.o.Status.Analyses[i].Phase.Ended()
		tell(ended && a.Phase == v1alpha1.RunSuccessful, NoticeVerdict, fmt.Sprintf("analysis %s was successful", a.Stage))
		tell(ended && a.Phase != v1alpha1.RunSuccessful && a.Stage == v1alpha1.StageAfterPromotion,
			NoticeDegraded, fmt.Sprintf("analysis %s ended in phase %s: %s", a.Stage, a.Phase, a.Message))
	}
}

func (t *turn) phaseNotices(before v1alpha1.Phase) []Notice {
	var kind NoticeKind
	switch after := t.status.Phase; {
	case after == v1alpha1.PhaseStarting:
		kind = NoticeStarted
	case after == v1alpha1.PhaseBaking:
		kind = NoticeBaking
	case after == v1alpha1.PhaseRollingBack:
		kind = NoticeRollingBack
	case after == v1alpha1.PhaseRolledBack:
		kind = NoticeRolledBack
	case releasing(before) && t.status.Release != nil && t.status.Release.Outcome == v1alpha1.OutcomePromoted:
		kind = NoticePromoted
	default:
		return nil
	}
	return []Notice{{Kind: kind, Reason: t.reason}}
}

// arrivedAtApproval tells whether an approval step has just become the present one.
func (t *turn) arrivedAtApproval() bool {
	before, after := t.o.Status, t.status
	if after.Phase != v1alpha1.PhaseProgressing || after.Step == nil || t.finishedSteps() || t.o.Spec.Canary.Steps[after.Step.Index].Approval == nil {
		return false
	}
	return before.Step == nil || before.Step.Index != after.Step.Index
}

func (t *turn) approvalText() string {
	if !t.arrivedAtApproval() {
		return ""
	}
	text := fmt.Sprintf("version %s at weight %d waits for approval", t.status.Canary.Hash, t.status.Weight.Desired)
	if message := t.o.Spec.Canary.Steps[t.status.Step.Index].Approval.Message; message != "" {
		text += ": " + message
	}
	return text
}

func inconclusive(s v1alpha1.RolloutStatus) bool {
	return s.Step != nil && s.Step.InconclusiveSince != nil
}

func reasonOf(s v1alpha1.RolloutStatus, condition string) string {
	if c := meta.FindStatusCondition(s.Conditions, condition); c != nil {
		return c.Reason
	}
	return ""
}
