package plan

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// This file checks the invariants of the simulation against the world itself: what the proxies have in
// force, which pods exist, what the judge really said. It shares no code with the plan.

// watcher is what the checks remember.
type watcher struct {
	runWatcher
	baselineWatcher
	lastShare time.Time // when a proxy that is not named last sent requests to the canary
	bakeSince time.Time
	wild      bool // something rolled out natively, past every hold
	told      map[string]bool
	left      map[string]bool // proxies that were named as left out in this release
}

// broken notes the first broken invariant.
func (w *world) broken(invariant int, format string, args ...any) {
	if w.fault == "" {
		w.fault = fmt.Sprintf("invariant %d: %s", invariant, fmt.Sprintf(format, args...))
		w.say("BROKEN %s", w.fault)
	}
}

// decided checks a decision that was persisted.
func (c *watcher) decided(w *world, o Observed, before v1alpha1.RolloutStatus, d Decision) {
	after := d.Status
	was, is := before.Weight, after.Weight
	on := releasing(after.Phase)
	aborting := after.Phase == v1alpha1.PhaseRollingBack
	sameRelease := before.Release != nil && after.Release != nil && before.Release.ID == after.Release.ID

	if is.Epoch < was.Epoch || is.Epoch == was.Epoch && is.Desired != was.Desired {
		w.broken(2, "weight %d of epoch %d became %d of epoch %d", was.Desired, was.Epoch, is.Desired, is.Epoch)
	}
	if on && !aborting && sameRelease && releasing(before.Phase) && is.Desired < was.Desired {
		w.broken(2, "weight fell from %d to %d in phase %s", was.Desired, is.Desired, after.Phase)
	}
	if (!on || aborting) && is.Desired != 0 {
		w.broken(2, "weight %d in phase %s", is.Desired, after.Phase)
	}
	if before.Phase == v1alpha1.PhaseRollingBack && on && !aborting {
		w.broken(2, "an abort became %s", after.Phase)
	}
	c.runWatcher.decided(w, o, before, after, c.handedOver(w, o))
	c.baselineWatcher.decided(w, o, before, after)
	c.checkRaise(w, o, before, after)
	if is.Desired > 0 && o.Verdict != nil && o.Verdict.Epoch == is.Epoch && o.Verdict.Outcome == v1alpha1.VerdictFail &&
		w.now.Sub(o.Verdict.At.Time) < 5*time.Second && !c.handedOver(w, o) {
		w.broken(5, "weight stays %d though the canary fails", is.Desired)
	}
	if is.Desired > 0 && after.Phase != v1alpha1.PhasePromoting && w.endpoints(hashOf(after.Canary)) == 0 {
		w.broken(1, "weight %d with no ready endpoint of %s", is.Desired, hashOf(after.Canary))
	}
	if on && !aborting && before.Phase == after.Phase && o.Workload.TemplateHash != after.Canary.TemplateHash && !c.handedOver(w, o) {
		w.broken(6, "release of %s goes on in phase %s though the template is %s", after.Canary.TemplateHash, after.Phase, o.Workload.TemplateHash)
	}
	if after.Phase == v1alpha1.PhaseStarting && before.Phase != v1alpha1.PhaseStarting && releasing(before.Phase) {
		w.broken(6, "a release begins in phase %s of another", before.Phase)
	}
	if after.Release != nil && after.Release.EndedAt != nil && (!sameRelease || before.Release.EndedAt == nil) {
		w.ends[after.Release.Outcome]++
	}
	if after.Step != nil && after.Step.InconclusiveSince != nil && (before.Step == nil || before.Step.InconclusiveSince == nil) {
		w.ends["inconclusive"]++
	}
	if after.Phase == v1alpha1.PhaseBaking && before.Phase != v1alpha1.PhaseBaking {
		c.bakeSince = w.now
	}
	if !on {
		c.wild = false
	}
	if !sameRelease {
		c.left = map[string]bool{}
	}
	for _, proxy := range is.Lagging {
		c.left[proxy] = true
	}
	c.checkDeadline(w, after)
	c.checkConditions(w, after)
	for _, n := range d.Notices {
		c.checkNotice(w, after, n)
	}
}

func (c *watcher) handedOver(w *world, o Observed) bool {
	rs := w.set(o.Canary.Name)
	return o.Canary.Owned || rs != nil && rs.owner == byDeployment
}

