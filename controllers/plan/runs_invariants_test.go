package plan

import (
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

type durationType = metav1.Duration

// This file checks what runs of analysis templates, warm-ups and lack of requests may and may not do.

// runWatcher is what these checks remember.
type runWatcher struct {
	succeeded, measured map[string]bool // runs that ever did
	firstLive           time.Time       // when the release's first weight was live
	let                 map[int64]bool  // epochs of weights at which the spec let a canary go on without requests
}

// decided checks a decision against runs and policy.
func (c *runWatcher) decided(w *world, o Observed, before, after v1alpha1.RolloutStatus, handedOver bool) {
	same := before.Release != nil && after.Release != nil && before.Release.ID == after.Release.ID
	if !same {
		c.firstLive, c.let = time.Time{}, map[int64]bool{}
	}
	if c.firstLive.IsZero() && after.Weight.Desired > 0 && after.Weight.LiveAt != nil {
		c.firstLive = after.Weight.LiveAt.Time
	}
	on := releasing(after.Phase) && after.Phase != v1alpha1.PhaseRollingBack
	for _, a := range o.Analyses {
		if same && on && !handedOver && a.Release == after.Release.ID && a.Phase == v1alpha1.RunFailed && a.Stage != v1alpha1.StageAfterPromotion {
			w.broken(5, "the release goes on in phase %s though analysis %s failed", after.Phase, a.Run)
		}
	}
	if same && on && after.Release.ExpeditedBy == "" && before.Step != nil && after.Step != nil && after.Step.Index > before.Step.Index {
		if step := w.rollout.spec.Canary.Steps[before.Step.Index]; step.Analysis != nil && len(step.Analysis.Templates) > 0 &&
			!c.succeeded[before.Release.ID+"-step-"+strconv.Itoa(int(before.Step.Index))] {
			w.broken(5, "step %d is left though its analysis did not succeed", before.Step.Index)
		}
	}
	c.checkPolicy(w, before, after)
	c.checkWarmUps(w, after)
}

// checkPolicy checks that a canary is let through without requests only where the spec says so, after the
// deadline, and when the judge really said that nothing else is missing.
func (c *runWatcher) checkPolicy(w *world, before, after v1alpha1.RolloutStatus) {
	if len(after.Verdicts) == 0 {
		return
	}
	v := after.Verdicts[0]
	if v.Outcome != v1alpha1.VerdictPass || !v.LowTraffic || c.let[v.Epoch] {
		return
	}
	c.let[v.Epoch] = true
	w.ends["let through"]++
	patience := shortestLook(w.rollout.spec) + w.rollout.spec.Deadlines.Analysis.Duration
	if policy := w.rollout.spec.Analysis.LowTraffic; policy != v1alpha1.LowTrafficPass || before.Weight.LiveAt == nil || v.At.Sub(before.Weight.LiveAt.Time) < patience {
		w.broken(5, "let through without requests, where the policy is %s", policy)
	}
	for _, said := range w.wanting {
		if said.Epoch == v.Epoch && said.At.Equal(&v.At) {
			return
		}
	}
	w.broken(5, "let through without requests, which the judge did not say")
}

// checkWarmUps checks that the first weight has its warm-up on record, and that warm-ups stay in order.
func (c *runWatcher) checkWarmUps(w *world, s v1alpha1.RolloutStatus) {
	length := w.rollout.spec.Analysis.Compare.WarmUp.Duration
	if length == 0 || s.Release == nil || len(s.Release.Weights) == 0 {
		return
	}
	windows := s.Release.WarmUps
	if len(windows) == 0 || windows[0].From.After(s.Release.Weights[0].DecidedAt.Time) || windows[0].Until.Sub(windows[0].From.Time) < length {
		w.broken(8, "weights %v and warm-ups %v", s.Release.Weights, windows)
	}
	for i := 1; i < len(windows); i++ {
		if !windows[i].From.After(windows[i-1].Until.Time) {
			w.broken(8, "warm-ups %v are not in order", windows)
		}
	}
}

// passed tells whether the judge passed the canary at an epoch, warm and after a look, or the spec let it
// through.
func (c *runWatcher) passed(w *world, epoch int64, since time.Time, look time.Duration) bool {
	if c.let[epoch] {
		return true
	}
	if warm := c.firstLive.Add(w.rollout.spec.Analysis.Compare.WarmUp.Duration); !c.firstLive.IsZero() && since.Before(warm) {
		since = warm
	}
	return w.passedSince(epoch, since.Add(look))
}

// handingOver checks that nothing is promoted past a run.
func (c *runWatcher) handingOver(w *world, release *v1alpha1.Release) {
	if release.ExpeditedBy != "" {
		return
	}
	analysis := w.rollout.spec.Analysis
	if analysis.BeforePromotion != nil && !c.succeeded[release.ID+"-before-promotion"] {
		w.broken(5, "%s is promoted though the analysis before promotion did not succeed", release.ID)
	}
	if analysis.Background != nil && !c.measured[release.ID+"-background"] {
		w.broken(5, "%s is promoted though the analysis in the background measured nothing", release.ID)
	}
	for _, r := range w.cache.runs {
		// The run of a step that was edited away may be in doubt.
		gate := r.stage == v1alpha1.StageBackground || r.stage == v1alpha1.StageBeforePromotion
		bad := r.phase == v1alpha1.RunFailed || gate && (r.phase == v1alpha1.RunInconclusive || r.phase == v1alpha1.RunError)
		if r.release == release.ID && bad && !c.succeeded[r.name] {
			w.broken(5, "%s is promoted though %s is %s", release.ID, r.name, r.phase)
		}
	}
}

// stopping checks that no run is ended that somebody waits for.
func (c *runWatcher) stopping(w *world, r *simRun) {
	s := &w.rollout.status
	if s.Release == nil || s.Release.ID != r.release {
		return
	}
	stepOver := r.stage != v1alpha1.StageBackground && r.stage != v1alpha1.StageBeforePromotion &&
		(s.Step == nil || r.stage != "step-"+strconv.Itoa(int(s.Step.Index)))
	if r.stage == v1alpha1.StageAfterPromotion || releasing(s.Phase) && s.Phase != v1alpha1.PhaseRollingBack && !stepOver {
		w.broken(5, "analysis %s is ended in phase %s", r.name, s.Phase)
	}
}

// ended checks that no run outlives its release.
func (c *runWatcher) ended(w *world) {
	s := &w.rollout.status
	for _, r := range w.runs {
		after := r.stage == v1alpha1.StageAfterPromotion && s.Release != nil && s.Release.ID == r.release
		if !r.phase.Ended() && !after {
			w.broken(7, "analysis %s still goes on in phase %s", r.name, s.Phase)
		}
	}
	if s.Phase != v1alpha1.PhaseHealthy || s.Release == nil || s.Release.Outcome != v1alpha1.OutcomePromoted || w.rollout.spec.Analysis.AfterPromotion == nil {
		return
	}
	w.ends["analysed afterwards"]++
	for _, a := range s.Analyses {
		if a.Stage == v1alpha1.StageAfterPromotion {
			return
		}
	}
	w.broken(7, "nothing was analysed after promotion")
}
