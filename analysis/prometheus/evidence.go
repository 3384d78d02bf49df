package prometheus

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sluice-mesh/sluice/analysis"
)

var _ analysis.EvidenceSource = (*Sampler)(nil)

// Evidence says what the sources saw of a release, from Release.Since to the newest scrape. What is odd
// about the samples themselves is told in Evidence.Doubt; an error means that they could not be had.
func (s *Sampler) Evidence(ctx context.Context, release analysis.Release) (analysis.Evidence, error) {
	_, _ = ctx, release
	return analysis.Evidence{}, errors.New("not written yet")
}

// Boundaries are the exact bucket bounds, rising, from which requests of a release count as slow: those at
// or just above Release.Boundaries and Release.Threshold, or, where no boundaries are given, such that
// about 10, 5, 1 and 0.1 % of stable's requests in the hour before Release.Since took longer. None: the
// service's durations are not counted in a histogram (yet).
func (s *Sampler) Boundaries(ctx context.Context, release analysis.Release) ([]time.Duration, error) {
	_, _ = ctx, release
	return nil, errors.New("not written yet")
}

// PodSpread estimates from the hour before Release.Since by how much the error rates of the control's pods
// differ beyond chance: the standard deviation of their logarithms, 0 when no more than chance, and the
// number of pods that it comes from.
func (s *Sampler) PodSpread(ctx context.Context, release analysis.Release) (spread float64, pods int, err error) {
	_, _ = ctx, release
	return 0, 0, errors.New("not written yet")
}

// Fetch hands the raw samples that the evidence of a release is made from, of the time (from, to], to each,
// piece by piece in the order of time. For a Tape, from must lie 2 minutes before Release.Since.
func (s *Sampler) Fetch(ctx context.Context, release analysis.Release, from, to time.Time, each func(model.Matrix) error) error {
	_, _, _, _, _ = ctx, release, from, to, each
	return errors.New("not written yet")
}
