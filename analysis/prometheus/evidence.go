package prometheus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-mesh/sluice/analysis"
)

var _ analysis.EvidenceSource = (*Sampler)(nil)

// Evidence says what the sources saw of a release, from Release.Since to the newest scrape. What is odd
// about the samples themselves is told in Evidence.Doubt; an error means that they could not be had.
func (s *Sampler) Evidence(ctx context.Context, release analysis.Release) (analysis.Evidence, error) {
	if err := refuse(release); err != nil {
		return analysis.Evidence{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	now := s.options.Now()
	r := s.reading(release, now)
	select {
	case r.mu <- struct{}{}:
		defer func() { <-r.mu }()
	case <-ctx.Done():
		return analysis.Evidence{}, fmt.Errorf("wait for an earlier query: %w", ctx.Err())
	}

	r.measure(ctx, now)
	r.heed(release.WarmUps)
	r.release.Weight = release.Weight
	if err := r.catchUp(ctx, now); err != nil {
		var doubt doubtError
		if errors.As(err, &doubt) {
			return analysis.Evidence{Doubt: doubt.Error()}, nil
		}
		return analysis.Evidence{}, err
	}
	evidence := r.ledger.evidence()
	if evidence.Doubt == "" {
		evidence.Unscraped = r.unscraped(ctx, now)
	}
	return evidence, nil
}

// refuse names what a release lacks.
func refuse(release analysis.Release) error {
	switch control := controlOf(release); {
	case release.Namespace == "" || release.Service == "":
		return errors.New("count requests: no service is named")
	case control == "" || release.Canary == "" || control == release.Canary:
		return errors.New("count requests: stable and canary are not two revisions")
	case release.Since.IsZero():
		return errors.New("count requests: no time is given since when")
	case len(release.Boundaries) >= maxBounds:
		return fmt.Errorf("count requests: %d boundaries, of %d at most", len(release.Boundaries), maxBounds-1)
	}
	return nil
}

// readingKey tells apart what is read of releases; a time.Time would bring its location with it.
type readingKey struct {
	namespace, service, stable, canary, control string
	since                                       int64
	asked                                       string
}

// reading is how far a release has been read.
type reading struct {
	used time.Time // under Sampler.mu

	mu      chan struct{} // a mutex that can be waited for with a context; guards the following
	sampler *Sampler
	release analysis.Release
	settled bool // how durations are counted is known
	ledger  *ledger
	anew    time.Time // when samples appeared late, so that all was read again
	torn    time.Time // when they did so twice within a minute

	down   int // sources that could not be scraped, of these, at that time
	silent []string
	asked  time.Time
}

// reading finds how far a release was read, and forgets releases that nobody asks for any more.
func (s *Sampler) reading(release analysis.Release, now time.Time) *reading {
	key := readingKey{
		release.Namespace, release.Service, release.Stable, release.Canary, release.Control,
		release.Since.UnixNano(), fmt.Sprint(release.Boundaries, release.Threshold),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for other, r := range s.readings {
		if now.Sub(r.used) > idle {
			delete(s.readings, other)
		}
	}
	r := s.readings[key]
	if r == nil {
		r = s.newReading(release)
		s.readings[key] = r
	}
	r.used = now
	return r
}

func (s *Sampler) newReading(release analysis.Release) *reading {
	release.Boundaries, release.WarmUps = slices.Clone(release.Boundaries), slices.Clone(release.WarmUps)
	return &reading{
		mu: make(chan struct{}, 1), sampler: s, release: release,
		ledger: newLedger(release, scale{}, s.options.ScrapeInterval),
	}
}

// restart begins to read anew.
func (r *reading) restart(s scale) {
	r.ledger = newLedger(r.release, s, r.sampler.options.ScrapeInterval)
}

// measure finds out how durations are counted, once. Until that is known, and where it cannot be, failures
// are counted all the same.
func (r *reading) measure(ctx context.Context, now time.Time) {
	if r.settled {
		return
	}
	natives := r.ledger.natives
	found, err := r.sampler.scale(ctx, r.release, now)
	if err != nil {
		return // the next look tries again
	}
	// Where both kinds are there they come in the same scrape: with native ones there before the question,
	// classic ones would have been in its answer.
	r.settled = !found.native || natives
	// Where native histograms were read already their bounds stay, since they may have been raised.
	if (!natives || !found.native) && !same(found, r.ledger.scale) {
		r.restart(found)
	}
}

func same(a, b scale) bool {
	return a.native == b.native && slices.EqualFunc(a.bounds, b.bounds, func(a, b bound) bool {
		return a.seconds == b.seconds && slices.Equal(a.labels, b.labels)
	})
}

// heed takes the warm-ups as they are now. When that changes what is booked already, all is read again.
func (r *reading) heed(warmUps []analysis.Window) {
	want := windowsOf(warmUps)
	r.release.WarmUps = slices.Clone(warmUps)
	if newest := r.ledger.newest; !slices.Equal(want.until(newest), r.ledger.windows.until(newest)) {
		r.restart(r.ledger.scale)
		return
	}
	r.ledger.windows = want
}

// catchUp brings the ledger up to now.
func (r *reading) catchUp(ctx context.Context, now time.Time) error {
	for range 100 {
		err := r.read(ctx, now)
		switch {
		case errors.Is(err, errRaised):
			// Each time a bound goes up to the next limit of a coarser resolution, of which there are few.
			r.restart(r.ledger.scale.raise(r.ledger.raised))
		case errors.Is(err, errLate):
			if now.Sub(r.anew) < time.Minute {
				r.torn = now
			}
			if r.anew = now; r.torn != now {
				r.restart(r.ledger.scale)
				continue
			}
			return r.doubt(now)
		case err == nil:
			return r.doubt(now)
		default:
			return err
		}
	}
	return doubtf("the buckets of histograms do not fit together")
}

// doubt lasts for a minute after samples have changed behind our back again and again: the server that
// answered at last may be either of two.
func (r *reading) doubt(now time.Time) error {
	if now.Sub(r.torn) < time.Minute {
		return doubtf("%s twice within a minute, so two servers may answer in turn", errLate)
	}
	return nil
}

// read brings the ledger up to now, piece by piece.
func (r *reading) read(ctx context.Context, now time.Time) error {
	// Whole milliseconds, as the server has them, so that nothing falls between two pieces.
	until := now.Add(lead).Truncate(time.Millisecond)
	from := r.ledger.from().Truncate(time.Millisecond)
	err, what := errAlone, r.selection()
	what.cold = r.ledger.cold(r.release.Weight, now)
	if r.ledger.read > 0 && until.Sub(from) <= piece {
		err = r.sampler.share(ctx, what, from, r.ledger.add)
	}
	if errors.Is(err, errAlone) {
		err = r.sampler.pieces(ctx, what, from, until, r.ledger.add)
	}
	if err == nil {
		r.ledger.read = now.UnixMilli()
	}
	return err
}

// selection is what a release is about, at all weights.
func (r *reading) selection() *selection {
	return &selection{
		namespaces: []string{r.release.Namespace}, services: []string{r.release.Service},
		revisions: []string{r.release.Canary, controlOf(r.release)},
		native:    r.ledger.scale.native, bounds: r.ledger.scale.labels(),
	}
}

// unscraped counts the sources among those gone silent that exist but cannot be scraped. Those that are
// gone for good have no series up. Without an answer all are taken to exist, which only holds up a pass.
func (r *reading) unscraped(ctx context.Context, now time.Time) int {
	instances := r.ledger.silent()
	if len(instances) == 0 {
		return 0
	}
	// It changes with scrapes only.
	if slices.Equal(instances, r.silent) && now.Sub(r.asked) < r.ledger.scrapeInterval() {
		return r.down
	}
	r.down, r.silent, r.asked = len(instances), instances, time.Time{}
	if down, err := r.sampler.Query(ctx, selectDown(instances), now); err == nil && len(down.Warnings) == 0 && down.Kind == "vector" {
		r.down, r.asked = min(len(down.Series), len(instances)), now
	}
	return r.down
}
