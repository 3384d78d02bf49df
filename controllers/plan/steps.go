package plan

import (
	"fmt"
	"strings"
	"time"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// progressing takes the steps.
func (t *turn) progressing() {
	if t.ending() || !t.holding() {
		return
	}
	target := t.target()
	if t.status.Weight.LiveAt == nil {
		t.resize(t.status.Weight.Desired)
		t.say(fmt.Sprintf("weight %d: %s", t.status.Weight.Desired, t.waiting()))
		return
	}
	t.resize(target)
	if t.blocked() {
		return
	}
	if t.status.Weight.Desired < target {
		t.raise(target)
		return
	}
	t.background()
	if t.finishedSteps() {
		t.enter(v1alpha1.PhaseBaking, fmt.Sprintf("version %s has all traffic; baking for %s", t.status.Canary.Hash, t.bakeTime()))
		return
	}
	t.takeStep()
}

// finishedSteps tells whether nothing is left but the bake.
func (t *turn) finishedSteps() bool {
	return t.status.Release.ExpeditedBy != "" || int(t.status.Step.Index) >= len(t.o.Spec.Canary.Steps)
}

// target is the weight that the present step asks for; it never falls.
func (t *turn) target() int32 {
	desired := t.status.Weight.Desired
	if t.finishedSteps() {
		return 100
	}
	if w := t.o.Spec.Canary.Steps[t.status.Step.Index].SetWeight; w != nil {
		return max(*w, desired)
	}
	return max(desired, 1)
}

// raise decides a larger weight once the canary has the ready endpoints for it.
func (t *turn) raise(target int32) {
	if t.o.Status.Weight.LiveAt == nil && len(t.status.Weight.Lagging) > 0 {
		t.say(fmt.Sprintf("weight %d is live, without %s", t.status.Weight.Desired, strings.Join(t.status.Weight.Lagging, ", ")))
		t.due(t.now) // who was left out is persisted before the next weight forgets it
		return
	}
	if !t.readyFor(target) {
		if t.reached(t.status.Step.Since.Add(t.progressDeadline())) {
			t.rollBack(fmt.Sprintf("the canary was not ready for weight %d in %s: %s", target, t.progressDeadline(), t.canaryStarting(target)))
			return
		}
		t.say(fmt.Sprintf("before weight %d: %s", target, t.canaryStarting(target)))
		return
	}
	// The step before this one was left with a pass; a spec edited since may have moved the steps.
	if t.status.Release.ExpeditedBy == "" && !t.passOnRecord(t.leastLook()) && !t.passed(t.status.Weight.LiveAt.Time, t.lookFor()) {
		return
	}
	if !t.baselineReady(target, t.status.Step.Since.Add(t.progressDeadline())) {
		return
	}
	t.setWeight(target)
	t.say(fmt.Sprintf("weight %d decided: %d canary pods are ready", target, t.o.Canary.Available))
	t.due(t.now)
}

// takeStep goes to the next step when the present one is done.
func (t *turn) takeStep() {
	index := t.status.Step.Index
	step := t.o.Spec.Canary.Steps[index]
	switch {
	case step.SetWeight != nil:
		if since := t.status.Step.Since; since == nil || since.Time.Before(t.status.Weight.LiveAt.Time) {
			t.status.Step.Since = t.status.Weight.LiveAt.DeepCopy()
		}
	case step.Pause != nil && step.Pause.Duration != nil:
		until := t.status.Step.Since.Add(step.Pause.Duration.Duration)
		if !t.reached(until) {
			t.say(fmt.Sprintf("weight %d: pausing for %s", t.status.Weight.Desired, step.Pause.Duration.Duration))
			return
		}
	case step.Pause != nil:
		if t.status.Step.ApprovedBy == "" {
			t.say(fmt.Sprintf("weight %d: waiting until somebody resumes", t.status.Weight.Desired))
			return
		}
	case step.Analysis != nil:
		if len(step.Analysis.Templates) > 0 && !t.analysed(v1alpha1.StageOfStep(index)) {
			return
		}
		if !t.passed(t.status.Step.Since.Time, or(step.Analysis.Duration, t.lookFor())) {
			return
		}
	case step.Approval != nil:
		if t.status.Step.ApprovedBy == "" {
			t.awaitApproval(step.Approval)
			return
		}
	}
	if t.endOfWeight() && !t.judged() && !t.passed(t.status.Weight.LiveAt.Time, t.lookFor()) {
		return
	}
	t.toStep(index + 1)
	t.say(fmt.Sprintf("weight %d: step %s", t.status.Weight.Desired, t.status.Step.Display))
	t.due(t.now)
}

// awaitApproval waits for a person, for so long.
func (t *turn) awaitApproval(step *v1alpha1.ApprovalStep) {
	timeout := or(step.Timeout, t.releaseDeadline())
	if t.reached(t.status.Step.Since.Add(timeout)) {
		t.rollBack(fmt.Sprintf("nobody approved step %s in %s", t.status.Step.Display, timeout))
		return
	}
	text := fmt.Sprintf("weight %d: waiting for approval", t.status.Weight.Desired)
	if step.Message != "" {
		text += ": " + step.Message
	}
	t.say(text)
}

// endOfWeight tells whether the next step would change the weight, or be the end.
func (t *turn) endOfWeight() bool {
	next := int(t.status.Step.Index) + 1
	return next >= len(t.o.Spec.Canary.Steps) || t.o.Spec.Canary.Steps[next].SetWeight != nil
}

// judged tells whether an analysis step at the present weight was taken and its verdict is on record.
func (t *turn) judged() bool {
	for i := int(t.status.Step.Index); i >= 0; i-- {
		step := t.o.Spec.Canary.Steps[i]
		if step.Analysis != nil {
			return t.passOnRecord(or(step.Analysis.Duration, t.lookFor()))
		}
		if step.SetWeight != nil {
			return false
		}
	}
	return false
}

// toStep makes a step the present one; the number of steps means that all are done.
func (t *turn) toStep(index int32) {
	t.status.Step = &v1alpha1.StepStatus{Index: index, Display: display(t.o.Spec.Canary.Steps, index), Since: t.stamped()}
}

// display is a step for people.
func display(steps []v1alpha1.Step, index int32) string {
	n := len(steps)
	if int(index) >= n {
		return fmt.Sprintf("%d/%d done", n, n)
	}
	step, name := steps[index], "setWeight"
	switch {
	case step.SetWeight != nil:
		name = fmt.Sprintf("setWeight %d", *step.SetWeight)
	case step.Pause != nil && step.Pause.Duration != nil:
		name = "pause " + step.Pause.Duration.Duration.String()
	case step.Pause != nil:
		name = "pause"
	case step.Analysis != nil:
		name = "analysis"
	case step.Approval != nil:
		name = "approval"
	}
	return fmt.Sprintf("%d/%d %s", index+1, n, name)
}

// leastLook is the shortest look that the spec allows at any weight.
func (t *turn) leastLook() time.Duration {
	look := t.lookFor()
	for _, step := range t.o.Spec.Canary.Steps {
		if step.Analysis != nil {
			look = min(look, or(step.Analysis.Duration, look))
		}
	}
	return look
}

func (t *turn) lookFor() time.Duration  { return or(t.o.Spec.Analysis.Duration, defaultAnalysis) }
func (t *turn) bakeTime() time.Duration { return or(t.o.Spec.BakeTime, defaultBake) }
