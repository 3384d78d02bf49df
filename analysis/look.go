package analysis

import (
	"context"
	"fmt"
	"time"
)

// Sampler counts the requests of a subject from Subject.Since until now. It must be safe for concurrent
// use. An error means that there are no counts; doubt about counts that are there is in Counts.
type Sampler interface {
	Sample(ctx context.Context, subject Subject) (Counts, error)
}

// Looker takes counts and judges them. It is safe for concurrent use.
type Looker struct {
	// Sampler supplies the counts.
	Sampler Sampler
	// Now is the clock.
	Now func() time.Time
}

// Look judges a subject by what is known now. Without counts it returns the error and a verdict that is
// inconclusive and says so.
func (l Looker) Look(ctx context.Context, subject Subject, criteria Criteria) (Verdict, error) {
	subject.Slow = criteria.LatencyP99
	counts, err := l.Sampler.Sample(ctx, subject)
	if err != nil {
		return Verdict{Outcome: Inconclusive, Reason: "no counts of requests: " + err.Error()},
			fmt.Errorf("count requests of %s/%s: %w", subject.Namespace, subject.Service, err)
	}
	return Judge(subject, criteria, counts, l.Now()), nil
}
