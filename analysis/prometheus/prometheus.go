// Package prometheus counts requests from what a Prometheus server has scraped from the proxies, and asks
// it the queries that people write. It is the only Prometheus client of the project. It owns the names of
// the series, which of their codes are failures, and how counters of many sources become the evidence
// about a release; it refuses to know what counts are good or bad.
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
//   - What was there at Release.Since is subtracted: the same weight of the same revision comes again when
//     a release is retried.
//   - An interval with any moment in a warm-up counts in Stratum.Seen only, for both revisions.
//   - A source that is silent for an hour is forgotten. When it comes back, or another one comes so late,
//     its first interval is left out: when that began is not known.
//   - Slow requests are counted from exact bucket bounds, never interpolated: those of the classic
//     histogram, or of the native one where there is no classic (see collectHistograms).
//   - Each scrape is fetched about once: a Sampler remembers how far it has read. A fresh one reads the
//     whole time since Release.Since, in pieces, and comes to the same counts: what it remembers follows
//     from the samples and the Release alone. Samples that appear behind newer ones, as remote storage may
//     bring them, make it read everything again; when that happens again within a minute, two servers
//     answer in turn, and there is doubt.
//
// Looks at several releases that come while a query is under way share the next query.
package prometheus

import (
	"sync"
	"time"
)

const (
	// lead is how far the server's clock may be ahead of ours without hiding its newest samples.
	lead = 30 * time.Second
	// piece is how much time one request asks for, at most; leastPiece, at least, when responses are too
	// large.
	piece, leastPiece = 5 * time.Minute, 15 * time.Second
	// idle is how long a release is remembered that nobody asks for.
	idle = 10 * time.Minute
)

// Sampler makes the evidence about releases. It is safe for concurrent use; calls for the same release wait
// for each other.
type Sampler struct {
	*Client
	decoder *decoder
	answers sync.Pool
	shared  [2]queue // of classic and of native histograms

	mu       sync.Mutex
	readings map[readingKey]*reading
}

// New makes a Sampler. It does not talk to the server yet.
func New(options Options) (*Sampler, error) {
	client, err := NewClient(options)
	if err != nil {
		return nil, err
	}
	s := &Sampler{Client: client, decoder: newDecoder(), readings: map[readingKey]*reading{}}
	s.answers.New = func() any { return &answer{} }
	return s, nil
}
