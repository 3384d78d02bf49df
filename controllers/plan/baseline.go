package plan

import (
	"fmt"
	"time"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// This file is about the baseline: pods of stable's version that are started together with the canary's, which
// are compared with them. No request depends on it: while it is away stable has its share, and what it runs is
// stable's version. So a baseline in trouble never ends a release; it holds it, since nothing can be compared.

// BaselineShare is the share of requests, in percent, that a baseline gets beside a canary's weight: what the
// judge reckons with (analysis.BaselineShare).
func BaselineShare(percent int32) int32 { return max(0, min(percent, (100-percent)/2)) }

// newBaseline is the baseline of a release that begins; nil when the canary is compared with stable, or not at
// all. Its hash is a revision of its own to the mesh and to the pods' selectors.
func (t *turn) newBaseline() *v1alpha1.Revision {
	compare, stable := t.o.Spec.Analysis.Compare, t.status.Stable
	if compare.Against != v1alpha1.RevisionBaseline || compare.Enabled != nil && !*compare.Enabled || t.o.Spec.Service.Narrow {
		return nil
	}
	hash := stable.Hash[:min(len(stable.Hash), maxLabel-len(baselineSuffix))] + baselineSuffix
	return &v1alpha1.Revision{
		Hash: hash, TemplateHash: stable.TemplateHash, Images: stable.Images, ReplicaSet: t.o.Spec.WorkloadRef.Name + "-" + hash,
	}
}

const (
	baselineSuffix = "-baseline"
	// maxLabel is how long a label's value may be.
	maxLabel = 63
)

// baselineSize is how many baseline pods a weight of the canary needs; 0: it has no share there.
func (t *turn) baselineSize(percent int32) int32 {
	if share := BaselineShare(percent); t.status.Baseline != nil && share > 0 {
		return t.sizeFor(share)
	}
	return 0
}

// keepBaseline keeps the baseline as large as its share at the present weight and at the next one need, so that
// its pods are as busy as the canary's. When the canary has had all requests for as long as a drain, it goes; not
// before, since it may have to stand in for stable.
func (t *turn) keepBaseline(next int32) {
	if t.status.Baseline == nil {
		return
	}
	w, rs, hash := t.status.Weight, t.o.Baseline, t.status.Baseline.Hash
	switch need := max(t.baselineSize(w.Desired), t.baselineSize(next)); {
	case need == 0:
		if w.Desired == 100 && w.LiveAt != nil && t.reached(w.LiveAt.Add(or(t.o.Spec.Deadlines.Drain, defaultDrain))) {
			t.baselineGone()
		}
	case !rs.Exists:
		t.do(Op{Kind: OpCreateBaseline, Size: need, Hash: hash})
	case rs.Ours && !rs.Terminating && (rs.Replicas < need || rs.Replicas > need && w.LiveAt != nil):
		t.do(Op{Kind: OpScaleBaseline, Size: need, Hash: hash})
	}
}

// baselineGone removes the baseline's ReplicaSet and tells when it is gone and gets no more requests. Beyond the
// deadline that is not waited for.
func (t *turn) baselineGone() bool {
	rs := t.o.Baseline
	if rs.Exists && rs.Ours && !rs.Terminating {
		t.do(Op{Kind: OpDeleteBaseline, Hash: rs.Hash})
		return false
	}
	return !listed(rs, t.o.Mesh.BaselineEndpoints) || t.reached(t.phaseDeadline())
}

// baselineReady tells whether the baseline has the ready endpoints for a weight. When it does not get them by a
// time, the release holds.
func (t *turn) baselineReady(percent int32, by time.Time) bool {
	need := t.baselineSize(percent)
	if need == 0 {
		return true
	}
	rs := t.o.Baseline
	have := min(rs.Available, t.o.Mesh.BaselineEndpoints)
	if rs.Exists && !rs.Terminating && have >= need {
		t.status.Step.InconclusiveSince = nil
		return true
	}
	starting := fmt.Sprintf("%d of %d baseline pods ready%s", have, need, troubleOf(rs))
	if rs.Exists && !rs.Ours {
		starting = fmt.Sprintf("a ReplicaSet %s exists and is not Sluice's; delete it", rs.Name)
	}
	if t.reached(by) {
		t.hold(fmt.Sprintf("there is no baseline to compare with at weight %d: %s; promote or abort, or let it become ready", percent, starting))
		return false
	}
	t.say(fmt.Sprintf("before weight %d: %s", percent, starting))
	return false
}

// baselineLost says that the baseline, which has a share, cannot serve, so that nothing is compared.
func (t *turn) baselineLost() string {
	if t.status.Baseline == nil || t.status.Weight.Baseline == 0 || t.o.Mesh.BaselineEndpoints > 0 {
		return ""
	}
	return "the baseline has no ready endpoints, so there is nothing to compare the canary with" + troubleOf(t.o.Baseline)
}

// compared tells whether the baseline was there during a look up to a time. Where it was not, the canary's
// requests of that time do not count, and that there are few says nothing about how many come.
func (t *turn) compared(look time.Duration, until time.Time) bool {
	return t.status.Weight.Baseline == 0 || !t.o.CanaryYoungest.After(until.Add(-look))
}
