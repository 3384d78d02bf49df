package plan

import (
	"fmt"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// This file is about the phases in which no release is on.

// Reasons for which a release ends without anything against its template. If that template is (still, or
// again) the Deployment's when the release is over, it is released from the first step, without a retry.
const (
	scaledToZero = "the Deployment was scaled to zero in the middle of the release"
	superseded   = "superseded by a newer template"
	wentBack     = "the template went back to stable's"
)

// pending follows a Deployment of which no version is known to be good: a new one, one whose stable
// version is down (a fix must get out without a canary), or one that rolls out natively because no hold
// was in force. Status names no stable version here, so Observed.Stable is the one with most available
// pods.
func (t *turn) pending() {
	if t.o.Deleting {
		t.farewell()
		return
	}
	if t.tidy() || t.unfit() {
		return
	}
	w := t.o.Workload
	if rs, found := t.settledOn(); found {
		t.status.Stable = revisionOf(rs)
		t.enter(v1alpha1.PhaseHealthy, fmt.Sprintf("version %s is stable", rs.Hash))
		return
	}
	switch {
	case w.Paused && !w.Held:
		t.stall(v1alpha1.ReasonWaiting, fmt.Sprintf("Deployment %s is paused by somebody; unpause it to let it roll out", t.o.Spec.WorkloadRef.Name))
	case w.Held && w.Replicas > 0 && t.o.Stable.Available > 0 && t.o.Stable.TemplateHash != w.TemplateHash:
		t.status.Stable = revisionOf(t.o.Stable)
		t.enter(v1alpha1.PhaseHealthy, fmt.Sprintf("version %s has the most available pods and is taken as stable", t.o.Stable.Hash))
	case w.Held:
		t.following = true
		t.do(Op{Kind: OpUnpause, Hash: w.TemplateHash})
		t.say("releasing without a canary, because no other version has available pods")
	default:
		t.following = true
		t.say("the Deployment is rolling out by itself; its version becomes stable when that is done")
	}
}

// settledOn is the one ReplicaSet that a Deployment has come to rest on.
func (t *turn) settledOn() (ReplicaSet, bool) {
	w := t.o.Workload
	if !w.Settled {
		return ReplicaSet{}, false
	}
	for _, rs := range []ReplicaSet{t.o.Native, t.o.Stable} {
		if rs.Exists && rs.Owned && !rs.Terminating && rs.TemplateHash == w.TemplateHash &&
			rs.Replicas == w.Replicas && (rs.Available > 0 || w.Replicas == 0) {
			return rs, true
		}
	}
	return ReplicaSet{}, false
}

// healthy waits for a new template.
func (t *turn) healthy() {
	if t.o.Deleting {
		t.farewell()
		return
	}
	if t.tidy() || t.unfit() {
		return
	}
	if t.replaced() {
		return
	}
	if t.o.Workload.TemplateHash != t.status.Stable.TemplateHash {
		t.newTemplate()
		return
	}
	if t.o.Workload.Held {
		t.do(Op{Kind: OpUnpause, Hash: t.o.Workload.TemplateHash})
		t.say("the template is stable's again; ending the hold")
		return
	}
	if t.lacksStable() {
		t.degraded = fmt.Sprintf("version %s has no available pods", t.status.Stable.Hash)
		t.say(t.degraded)
		return
	}
	if t.unready() {
		return // said now, not only when a version is waiting
	}
	t.say(fmt.Sprintf("version %s is stable", t.status.Stable.Hash))
	t.afterPromotion()
}

// replaced notices that the ReplicaSet which status calls stable is no longer the one that runs.
func (t *turn) replaced() bool {
	if !t.stableGone() && !t.stableSupplanted() {
		return false
	}
	t.follow(fmt.Sprintf("stable's ReplicaSet %s is gone, or another took its place", t.status.Stable.ReplicaSet))
	return true
}

func (t *turn) stableGone() bool {
	return !t.o.Stable.Exists || !t.o.Stable.Owned || t.o.Stable.Terminating
}

// stableSupplanted tells whether the Deployment runs another ReplicaSet instead of stable's.
func (t *turn) stableSupplanted() bool {
	return t.o.Stable.Replicas == 0 && t.o.Stable.Available == 0 && t.o.Workload.Replicas > 0 && t.o.Running.Exists
}

// lacksStable tells whether stable should have available pods and has none.
func (t *turn) lacksStable() bool { return t.o.Stable.Available == 0 && t.o.Workload.Replicas > 0 }

// rolledBack holds the rejected template until another comes, or somebody orders a retry.
func (t *turn) rolledBack() {
	if t.o.Canary.Exists && t.o.Canary.Ours {
		t.setWeight(0) // the mesh must know it again to keep requests away from it
		t.enter(v1alpha1.PhaseRollingBack, t.status.Release.Reason)
		return
	}
	if t.o.Deleting {
		t.farewell()
		return
	}
	if t.tidy() || t.unfit() {
		return
	}
	w := t.o.Workload
	if t.replaced() {
		return
	}
	switch {
	case w.TemplateHash == t.status.Stable.TemplateHash && w.Paused:
		t.do(Op{Kind: OpUnpause, Hash: w.TemplateHash})
		t.say("the template is stable's again; ending the hold")
	case w.TemplateHash == t.status.Stable.TemplateHash:
		t.status.Canary = nil
		t.enter(v1alpha1.PhaseHealthy, "the template is stable's again")
	case w.TemplateHash != t.status.Canary.TemplateHash, t.again():
		t.newTemplate()
	case !w.Paused:
		t.unheld()
	default:
		t.keepRejected()
	}
}

// again tells whether the template that was not released may begin by itself.
func (t *turn) again() bool {
	switch t.status.Release.Reason {
	case scaledToZero:
		return t.o.Workload.Replicas > 0
	case superseded, wentBack:
		return true
	default:
		return false
	}
}

// keepRejected makes sure that nothing but stable can grow: scaling from zero while held picks the
// Deployment's own ReplicaSet, or else the newest one.
func (t *turn) keepRejected() {
	if !t.o.Workload.Settled && t.o.Stable.Available > 0 {
		t.do(Op{Kind: OpSettle, Hash: t.status.Stable.Hash})
	}
	if native := t.o.Native; native.Exists && !native.Terminating && native.Replicas == 0 {
		t.do(Op{Kind: OpDropNative, Hash: native.Hash})
	}
	if t.o.Workload.Prunable > 0 {
		t.do(Op{Kind: OpPrune})
	}
	if t.status.Release.Reason == scaledToZero {
		t.say("the release begins again when the Deployment has replicas")
		return
	}
	if t.unready() {
		return
	}
	reason := fmt.Sprintf("rolled back: %s; change the Deployment's template, or order a retry", t.status.Release.Reason)
	if t.lacksStable() {
		t.degraded = fmt.Sprintf("stable version %s has no available pods", t.status.Stable.Hash)
		reason = t.degraded + "; " + reason
	}
	t.stall(v1alpha1.ReasonRolledBack, reason)
}

// newTemplate begins a release, or says why it does not.
func (t *turn) newTemplate() {
	w := t.o.Workload
	held := w.Held || t.status.Phase == v1alpha1.PhaseRolledBack
	switch {
	case !w.Paused:
		t.unheld()
	case !held:
		t.stall(v1alpha1.ReasonWaiting, fmt.Sprintf("Deployment %s is paused by somebody and has a new template; unpause it to let Sluice release it", t.o.Spec.WorkloadRef.Name))
	case w.Replicas == 0:
		t.follow("the Deployment has no replicas, so there is nothing to release step by step")
	case t.o.Stable.Available == 0:
		t.follow("stable has no available pods, so the new version is released without a canary")
	case t.unready():
	case !w.Settled:
		t.do(Op{Kind: OpSettle, Hash: t.status.Stable.Hash})
		t.say(fmt.Sprintf("held in the middle of a rollout; bringing the Deployment back to version %s first", t.status.Stable.Hash))
	default:
		t.begin()
	}
}

// unheld is about a new template that nobody held: the hold policy is missing, or did not match.
func (t *turn) unheld() {
	native := t.o.Native
	if native.Exists && native.Replicas > 0 || t.o.Workload.Replicas == 0 || !t.o.Workload.Settled {
		t.follow("the new template was not held (is the hold policy installed?), so the Deployment is rolling it out by itself")
		return
	}
	t.do(Op{Kind: OpHold})
	t.say("the new template was not held (is the hold policy installed?); holding it")
}

// follow lets the Deployment roll out by itself.
func (t *turn) follow(reason string) {
	t.status.Stable, t.status.Canary, t.status.Baseline, t.status.Step, t.status.Paused = nil, nil, nil, nil, nil
	t.setWeight(0)
	t.following = true
	t.enter(v1alpha1.PhasePending, reason)
}

// unfit says what a person must change before anything can be done about the Deployment.
func (t *turn) unfit() bool {
	w, name := t.o.Workload, t.o.Spec.WorkloadRef.Name
	switch {
	case t.o.Invalid != "":
		t.stall(invalidReason(t.o), t.o.Invalid)
	case !w.Exists || w.Terminating:
		if t.status.Phase != v1alpha1.PhasePending {
			t.follow(fmt.Sprintf("Deployment %s is gone", name))
			return true
		}
		t.stall(v1alpha1.ReasonWorkloadMissing, fmt.Sprintf("spec.workloadRef: Deployment %s does not exist; create it, or delete this Rollout", name))
	case !w.Labelled:
		t.stall(v1alpha1.ReasonNotLabelled, fmt.Sprintf("Deployment %s lacks the label %s with this Rollout's name, so new versions are not held; add it", name, v1alpha1.LabelRollout))
	default:
		return false
	}
	return true
}

// unready says what a person must change before a release can begin.
func (t *turn) unready() bool {
	if reason, message := t.serviceTrouble(); reason != "" {
		t.stall(reason, message)
		return true
	}
	return false
}

func (t *turn) serviceTrouble() (reason, message string) {
	name := t.o.Spec.Service.Name
	switch {
	case !t.o.Service.Exists:
		return v1alpha1.ReasonServiceMissing, fmt.Sprintf("spec.service: Service %s does not exist; create it", name)
	case !t.o.Service.Selects:
		return v1alpha1.ReasonServiceMismatch, fmt.Sprintf("spec.service: the selector of Service %s does not match the Deployment's pods; correct it", name)
	default:
		return "", ""
	}
}

func invalidReason(o Observed) string {
	if o.InvalidReason == "" {
		return v1alpha1.ReasonInvalid
	}
	return o.InvalidReason
}

// tidy restores the Service and cleans up after a release that is over. True: not done yet, and nothing
// else may begin.
func (t *turn) tidy() bool {
	if !t.restored() {
		return true
	}
	if t.o.Leftovers {
		t.do(Op{Kind: OpCleanUp})
		t.say("cleaning up after the last release")
		return true
	}
	return false
}

// restored makes sure that the Service has its own selector.
func (t *turn) restored() bool {
	if t.o.Service.Exists && t.o.Service.Narrowed != "" {
		t.do(Op{Kind: OpRestore})
		t.say("restoring the Service's selector")
		return false
	}
	t.status.Narrowed = nil
	return true
}

// farewell leaves things as they were, for a Rollout that is being deleted.
func (t *turn) farewell() {
	w := t.o.Workload
	if t.status.Phase == v1alpha1.PhasePending && t.o.InvalidReason == v1alpha1.ReasonConflict && t.status.Narrowed == nil && !t.o.Leftovers {
		t.finished = true // the Deployment may be another Rollout's
		t.say("deleted")
		return
	}
	if t.tidy() {
		return
	}
	held := w.Held || w.Paused && t.status.Phase == v1alpha1.PhaseRolledBack
	stable := t.o.Stable
	switch {
	case !w.Exists || w.Terminating || !held:
		t.finished = true
		t.say("deleted")
	case stable.Exists && stable.TemplateHash == w.TemplateHash,
		t.status.Phase == v1alpha1.PhasePending && stable.Available == 0:
		t.do(Op{Kind: OpUnpause, Hash: w.TemplateHash})
		t.say("ending the hold before this Rollout goes")
	case stable.Exists:
		t.do(Op{Kind: OpRevert})
		t.say("writing stable's template back before this Rollout goes")
	default:
		t.finished = true // a rejected template is never shipped by unpausing
		t.say("deleted; the Deployment stays paused, because there is no stable version to go back to")
	}
}

func revisionOf(rs ReplicaSet) *v1alpha1.Revision {
	return &v1alpha1.Revision{
		Hash: rs.Hash, TemplateHash: rs.TemplateHash, ReplicaSet: rs.Name, Images: rs.Images,
		Replicas: rs.Replicas, Ready: rs.Ready,
	}
}
