package plan

import (
	"fmt"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// rollBack ends the release: weight 0 is decided in the same write.
func (t *turn) rollBack(reason string) {
	t.status.Release.Reason = reason
	t.status.Paused = nil
	if t.status.Step != nil {
		t.status.Step.InconclusiveSince = nil
	}
	if t.status.Weight.Desired != 0 {
		t.setWeight(0)
	}
	t.ops = nil
	t.reason, t.degraded, t.stalledFor, t.stalledBy = "", "", "", ""
	t.enter(v1alpha1.PhaseRollingBack, reason)
}

// rollingBack takes the canary away: first its weight on every proxy, then what is in flight, then its
// pods, then the narrowing of the Service.
func (t *turn) rollingBack() {
	why := t.status.Release.Reason
	w := t.status.Weight
	if t.handedOver() && t.lostRace() {
		return
	}
	t.keepOut()
	switch {
	case w.LiveAt == nil:
		t.say(fmt.Sprintf("rolling back: %s; weight 0: %s", why, t.waiting()))
	case t.frozen():
	case reasonOf(t.o.Status, v1alpha1.ConditionStalled) == v1alpha1.ReasonDegraded:
		t.setWeight(0) // the canary served until just now: it drains from here
		t.status.Release.PhaseSince = t.stamp()
		t.say(fmt.Sprintf("rolling back: %s; stable can serve again", why))
		t.due(t.now)
	case !t.reached(w.LiveAt.Add(or(t.o.Spec.Deadlines.Drain, defaultDrain))):
		t.say(fmt.Sprintf("rolling back: %s; draining the canary", why))
	case !t.canaryAndBaselineGone():
		t.say(fmt.Sprintf("rolling back: %s; removing the canary", why))
	case !t.restored() && !t.reached(t.phaseDeadline()):
		// restored has said so.
	default:
		t.rolledBackNow()
	}
}

// keepOut keeps the rejected template from rolling out by itself.
func (t *turn) keepOut() {
	workload, native := t.o.Workload, t.o.Native
	if !workload.Exists || !workload.Labelled || t.stableGone() || t.stableSupplanted() || workload.TemplateHash != t.status.Canary.TemplateHash || t.handedOver() {
		return
	}
	switch {
	case !workload.Paused:
		t.do(Op{Kind: OpHold})
	case native.Exists && native.Replicas > 0:
		t.do(Op{Kind: OpSettle, Hash: t.status.Stable.Hash})
	}
}

// rolledBackNow closes the books on a release that was rolled back.
func (t *turn) rolledBackNow() {
	t.status.Release.Outcome, t.status.Release.EndedAt = v1alpha1.OutcomeRolledBack, t.stamped()
	t.status.Step, t.status.Baseline = nil, nil
	t.reason = ""
	t.enter(v1alpha1.PhaseRolledBack, "rolled back: "+t.status.Release.Reason)
}

// canaryAndBaselineGone removes both at once.
func (t *turn) canaryAndBaselineGone() bool {
	canary := t.canaryGone()
	return t.baselineGone() && canary
}

// listed tells whether the Service still lists pods of a ReplicaSet that goes or is gone. The split stays as long:
// without one, requests go to all that are listed. Somebody else's ReplicaSet is not waited for.
func listed(rs ReplicaSet, endpoints int32) bool {
	return endpoints > 0 && (!rs.Exists || rs.Ours || rs.Owned)
}

// canaryGone removes the canary's ReplicaSet and tells when its pods are gone too. Pods that cannot go
// (their node is lost) are not waited for beyond the deadline: they are no endpoints any more.
func (t *turn) canaryGone() bool {
	canary := t.o.Canary
	switch {
	case canary.Exists && canary.Ours && !canary.Terminating:
		t.do(Op{Kind: OpDeleteCanary, Hash: t.status.Canary.Hash})
		return false
	case canary.Exists && canary.Owned && canary.Replicas > 0:
		if t.o.Workload.Paused {
			t.do(Op{Kind: OpSettle, Hash: t.status.Stable.Hash})
		}
		return false
	case canary.Exists && canary.Ours, canary.Pods > 0:
		return t.reached(t.phaseDeadline())
	default:
		return true
	}
}

// frozen keeps the canary and the baseline while they alone can serve: removing them would turn an abort into
// an outage. A version that the Deployment brings up meanwhile (a fix) takes stable's place.
func (t *turn) frozen() bool {
	w, stable, running := t.o.Workload, t.o.Stable, t.o.Running
	if !w.Exists || w.Terminating || w.Replicas == 0 || t.o.Mesh.CanaryEndpoints == 0 && t.o.Mesh.BaselineEndpoints == 0 {
		return false
	}
	if stable.Available > 0 && (t.o.Mesh.StableEndpoints > 0 || !t.o.Service.Exists) {
		return false
	}
	supplanted := running.TemplateHash != t.status.Canary.TemplateHash || t.stableSupplanted()
	if running.Exists && running.Available > 0 && stable.Available == 0 && supplanted {
		t.status.Stable = revisionOf(running)
		t.setWeight(0)
		t.say(fmt.Sprintf("version %s takes the place of stable, which has no available pods", running.Hash))
		t.due(t.now)
		return true
	}
	if t.o.Deleting && t.reached(t.phaseDeadline()) {
		return false
	}
	if narrowed := t.o.Service.Narrowed; narrowed != "" && narrowed != t.status.Stable.Hash {
		t.restored() // it was narrowed to the version whose place this one took
	}
	server := "canary"
	if t.o.Mesh.BaselineEndpoints > 0 {
		server = "baseline"
	}
	t.degraded = fmt.Sprintf("stable version %s has no ready endpoints; the %s stays until it has", t.status.Stable.Hash, server)
	if w.Held && stable.Available == 0 && w.TemplateHash != t.status.Canary.TemplateHash {
		t.do(Op{Kind: OpUnpause, Hash: w.TemplateHash})
		t.degraded += ", or the newer version is up, which is released without a canary"
	}
	remedy := "change the Deployment's template to one that works"
	if _, message := t.serviceTrouble(); message != "" {
		remedy = message
	}
	t.stall(v1alpha1.ReasonDegraded, t.degraded+"; "+remedy)
	return true
}

// lostRace is about an abort that came in the same moment as the handover: when the Deployment has gone
// over to the canary, the canary is what is followed.
func (t *turn) lostRace() bool {
	if t.o.Canary.Replicas == 0 || t.o.Stable.Replicas > 0 && t.o.Workload.Paused {
		return false
	}
	if t.o.Workload.TemplateHash == t.status.Stable.TemplateHash && t.o.Stable.Replicas > 0 {
		return false
	}
	t.promoted()
	t.follow(fmt.Sprintf("version %s was handed to the Deployment before the abort (%s)", t.status.Canary.Hash, t.status.Release.Reason))
	return true
}
