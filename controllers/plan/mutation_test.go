package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

type thinker = func(Observed, time.Time) Decision

// TestMutants shows that the simulation's checks can fail: each mutant breaks one rule of Next, and each
// must be caught by the invariant that it breaks.
func TestMutants(t *testing.T) {
	always := func(f thinker) func() thinker { return func() thinker { return f } }
	seen := func(lie func(*Observed)) func() thinker {
		return always(func(o Observed, now time.Time) Decision { lie(&o); return Next(o, now) })
	}
	runsSeen := func(lie func(*Analysis)) func() thinker {
		return seen(func(o *Observed) {
			o.Analyses = slices.Clone(o.Analyses)
			for i := range o.Analyses {
				lie(&o.Analyses[i])
			}
		})
	}
	on := func(o *Observed) bool { return releasing(o.Status.Phase) }
	tests := map[string]struct {
		invariant []int
		mutant    func() thinker
	}{
		"does not wait for endpoints": {[]int{1}, seen(func(o *Observed) {
			o.Canary.Available, o.Mesh.CanaryEndpoints = 99, 99
		})},
		"does not see the canary's endpoints go": {[]int{1}, seen(func(o *Observed) {
			if o.Status.Weight.Desired > 0 {
				o.Mesh.CanaryEndpoints = max(1, o.Mesh.CanaryEndpoints)
			}
		})},
		"lowers the weight while progressing": {[]int{2}, always(func(o Observed, now time.Time) Decision {
			d := Next(o, now)
			if o.Status.Weight.Desired > 10 && d.Status.Phase == v1alpha1.PhaseProgressing && d.Status.Weight.Desired == o.Status.Weight.Desired {
				d.Status.Weight.Desired = 10
				d.Status.Weight.Epoch++
			}
			return d
		})},
		"aborts without taking the weight away": {[]int{2}, always(func(o Observed, now time.Time) Decision {
			d := Next(o, now)
			if d.Status.Phase == v1alpha1.PhaseRollingBack && o.Status.Phase != d.Status.Phase {
				d.Status.Weight = o.Status.Weight
			}
			return d
		})},
		"raises before the weight is live": {[]int{2, 3, 4, 5, 6}, seen(func(o *Observed) { o.Mesh.Live, o.Mesh.Epoch = true, o.Status.Weight.Epoch })},
		"removes the canary before weight 0 is live": {[]int{3}, seen(func(o *Observed) {
			if o.Status.Phase == v1alpha1.PhaseRollingBack {
				o.Mesh.Live, o.Mesh.Epoch = true, o.Status.Weight.Epoch
			}
		})},
		"does not drain": {[]int{3}, seen(func(o *Observed) { o.Spec.Deadlines.Drain = seconds(0) })},
		"removes the canary though it alone can serve": {[]int{3}, seen(func(o *Observed) {
			if o.Status.Phase == v1alpha1.PhaseRollingBack {
				o.Stable.Available, o.Mesh.StableEndpoints = 9, 9
			}
		})},
		"does not bake": {[]int{4}, seen(func(o *Observed) { o.Spec.BakeTime = seconds(0) })},
		"hands over before the Service is restored": {[]int{4}, seen(func(o *Observed) {
			if o.Status.Phase == v1alpha1.PhasePromoting {
				o.Service.Narrowed, o.Service.CanaryReady = "", o.Workload.Replicas
			}
		})},
		"hands over a canary that is not complete": {[]int{4}, seen(func(o *Observed) {
			if o.Status.Phase == v1alpha1.PhasePromoting && o.Canary.Ours {
				o.Canary.Available, o.Service.CanaryReady = o.Workload.Replicas, o.Workload.Replicas
			}
		})},
		"takes silence for a pass": {[]int{5}, seen(func(o *Observed) {
			if o.Verdict == nil || o.Verdict.Outcome == v1alpha1.VerdictInconclusive {
				o.Verdict = &v1alpha1.Verdict{Outcome: v1alpha1.VerdictPass, Reason: "?", Epoch: o.Status.Weight.Epoch}
				if o.Status.Weight.LiveAt != nil {
					o.Verdict.At.Time = o.Status.Weight.LiveAt.Add(9 * time.Second)
				}
			}
		})},
		"takes a hasty pass": {[]int{5}, seen(func(o *Observed) {
			o.Spec.Analysis.Duration = seconds(0.1)
		})},
		"takes a run that goes on for a success": {[]int{5, 7}, runsSeen(func(a *Analysis) {
			if !a.Phase.Ended() {
				a.Phase = v1alpha1.RunSuccessful
			}
		})},
		"takes a run in doubt for a success": {[]int{5}, runsSeen(func(a *Analysis) {
			if a.Phase == v1alpha1.RunInconclusive || a.Phase == v1alpha1.RunError {
				a.Phase = v1alpha1.RunSuccessful
			}
		})},
		"does not hear a run that fails": {[]int{5}, runsSeen(func(a *Analysis) {
			if a.Phase == v1alpha1.RunFailed {
				a.Phase = v1alpha1.RunRunning
			}
		})},
		"takes an empty run for evidence": {[]int{5}, runsSeen(func(a *Analysis) { a.Measured = true })},
		"does not stop runs":              {[]int{7}, runsSeen(func(a *Analysis) { a.Terminated = true })},
		"stops runs too soon": {[]int{5}, always(func(o Observed, now time.Time) Decision {
			d := Next(o, now)
			for _, a := range o.Analyses {
				if !a.Phase.Ended() && a.Stage == v1alpha1.StageBackground {
					d.Ops = append(d.Ops, Op{Kind: OpStopAnalysis, Run: a.Run})
				}
			}
			return d
		})},
		"does not warm up": {[]int{5, 8}, seen(func(o *Observed) { o.Spec.Analysis.Compare.WarmUp = seconds(0) })},
		"forgets warm-ups": {[]int{5, 8}, seen(func(o *Observed) {
			if o.Status.Release != nil {
				o.Status.Release.WarmUps = nil
			}
		})},
		"takes any doubt for lack of requests": {[]int{5}, seen(func(o *Observed) {
			if o.Verdict != nil {
				o.Verdict.LowTraffic = true
			}
		})},
		"goes on without requests though it must hold": {[]int{5}, seen(func(o *Observed) { o.Spec.Analysis.LowTraffic = v1alpha1.LowTrafficPass })},
		"does not wait for requests":                   {[]int{5}, seen(func(o *Observed) { o.Spec.Deadlines.Analysis = seconds(0) })},
		"does not hear a failure": {[]int{5}, seen(func(o *Observed) {
			if o.Verdict != nil && o.Verdict.Outcome == v1alpha1.VerdictFail {
				o.Verdict = nil
			}
		})},
		"does not wait for the baseline": {[]int{1}, seen(func(o *Observed) {
			if o.Status.Phase == v1alpha1.PhaseStarting || o.Status.Phase == v1alpha1.PhaseProgressing {
				o.Baseline.Exists, o.Baseline.Available, o.Mesh.BaselineEndpoints = true, 99, 99
			}
		})},
		"lets a canary through while its baseline is away": {[]int{5}, seen(func(o *Observed) {
			if o.Status.Phase == v1alpha1.PhaseProgressing && o.Status.Weight.LiveAt != nil && o.Status.Weight.Baseline > 0 {
				o.Mesh.BaselineEndpoints, o.CanaryYoungest = max(1, o.Mesh.BaselineEndpoints), time.Time{}
			}
		})},
		"gives the baseline more than its share": {[]int{2}, always(func(o Observed, now time.Time) Decision {
			d := Next(o, now)
			if d.Status.Weight.Epoch > o.Status.Weight.Epoch && d.Status.Weight.Baseline > 0 {
				d.Status.Weight.Baseline++
			}
			return d
		})},
		"leaves the baseline behind in a rollback": {[]int{3}, seen(func(o *Observed) {
			if o.Status.Phase == v1alpha1.PhaseRollingBack {
				o.Baseline = ReplicaSet{}
			}
		})},
		"removes the baseline before its share is gone": {[]int{3}, always(func(o Observed, now time.Time) Decision {
			d := Next(o, now)
			if d.Status.Weight.Desired == 100 && o.Baseline.Exists && o.Baseline.Ours {
				d.Ops = append(d.Ops, Op{Kind: OpDeleteBaseline})
			}
			return d
		})},
		"removes the baseline though it alone can serve": {[]int{3}, seen(func(o *Observed) {
			if o.Status.Phase == v1alpha1.PhaseRollingBack {
				o.Mesh.BaselineEndpoints = 0
			}
		})},
		"hands over beside a baseline": {[]int{4}, seen(func(o *Observed) {
			if o.Status.Weight.Desired == 100 {
				o.Baseline = ReplicaSet{}
			}
		})},
		"starts the baseline again in a rollback": {[]int{3, 6}, always(func(o Observed, now time.Time) Decision {
			d := Next(o, now)
			if d.Status.Phase == v1alpha1.PhaseRollingBack && d.Status.Baseline != nil && !o.Baseline.Exists {
				d.Ops = append(d.Ops, Op{Kind: OpCreateBaseline, Size: 1, Hash: d.Status.Baseline.Hash})
			}
			return d
		})},
		"ships a new template at once": {[]int{5}, seen(func(o *Observed) {
			if o.Status.Phase == v1alpha1.PhaseHealthy {
				o.Status.Stable.TemplateHash = o.Workload.TemplateHash
			}
		})},
		"does not see the template change": {[]int{6}, seen(func(o *Observed) {
			if on(o) && o.Status.Canary != nil {
				o.Workload.TemplateHash = o.Status.Canary.TemplateHash
			}
		})},
		"begins the next release before the last is over": {[]int{2, 6}, always(func(o Observed, now time.Time) Decision {
			d := Next(o, now)
			if o.Status.Phase == v1alpha1.PhaseRollingBack && o.Workload.TemplateHash != o.Status.Canary.TemplateHash && o.Workload.Held {
				t := &turn{o: o, now: now, status: *o.Status.DeepCopy()}
				t.begin()
				return t.decision()
			}
			return d
		})},
		"starts the canary before the mesh knows": {[]int{3, 6}, seen(func(o *Observed) {
			if o.Status.Phase == v1alpha1.PhaseStarting {
				o.Mesh.Live, o.Mesh.Epoch = true, o.Status.Weight.Epoch
			}
		})},
		"has no deadlines": {[]int{7}, seen(func(o *Observed) {
			o.Spec.Deadlines.Progress, o.Spec.Deadlines.Release = seconds(1e6), seconds(1e6)
		})},
		"does not wake up": {[]int{7}, always(func(o Observed, now time.Time) Decision {
			d := Next(o, now)
			d.Requeue = 0
			return d
		})},
		"leaves things behind": {[]int{3, 7}, seen(func(o *Observed) { o.Leftovers = false })},
		"remembers outside of status": {[]int{8}, func() thinker {
			turns := 0
			return func(o Observed, now time.Time) Decision {
				turns++
				d := Next(o, now)
				d.Status.Message += fmt.Sprint(turns % 7)
				return d
			}
		}},
		"tells people again and again": {[]int{8}, always(func(o Observed, now time.Time) Decision {
			d := Next(o, now)
			if d.Status.Phase == v1alpha1.PhaseRollingBack {
				d.Notices = []Notice{{NoticeRollingBack, "again"}}
			}
			return d
		})},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			seed := search(6000, test.mutant, &tally{})
			if seed == 0 {
				t.Fatal("the simulation does not catch it")
			}
			fault, _ := tell(seed, test.mutant)
			for _, invariant := range test.invariant {
				if strings.HasPrefix(fault, fmt.Sprintf("invariant %d:", invariant)) {
					return
				}
			}
			t.Errorf("seed %d caught it as %q, not as one of %v", seed, fault, test.invariant)
		})
	}
}
