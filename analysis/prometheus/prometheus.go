// Package prometheus counts requests from what a Prometheus server has scraped from the proxies. It is
// the only Prometheus client of the project. It owns the names of the series, which of their codes are
// failures, and how counters of many sources become two tallies; it refuses to know what counts are good
// or bad, and everything of releases.
//
// How the counts are formed, and why so:
//
//   - Raw samples (range selectors), never increase() or instant vectors: both revisions are counted over
//     the same scrapes of the same source.
//   - Only what the source of a request reports (reporter="source"), of the revision that it drew, at the
//     weight that was in force at the draw: so delays and changes of weight do not mix anything.
//   - Each source is followed from scrape to scrape. A series that is absent from a scrape is zero; one
//     that appears counts from zero. Where a counter falls, the source was restarted: that interval of that
//     source is left out, for both revisions. A missed scrape only lengthens the interval.
//   - What was there at Subject.Since is subtracted: the same weight of the same revision comes again when
//     a release is retried.
//   - Each scrape is fetched about once: a Sampler remembers how far it has read. A fresh one reads the
//     whole time since Subject.Since, in pieces, and comes to the same counts.
//
// Slow requests come from the classic histogram, from the exact bucket bound at or just above
// Subject.Slow. (Prometheus keeps classic buckets beside native ones only where it is configured with
// always_scrape_classic_histograms.)
package prometheus

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/sluice-mesh/sluice/analysis"
)

