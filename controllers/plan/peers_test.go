package plan

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// What broke other release controllers, as far as it is the plan's business and is not already a row of
// the other tests. The numbers are those of the list in the design's notes on peers.

// 2: a second abort must not shorten the first one's drain, nor must the next version that waits.
func TestSecondAbortKeepsTheDrain(t *testing.T) {
	o := releaseFixture(backPhase, 1, 0)
	o.Status.Release.Reason = "too many errors"
	o.Command = &v1alpha1.Command{ID: "2", Verb: v1alpha1.VerbAbort, By: "ada"}
	o.Workload.TemplateHash = "c"
	d := Next(o, now)
	if len(d.Ops) > 0 || d.Status.Weight.Epoch != 7 || !d.Status.Weight.LiveAt.Time.Equal(t0) {
		t.Errorf("ops %v, weight %+v", d.Ops, d.Status.Weight)
	}
}

// 8: a crash loop is not progress: the deadline runs from when the phase was entered, whatever the
// numbers do in between.
func TestCrashLoopDoesNotPostponeTheDeadline(t *testing.T) {
	o := releaseFixture(startPhase, 0, 0)
	for at := t0; at.Before(t0.Add(defaultProgress)); at = at.Add(10 * time.Second) {
		o.Canary.Ready = 1 - o.Canary.Ready
		o.Canary.Available, o.Mesh.CanaryEndpoints = 0, 0
		d := Next(o, at)
		if d.Status.Phase != startPhase {
			t.Fatalf("at %s: %s", at, d.Reason)
		}
		o.Status = d.Status
	}
	if d := Next(o, t0.Add(defaultProgress)); d.Status.Phase != backPhase {
		t.Errorf("after the deadline: %s, %s", d.Status.Phase, d.Reason)
	}
}

// 8: a deadline does not run while nothing is on.
func TestNothingIsDueWhenIdle(t *testing.T) {
	for name, o := range map[string]Observed{"healthy": healthyFixture(), "rolled back": rolledBackFixture()} {
		if d := Next(o, t0.Add(1000*time.Hour)); d.Requeue != 0 || d.Status.Phase != o.Status.Phase || len(d.Ops) > 0 {
			t.Errorf("%s: requeue %s, phase %s, ops %v", name, d.Requeue, d.Status.Phase, d.Ops)
		}
	}
}

// 10 and 11: what was told is not told again, and a turn that changes nothing tells nothing.
func TestNoticesComeOnce(t *testing.T) {
	for name, o := range map[string]Observed{
		"started": heldFixture(),
		"approval": func() Observed {
			o := releaseFixture(progress, 4, 50)
			o.Status.Step.Since = micro(t0.Add(-time.Hour))
			return o
		}(),
		"inconclusive": func() Observed {
			o := releaseFixture(progress, 1, 20)
			o.Status.Weight.LiveAt = micro(t0.Add(-time.Hour))
			o.Status.Step.Since = o.Status.Weight.LiveAt
			return o
		}(),
		"frozen": frozenFixture(),
		"lagging": func() Observed {
			o := releaseFixture(progress, 0, 20)
			o.Status.Weight.DecidedAt = micro(t0.Add(-time.Hour))
			notLive(&o)
			return o
		}(),
		"stalled": func() Observed { o := heldFixture(); o.Service = Service{}; return o }(),
		"failed":  said(releaseFixture(progress, 0, 20), v1alpha1.VerdictFail, now),
	} {
		first := Next(o, now)
		if len(first.Notices) == 0 {
			t.Errorf("%s: nothing is told", name)
		}
		o.Status = first.Status
		o.Mesh.Epoch = first.Status.Weight.Epoch
		for _, n := range Next(o, now).Notices {
			if slices.Contains(first.Notices, n) {
				t.Errorf("%s: %s is told again", name, n.Kind)
			}
		}
	}
}

