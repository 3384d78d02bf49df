package plan

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// This file is the data plane of the simulation: proxies that take a split late, refuse it or are cut
// off, and a judge who sees what he sees.

// split is what a proxy has in force. Without names, requests go to all endpoints alike.
type split struct {
	epoch                    int64
	stable, canary, baseline string
	weight, baselineWeight   int32
}

// splitOf is what every replica of the operator derives from a Rollout's status.
func splitOf(s *v1alpha1.RolloutStatus) split {
	out := split{epoch: s.Weight.Epoch}
	if !releasing(s.Phase) || s.Stable == nil || s.Canary == nil || s.Stable.Hash == s.Canary.Hash {
		return out
	}
	out.stable, out.canary, out.weight = s.Stable.Hash, s.Canary.Hash, s.Weight.Desired
	if s.Baseline != nil {
		out.baseline, out.baselineWeight = s.Baseline.Hash, s.Weight.Baseline
	}
	return out
}

type simProxy struct {
	name     string
	inForce  split
	cut      bool
	refuses  bool
	slow     bool
	rejected int64 // the epoch it refused
}

// share is the part of a proxy's requests that a revision gets, in percent: no revision without a ready
// endpoint gets any.
func (p *simProxy) share(o *objects, hash string) int32 {
	here := o.endpoints(hash)
	if here == 0 {
		return 0
	}
	s := p.inForce
	if s.canary == "" {
		return 1 // some
	}
	up := func(hash string) bool { return o.endpoints(hash) > 0 }
	canary := s.weight
	switch {
	case !up(s.canary):
		canary = 0
	case !up(s.stable) && !up(s.baseline):
		canary = 100
	}
	baseline := int32(0)
	switch {
	case !up(s.baseline):
	case !up(s.stable):
		baseline = 100 - canary // it stands in for stable
	default:
		baseline = min(s.baselineWeight, 100-canary)
	}
	switch hash {
	case s.canary:
		return canary
	case s.baseline:
		return baseline
	case s.stable:
		return 100 - canary - baseline
	default:
		return 0
	}
}

// push lets the proxies take what is published.
func (w *world) push() {
	published := split{}
	if w.rollout.exists {
		published = splitOf(&w.rollout.status)
	}
	for i := range w.proxies {
		p := &w.proxies[i]
		if p.cut || p.inForce == published || published.epoch < p.inForce.epoch {
			continue
		}
		if p.slow && w.rand.IntN(4) > 0 || !p.slow && w.rand.IntN(8) == 0 {
			continue
		}
		if p.refuses && published.canary != "" {
			p.rejected = published.epoch
			continue
		}
		p.inForce = published
	}
}

// report is what the operator learns of the proxies.
func (w *world) report(s *v1alpha1.RolloutStatus) Mesh {
	m := Mesh{Epoch: s.Weight.Epoch, Live: true}
	m.StableEndpoints, m.CanaryEndpoints, m.BaselineEndpoints = w.endpoints(hashOf(s.Stable)), w.endpoints(hashOf(s.Canary)), w.endpoints(hashOf(s.Baseline))
	if w.mute {
		m.Epoch, m.Live = 0, false
		return m
	}
	want := splitOf(s)
	for i := range w.proxies {
		p := &w.proxies[i]
		if p.inForce == want {
			continue
		}
		m.Live = false
		m.Pending = append(m.Pending, p.name)
		if !p.cut && p.rejected == want.epoch {
			if m.Rejected == nil {
				m.Rejected = map[string]string{}
			}
			m.Rejected[p.name] = "cannot parse"
		}
	}
	return m
}

func hashOf(r *v1alpha1.Revision) string {
	if r == nil {
		return ""
	}
	return r.Hash
}

// look lets the judge look once, if he was asked to.
func (w *world) look() {
	s := &w.rollout.status
	if !w.asked || s.Weight.Desired == 0 || s.Canary == nil {
		return
	}
	if w.prometheusAway {
		if w.rand.IntN(2) == 0 {
			w.pronounce(v1alpha1.VerdictInconclusive)
		}
		return // what was said last grows old
	}
	if w.quiet {
		w.pronounce(v1alpha1.VerdictInconclusive)
		w.verdict.LowTraffic = true
		w.wanting = append(w.wanting, *w.verdict)
		return
	}
	n := w.natures[s.Canary.TemplateHash]
	if !w.comparable() && !n.bad {
		w.pronounce(v1alpha1.VerdictInconclusive) // the proxies label nothing with the weight
		w.verdict.LowTraffic = true
		return
	}
	looked := s.Weight.LiveAt != nil && w.now.Sub(s.Weight.LiveAt.Time) >= LookFor(w.rollout.spec, *s)
	switch {
	case n.bad && w.rand.IntN(3) == 0:
		w.pronounce(v1alpha1.VerdictFail)
	case n.bad:
		w.pronounce(v1alpha1.VerdictInconclusive)
	case looked, w.rand.IntN(40) == 0: // now and then hasty
		w.pronounce(v1alpha1.VerdictPass)
	default:
		w.pronounce(v1alpha1.VerdictInconclusive)
	}
}

func (w *world) pronounce(outcome v1alpha1.VerdictOutcome) {
	s := &w.rollout.status
	v := v1alpha1.Verdict{
		Outcome: outcome, Reason: "as seen", Weight: s.Weight.Desired, Epoch: s.Weight.Epoch,
		At: metav1.NewMicroTime(w.now.Truncate(time.Microsecond)),
	}
	w.verdict = &v
	if outcome == v1alpha1.VerdictPass {
		w.passes = append(w.passes, v)
	}
}

// namedLagging tells whether a proxy was named as left out.
func namedLagging(s *v1alpha1.RolloutStatus, proxy string) bool {
	return slices.Contains(s.Weight.Lagging, proxy) || slices.Contains(s.Weight.Lagging, nobodyReported)
}