// Options configure a Sampler. Only Address is required.
type Options struct {
	// Address is the server's URL, such as http://prometheus.monitoring.svc:9090, with a path where it has
	// a prefix. Credentials do not belong in it; a RoundTripper adds them.
	Address string
	// RoundTripper carries the requests. Nil: a plain transport.
	RoundTripper http.RoundTripper
	// ScrapeInterval is the time between two scrapes of a proxy. Zero: found out from the samples.
	ScrapeInterval time.Duration
	// Timeout bounds one Sample. Zero: 5 seconds.
	Timeout time.Duration
	// MaxBytes bounds one response, uncompressed. Zero: 16 MiB.
	MaxBytes int64
	// MaxSeries bounds the series of one response. Zero: 50,000.
	MaxSeries uint64
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

const (
	// lookback is how far before Subject.Since a source's last scrape is looked for.
	lookback = 2 * time.Minute
	// lead is how far the server's clock may be ahead of ours without hiding its newest samples.
	lead = 30 * time.Second
	// piece is how much time one request asks for, at most; leastPiece, at least, when responses are too
	// large.
	piece, leastPiece = 5 * time.Minute, 15 * time.Second
	// idle is how long a subject is remembered that nobody asks for.
	idle = 10 * time.Minute
)

// Sampler counts requests. It is safe for concurrent use; calls for the same subject wait for each other.
type Sampler struct {
	api     v1.API
	options Options

	mu       sync.Mutex
	subjects map[subjectKey]*reading
}

// subjectKey tells subjects apart; a time.Time would bring its location with it.
type subjectKey struct {
	namespace, service, stable, canary string
	weight                             uint32
	since                              int64
	slow                               time.Duration
}

// reading is how far a subject has been read.
type reading struct {
	used time.Time // under Sampler.mu

	mu     chan struct{} // a mutex that can be waited for with a context
	bound  bound
	ledger *ledger
}

// New makes a Sampler. It does not talk to the server yet.
func New(options Options) (*Sampler, error) {
	address, err := url.Parse(options.Address)
	switch { // never with the address or the parser's error, which may hold credentials
	case err != nil, address.Scheme != "http" && address.Scheme != "https", address.Host == "":
		return nil, errors.New("parse prometheus address: not an http or https URL")
	case address.User != nil, address.RawQuery != "", address.Fragment != "":
		return nil, errors.New("parse prometheus address: it holds credentials, a query or a fragment")
	}
	if options.RoundTripper == nil {
		options.RoundTripper = api.DefaultRoundTripper
	}
	if options.Timeout <= 0 {
		options.Timeout = 5 * time.Second
	}
	if options.MaxBytes <= 0 {
		options.MaxBytes = 16 << 20
	}
	if options.MaxSeries == 0 {
		options.MaxSeries = 50_000
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	client, err := api.NewClient(api.Config{Address: options.Address, Client: &http.Client{
		Transport: bounded{options.RoundTripper, options.MaxBytes},
		// Credentials that the RoundTripper adds must not follow a redirect to another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}})
	if err != nil {
		return nil, errors.New("make prometheus client")
	}
	return &Sampler{api: v1.NewAPI(client), options: options, subjects: map[subjectKey]*reading{}}, nil
}

// Sample counts a subject's requests from Subject.Since to the newest scrape. What is odd about the
// samples themselves is told in Counts.Doubt; an error means that they could not be had.
func (s *Sampler) Sample(ctx context.Context, subject analysis.Subject) (analysis.Counts, error) {
	if err := refuse(subject); err != nil {
		return analysis.Counts{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	now := s.options.Now()
	reading := s.reading(subject, now)
	select {
	case reading.mu <- struct{}{}:
		defer func() { <-reading.mu }()
	case <-ctx.Done():
		return analysis.Counts{}, fmt.Errorf("wait for an earlier query: %w", ctx.Err())
	}

	if subject.Slow > 0 && reading.bound.at == 0 {
		// Without a bound the failures are counted all the same, so an error here waits for the next call.
		if found, err := s.findBound(ctx, subject, now); err == nil && found.at > 0 {
			reading.bound, reading.ledger = found, newLedger(subject, found.at, s.options.ScrapeInterval)
		}
	}
	if err := s.read(ctx, subject, reading, now); err != nil {
		var doubt doubtError
		if errors.As(err, &doubt) {
			return analysis.Counts{Doubt: doubt.Error()}, nil
		}
		return analysis.Counts{}, err
	}
	counts := reading.ledger.counts()
	counts.Unscraped = s.unscraped(ctx, reading.ledger.silent())
	return counts, nil
}

// refuse names what a subject lacks.
func refuse(subject analysis.Subject) error {
	switch {
	case subject.Namespace == "" || subject.Service == "":
		return errors.New("count requests: no service is named")
	case subject.Stable == "" || subject.Canary == "" || subject.Stable == subject.Canary:
		return errors.New("count requests: stable and canary are not two revisions")
	case subject.Since.IsZero():
		return errors.New("count requests: no time is given since when")
	}
	return nil
}

// reading finds how far a subject was read, and forgets subjects that nobody asks for any more.
func (s *Sampler) reading(subject analysis.Subject, now time.Time) *reading {
	key := subjectKey{
		subject.Namespace, subject.Service, subject.Stable, subject.Canary,
		subject.Weight, subject.Since.UnixNano(), subject.Slow,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for other, r := range s.subjects {
		if now.Sub(r.used) > idle {
			delete(s.subjects, other)
		}
	}
	r := s.subjects[key]
	if r == nil {
		r = &reading{mu: make(chan struct{}, 1), ledger: newLedger(subject, 0, s.options.ScrapeInterval)}
		s.subjects[key] = r
	}
	r.used = now
	return r
}

// read brings a ledger up to now, piece by piece.
func (s *Sampler) read(ctx context.Context, subject analysis.Subject, reading *reading, now time.Time) error {
	// Whole milliseconds, as the server has them, so that nothing falls between two pieces.
	until := now.Add(lead).Truncate(time.Millisecond)
	from := reading.ledger.from().Truncate(time.Millisecond)
	for length := piece; from.Before(until); {
		end := until
		if from.Add(length).Before(end) {
			end = from.Add(length)
		}
		matrix, err := s.query(ctx, selectSeries(subject, reading.bound), from, end)
		if errors.Is(err, errTooLarge) && end.Sub(from) > leastPiece {
			length = max(end.Sub(from)/2, leastPiece)
			continue
		}
		if err != nil {
			return err
		}
		if err := reading.ledger.add(matrix); err != nil {
			return err
		}
		from = end
	}
	reading.ledger.readUntil(now)
	return nil
}

// query fetches the raw samples of a selector in (from, end].
func (s *Sampler) query(ctx context.Context, selector string, from, end time.Time) (model.Matrix, error) {
	expression := fmt.Sprintf("%s[%dms]", selector, end.Sub(from).Milliseconds())
	value, warnings, _, err := s.api.Query(ctx, expression, end, v1.WithLimit(s.options.MaxSeries))
	if err != nil {
		return nil, clean("query prometheus", err)
	}
	if len(warnings) > 0 {
		return nil, fmt.Errorf("query prometheus: the answer is not complete: %s", short(warnings[0]))
	}
	matrix, ok := value.(model.Matrix)
	if !ok {
		return nil, errors.New("query prometheus: the answer is not a list of raw samples")
	}
	if uint64(len(matrix)) > s.options.MaxSeries {
		return nil, fmt.Errorf("query prometheus: more than %d series", s.options.MaxSeries)
	}
	return matrix, nil
}

// findBound asks which bucket bounds there are, and picks the one for the subject; zero if there is none.
func (s *Sampler) findBound(ctx context.Context, subject analysis.Subject, now time.Time) (bound, error) {
	values, _, _, err := s.api.LabelValues(ctx, "le", []string{selectBounds(subject)},
		subject.Since.Add(-lookback), now.Add(lead), v1.WithLimit(1000))
	if err != nil {
		return bound{}, clean("list bucket bounds", err)
	}
	return pickBound(values, subject.Slow), nil
}

// unscraped counts the sources among those gone silent that exist but cannot be scraped. Those that are
// gone for good have no series up. Without an answer all are taken to exist, which only holds up a pass.
func (s *Sampler) unscraped(ctx context.Context, instances []string) int {
	if len(instances) == 0 {
		return 0
	}
	value, warnings, _, err := s.api.Query(ctx, selectDown(instances), s.options.Now(), v1.WithLimit(s.options.MaxSeries))
	vector, ok := value.(model.Vector)
	if err != nil || len(warnings) > 0 || !ok {
		return len(instances)
	}
	return min(len(vector), len(instances))
}
