package plan

import (
	"fmt"
	"slices"
	"time"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// maxVerdicts is how many verdicts status keeps.
const maxVerdicts = 10

// LookFor is how long the judge must have looked at the present weight, since it was live, before it may
// pass the canary. It is constant within a step.
func LookFor(spec v1alpha1.RolloutSpec, status v1alpha1.RolloutStatus) time.Duration {
	look := or(spec.Analysis.Duration, defaultAnalysis)
	if status.Phase == v1alpha1.PhaseBaking || status.Phase == v1alpha1.PhasePromoting {
		return or(spec.BakeTime, defaultBake)
	}
	if status.Step == nil || int(status.Step.Index) >= len(spec.Canary.Steps) {
		return look
	}
	// The analysis step that is next at this weight, the present one included, sets the duration.
	for i, step := range spec.Canary.Steps[status.Step.Index:] {
		if i > 0 && step.SetWeight != nil {
			break
		}
		if step.Analysis != nil {
			return or(step.Analysis.Duration, look)
		}
	}
	return look
}

// judging tells whether the judge should look.
func (t *turn) judging() bool {
	switch t.status.Phase {
	case v1alpha1.PhaseProgressing, v1alpha1.PhaseBaking, v1alpha1.PhasePromoting:
		return t.status.Weight.Desired > 0 && !t.o.Canary.Owned
	default:
		return false
	}
}

// verdict is the judge's word about the present weight; nil when there is none or it is too old. Without a
// baseline that it needs it is neither good nor for want of requests.
func (t *turn) verdict() *v1alpha1.Verdict {
	v := t.o.Verdict
	if v == nil || t.status.Weight.Desired == 0 || v.Epoch != t.status.Weight.Epoch {
		return nil
	}
	fresh := max(10*time.Second, 5*or(t.o.Spec.Analysis.Interval, defaultInterval))
	if t.now.Sub(v.At.Time) > fresh {
		return nil
	}
	if lost := t.baselineLost(); lost != "" && v.Outcome != v1alpha1.VerdictFail {
		undecided := *v
		undecided.Outcome, undecided.Reason, undecided.LowTraffic = v1alpha1.VerdictInconclusive, lost, false
		return &undecided
	}
	return v
}

// record keeps the judge's word when it says something new.
func (t *turn) record() {
	v := t.verdict()
	if v == nil || !releasing(t.status.Phase) {
		return
	}
	if v.Outcome == v1alpha1.VerdictInconclusive && t.looking() {
		return // it says no more than that the judge is not done
	}
	if last := t.status.Verdicts; len(last) > 0 && last[0].Epoch == v.Epoch && (last[0].Outcome == v.Outcome || last[0].LowTraffic && v.LowTraffic) {
		if last[0].LowTraffic != v.LowTraffic {
			t.renew(*v) // what is missing is another thing now
		}
		return
	}
	t.keep(*v)
}

// renew puts a verdict on record in the place of an earlier one that said the same.
func (t *turn) renew(v v1alpha1.Verdict) {
	if last := t.status.Verdicts; len(last) > 0 && last[0].Epoch == v.Epoch && last[0].Outcome == v.Outcome {
		last[0] = v
		return
	}
	t.keep(v)
}

// keep puts a verdict on record.
func (t *turn) keep(v v1alpha1.Verdict) {
	t.status.Verdicts = slices.Insert(t.status.Verdicts, 0, v)
	if len(t.status.Verdicts) > maxVerdicts {
		t.status.Verdicts = t.status.Verdicts[:maxVerdicts]
	}
}

// looking tells whether the judge has not looked for long enough to pass the canary.
func (t *turn) looking() bool {
	live := t.status.Weight.LiveAt
	return live == nil || t.now.Before(t.warmed(live.Time, t.now).Add(LookFor(t.o.Spec, t.status)))
}

// passed is the gate before more traffic, or promotion: the judge must have looked for a while since a
// time, warm-ups not counted, and pass the canary now. Without a pass it waits, and after the deadline says
// so; missing evidence never lets anything through, unless nothing but requests is missing and the spec
// says so.
func (t *turn) passed(from time.Time, look time.Duration) bool {
	ready := t.warmed(from, t.now).Add(look)
	settled := ready
	if once := from.Add(t.warmUpTime() + look); once.Before(ready) {
		settled = once // pods that are replaced again and again must not put the deadline off for ever
	}
	patience := t.waitingSince(settled).Add(or(t.o.Spec.Deadlines.Analysis, defaultPatience))
	if !t.reached(ready) && !t.reached(patience) {
		t.say(fmt.Sprintf("weight %d: judging for %s", t.status.Weight.Desired, look))
		return false
	}
	v := t.verdict()
	counts := v != nil && !v.At.Time.Before(ready)
	if counts && v.Outcome == v1alpha1.VerdictPass {
		t.renew(*v)
		t.status.Step.InconclusiveSince = nil
		return true
	}
	said := "the judge has not spoken"
	switch {
	case t.now.Before(ready):
		said = "canary pods are added again and again, and do not get to warm up"
	case v != nil:
		said = v.Reason
	}
	if t.status.Step.InconclusiveSince == nil && !t.reached(patience) {
		t.say(fmt.Sprintf("weight %d: waiting for the judge: %s", t.status.Weight.Desired, said))
		return false
	}
	if counts && v.Outcome == v1alpha1.VerdictInconclusive && v.LowTraffic && t.compared(look, v.At.Time) && t.reached(patience) {
		switch t.o.Spec.Analysis.LowTraffic {
		case v1alpha1.LowTrafficFail:
			t.rollBack("too few requests to judge by: " + said)
			return false
		case v1alpha1.LowTrafficPass:
			t.letThrough(*v)
			return true
		}
	}
	if counts && t.status.Step.InconclusiveSince == nil {
		t.renew(*v) // what was missing first may not be what is missing now
	}
	t.hold(fmt.Sprintf("the judge could not decide at weight %d: %s; promote or abort, or let it find more evidence", t.status.Weight.Desired, said))
	return false
}

// letThrough puts on record that a canary goes on for lack of requests, as the spec wants it.
func (t *turn) letThrough(v v1alpha1.Verdict) {
	v.Outcome, v.Reason = v1alpha1.VerdictPass, "let through, as spec.analysis.lowTraffic says: "+v.Reason
	t.renew(v)
	t.status.Step.InconclusiveSince = nil
}

// hold says that a person must act, or more must be found out, before the release goes on.
func (t *turn) hold(message string) {
	if t.status.Step.InconclusiveSince == nil {
		t.status.Step.InconclusiveSince = t.stamped()
	}
	t.stall(v1alpha1.ReasonInconclusive, message)
}

// waitingSince is when nothing but the judge's word was missing: a pause or an approval may have taken
// longer than the look.
func (t *turn) waitingSince(ready time.Time) time.Time {
	latest := ready
	later := func(at time.Time) {
		if at.After(latest) {
			latest = at
		}
	}
	if step := t.status.Step; step.Since != nil {
		later(step.Since.Time)
		if i := int(step.Index); i < len(t.o.Spec.Canary.Steps) {
			if pause := t.o.Spec.Canary.Steps[i].Pause; pause != nil {
				later(step.Since.Add(or(pause.Duration, 0)))
			}
		}
	}
	if c := t.status.LastCommand; c != nil && c.Accepted {
		later(c.At.Time)
	}
	for _, run := range t.o.Analyses {
		if t.wanted(run) {
			later(run.CompletedAt)
		}
	}
	return latest
}

// passOnRecord tells whether the judge passed the canary at the present epoch after it had looked for so
// long.
func (t *turn) passOnRecord(look time.Duration) bool {
	w := t.status.Weight
	return slices.ContainsFunc(t.status.Verdicts, func(v v1alpha1.Verdict) bool {
		return v.Outcome == v1alpha1.VerdictPass && v.Epoch == w.Epoch && !v.At.Time.Before(t.warmed(w.LiveAt.Time, v.At.Time).Add(look))
	})
}
