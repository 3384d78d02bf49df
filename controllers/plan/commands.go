package plan

import (
	"fmt"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// obey acts on a person's order, once. True: it was a transition, and the phase's own work waits for the
// next turn.
func (t *turn) obey() bool {
	c := t.o.Command
	if c == nil || t.status.LastCommand != nil && t.status.LastCommand.ID == c.ID {
		return false
	}
	phase := t.status.Phase
	by := c.By
	if by == "" {
		by = "somebody"
	}
	refusal, done := t.misdirected(*c), ""
	if refusal == "" {
		done, refusal = t.order(*c, by)
	}
	result := &v1alpha1.CommandStatus{ID: c.ID, Verb: c.Verb, By: c.By, Accepted: refusal == "", Message: done, At: t.stamp()}
	if refusal != "" {
		result.Message = fmt.Sprintf("%s refused: %s", c.Verb, refusal)
	}
	t.status.LastCommand = result
	return t.status.Phase != phase
}

// misdirected says why an order is about something that is no longer there.
func (t *turn) misdirected(c v1alpha1.Command) string {
	if r := t.status.Release; c.Release != "" && (r == nil || r.ID != c.Release) {
		return fmt.Sprintf("release %s is over", c.Release)
	}
	return ""
}

// order carries one verb out; exactly one of the results is set.
func (t *turn) order(c v1alpha1.Command, by string) (done, refusal string) {
	switch c.Verb {
	case v1alpha1.VerbPromote:
		return t.orderPromote(by)
	case v1alpha1.VerbAbort:
		if why := t.mayStillEnd(); why != "" {
			return "", why
		}
		t.rollBack("aborted by " + by)
		return t.reason, ""
	case v1alpha1.VerbApprove, v1alpha1.VerbReject:
		return t.orderApproval(c, by)
	case v1alpha1.VerbRetry:
		return t.orderRetry(by)
	case v1alpha1.VerbPause:
		if why := t.mayStillEnd(); why != "" {
			return "", why
		}
		if t.status.Paused != nil {
			return "", "already paused by " + t.status.Paused.By
		}
		t.status.Paused = &v1alpha1.PausedStatus{By: by, Since: t.stamp()}
		return "paused by " + by, ""
	case v1alpha1.VerbResume:
		return t.orderResume(c, by)
	default:
		return "", fmt.Sprintf("there is no verb %q", c.Verb)
	}
}

// mayStillEnd says why a release cannot be paused or aborted any more.
func (t *turn) mayStillEnd() string {
	switch t.status.Phase {
	case v1alpha1.PhaseStarting, v1alpha1.PhaseProgressing, v1alpha1.PhaseBaking:
		return ""
	case v1alpha1.PhasePromoting:
		if !t.handedOver() {
			return ""
		}
		return "the version is already handed to the Deployment; change the template to go back"
	case v1alpha1.PhaseRollingBack:
		return "the release is already being rolled back"
	default:
		return "no release is on"
	}
}

func (t *turn) orderPromote(by string) (done, refusal string) {
	switch t.status.Phase {
	case v1alpha1.PhaseStarting, v1alpha1.PhaseProgressing, v1alpha1.PhaseBaking:
	case v1alpha1.PhasePromoting:
		return "", "the release is already being promoted"
	case v1alpha1.PhaseRolledBack:
		return "", "the release was rolled back; order a retry first"
	default:
		if why := t.mayStillEnd(); why != "" {
			return "", why
		}
	}
	if t.status.Release.ExpeditedBy != "" {
		return "", "promotion is already ordered by " + t.status.Release.ExpeditedBy
	}
	t.status.Release.ExpeditedBy = by
	t.status.Paused = nil
	t.toStep(int32(len(t.o.Spec.Canary.Steps))) //nolint:gosec // at most 50
	return "promotion without the remaining steps ordered by " + by, ""
}

// atStep is the present step, when the order is about it.
func (t *turn) atStep(c v1alpha1.Command) (v1alpha1.Step, string) {
	if t.status.Phase != v1alpha1.PhaseProgressing || t.finishedSteps() {
		return v1alpha1.Step{}, "no step waits for it"
	}
	if c.Step != nil && *c.Step != t.status.Step.Index {
		return v1alpha1.Step{}, fmt.Sprintf("step %d is not the present one", *c.Step+1)
	}
	if t.status.Weight.LiveAt == nil {
		return v1alpha1.Step{}, "no step waits for it"
	}
	return t.o.Spec.Canary.Steps[t.status.Step.Index], ""
}

func (t *turn) orderApproval(c v1alpha1.Command, by string) (done, refusal string) {
	step, refusal := t.atStep(c)
	switch {
	case refusal != "":
		return "", refusal
	case step.Approval == nil:
		return "", "the present step needs no approval"
	case t.status.Step.ApprovedBy != "":
		return "", "already approved by " + t.status.Step.ApprovedBy
	case c.Verb == v1alpha1.VerbReject:
		t.rollBack("rejected by " + by)
		return t.reason, ""
	}
	t.status.Step.ApprovedBy = by
	return "approved by " + by, ""
}

func (t *turn) orderResume(c v1alpha1.Command, by string) (done, refusal string) {
	if t.status.Paused != nil {
		t.status.Paused = nil
		return "resumed by " + by, ""
	}
	step, refusal := t.atStep(c)
	switch {
	case refusal != "":
		return "", "nothing is paused"
	case step.Pause == nil || step.Pause.Duration != nil:
		return "", "the present step does not wait to be resumed"
	case t.status.Step.ApprovedBy != "":
		return "", "already resumed by " + t.status.Step.ApprovedBy
	}
	t.status.Step.ApprovedBy = by
	return "resumed by " + by, ""
}

// orderRetry releases a rejected template again, and it is judged again from the first step.
func (t *turn) orderRetry(by string) (done, refusal string) {
	if t.status.Phase != v1alpha1.PhaseRolledBack {
		return "", "there is no rolled back release to retry"
	}
	w := t.o.Workload
	switch {
	case t.o.Deleting:
		return "", "the Rollout is being deleted"
	case t.o.Invalid != "":
		return "", t.o.Invalid
	case !w.Exists || w.Terminating || !w.Labelled:
		return "", "the Deployment is gone, or lost its label"
	case w.TemplateHash != t.status.Canary.TemplateHash || !w.Paused:
		return "", "the rejected template is no longer held"
	case w.Replicas == 0:
		return "", "the Deployment has no replicas"
	case !t.o.Stable.Exists || t.o.Stable.Available == 0:
		return "", "stable has no available pods; change the template instead"
	case t.o.Leftovers || t.o.Service.Narrowed != "" || !w.Settled:
		return "", "the last release is still being cleaned up; order it again"
	}
	if _, message := t.serviceTrouble(); message != "" {
		return "", message
	}
	t.begin()
	return "retry ordered by " + by, ""
}
