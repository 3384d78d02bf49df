package plan

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// t0 is when the phase of a fixture was entered and its weight live; now is when it is looked at.
var (
	t0  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	now = t0.Add(time.Second)
)

func micro(at time.Time) *metav1.MicroTime {
	m := metav1.NewMicroTime(at)
	return &m
}

// steps of the fixture: two weights, every kind of step.
var fixtureSteps = []v1alpha1.Step{weight(20), analysis(nil), pause(nil), weight(50), pause(seconds(30)), approval(seconds(600))}

// healthy is a Deployment with four pods of version a, and nothing going on.
func healthyFixture() Observed {
	return Observed{
		Generation: 3,
		Spec: v1alpha1.RolloutSpec{
			WorkloadRef: v1alpha1.WorkloadRef{Name: "web"},
			Service:     v1alpha1.ServiceRef{Name: "web"},
			Canary:      v1alpha1.CanaryStrategy{Steps: fixtureSteps},
			Analysis:    v1alpha1.AnalysisSpec{Compare: v1alpha1.CompareSpec{WarmUp: seconds(0)}},
		},
		Status: v1alpha1.RolloutStatus{
			Phase:  v1alpha1.PhaseHealthy,
			Stable: &v1alpha1.Revision{Hash: "ka", TemplateHash: "a", ReplicaSet: "web-ka"},
			Weight: v1alpha1.WeightStatus{Epoch: 7, DecidedAt: micro(t0), LiveAt: micro(t0)},
		},
		Workload: Workload{Exists: true, UID: "d", Labelled: true, Replicas: 4, TemplateHash: "a", Settled: true},
		Service:  Service{Exists: true, UID: "s", Selects: true, OnlyStable: true},
		Stable: ReplicaSet{
			Exists: true, Name: "web-ka", Hash: "ka", TemplateHash: "a", Replicas: 4, Pods: 4, Ready: 4, Available: 4, Owned: true,
		},
		Mesh: Mesh{Live: true, Epoch: 7, StableEndpoints: 4},
	}
}

// held is healthy with version b held.
func heldFixture() Observed {
	o := healthyFixture()
	o.Workload.TemplateHash, o.Workload.Paused, o.Workload.Held = "b", true, true
	return o
}

// release is a release of b in a phase, at a step and weight that is live, with all its pods ready.
func releaseFixture(phase v1alpha1.Phase, step, percent int32) Observed {
	o := heldFixture()
	size := max(1, (percent*4+99)/100)
	if phase == v1alpha1.PhaseStarting {
		size = 1
	}
	o.Status.Phase = phase
	o.Status.Canary = &v1alpha1.Revision{Hash: "b", TemplateHash: "b", ReplicaSet: "web-b"}
	o.Status.Release = &v1alpha1.Release{ID: "b-1", Attempt: 1, StartedAt: *micro(t0), PhaseSince: *micro(t0)}
	o.Status.Step = &v1alpha1.StepStatus{Index: step, Display: display(fixtureSteps, step), Since: micro(t0)}
	o.Status.Weight = v1alpha1.WeightStatus{Desired: percent, Live: percent, Epoch: 7, DecidedAt: micro(t0), LiveAt: micro(t0)}
	o.Canary = ReplicaSet{
		Exists: true, Name: "web-b", Hash: "b", TemplateHash: "b", Replicas: size, Pods: size, Ready: size, Available: size, Ours: true,
	}
	o.Service.CanaryReady, o.Service.CanaryServiceHash = size, "b"
	o.Mesh.CanaryEndpoints = size
	o.Leftovers = true
	return o
}

// rolledBack is after b was rejected.
func rolledBackFixture() Observed {
	o := releaseFixture(v1alpha1.PhaseRolledBack, 0, 0)
	o.Status.Step, o.Canary, o.Leftovers, o.Mesh.CanaryEndpoints = nil, ReplicaSet{}, false, 0
	o.Service.CanaryServiceHash, o.Service.CanaryReady = "", 0
	o.Status.Release.Outcome, o.Status.Release.Reason, o.Status.Release.EndedAt = v1alpha1.OutcomeRolledBack, "too many errors", micro(t0)
	return o
}

func said(o Observed, outcome v1alpha1.VerdictOutcome, at time.Time) Observed {
	o.Verdict = &v1alpha1.Verdict{Outcome: outcome, Reason: "9 of 100 failed", Weight: o.Status.Weight.Desired, Epoch: o.Status.Weight.Epoch, At: *micro(at)}
	return o
}

// want is what a test expects of a decision; empty fields are not looked at, except ops.
type want struct {
	phase   v1alpha1.Phase
	weight  int32
	ops     []OpKind
	reason  string
	notice  NoticeKind
	stalled string        // the reason of a Stalled that is True; "" when it must be False
	requeue time.Duration // exact, when set
}

type planCase struct {
	given Observed
	with  func(*Observed)
	at    time.Time // zero: now
	want  want
}

func runCases(t *testing.T, cases map[string]planCase) {
	t.Helper()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o, at := c.given, c.at
			o.Status, o.Analyses = *o.Status.DeepCopy(), slices.Clone(o.Analyses)
			if c.with != nil {
				c.with(&o)
			}
			if at.IsZero() {
				at = now
			}
			d := Next(o, at)
			var ops []OpKind
			for _, op := range d.Ops {
				ops = append(ops, op.Kind)
			}
			if d.Status.Phase != c.want.phase {
				t.Errorf("phase %s (%s), want %s", d.Status.Phase, d.Reason, c.want.phase)
			}
			if d.Status.Weight.Desired != c.want.weight {
				t.Errorf("weight %d (%s), want %d", d.Status.Weight.Desired, d.Reason, c.want.weight)
			}
			if !slices.Equal(ops, c.want.ops) {
				t.Errorf("ops %v, want %v", ops, c.want.ops)
			}
			if !strings.Contains(d.Reason, c.want.reason) || d.Reason == "" || d.Reason != d.Status.Message {
				t.Errorf("reason %q, message %q, want %q in it", d.Reason, d.Status.Message, c.want.reason)
			}
			if c.want.notice != "" && !slices.ContainsFunc(d.Notices, func(n Notice) bool { return n.Kind == c.want.notice && n.Reason != "" }) {
				t.Errorf("notices %v, want %s", d.Notices, c.want.notice)
			}
			if got := trueReason(d.Status, v1alpha1.ConditionStalled); got != c.want.stalled {
				t.Errorf("stalled for %q, want %q", got, c.want.stalled)
			}
			if c.want.requeue != 0 && d.Requeue != c.want.requeue {
				t.Errorf("requeue %s, want %s", d.Requeue, c.want.requeue)
			}
		})
	}
}

func trueReason(s v1alpha1.RolloutStatus, condition string) string {
	for _, c := range s.Conditions {
		if c.Type == condition && c.Status == metav1.ConditionTrue {
			return c.Reason
		}
	}
	return ""
}