// checkRaise checks invariants 1 and 5 where the canary gets more.
func (c *watcher) checkRaise(w *world, o Observed, before, after v1alpha1.RolloutStatus) {
	if after.Weight.Desired <= before.Weight.Desired {
		return
	}
	need := (after.Weight.Desired*o.Workload.Replicas + 99) / 100
	if have := w.endpoints(hashOf(after.Canary)); have < max(1, need) {
		w.broken(1, "weight rises to %d with %d of %d endpoints of %s", after.Weight.Desired, have, need, hashOf(after.Canary))
	}
	for i := range w.proxies {
		p := &w.proxies[i]
		if p.inForce.epoch < before.Weight.Epoch && !namedLagging(&before, p.name) && !namedLagging(&after, p.name) && !w.excused(before, p.name) {
			w.broken(2, "weight rises to %d before %s has the one before", after.Weight.Desired, p.name)
		}
	}
	if before.Weight.Desired > 0 && after.Release.ExpeditedBy == "" &&
		!c.passed(w, before.Weight.Epoch, before.Weight.LiveAt.Time, shortestLook(w.rollout.spec)) {
		w.broken(5, "weight rises from %d to %d without a pass", before.Weight.Desired, after.Weight.Desired)
	}
}

// excused: named in a decision of the same turn.
func (w *world) excused(s v1alpha1.RolloutStatus, proxy string) bool {
	return namedLagging(&w.rollout.status, proxy) || s.Weight.LiveAt != nil
}

func (w *world) passedSince(epoch int64, since time.Time) bool {
	return slices.ContainsFunc(w.passes, func(v v1alpha1.Verdict) bool { return v.Epoch == epoch && !v.At.Time.Before(since) })
}

func shortestLook(spec v1alpha1.RolloutSpec) time.Duration {
	look := spec.Analysis.Duration.Duration
	for _, s := range spec.Canary.Steps {
		if s.Analysis != nil && s.Analysis.Duration != nil {
			look = min(look, s.Analysis.Duration.Duration)
		}
	}
	return look
}

// checkDeadline checks invariant 7 for a release that is on.
func (c *watcher) checkDeadline(w *world, s v1alpha1.RolloutStatus) {
	if !releasing(s.Phase) || s.Phase == v1alpha1.PhaseRollingBack || s.Phase == v1alpha1.PhasePromoting {
		return
	}
	if on := w.now.Sub(s.Release.StartedAt.Time); on > w.rollout.spec.Deadlines.Release.Duration+time.Second {
		w.broken(7, "the release is on for %s in phase %s", on, s.Phase)
	}
}

func (c *watcher) checkConditions(w *world, s v1alpha1.RolloutStatus) {
	yes := func(kind string) bool { return meta.IsStatusConditionTrue(s.Conditions, kind) }
	if yes(v1alpha1.ConditionReconciling) && yes(v1alpha1.ConditionStalled) || yes(v1alpha1.ConditionReady) && (yes(v1alpha1.ConditionStalled) || yes(v1alpha1.ConditionReconciling)) {
		w.broken(8, "conditions contradict each other: %+v", s.Conditions)
	}
	for _, cond := range s.Conditions {
		if cond.Status != metav1.ConditionTrue && cond.Status != metav1.ConditionFalse || cond.Reason == "" || cond.ObservedGeneration != w.rollout.generation {
			w.broken(8, "condition %+v", cond)
		}
	}
	if s.Message == "" {
		w.broken(8, "no message in phase %s", s.Phase)
	}
}

// checkNotice checks that people are told of a turning point once.
func (c *watcher) checkNotice(w *world, s v1alpha1.RolloutStatus, n Notice) {
	if n.Reason == "" {
		w.broken(8, "notice %s without a reason", n.Kind)
	}
	switch n.Kind {
	case NoticeStarted, NoticeBaking, NoticeRollingBack, NoticeRolledBack, NoticePromoted:
	default:
		return
	}
	key := fmt.Sprint(s.Release.ID, n.Kind)
	if c.told[key] {
		w.broken(8, "notice %s of release %s is told twice", n.Kind, s.Release.ID)
	}
	if c.told == nil {
		c.told = map[string]bool{}
	}
	c.told[key] = true
}

// adding checks a write that brings canary pods: the mesh knows them and gives them nothing yet, and no
// other canary is left (invariants 3 and 6).
func (c *watcher) adding(w *world, hash string) {
	s := &w.rollout.status
	for i := range w.sets {
		if rs := &w.sets[i]; rs.owner == byHolder && !rs.baseline && rs.hash != hash {
			w.broken(6, "canary %s comes while %s is there", hash, rs.hash)
		}
	}
	for i := range w.proxies {
		p := &w.proxies[i]
		if (p.inForce.canary != hash || p.inForce.weight != 0) && !namedLagging(s, p.name) {
			w.broken(6, "canary %s comes while %s has %+v in force", hash, p.name, p.inForce)
		}
	}
	if w.rollout.spec.Service.Narrow && w.cache.service.exists && w.cache.service.narrowed == "" {
		w.broken(3, "canary %s comes before the Service is narrowed", hash)
	}
	c.lastShare = time.Time{}
}

