package prometheus

import (
	"context"
	"time"

	"github.com/sluice-mesh/sluice/analysis"
)

// Sample counts a subject's requests from Subject.Since to the newest scrape: the evidence at one weight,
// in the words of the judge of thresholds.
func (s *Sampler) Sample(ctx context.Context, subject analysis.Subject) (analysis.Counts, error) {
	release := analysis.Release{
		Namespace: subject.Namespace, Service: subject.Service, Stable: subject.Stable, Canary: subject.Canary,
		Since: subject.Since,
	}
	if subject.Slow > 0 {
		release.Boundaries = []time.Duration{subject.Slow}
	}
	evidence, err := s.evidence(ctx, release, false)
	if err != nil {
		return analysis.Counts{}, err
	}
	counts := analysis.Counts{
		Patience: evidence.Patience, Newest: evidence.Newest, Interval: evidence.Interval, Sources: evidence.Sources,
		Unscraped: evidence.Unscraped, Dropped: evidence.Dropped, Doubt: evidence.Doubt,
	}
	if len(evidence.Boundaries) > 0 {
		counts.Boundary, counts.Patience = evidence.Boundaries[0], evidence.Boundaries[0]
	}
	for _, at := range evidence.Strata {
		if at.Weight == subject.Weight {
			counts.Canary, counts.Stable = tallyOf(at.Seen.Canary), tallyOf(at.Seen.Control)
		}
	}
	return counts, nil
}

func tallyOf(r analysis.Requests) analysis.Tally {
	tally := analysis.Tally{
		Started: r.Started, Answered: r.Answered, Failed: r.Failed, Cancelled: r.Cancelled,
		Unfinished: r.Unfinished, Overdue: r.Hanging,
	}
	if len(r.Slow) > 0 {
		tally.Slow, tally.Overdue = r.Slow[0], r.Overdue[0]
	}
	return tally
}
