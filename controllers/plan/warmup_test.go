package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// warm puts the fixture's first weight on record.
func warm(o Observed) Observed {
	o.Status.Release.Weights = []v1alpha1.DecidedWeight{{Percent: o.Status.Weight.Desired, DecidedAt: *micro(t0)}}
	return o
}

// TestWarmUps looks at which warm-ups one decision leaves on record, in seconds since t0.
func TestWarmUps(t *testing.T) {
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	window := func(from, until int) v1alpha1.WarmUp {
		return v1alpha1.WarmUp{From: *micro(at(from)), Until: *micro(at(until))}
	}
	off := false
	tests := map[string]struct {
		phase   v1alpha1.Phase
		with    func(*Observed)
		weights []int32
		want    []v1alpha1.WarmUp
	}{
		"the first weight":           {startPhase, nil, []int32{20}, []v1alpha1.WarmUp{window(1, 61)}},
		"until it was live for long": {progress, func(o *Observed) { o.Status.Weight.LiveAt = micro(at(1)) }, []int32{20}, []v1alpha1.WarmUp{window(1, 61)}},
		"both become one": {progress, func(o *Observed) {
			o.Status.Release.WarmUps = []v1alpha1.WarmUp{window(0, 60)}
			o.Status.Weight.LiveAt = micro(at(1))
		}, []int32{20}, []v1alpha1.WarmUp{window(0, 61)}},
		"a pod is added": {progress, func(o *Observed) {
			o.Status.Release.WarmUps = []v1alpha1.WarmUp{window(-200, -100)}
			o.CanaryYoungest = at(1)
		}, []int32{20}, []v1alpha1.WarmUp{window(-200, -100), window(0, 61)}},
		"a pod from before the first weight": {progress, func(o *Observed) {
			o.Status.Release.WarmUps, o.CanaryYoungest = []v1alpha1.WarmUp{window(0, 60)}, at(-1)
		}, []int32{20}, []v1alpha1.WarmUp{window(0, 60)}},
		"a later weight needs none": {progress, func(o *Observed) {
			o.Status.Release.Weights = append(o.Status.Release.Weights, v1alpha1.DecidedWeight{Percent: 50})
			o.Status.Weight.Desired, o.Status.Weight.Live = 50, 50
		}, []int32{20, 50}, nil},
		"nothing is compared":             {startPhase, func(o *Observed) { o.Spec.Analysis.Compare.Enabled = &off }, []int32{20}, nil},
		"none is asked for":               {startPhase, func(o *Observed) { o.Spec.Analysis.Compare.WarmUp = seconds(0) }, []int32{20}, nil},
		"begun before weights were noted": {progress, func(o *Observed) { o.Status.Release.Weights, o.Status.Weight.LiveAt = nil, micro(t0) }, []int32{20}, []v1alpha1.WarmUp{window(0, 60)}},
		"another time":                    {startPhase, func(o *Observed) { o.Spec.Analysis.Compare.WarmUp = seconds(5) }, []int32{20}, []v1alpha1.WarmUp{window(1, 6)}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := releaseFixture(test.phase, 0, 20)
			if test.phase == startPhase {
				o = releaseFixture(startPhase, 0, 0)
			} else {
				o = warm(o)
			}
			o.Spec.Analysis.Compare.WarmUp = nil // a minute
			if test.with != nil {
				test.with(&o)
			}
			r := Next(o, now).Status.Release
			if diff := cmp.Diff(test.want, r.WarmUps); diff != "" {
				t.Errorf("warm-ups: %s", diff)
			}
			var weights []int32
			for _, w := range r.Weights {
				weights = append(weights, w.Percent)
			}
			if diff := cmp.Diff(test.weights, weights); diff != "" {
				t.Errorf("weights: %s", diff)
			}
		})
	}
}

func TestWarmUpsAreBounded(t *testing.T) {
	o := warm(releaseFixture(progress, 0, 20))
	o.Spec.Analysis.Compare.WarmUp = seconds(60)
	turn := &turn{o: o, status: o.Status}
	for i := range 3 * maxWarmUps {
		turn.addWarmUp(t0.Add(time.Duration(i) * time.Hour))
	}
	got := turn.status.Release.WarmUps
	if len(got) != maxWarmUps || !got[0].From.Time.Equal(t0) {
		t.Errorf("%d warm-ups, the first from %s; want %d, with nothing left out", len(got), got[0].From, maxWarmUps)
	}
}

// TestLookAfterWarmUp: the look begins when the canary is warm, and a pass from before does not count; one
// on record is not undone by a pod that is added later.
func TestLookAfterWarmUp(t *testing.T) {
	const look, length = defaultAnalysis, 30 * time.Second
	ready := t0.Add(length + look)
	judging := warm(releaseFixture(progress, 1, 20))
	judging.Status.Release.WarmUps = []v1alpha1.WarmUp{{From: *micro(t0), Until: *micro(t0.Add(length))}}
	judging.Spec.Analysis.Compare.WarmUp = seconds(length.Seconds())
	passing := func(at time.Time) Observed { return said(judging, v1alpha1.VerdictPass, at) }
	raising := warm(releaseFixture(progress, 3, 20))
	raising.Canary.Replicas, raising.Canary.Available, raising.Mesh.CanaryEndpoints = 2, 2, 2
	raising.Spec.Analysis.Compare.WarmUp = seconds(length.Seconds())
	raising.Status.Release.WarmUps = append([]v1alpha1.WarmUp(nil), judging.Status.Release.WarmUps...)
	onRecord := func(at time.Time) Observed {
		o := raising
		o.Status.Verdicts = []v1alpha1.Verdict{{Outcome: v1alpha1.VerdictPass, Reason: "ok", Epoch: 7, At: *micro(at)}}
		return o
	}
	runCases(t, map[string]planCase{
		"too early":                    {given: passing(ready.Add(-time.Second)), at: ready.Add(-time.Second), want: want{phase: progress, weight: 20, reason: "judging for"}},
		"a pass from before":           {given: passing(ready.Add(-time.Second)), at: ready, want: want{phase: progress, weight: 20, reason: "waiting for the judge"}},
		"warm, and looked for long":    {given: passing(ready), at: ready, want: want{phase: progress, weight: 20, reason: "3/6"}},
		"on record, and pods come":     {given: onRecord(ready), with: func(o *Observed) { o.CanaryYoungest = ready.Add(time.Second) }, at: ready.Add(2 * time.Second), want: want{phase: progress, weight: 50}},
		"on record from the warm-up":   {given: onRecord(t0.Add(look)), at: t0.Add(look + time.Second), want: want{phase: progress, weight: 20, reason: "judging for"}},
		"pods come again and again":    {given: judging, with: func(o *Observed) { o.CanaryYoungest = ready.Add(defaultPatience) }, at: ready.Add(defaultPatience), want: want{phase: progress, weight: 20, stalled: v1alpha1.ReasonInconclusive, reason: "do not get to warm up"}},
		"pods come once: the deadline": {given: judging, with: func(o *Observed) { o.CanaryYoungest = ready }, at: ready.Add(time.Minute), want: want{phase: progress, weight: 20, reason: "judging for"}},
	})
}