// removing checks a write that takes canary pods away (invariant 3).
func (c *watcher) removing(w *world, hash string) {
	s := &w.rollout.status
	for i := range w.proxies {
		p := &w.proxies[i]
		if share := p.share(&w.objects, hash); share > 0 && !namedLagging(s, p.name) && !c.hopeless(w, p) {
			w.broken(3, "canary %s goes while %s gives it %d%%: %+v", hash, p.name, share, p.inForce)
		}
	}
	if !c.lastShare.IsZero() && w.now.Sub(c.lastShare) < w.rollout.spec.Deadlines.Drain.Duration {
		w.broken(3, "canary %s goes %s after its last request", hash, w.now.Sub(c.lastShare))
	}
	if s.Phase != v1alpha1.PhaseRollingBack {
		w.broken(3, "canary %s goes in phase %s", hash, s.Phase)
	}
}

// frozen: the operator has seen that the canary alone can serve.
func frozen(s *v1alpha1.RolloutStatus) bool {
	c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionStalled)
	return c != nil && c.Reason == v1alpha1.ReasonDegraded
}

// hopeless: the canary serves only because stable cannot, and there is no stable to wait for.
func (c *watcher) hopeless(w *world, p *simProxy) bool {
	d := w.cache.deployment
	return (p.inForce.weight == 0 && w.endpoints(p.inForce.stable) == 0) && (!d.exists || d.replicas == 0 || w.rollout.deleting)
}

// handingOver checks the write after which the Deployment controller takes stable's pods away
// (invariants 4 and 5).
func (c *watcher) handingOver(w *world, rs *simReplicaSet) {
	s := &w.rollout.status
	for i := range w.proxies {
		p := &w.proxies[i]
		if (p.inForce.canary != rs.hash || p.inForce.weight != 100) && !namedLagging(s, p.name) {
			w.broken(4, "%s is handed over while %s has %+v in force", rs.hash, p.name, p.inForce)
		}
	}
	if slices.ContainsFunc(w.sets, func(rs simReplicaSet) bool { return rs.baseline }) {
		w.broken(4, "%s is handed over while a baseline is there", rs.hash)
	}
	bake := w.rollout.spec.BakeTime.Duration
	if w.now.Sub(c.bakeSince) < bake {
		w.broken(4, "%s is handed over after %s of %s bake", rs.hash, w.now.Sub(c.bakeSince), bake)
	}
	if _, _, ready := w.counts(rs.uid); ready != w.deployment.replicas || rs.replicas != ready {
		w.broken(4, "%s is handed over with %d of %d pods ready, Deployment %d", rs.hash, ready, rs.replicas, w.deployment.replicas)
	}
	if w.service.narrowed != "" {
		w.broken(4, "%s is handed over while the Service is narrowed", rs.hash)
	}
	for i := range w.sets {
		if other := &w.sets[i]; w.owned(other) && other.template == rs.template && other.created < rs.created {
			w.broken(4, "%s is handed over while the older %s has the same template", rs.hash, other.name)
		}
	}
	c.runWatcher.handingOver(w, s.Release)
	if bake > 0 && s.Release.ExpeditedBy == "" && !c.passed(w, s.Weight.Epoch, c.bakeSince, bake) {
		w.broken(5, "%s is promoted without a pass at 100", rs.hash)
	}
}

// unpausing checks that ending the hold cannot ship what nobody judged.
func (c *watcher) unpausing(w *world, o Observed) {
	d := &w.deployment
	stable := w.set(refOf(o.Status.Stable))
	switch {
	case stable != nil && stable.template == d.template, o.Status.Stable == nil && o.Stable.TemplateHash == d.template:
		return
	case o.Stable.Available == 0 || d.replicas == 0 || o.Mesh.StableEndpoints == 0 && releasing(w.rollout.status.Phase):
		return // nothing to protect: a fix must get out
	}
	for i := range w.sets {
		if rs := &w.sets[i]; rs.owner == byDeployment && rs.template == d.template && rs.replicas > 0 && w.rollout.status.Phase == v1alpha1.PhasePromoting {
			return // handed over
		}
	}
	w.broken(5, "template %s is let go without a release, in phase %s", d.template, w.rollout.status.Phase)
}

