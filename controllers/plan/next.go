package plan

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// Next takes one decision. It is pure and deterministic: the same Observed and now give the same
// Decision, and Observed.Status is the only memory. It takes at most one transition, so that each is
// persisted before the next is thought about.
func Next(observed Observed, now time.Time) Decision {
	t := &turn{o: observed, now: now, status: *observed.Status.DeepCopy()}
	if t.status.Phase == "" {
		t.status.Phase = v1alpha1.PhasePending
	}
	if !known(t.status.Phase) {
		// Written by a newer operator: change nothing.
		return Decision{Reason: observed.Status.Message, Status: *observed.Status.DeepCopy(), KeepFinalizer: true}
	}
	t.status.ObservedGeneration = observed.Generation
	t.mend()
	t.count()
	t.acknowledge()
	t.warmUp()
	t.hear()
	t.record()
	if !t.obey() {
		t.act()
	}
	return t.decision()
}

// mend starts from the beginning where somebody has edited away what a phase needs.
func (t *turn) mend() {
	s := &t.status
	lacks := s.Phase != v1alpha1.PhasePending && s.Stable == nil
	if releasing(s.Phase) || s.Phase == v1alpha1.PhaseRolledBack {
		lacks = lacks || s.Canary == nil || s.Release == nil
	}
	if releasing(s.Phase) && s.Phase != v1alpha1.PhaseRollingBack {
		lacks = lacks || s.Step == nil || s.Step.Since == nil
	}
	if lacks {
		s.Phase, s.Stable, s.Canary, s.Baseline = v1alpha1.PhasePending, nil, nil, nil
		t.setWeight(0)
	}
	if releasing(s.Phase) && s.Weight.DecidedAt == nil {
		t.setWeight(s.Weight.Desired)
	}
	if releasing(s.Phase) {
		t.noteWeight() // a release that began under an operator that did not note it
	}
}

// turn is one decision being taken: what the world says, and what is to be done about it so far.
type turn struct {
	o      Observed
	now    time.Time
	status v1alpha1.RolloutStatus
	ops    []Op
	// reason is the sentence for people.
	reason string
	// wake is when something is due, the earliest; zero when nothing is.
	wake time.Time
	// stalled is set when a person must act: the condition's reason and message.
	stalledFor, stalledBy string
	// degraded says what is wrong with a release that goes on nevertheless.
	degraded string
	// following: the Deployment rolls out by itself.
	following bool
	finished  bool
}

// act does what the phase asks for.
func (t *turn) act() {
	switch t.status.Phase {
	case v1alpha1.PhasePending:
		t.pending()
	case v1alpha1.PhaseHealthy:
		t.healthy()
	case v1alpha1.PhaseStarting:
		t.starting()
	case v1alpha1.PhaseProgressing:
		t.progressing()
	case v1alpha1.PhaseBaking:
		t.baking()
	case v1alpha1.PhasePromoting:
		t.promoting()
	case v1alpha1.PhaseRollingBack:
		t.rollingBack()
	case v1alpha1.PhaseRolledBack:
		t.rolledBack()
	}
}

// decision closes the turn.
func (t *turn) decision() Decision {
	t.status.Message = t.reason
	t.stopAnalyses()
	t.setConditions()
	d := Decision{
		Reason: t.reason, Status: t.status, Ops: t.ops, Finished: t.finished,
		Notices: t.notices(), Judge: t.judging(), KeepFinalizer: t.keepFinalizer(),
	}
	switch {
	case t.finished:
	case !t.wake.IsZero():
		d.Requeue = max(t.wake.Sub(t.now), soon)
	}
	if len(t.ops) > 0 && (d.Requeue == 0 || d.Requeue > afterOps) {
		d.Requeue = afterOps // in case the watch that should tell of the change does not
	}
	return d
}

const (
	// soon is when to look again after a transition.
	soon = time.Millisecond
	// afterOps is when to look again after writes, if no watch brings their effect earlier.
	afterOps = 2 * time.Second
)

