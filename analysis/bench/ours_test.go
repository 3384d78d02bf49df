package bench

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-mesh/sluice/analysis"
)

// What our judge is told of a release: the weight in force, and the warm-ups that have begun.
func TestOursIsToldOfTheRelease(t *testing.T) {
	for name, test := range map[string]struct {
		plan Plan
		want []analysis.Window
	}{
		"pods are added":    {Plan{Weights: []uint32{5, 20}, Step: 5 * time.Minute, WarmUp: time.Minute}, []analysis.Window{{From: at(0), Until: at(60)}, {From: at(300), Until: at(360)}}},
		"one pod is enough": {fiveSteps, []analysis.Window{{From: at(0), Until: at(60)}}},
		"once":              {slowSteps, []analysis.Window{{From: at(0), Until: at(60)}}},
		"never":             {Plan{Weights: []uint32{5, 10}, Step: time.Minute}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			cell := same(50, .009)
			cell.Plan = test.plan
			judge := newOurs(cell, 0).(*ours)
			judge.Begin(Moment{Decided: []float64{0}})
			judge.Begin(Moment{Now: 300, Step: 1, Decided: []float64{0, 300}})
			if diff := cmp.Diff(test.want, judge.release.WarmUps); diff != "" {
				t.Error(diff)
			}
			if judge.release.Weight != test.plan.Weights[1] || !judge.release.WeightSince.Equal(at(300)) || !judge.release.Since.Equal(at(0)) {
				t.Errorf("%+v", judge.release)
			}
			if judge.settings.Compare.Alpha != Alpha || judge.settings.Duration != test.plan.Step-test.plan.WarmUp {
				t.Errorf("%+v", judge.settings)
			}
		})
	}
}

// Fifty times the errors are rolled back within two minutes, and an identical canary is promoted when its
// steps are over. Each of the three identical ones is rolled back with a chance of at most 5 %, if the judge
// is right; the seeds are fixed.
func TestOursDecides(t *testing.T) {
	for trace := range uint64(3) {
		if run := Play(worse(50, .009, 50), Ours, trace); run.Ending != RolledBack || run.At > 120 {
			t.Errorf("50 times the errors: %+v", run)
		}
		if run := Play(same(50, .009), Ours, trace); run.Ending != Promoted || run.At != 1500 {
			t.Errorf("the same: %+v", run)
		}
	}
}

// The spread of pods is found from their counts within what 9 of them can tell, and none where there is none.
func TestHourBefore(t *testing.T) {
	cell := same(50, .009)
	cell.Pods = 3
	sum := 0.
	const traces = 300
	for trace := range uint64(traces) {
		sum += hourBefore(cell, trace)
	}
	if got := sum / traces; got < .26 || got > .31 { // .29 is the mean of an estimate from 9 values
		t.Errorf("mean spread %v", got)
	}
}