// step checks what must hold at every moment.
func (c *watcher) step(w *world) {
	s := &w.rollout.status
	if !w.rollout.exists || !releasing(s.Phase) || s.Stable == nil || s.Canary == nil {
		return
	}
	c.stepBaseline(w)
	canary, stable, d := w.set(s.Canary.ReplicaSet), w.set(s.Stable.ReplicaSet), &w.deployment
	for i := range w.proxies {
		p := &w.proxies[i]
		if namedLagging(s, p.name) || c.left[p.name] {
			continue
		}
		share := p.share(&w.objects, s.Canary.Hash)
		clamped := w.endpoints(s.Stable.Hash) == 0
		if share > 0 && (!clamped || frozen(s)) && !c.hopeless(w, p) {
			c.lastShare = w.now
		}
		if share > 0 && canary != nil && canary.owner == byHolder && p.inForce.canary != s.Canary.Hash && s.Phase != v1alpha1.PhaseRollingBack && !clamped {
			w.broken(3, "%s does not know canary %s and sends to it", p.name, s.Canary.Hash)
		}
	}
	if !d.exists || !d.paused || !d.labelled {
		c.wild = true
	}
	handedOver := canary != nil && canary.owner == byDeployment
	if handedOver {
		c.wild = true
	}
	if !c.wild && d.replicas > 0 && stable != nil && stable.owner == byDeployment && stable.replicas == 0 && d.observed == d.generation && w.stillZero {
		w.broken(4, "stable %s is at zero in phase %s", stable.name, s.Phase)
	}
	w.stillZero = d.replicas > 0 && stable != nil && stable.replicas == 0
}

// finished checks what a Rollout that is gone leaves behind.
func (c *watcher) finished(w *world) {
	for i := range w.sets {
		if w.sets[i].owner == byHolder {
			w.broken(3, "the Rollout is gone and its canary %s is not", w.sets[i].name)
		}
	}
	if w.holder || w.service.canary != "" || w.cache.service.exists && w.cache.service.narrowed != "" {
		w.broken(3, "the Rollout is gone and left holder %v, canary Service %q, Service narrowed to %q", w.holder, w.service.canary, w.service.narrowed)
	}
	if d := w.cache.deployment; d.exists && d.held && w.rollout.status.Stable != nil && w.cache.set(w.rollout.status.Stable.ReplicaSet) != nil && w.rollout.invalid == "" {
		w.broken(3, "the Rollout is gone and the Deployment is still held")
	}
}

// ended checks that the run came to an end (invariant 7), and to a good one.
func (c *watcher) ended(w *world) {
	s, d := &w.rollout.status, &w.deployment
	if !w.rollout.exists {
		return
	}
	if w.rollout.deleting {
		w.broken(7, "the Rollout is still being deleted, in phase %s: %s", s.Phase, s.Message)
	}
	if s.Phase == v1alpha1.PhaseRollingBack && frozen(s) && w.natures[d.template].never {
		return // nothing but the canary can serve, and only a person can change that
	}
	c.runWatcher.ended(w)
	if releasing(s.Phase) {
		w.broken(7, "the run does not end: phase %s, %s", s.Phase, s.Message)
		return
	}
	for i := range w.sets {
		if rs := &w.sets[i]; rs.owner == byHolder {
			w.broken(7, "canary %s is left in phase %s", rs.name, s.Phase)
		}
	}
	if w.service.narrowed != "" || w.holder {
		w.broken(7, "left in phase %s: holder %v, narrowed %q", s.Phase, w.holder, w.service.narrowed)
	}
	for i := range w.proxies {
		if p := &w.proxies[i]; !p.cut && (p.inForce.weight != 0 || p.inForce.canary != "") {
			w.broken(2, "%s still has %+v in force in phase %s", p.name, p.inForce, s.Phase)
		}
	}
	if c := w.rollout.command; c != nil && (s.LastCommand == nil || s.LastCommand.ID != c.ID) {
		w.broken(7, "command %s is not answered", c.Verb)
	}
	if !d.exists || d.paused && !d.held {
		return
	}
	stable := w.set(refOf(s.Stable))
	switch s.Phase {
	case v1alpha1.PhasePending:
		if !w.natures[d.template].never || d.held {
			w.broken(7, "still pending: %s", s.Message)
		}
	case v1alpha1.PhaseHealthy:
		if d.held || d.template != s.Stable.TemplateHash || stable == nil || stable.replicas != d.replicas {
			w.broken(7, "healthy, but held %v, template %s, stable %s: %s", d.held, d.template, s.Stable.TemplateHash, s.Message)
		}
	case v1alpha1.PhaseRolledBack:
		if !d.paused || d.template != s.Canary.TemplateHash || stable == nil || stable.replicas != d.replicas {
			w.broken(7, "rolled back, but paused %v, template %s, canary %s: %s", d.paused, d.template, s.Canary.TemplateHash, s.Message)
		}
	}
}

func refOf(r *v1alpha1.Revision) string {
	if r == nil {
		return ""
	}
	return r.ReplicaSet
}
