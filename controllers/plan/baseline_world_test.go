package plan

import (
	"slices"
	"strings"
	"time"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// This file is baselines in the simulation, and what is checked about them.

// withBaseline draws whether the canary is compared with a baseline, and how that fares.
func (w *world) withBaseline() {
	if w.rollout.spec.Service.Narrow || w.rand.IntN(2) == 0 {
		return
	}
	w.rollout.spec.Analysis.Compare.Against = v1alpha1.RevisionBaseline
	w.sickly = w.rand.IntN(12) == 0
	if w.rand.IntN(2) == 0 {
		w.rollout.spec.Analysis.LowTraffic = v1alpha1.LowTrafficPass // the policy that is tempted most
	}
}

// loseBaseline is somebody, or something, deleting the baseline's ReplicaSet; the next one may not start.
func (w *world) loseBaseline() bool {
	for _, rs := range w.sets {
		if rs.baseline && w.rand.IntN(5) == 0 {
			w.sickly = w.sickly || w.rand.IntN(4) > 0
			w.say("somebody deletes baseline %s (the next one starts: %v)", rs.name, !w.sickly)
			w.removeSet(rs.name)
			w.next()
			return true
		}
	}
	return false
}

// crashAllBut leaves nobody but the baseline to serve.
func (w *world) crashAllBut(hash string, till time.Time) {
	for i := range w.pods {
		if p := &w.pods[i]; p.hash != hash {
			p.downTill = till
		}
	}
	w.say("all pods but those of %s crash", hash)
}

// comparable: there is what the canary is compared with.
func (w *world) comparable() bool {
	s := &w.rollout.status
	return s.Baseline == nil || s.Weight.Baseline == 0 || w.endpoints(s.Baseline.Hash) > 0
}

// baseline carries out the writes of a baseline.
func (w *world) baseline(op Op, s *v1alpha1.RolloutStatus, o Observed) error {
	if op.Kind == OpCreateBaseline {
		stable := w.cache.set(o.Stable.Name)
		if s.Baseline == nil || stable == nil || w.set(s.Baseline.ReplicaSet) != nil {
			return errOutdated
		}
		w.watcher.addingBaseline(w, op.Hash)
		w.holder = true
		id := w.next()
		w.sets = append(w.sets, simReplicaSet{
			name: s.Baseline.ReplicaSet, hash: op.Hash, template: stable.template, uid: id, version: id, created: id,
			replicas: op.Size, owner: byHolder, baseline: true, desired: -1, max: -1,
		})
		return nil
	}
	rs, err := w.fresh(o.Baseline.Name)
	if err != nil || rs.owner != byHolder {
		return errOutdated
	}
	if !rs.baseline {
		w.broken(3, "%s of %s, which is no baseline", op.Kind, rs.name)
	}
	if op.Kind == OpScaleBaseline {
		w.watcher.scalingBaseline(w, rs, op.Size)
		rs.replicas = op.Size
		w.touch(rs)
		return nil
	}
	w.watcher.removingBaseline(w, rs.hash)
	w.removeSet(rs.name)
	return nil
}

// baselineWatcher is what the checks remember.
type baselineWatcher struct {
	lastBaselineShare time.Time // when a proxy that is not named last sent requests to the baseline
	wanting           bool      // the release is held for want of a baseline
}

// shareOfBaseline is the rule, written another way.
func shareOfBaseline(weight int32) int32 {
	share := int32(0)
	for share < weight && weight+2*(share+1) <= 100 {
		share++
	}
	return share
}

// decided checks the share, and that no baseline outlives its release, ends it, or lets a weight rise without
// being there.
func (c *baselineWatcher) decided(w *world, o Observed, before, after v1alpha1.RolloutStatus) {
	is := after.Weight
	want := int32(0)
	if after.Baseline != nil {
		want = shareOfBaseline(is.Desired)
	}
	if is.Baseline != want {
		w.broken(2, "beside weight %d a baseline %q gets %d, not %d", is.Desired, hashOf(after.Baseline), is.Baseline, want)
	}
	if is.Baseline != before.Weight.Baseline && is.Epoch == before.Weight.Epoch {
		w.broken(2, "the baseline's share became %d in epoch %d", is.Baseline, is.Epoch)
	}
	on := releasing(after.Phase)
	if on && releasing(before.Phase) && hashOf(after.Baseline) != hashOf(before.Baseline) {
		w.broken(2, "the baseline became %q in mid-release", hashOf(after.Baseline))
	}
	if !on && after.Baseline != nil {
		w.broken(3, "a baseline is named in phase %s", after.Phase)
	}
	if !on && releasing(before.Phase) && slices.ContainsFunc(w.sets, func(rs simReplicaSet) bool { return rs.baseline }) {
		w.broken(3, "a baseline is left behind in phase %s", after.Phase)
	}
	if is.Desired > before.Weight.Desired && is.Baseline > 0 {
		need := max(1, (is.Baseline*o.Workload.Replicas+99)/100)
		if have := w.endpoints(after.Baseline.Hash); have < need {
			w.broken(1, "weight rises to %d with %d of %d endpoints of the baseline", is.Desired, have, need)
		}
	}
	if after.Phase == v1alpha1.PhaseRollingBack && before.Phase != after.Phase && strings.Contains(after.Release.Reason, "baseline") {
		w.broken(2, "rolled back for want of a baseline: %s", after.Release.Reason)
	}
	letThrough := func(v []v1alpha1.Verdict) bool {
		return len(v) > 0 && v[0].LowTraffic && v[0].Outcome == v1alpha1.VerdictPass && v[0].Epoch == is.Epoch
	}
	if letThrough(after.Verdicts) && !letThrough(before.Verdicts) && !w.comparable() {
		w.broken(5, "let through at weight %d while there is no baseline", is.Desired)
	}
	wanting := after.Step != nil && after.Step.InconclusiveSince != nil && strings.Contains(after.Message, "baseline")
	if wanting && !c.wanting {
		w.ends["without a baseline"]++
	}
	c.wanting = wanting
	if after.Phase == v1alpha1.PhaseHealthy && before.Phase == v1alpha1.PhasePromoting && before.Baseline != nil {
		w.ends["beside a baseline"]++
	}
}

// addingBaseline checks the write that brings baseline pods: the proxies know them.
func (c *watcher) addingBaseline(w *world, hash string) {
	s := &w.rollout.status
	if !releasing(s.Phase) || s.Phase == v1alpha1.PhaseRollingBack {
		w.broken(6, "baseline %s comes in phase %s", hash, s.Phase)
	}
	for i := range w.sets {
		if rs := &w.sets[i]; rs.baseline {
			w.broken(6, "baseline %s comes while %s is there", hash, rs.hash)
		}
	}
	for i := range w.proxies {
		if p := &w.proxies[i]; p.inForce.baseline != hash && !namedLagging(s, p.name) && !c.left[p.name] && s.Weight.Desired == 0 {
			w.broken(6, "baseline %s comes while %s has %+v in force", hash, p.name, p.inForce)
		}
	}
	c.lastBaselineShare = time.Time{}
}

// scalingBaseline checks that no pods go that the share in force needs.
func (c *watcher) scalingBaseline(w *world, rs *simReplicaSet, size int32) {
	for i := range w.proxies {
		p := &w.proxies[i]
		need := (p.inForce.baselineWeight*w.cache.deployment.replicas + 99) / 100
		if size < rs.replicas && size < need && p.inForce.baseline == rs.hash && !namedLagging(&w.rollout.status, p.name) && !c.left[p.name] {
			w.broken(3, "baseline %s shrinks to %d while %s gives it %d%%", rs.hash, size, p.name, p.inForce.baselineWeight)
		}
	}
}

// removingBaseline checks the write that takes baseline pods away, as that of the canary's.
func (c *watcher) removingBaseline(w *world, hash string) {
	s := &w.rollout.status
	for i := range w.proxies {
		p := &w.proxies[i]
		if share := p.share(&w.objects, hash); share > 0 && !namedLagging(s, p.name) && !c.left[p.name] && !c.hopeless(w, p) {
			w.broken(3, "baseline %s goes while %s gives it %d%%: %+v", hash, p.name, share, p.inForce)
		}
	}
	if !c.lastBaselineShare.IsZero() && w.now.Sub(c.lastBaselineShare) < w.rollout.spec.Deadlines.Drain.Duration {
		w.broken(3, "baseline %s goes %s after its last request", hash, w.now.Sub(c.lastBaselineShare))
	}
}

// stepBaseline notes when the baseline serves.
func (c *watcher) stepBaseline(w *world) {
	s := &w.rollout.status
	if s.Baseline == nil {
		return
	}
	for i := range w.proxies {
		p := &w.proxies[i]
		if namedLagging(s, p.name) || c.left[p.name] || p.inForce.baseline != s.Baseline.Hash {
			continue
		}
		standsIn := w.endpoints(s.Stable.Hash) == 0 || w.endpoints(p.inForce.stable) == 0
		share := p.share(&w.objects, s.Baseline.Hash)
		if share > 0 && (!standsIn || frozen(s)) && !c.hopeless(w, p) {
			c.lastBaselineShare = w.now
		}
		if share > shareOfBaseline(p.inForce.weight) && !standsIn {
			w.broken(2, "%s gives the baseline %d%%: %+v", p.name, share, p.inForce)
		}
	}
}
