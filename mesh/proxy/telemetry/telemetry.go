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
// A request counts once, by its first try: when that did not reach an endpoint the code is "0" although a
// second try within the same revision may have served the caller. A connection of protocol tcp counts as
// one request: "200" when it ended in order, "0" when no endpoint took it, "502" when the endpoint reset
// it; its duration is the time to establish it. A request that upgrades (WebSocket) ends, for the count,
// with its 101.
package telemetry

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Unreached is the code of a request that no endpoint answered.
const Unreached = 0

// Canceled is the code of a request whose caller went away.
const Canceled = 499

// Buckets are the bounds of the classic duration histogram in seconds; the judge relies on them.
var Buckets = []float64{
	.001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .25, .3, .4, .5, .75, 1, 1.5, 2, 3, 5, 7.5, 10, 30, 60,
}

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

var keyLabels = []string{
	"reporter", "source", "source_namespace", "service", "namespace", "revision", "weight", "protocol",
}

func (k Key) values(more ...string) []string {
	return append([]string{
		k.Reporter, k.Source, k.SourceNamespace, k.Service, k.Namespace, k.Revision, k.Weight, k.Protocol,
	}, more...)
}

// Recorder keeps the series. It is safe for concurrent use.
type Recorder struct {
	started  *prometheus.CounterVec
	total    *prometheus.CounterVec
	duration *prometheus.HistogramVec

	mu     sync.Mutex
	series map[Key]*Series
}

// New makes a recorder whose series go to the registerer.
func New(registerer prometheus.Registerer) *Recorder {
	r := &Recorder{
		started: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_requests_started_total",
			Help: "Requests begun, by the revision that was drawn and the weight in force at the draw.",
		}, keyLabels),
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_requests_total",
			Help: "Requests ended; code 0: no endpoint answered, 499: the caller went away.",
		}, append(append([]string(nil), keyLabels...), "code", "grpc_status")),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:                           "sluice_request_duration_seconds",
			Help:                           "Time from the draw to the end of the response; code is a class.",
			Buckets:                        Buckets,
			NativeHistogramBucketFactor:    1.1,
			NativeHistogramMaxBucketNumber: 100,
		}, append(append([]string(nil), keyLabels...), "code")),
		series: map[Key]*Series{},
	}
	registerer.MustRegister(r.started, r.total, r.duration)
	return r
}

// Series returns the handles for a key, which stay good until Sweep drops them. Creating them makes the
// series exist at zero: begun, ended with code 200, and durations of class 2xx.
func (r *Recorder) Series(key Key) *Series {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, found := r.series[key]; found {
		return s
	}
	s := &Series{key: key, recorder: r, started: r.started.WithLabelValues(key.values()...)}
	s.counter(200)
	s.observer(2)
	r.series[key] = s
	return s
}

// Sweep drops series that live does not list and that nothing has counted on since the retention began,
// so that revisions long gone do not pile up. A handle that somebody still holds then counts in vain.
func (r *Recorder) Sweep(live map[Key]bool, now time.Time, retention time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, s := range r.series {
		begun := s.begun.Load()
		switch {
		case live[key] || begun != s.seen || s.idle.IsZero():
			s.seen, s.idle = begun, now
		case now.Sub(s.idle) >= retention:
			labels := prometheus.Labels{}
			for i, value := range key.values() {
				labels[keyLabels[i]] = value
			}
			r.started.DeletePartialMatch(labels)
			r.total.DeletePartialMatch(labels)
			r.duration.DeletePartialMatch(labels)
			delete(r.series, key)
			s.dropped.Store(true)
		}
	}
}

// Series counts one kind of request. It is safe for concurrent use; counting takes no lock once a code
// has been seen.
type Series struct {
	key      Key
	recorder *Recorder
	started  prometheus.Counter
	begun    atomic.Uint64
	dropped  atomic.Bool

	codes   atomic.Pointer[[]coded]
	classes [6]atomic.Pointer[prometheus.Observer]
	mu      sync.Mutex // serialises additions to codes

	// Of the recorder's Sweep, under its lock.
	seen uint64
	idle time.Time
}

type coded struct {
	code    int
	counter prometheus.Counter
}

// Begin counts a request that begins.
func (s *Series) Begin() {
	s.begun.Add(1)
	s.started.Inc()
}

// End counts a request that has ended after d.
func (s *Series) End(code int, d time.Duration) {
	if s.dropped.Load() {
		return // a new code would bring dropped series back
	}
	code = bounded(code)
	s.counter(code).Inc()
	s.observer(code / 100).Observe(d.Seconds())
}

// EndGRPC is End for a request whose response has a gRPC status (0 to 16).
func (s *Series) EndGRPC(code, _ int, d time.Duration) { s.End(code, d) }

func (s *Series) counter(code int) prometheus.Counter {
	if known := s.codes.Load(); known != nil {
		for _, c := range *known {
			if c.code == code {
				return c.counter
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var known []coded
	if p := s.codes.Load(); p != nil {
		known = append(known, *p...)
	}
	c := s.recorder.total.WithLabelValues(s.key.values(strconv.Itoa(code), "")...)
	known = append(known, coded{code, c})
	s.codes.Store(&known)
	return c
}

var classes = [6]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}

func (s *Series) observer(class int) prometheus.Observer {
	if o := s.classes[class].Load(); o != nil {
		return *o
	}
	o := s.recorder.duration.WithLabelValues(s.key.values(classes[class])...)
	s.classes[class].Store(&o)
	return o
}

// bounded maps codes that no standard knows to 599, so that an application cannot make series at will.
func bounded(code int) int {
	if code == Unreached || code >= 100 && code <= 599 {
		return code
	}
	return 599
}