// Status is what kstatus, Flux and Argo CD read.
func TestConditions(t *testing.T) {
	tests := map[string]struct {
		given                       Observed
		ready, reconciling, stalled bool
		reason                      string // of Ready
	}{
		"healthy":     {healthyFixture(), true, false, false, v1alpha1.ReasonHealthy},
		"starting":    {releaseFixture(startPhase, 0, 0), false, true, false, v1alpha1.ReasonReleasing},
		"rolled back": {rolledBackFixture(), false, false, true, v1alpha1.ReasonRolledBack},
		"invalid":     {func() Observed { o := healthyFixture(); o.Invalid = "no"; return o }(), false, false, true, v1alpha1.ReasonInvalid},
		"degraded":    {func() Observed { o := releaseFixture(progress, 1, 20); o.Mesh.StableEndpoints = 0; return o }(), false, true, false, v1alpha1.ReasonDegraded},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := Next(test.given, now).Status
			for kind, want := range map[string]bool{
				v1alpha1.ConditionReady: test.ready, v1alpha1.ConditionReconciling: test.reconciling, v1alpha1.ConditionStalled: test.stalled,
			} {
				c := meta.FindStatusCondition(s.Conditions, kind)
				if c == nil || meta.IsStatusConditionTrue(s.Conditions, kind) != want || c.ObservedGeneration != 3 {
					t.Errorf("%s is %+v, want %v", kind, c, want)
				}
			}
			if got := reasonOf(s, v1alpha1.ConditionReady); got != test.reason {
				t.Errorf("ready for %s, want %s", got, test.reason)
			}
			o := test.given
			o.Status = s
			later := Next(o, now.Add(5*time.Second)).Status
			for i, c := range later.Conditions {
				if c.Status == s.Conditions[i].Status && c.LastTransitionTime != s.Conditions[i].LastTransitionTime {
					t.Errorf("%s's transition time moved without a transition", c.Type)
				}
			}
		})
	}
}

// A release never needs more of the judge than the judge is told to look for.
func TestLookFor(t *testing.T) {
	spec := v1alpha1.RolloutSpec{
		Canary:   v1alpha1.CanaryStrategy{Steps: []v1alpha1.Step{weight(5), pause(nil), analysis(seconds(90)), weight(20), pause(nil)}},
		Analysis: v1alpha1.AnalysisSpec{Duration: seconds(7)}, BakeTime: seconds(33),
	}
	for index, want := range []float64{90, 90, 90, 7, 7, 7} {
		s := v1alpha1.RolloutStatus{Phase: progress, Step: &v1alpha1.StepStatus{Index: int32(index)}} //nolint:gosec // small
		if got := LookFor(spec, s); got != seconds(want).Duration {
			t.Errorf("step %d: %s, want %vs", index, got, want)
		}
	}
	if got := LookFor(spec, v1alpha1.RolloutStatus{Phase: bakePhase}); got != 33*time.Second {
		t.Errorf("baking: %s", got)
	}
}

// Next must not write into what it is given.
func TestNextLeavesItsInputAlone(t *testing.T) {
	o := said(releaseFixture(progress, 0, 20), v1alpha1.VerdictFail, now)
	before := o.Status.DeepCopy()
	Next(o, now)
	if !reflect.DeepEqual(&o.Status, before) {
		t.Errorf("status became %+v", o.Status)
	}
}

// A status that somebody edited to nonsense starts from the beginning instead of crashing.
func TestMendsNonsense(t *testing.T) {
	for _, phase := range []v1alpha1.Phase{healthyPhase, startPhase, progress, bakePhase, promotePhase, backPhase, backedPhase} {
		o := healthyFixture()
		o.Status = v1alpha1.RolloutStatus{Phase: phase}
		if d := Next(o, now); d.Status.Phase != healthyPhase && d.Status.Phase != pendingPhase {
			t.Errorf("from %s to %s", phase, d.Status.Phase)
		}
	}
}
