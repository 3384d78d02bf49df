// Package telemetry owns the numbers that the judge reads: which series exist, how they are labelled and
// what counts as which code. It knows nothing of how a request is carried; it is told that one began and
// how it ended.
//
// The series, with labels that stay bounded:
//
//	sluice_requests_started_total        reporter source source_namespace service namespace revision weight protocol
//	sluice_requests_total                the same, code, grpc_status
//	sluice_request_duration_seconds      the same as started, code as a class: "1xx".."5xx", or "none"
//
// reporter is "source" (the caller's proxy, which drew the revision) or "destination" (the called pod's
// proxy). revision is the subset that was drawn, weight the canary's share in percent that was in force on
// that port at the draw, "" where no release is on; a destination draws nothing and says "". A
// destination's source is "mesh" where a mesh proxy called, which has counted the request itself, else
// "unknown".
//
// code is the HTTP status, or what stands for it:
//
//	"0"    the endpoint gave no answer: not reached, or gone before the response's head
//	"499"  the caller went away before the response was complete
//	"502"  besides the endpoint's own: the response broke off in its body
//
// grpc_status is "" for what is not gRPC, else the number of the status that the caller was given, "0" to
// "16". The class of a gRPC request's duration is what its end means rather than its code, which is 200
// nearly always: "5xx" for a status that blames the server, "4xx" for one that the caller cancelled. So
// durations of requests that failed are in "5xx" and "none" alone, which the judge leaves out.
//
// A request counts once, by its first try: when that did not reach an endpoint the code is "0" although a
// second try within the same revision may have served the caller. A connection of protocol tcp counts as
// one request: "200" when it ended in order, "0" when no endpoint took it, "502" when the endpoint reset
// it; its duration is the time to establish it. A request that upgrades (WebSocket) ends, for the count,
// with its 101.
//
// The counting is its own rather than client_golang's: a request costs four additions, and one duration is
// one addition, from which the classic and the native buckets are both read, so that they agree in every
// scrape. The native buckets never lose resolution, and cost memory only where something fell into them.
package telemetry

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Unreached is the code of a request that no endpoint answered.
const Unreached = 0

// Canceled is the code of a request whose caller went away.
const Canceled = 499

// The values of the label reporter.
const (
	Source      = "source"
	Destination = "destination"
)

// Key identifies the series of one kind of request.
type Key struct {
	Reporter                string
	Source, SourceNamespace string
	Service, Namespace      string
	Revision, Weight        string
	Protocol                string
}

// Recorder keeps the series. It is safe for concurrent use.
type Recorder struct {
	mu     sync.Mutex
	series map[Key]*Series
}

// New makes a recorder and registers it.
func New(registerer prometheus.Registerer) *Recorder {
	r := &Recorder{series: map[Key]*Series{}}
	registerer.MustRegister(r)
	return r
}

// Series returns the handle for a key, which stays good until Sweep drops it. Creating it makes the series
// exist at zero: begun, ended with code 200 (of gRPC: with status 0 too), and durations of class 2xx.
func (r *Recorder) Series(key Key) *Series {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, found := r.series[key]; found {
		return s
	}
	s := newSeries(key)
	r.series[key] = s
	return s
}

// Sweep drops series that live does not list and that nothing has counted on since the retention began,
// so that revisions long gone do not pile up. A handle that somebody still holds then counts in vain.
func (r *Recorder) Sweep(live map[Key]bool, now time.Time, retention time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, s := range r.series {
		begun := s.begun.n.Load()
		switch {
		case live[key] || begun != s.seen || s.idle.IsZero():
			s.seen, s.idle = begun, now
		case now.Sub(s.idle) >= retention:
			delete(r.series, key)
		}
	}
}

// Describe implements prometheus.Collector.
func (r *Recorder) Describe(into chan<- *prometheus.Desc) {
	into <- startedDesc
	into <- totalDesc
	into <- durationDesc
}

// Collect implements prometheus.Collector. What has ended is read before what has begun, so that no scrape
// shows more ended than begun.
func (r *Recorder) Collect(into chan<- prometheus.Metric) {
	r.mu.Lock()
	all := make([]*Series, 0, len(r.series))
	for _, s := range r.series {
		all = append(all, s)
	}
	r.mu.Unlock()
	for _, s := range all {
		s.collect(into)
	}
}
