package plan

import (
	"fmt"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// begin starts a release of the template that is held.
func (t *turn) begin() {
	w := t.o.Workload
	attempt := int64(1)
	if t.status.Release != nil {
		attempt = t.status.Release.Attempt + 1
	}
	canary := v1alpha1.Revision{
		Hash: w.TemplateHash, TemplateHash: w.TemplateHash, Images: w.Images,
		ReplicaSet: t.o.Spec.WorkloadRef.Name + "-" + w.TemplateHash,
	}
	if native := t.o.Native; native.Exists {
		canary.Hash, canary.ReplicaSet = native.Hash, native.Name
	}
	t.status.Canary, t.status.Baseline = &canary, t.newBaseline()
	t.status.Release = &v1alpha1.Release{
		ID: fmt.Sprintf("%s-%d", w.TemplateHash, attempt), Attempt: attempt,
		StartedAt: t.stamp(), PhaseSince: t.stamp(),
	}
	t.status.Verdicts, t.status.Analyses, t.status.Paused = nil, nil, nil
	t.toStep(0)
	// The mesh must know both versions, and give the canary nothing, before there are canary pods: the
	// Service may select them.
	t.setWeight(0)
	t.enter(v1alpha1.PhaseStarting, fmt.Sprintf("releasing version %s", canary.Hash))
}

// starting brings the canary up at weight 0.
func (t *turn) starting() {
	if t.ending() || !t.holding() {
		return
	}
	target := t.target()
	if !t.readyFor(target) && t.reached(t.phaseDeadline()) {
		t.rollBack(fmt.Sprintf("the canary was not ready in %s: %s", t.progressDeadline(), t.canaryStarting(target)))
		return
	}
	if t.o.Canary.Crashing {
		t.rollBack("the canary's pods crash: " + t.o.Canary.Trouble)
		return
	}
	if t.status.Weight.LiveAt == nil {
		t.say("telling the proxies about both versions; " + t.waiting())
		return
	}
	if !t.narrowed() || !t.canaryUp(target) {
		return
	}
	if !t.readyFor(target) {
		t.say(t.canaryStarting(target))
		return
	}
	if t.blocked() || !t.baselineReady(target, t.phaseDeadline()) {
		return
	}
	t.status.Step.Since = t.stamped()
	t.setWeight(target)
	t.enter(v1alpha1.PhaseProgressing, fmt.Sprintf("weight %d decided: %d canary pods are ready", target, t.o.Canary.Available))
}

// narrowed keeps clients outside the mesh on stable, where that is asked for, before there are canary
// pods. Later it is left alone: a selector that somebody else applies is not fought over.
func (t *turn) narrowed() bool {
	s, stable := t.o.Service, t.status.Stable.Hash
	if !t.o.Spec.Service.Narrow || t.o.Canary.Ours || s.Narrowed == stable {
		return true
	}
	if s.Narrowed != "" {
		t.restored() // to a version before this one
		return false
	}
	if !s.OnlyStable {
		t.say(fmt.Sprintf("Service %s selects other pods than stable's and cannot be narrowed; turn spec.service.narrow off, or narrow the Service's own selector to this Deployment", t.o.Spec.Service.Name))
		t.degraded = t.reason
		return false
	}
	t.status.Narrowed = &v1alpha1.NarrowedStatus{
		Service: t.o.Spec.Service.Name, ServiceUID: s.UID, WorkloadUID: t.o.Workload.UID, Hash: stable,
	}
	t.do(Op{Kind: OpNarrow, Hash: stable})
	t.say("narrowing the Service to stable")
	return false
}

// canaryUp makes sure that the canary's ReplicaSet is there, ours and large enough.
func (t *turn) canaryUp(percent int32) bool {
	canary, native, size := t.o.Canary, t.o.Native, t.sizeFor(percent)
	hash := t.status.Canary.Hash
	if t.o.Service.CanaryServiceHash != hash {
		t.do(Op{Kind: OpCanaryService, Hash: hash})
	}
	if t.o.Workload.Prunable > 0 && !canary.Ours {
		// Scaled to zero and up again while held, the Deployment would bring the newest one up.
		t.do(Op{Kind: OpPrune})
	}
	switch {
	case canary.Terminating:
		t.say(fmt.Sprintf("waiting for the earlier ReplicaSet %s to go", canary.Name))
	case canary.Ours:
		t.resize(percent)
		return true
	case native.Exists && native.Name != t.status.Canary.ReplicaSet:
		t.status.Canary.Hash, t.status.Canary.ReplicaSet = native.Hash, native.Name
		t.setWeight(t.status.Weight.Desired)
		t.say(fmt.Sprintf("ReplicaSet %s has the same template and becomes the canary", native.Name))
		t.due(t.now)
	case native.Exists && native.Terminating:
		t.say(fmt.Sprintf("waiting for the earlier ReplicaSet %s to go", native.Name))
	case native.Exists:
		t.do(Op{Kind: OpTakeOver, Size: size, Hash: hash})
		t.say(fmt.Sprintf("taking ReplicaSet %s over as the canary", native.Name))
	case canary.Exists:
		t.say(fmt.Sprintf("a ReplicaSet %s exists and is not Sluice's; delete it", canary.Name))
	default:
		t.do(Op{Kind: OpCreateCanary, Size: size, Hash: hash})
		t.say(fmt.Sprintf("starting %d canary pods", size))
	}
	return false
}

// ending rolls the release back when it must not go on.
func (t *turn) ending() bool {
	if reason := t.end(); reason != "" {
		t.rollBack(reason)
		return true
	}
	return false
}

// end is why the release must be rolled back; empty when it may go on.
func (t *turn) end() string {
	w, stable, canary := t.o.Workload, t.status.Stable, t.status.Canary
	t.due(t.status.Release.StartedAt.Add(t.releaseDeadline()))
	switch {
	case t.o.Deleting:
		return "the Rollout is being deleted"
	case !w.Exists || w.Terminating:
		return fmt.Sprintf("Deployment %s is gone", t.o.Spec.WorkloadRef.Name)
	case !w.Labelled:
		return fmt.Sprintf("Deployment %s lost the label %s", t.o.Spec.WorkloadRef.Name, v1alpha1.LabelRollout)
	case w.TemplateHash == stable.TemplateHash:
		return wentBack
	case w.TemplateHash != canary.TemplateHash:
		return superseded
	case w.Replicas == 0:
		return scaledToZero
	case t.stableGone() || t.stableSupplanted():
		return fmt.Sprintf("stable's ReplicaSet %s is gone, or another took its place", stable.ReplicaSet)
	case t.o.Canary.Ours && t.o.Canary.TemplateHash != canary.TemplateHash:
		return "something in the cluster (a webhook?) changed the template of the canary's ReplicaSet, so it could never become the Deployment's own; exempt ReplicaSets from it"
	}
	if _, message := t.serviceTrouble(); message != "" {
		return message
	}
	if text := t.rejected(); text != "" {
		return text
	}
	if text := t.analysisFailed(); text != "" {
		return text
	}
	if t.status.Weight.Desired > 0 {
		if v := t.verdict(); v != nil && v.Outcome == v1alpha1.VerdictFail {
			return v.Reason
		}
		if !t.o.Canary.Exists || t.o.Canary.Terminating || t.o.Mesh.CanaryEndpoints == 0 {
			return "the canary has no ready endpoints left" + troubleOf(t.o.Canary)
		}
	}
	if t.reached(t.status.Release.StartedAt.Add(t.releaseDeadline())) {
		return fmt.Sprintf("the release took longer than %s", t.releaseDeadline())
	}
	return ""
}

func troubleOf(rs ReplicaSet) string {
	if rs.Trouble == "" {
		return ""
	}
	return ": " + rs.Trouble
}

// holding keeps the Deployment from rolling the canary's template out by itself.
func (t *turn) holding() bool {
	if !t.o.Workload.Paused {
		t.do(Op{Kind: OpHold})
		t.say("somebody ended the hold in the middle of the release; holding again")
		return false
	}
	if native := t.o.Native; native.Exists && native.Replicas > 0 {
		t.do(Op{Kind: OpSettle, Hash: t.status.Stable.Hash})
		t.say(fmt.Sprintf("bringing the Deployment back to version %s, which began to roll out by itself", t.status.Stable.Hash))
		return false
	}
	return true
}

// blocked says why the release must stay where it is for now.
func (t *turn) blocked() bool {
	switch {
	case t.o.Invalid != "":
		t.stall(invalidReason(t.o), t.o.Invalid)
	case t.status.Paused != nil:
		t.say("paused by " + t.status.Paused.By)
	case t.backgroundUndecided():
		// It has said so.
	case t.stableLost() && t.status.Release.ExpeditedBy == "" && t.status.Weight.Desired < 100:
		to := "canary"
		if t.o.Mesh.BaselineEndpoints > 0 {
			to = "baseline"
		}
		t.degraded = fmt.Sprintf("stable version %s has no ready endpoints; the release stays where it is, and requests go to the %s", t.status.Stable.Hash, to)
		t.say(t.degraded)
	default:
		return false
	}
	return true
}
