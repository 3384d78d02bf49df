package plan

import (
	"fmt"
	"time"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// kubeProxyMoment is what kube-proxy gets to follow a restored Service before old pods go.
const kubeProxyMoment = 3 * time.Second

// baking keeps the old pods for a while, so that going back is instant.
func (t *turn) baking() {
	if t.ending() || !t.holding() {
		return
	}
	t.resize(100)
	if t.blocked() {
		return
	}
	t.background()
	t.beforePromotion()
	since := t.status.Release.PhaseSince.Time
	if bake := t.bakeTime(); bake > 0 {
		if !t.reached(since.Add(bake)) {
			t.say(fmt.Sprintf("version %s has all traffic; baking for %s", t.status.Canary.Hash, bake))
			return
		}
		if t.status.Release.ExpeditedBy == "" && !t.passed(since, bake) {
			return
		}
	}
	if !t.promotable() {
		return
	}
	t.enter(v1alpha1.PhasePromoting, fmt.Sprintf("promoting version %s", t.status.Canary.Hash))
}

// handedOver tells whether the Deployment owns the canary: then there is no way back, only forward.
func (t *turn) handedOver() bool { return t.o.Canary.Exists && t.o.Canary.Owned && !t.o.Canary.Ours }

// promoting hands the canary to the Deployment.
func (t *turn) promoting() {
	if t.handedOver() {
		t.finishing()
		return
	}
	if t.ending() || !t.holding() {
		return
	}
	t.resize(100)
	if t.blocked() {
		return
	}
	if wait := t.beforeHandover(); wait != "" {
		if t.reached(t.phaseDeadline()) {
			t.degraded = fmt.Sprintf("cannot hand version %s over yet: %s", t.status.Canary.Hash, wait)
		}
		t.say("before the handover: " + wait)
		return
	}
	t.status.Release.PhaseSince = t.stamp() // the Deployment gets the whole deadline, however long this took
	t.do(Op{Kind: OpHandOver, Size: t.o.Workload.Replicas, Hash: t.status.Canary.Hash})
	t.do(Op{Kind: OpUnpause, Hash: t.status.Canary.TemplateHash})
	t.say(fmt.Sprintf("handing version %s to the Deployment", t.status.Canary.Hash))
}

// beforeHandover is what the handover still waits for. The Service comes first, then the exact sizes
// without which the paused Deployment would scale proportionally and ignore who is available.
func (t *turn) beforeHandover() string {
	w, stable, canary, service := t.o.Workload, t.o.Stable, t.o.Canary, t.o.Service
	if service.Narrowed != "" {
		t.restored()
		return "restoring the Service's selector"
	}
	if t.status.Narrowed != nil {
		t.status.Narrowed = nil
		t.status.Release.PhaseSince = t.stamp() // kube-proxy's moment counts from here
		t.due(t.now.Add(kubeProxyMoment))
		return "the Service was restored; kube-proxy follows"
	}
	if t.o.Spec.Service.Narrow && !t.reached(t.status.Release.PhaseSince.Add(kubeProxyMoment)) {
		return "the Service was restored; kube-proxy follows"
	}
	if native := t.o.Native; native.Exists {
		if !native.Terminating {
			t.do(Op{Kind: OpDropNative, Hash: native.Hash})
		}
		return fmt.Sprintf("removing ReplicaSet %s, which has the same template", native.Name)
	}
	if !w.Settled {
		t.do(Op{Kind: OpSettle, Hash: t.status.Stable.Hash})
		return "other ReplicaSets of the Deployment go to zero"
	}
	if b := t.o.Baseline; b.Exists && b.Ours && !b.Terminating {
		return "the baseline drains and goes"
	}
	switch size := w.Replicas; {
	case t.status.Weight.Desired != 100 || t.status.Weight.LiveAt == nil:
		return "weight 100: " + t.waiting()
	case canary.Replicas != size || canary.Available != size || canary.Terminating:
		return t.canaryStarting(100)
	case stable.Replicas != size:
		return fmt.Sprintf("stable has %d pods instead of %d", stable.Replicas, size)
	case service.CanaryReady != size:
		return fmt.Sprintf("%d of %d canary pods are ready in the Service", service.CanaryReady, size)
	case canary.TemplateHash != w.TemplateHash:
		return "the canary's template differs from the Deployment's"
	}
	return ""
}

// finishing follows a handover to its end. The canary is the new stable whatever happens now; a newer
// template that won the race waits until the old pods are gone.
func (t *turn) finishing() {
	w, canary := t.o.Workload, t.status.Canary
	if !w.Exists || w.Terminating {
		t.promoted()
		t.follow(fmt.Sprintf("Deployment %s is gone", t.o.Spec.WorkloadRef.Name))
		return
	}
	if t.o.Canary.Replicas == 0 && t.o.Stable.Replicas > 0 && w.TemplateHash == t.status.Stable.TemplateHash {
		// Stable's template came back in the moment of the handover and the Deployment went with it.
		t.rollBack("the template went back to stable's in the moment of the handover")
		return
	}
	old := listed(t.o.Stable, t.o.Mesh.StableEndpoints) || listed(t.o.Baseline, t.o.Mesh.BaselineEndpoints)
	if w.Settled && (!old || t.reached(t.phaseDeadline())) && t.o.Canary.Replicas == w.Replicas && (!w.Paused || w.TemplateHash != canary.TemplateHash) {
		t.promoted()
		t.status.Stable, t.status.Canary, t.status.Baseline, t.status.Step, t.status.Paused = canary, nil, nil, nil, nil
		t.setWeight(0)
		t.enter(v1alpha1.PhaseHealthy, fmt.Sprintf("version %s is promoted and stable", canary.Hash))
		return
	}
	if t.reached(t.phaseDeadline()) {
		t.promoted()
		t.follow(fmt.Sprintf("version %s was handed to the Deployment, which did not finish in %s and goes on by itself", canary.Hash, t.progressDeadline()))
		return
	}
	switch {
	case w.Paused && w.TemplateHash == canary.TemplateHash:
		t.do(Op{Kind: OpUnpause, Hash: canary.TemplateHash})
		t.say(fmt.Sprintf("version %s belongs to the Deployment; ending the hold", canary.Hash))
	case w.Paused && !w.Settled && t.o.Canary.Replicas > 0:
		t.do(Op{Kind: OpSettle, Hash: canary.Hash})
		t.say(fmt.Sprintf("a newer template came in the moment of the handover; version %s is finished first", canary.Hash))
	default:
		t.say(fmt.Sprintf("version %s belongs to the Deployment; the old pods go", canary.Hash))
	}
}

// promoted closes the books on a release that succeeded.
func (t *turn) promoted() {
	t.status.Release.Outcome, t.status.Release.EndedAt = v1alpha1.OutcomePromoted, t.stamped()
	if t.o.Spec.Analysis.AfterPromotion != nil {
		t.analyse(v1alpha1.StageAfterPromotion)
	}
}