// count brings the revisions' numbers up to date.
func (t *turn) count() {
	for revision, rs := range map[*v1alpha1.Revision]ReplicaSet{
		t.status.Stable: t.o.Stable, t.status.Canary: t.o.Canary, t.status.Baseline: t.o.Baseline,
	} {
		if revision == nil {
			continue
		}
		revision.Replicas, revision.Ready = 0, 0
		if rs.Exists && rs.Name == revision.ReplicaSet {
			revision.Replicas, revision.Ready = rs.Replicas, rs.Ready
		}
	}
}

// enter goes to a phase; the next turn acts in it.
func (t *turn) enter(phase v1alpha1.Phase, reason string) {
	t.status.Phase = phase
	if t.status.Release != nil {
		t.status.Release.PhaseSince = t.stamp()
	}
	t.say(reason)
	t.due(t.now)
}

// say sets the sentence for people; the first one of a turn stands.
func (t *turn) say(reason string) {
	if t.reason == "" {
		t.reason = reason
	}
}

// stall says that a person must act, and why.
func (t *turn) stall(reason, message string) {
	t.say(message)
	if t.stalledFor == "" {
		t.stalledFor, t.stalledBy = reason, message
	}
}

// due asks to be woken at a time.
func (t *turn) due(at time.Time) {
	if t.wake.IsZero() || at.Before(t.wake) {
		t.wake = at
	}
}

// reached tells whether a time has come, and asks to be woken when it does.
func (t *turn) reached(at time.Time) bool {
	if !t.now.Before(at) {
		return true
	}
	t.due(at)
	return false
}

func (t *turn) do(op Op) { t.ops = append(t.ops, op) }

func (t *turn) stamp() metav1.MicroTime { return metav1.NewMicroTime(t.now.Truncate(time.Microsecond)) }

func (t *turn) stamped() *metav1.MicroTime {
	stamp := t.stamp()
	return &stamp
}

// releasing tells whether a release is on in a phase.
func releasing(phase v1alpha1.Phase) bool {
	switch phase {
	case v1alpha1.PhaseStarting, v1alpha1.PhaseProgressing, v1alpha1.PhaseBaking, v1alpha1.PhasePromoting, v1alpha1.PhaseRollingBack:
		return true
	default:
		return false
	}
}

func known(phase v1alpha1.Phase) bool {
	return releasing(phase) || slices.Contains([]v1alpha1.Phase{v1alpha1.PhasePending, v1alpha1.PhaseHealthy, v1alpha1.PhaseRolledBack}, phase)
}

// keepFinalizer tells whether something of ours would be left behind if the Rollout vanished.
func (t *turn) keepFinalizer() bool {
	if t.finished {
		return false
	}
	return releasing(t.status.Phase) || t.status.Phase == v1alpha1.PhaseRolledBack || t.status.Narrowed != nil ||
		t.o.Leftovers || t.o.Workload.Held
}

// or is a duration's value, or what it is by default.
func or(d *metav1.Duration, otherwise time.Duration) time.Duration {
	if d == nil {
		return otherwise
	}
	return d.Duration
}

// The defaults of the API, for specs that did not come through it.
const (
	defaultBake        = time.Minute
	defaultAnalysis    = time.Minute
	defaultInterval    = time.Second
	defaultProgress    = 10 * time.Minute
	defaultAcknowledge = 30 * time.Second
	defaultPatience    = 5 * time.Minute
	defaultWarmUp      = time.Minute
	defaultDrain       = 10 * time.Second
	defaultRelease     = 24 * time.Hour
)

func (t *turn) progressDeadline() time.Duration {
	return or(t.o.Spec.Deadlines.Progress, defaultProgress)
}
func (t *turn) releaseDeadline() time.Duration { return or(t.o.Spec.Deadlines.Release, defaultRelease) }

// phaseDeadline is when the pods' deadline of the present phase passes.
func (t *turn) phaseDeadline() time.Time {
	return t.status.Release.PhaseSince.Add(t.progressDeadline())
}
