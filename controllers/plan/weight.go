package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// setWeight decides a weight. Every decision has an epoch of its own, as has every change of the names
// that the mesh splits between: a proxy refuses an older one, and "live" is said of an epoch.
func (t *turn) setWeight(percent int32) {
	w := &t.status.Weight
	w.Desired, w.Baseline = percent, 0
	if t.status.Baseline != nil {
		w.Baseline = BaselineShare(percent)
	}
	w.Epoch++
	w.DecidedAt, w.LiveAt, w.Lagging = t.stamped(), nil, nil
	t.noteWeight()
}

// noteWeight keeps which weights the release had when, for the judge.
func (t *turn) noteWeight() {
	w, r := t.status.Weight, t.status.Release
	if w.Desired == 0 || r == nil {
		return
	}
	n := len(r.Weights)
	if n == maxWeights || n > 0 && r.Weights[n-1].Percent == w.Desired {
		return
	}
	r.Weights = append(r.Weights, v1alpha1.DecidedWeight{Percent: w.Desired, DecidedAt: *w.DecidedAt})
	if n == 0 {
		t.addWarmUp(w.DecidedAt.Time)
	}
}

// maxWeights is how many weights status keeps: they only rise, so there cannot be more.
const maxWeights = 100

// acknowledge notes when the weight is live on every proxy expected to act. Once noted it stays so for
// the epoch: proxies that join later do not make it flap.
func (t *turn) acknowledge() {
	w := &t.status.Weight
	if w.DecidedAt == nil || w.LiveAt != nil {
		return
	}
	reported := t.o.Mesh.Epoch == w.Epoch
	if reported && t.o.Mesh.Live {
		t.live(nil)
		return
	}
	if t.rejected() != "" {
		return // ends the release
	}
	if !t.reached(w.DecidedAt.Add(or(t.o.Spec.Deadlines.Acknowledge, defaultAcknowledge))) {
		return
	}
	if !reported && t.raising() {
		return // nobody can say who lags, so nobody can be left out
	}
	t.live(lagging(t.o.Mesh))
}

func (t *turn) live(without []string) {
	w := &t.status.Weight
	w.Live, w.LiveAt, w.Lagging = w.Desired, t.stamped(), without
}

// raising tells whether the weight being decided brings the canary requests, or prepares for it.
func (t *turn) raising() bool {
	return t.status.Phase == v1alpha1.PhaseStarting || t.status.Weight.Desired > 0
}

// rejected is the text of a proxy's refusal that must end the release: one that comes before canary pods
// get requests, or more of them. A refusal of an abort must not stop the abort.
func (t *turn) rejected() string {
	if !t.raising() || t.status.Weight.LiveAt != nil || t.o.Mesh.Epoch != t.status.Weight.Epoch || len(t.o.Mesh.Rejected) == 0 {
		return ""
	}
	proxy := slices.Min(slices.Collect(maps.Keys(t.o.Mesh.Rejected)))
	return fmt.Sprintf("proxy %s rejected weight %d: %s", proxy, t.status.Weight.Desired, t.o.Mesh.Rejected[proxy])
}

// lagging names the proxies that are left out, at most twenty; the last entry then counts the others.
func lagging(m Mesh) []string {
	names := slices.Concat(m.Pending, slices.Collect(maps.Keys(m.Rejected)))
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 0 {
		names = []string{nobodyReported}
	}
	if len(names) > maxLagging {
		names = append(names[:maxLagging-1:maxLagging-1], fmt.Sprintf("and %d more", len(names)-maxLagging+1))
	}
	return names
}

const (
	maxLagging = 20
	// nobodyReported stands for all proxies, where an abort went on without word of any.
	nobodyReported = "all proxies: no replica of the operator reported"
)

// waiting says for whom a weight waits.
func (t *turn) waiting() string {
	pending := t.o.Mesh.Pending
	if t.o.Mesh.Epoch != t.status.Weight.Epoch || len(pending) == 0 {
		return "waiting for the proxies"
	}
	if len(pending) <= 3 {
		return "waiting for " + strings.Join(pending, ", ")
	}
	return fmt.Sprintf("waiting for %d proxies", len(pending))
}

// sizeFor is how many canary pods a weight needs: its share of the Deployment's replicas, at least one.
func (t *turn) sizeFor(percent int32) int32 {
	replicas := int64(t.o.Workload.Replicas)
	return max(1, int32((int64(percent)*replicas+99)/100)) //nolint:gosec // at most replicas
}

// readyFor tells whether the canary has the ready endpoints for a weight, in its ReplicaSet and in the
// mesh.
func (t *turn) readyFor(percent int32) bool {
	need := t.sizeFor(percent)
	return t.o.Canary.Exists && !t.o.Canary.Terminating && t.o.Canary.Available >= need && t.o.Mesh.CanaryEndpoints >= need
}

// resize keeps the canary as large as a weight needs while the autoscaler changes the Deployment. Below
// full size it only grows; the full size is exact, as the handover demands. The baseline is kept likewise.
func (t *turn) resize(percent int32) {
	t.keepBaseline(percent)
	need, have := t.sizeFor(percent), t.o.Canary.Replicas
	if !t.o.Canary.Ours || t.o.Canary.Terminating || have == need || percent < 100 && have > need {
		return
	}
	t.do(Op{Kind: OpScaleCanary, Size: need, Hash: t.status.Canary.Hash})
}

// stableLost tells whether stable has nothing that could take requests.
func (t *turn) stableLost() bool {
	return t.o.Stable.Available == 0 || t.o.Mesh.StableEndpoints == 0
}

// canaryStarting describes what the canary's pods wait for.
func (t *turn) canaryStarting(percent int32) string {
	text := fmt.Sprintf("%d of %d canary pods ready", min(t.o.Canary.Available, t.o.Mesh.CanaryEndpoints), t.sizeFor(percent))
	if t.o.Canary.Trouble != "" {
		text += ": " + t.o.Canary.Trouble
	}
	return text
}
