package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/analysis"
)

// sourceFunc is an analysis.EvidenceSource.
type sourceFunc func(analysis.Release) (analysis.Evidence, error)

func (f sourceFunc) Evidence(_ context.Context, release analysis.Release) (analysis.Evidence, error) {
	return f(release)
}

func TestJudge(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	asked, away := 0, errors.New("no answer")
	var spreadErr, evidenceErr error
	j := &judge{
		source: sourceFunc(func(analysis.Release) (analysis.Evidence, error) { return analysis.Evidence{}, evidenceErr }),
		spread: func(context.Context, analysis.Release) (float64, int, error) { asked++; return .5, 3, spreadErr },
		now:    func() time.Time { return now }, spreads: map[subject]*podSpread{},
	}
	compare := analysis.DefaultComparison()
	settings := analysis.Settings{Compare: &compare}
	release := analysis.Release{Namespace: "shop", Service: "web", Stable: "a", Canary: "b", Since: now, Weight: 10, WeightSince: now}
	look := func(release analysis.Release) error {
		v, err := j.Look(t.Context(), release, settings)
		if err == nil && v.Outcome != analysis.Inconclusive {
			t.Errorf("without evidence: %+v", v)
		}
		return err
	}

	evidenceErr = away
	if err := look(release); !errors.Is(err, away) {
		t.Errorf("error %v, want the source's", err)
	}
	evidenceErr, spreadErr = nil, away
	if err := look(release); err != nil || asked != 1 {
		t.Errorf("error %v after asking %d times; want a verdict though the spread of pods is not known", err, asked)
	}
	spreadErr = nil
	for range 3 {
		if err := look(release); err != nil {
			t.Error(err)
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times for the spread of pods, want again after the error and then no more", asked)
	}
	if compare.PodSpread != 0 || compare.ControlPods != 0 {
		t.Errorf("the caller's settings were changed: %+v", compare)
	}
	now = now.Add(2 * time.Hour)
	other := release
	other.Since = now
	if err := look(other); err != nil || asked != 3 || len(j.spreads) != 1 {
		t.Errorf("error %v, asked %d times, %d releases remembered; want the new one only", err, asked, len(j.spreads))
	}
}
