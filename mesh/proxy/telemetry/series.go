package telemetry

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Series counts one kind of request. It is safe for concurrent use; counting takes no lock and allocates
// nothing once a code and the order of a duration have been seen.
type Series struct {
	labels *labels
	begun  counter

	ends    atomic.Pointer[[]*end]
	classes [len(classes)]atomic.Pointer[durations]
	mu      sync.Mutex // serialises additions to ends and classes

	// Of the recorder's Sweep, under its lock.
	seen uint64
	idle time.Time
}

// end counts the requests that ended in one way.
type end struct {
	counter
	code, status int
}

// noStatus is the gRPC status of what is not gRPC.
const noStatus = -1

// classes are the values of the label code of durations. The first is for code 0.
var classes = [...]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}

func newSeries(key Key) *Series {
	s := &Series{labels: newLabels(key)}
	s.begun.init(startedDesc, s.labels.started())
	s.ended(200, noStatus)
	if key.Protocol == "grpc" {
		s.ended(200, 0)
	}
	s.durations(2)
	return s
}

// Begin counts a request that begins.
func (s *Series) Begin() { s.begun.n.Add(1) }

// End counts a request that has ended after d.
func (s *Series) End(code int, d time.Duration) {
	code = bounded(code)
	s.durations(code / 100).observe(d)
	s.ended(code, noStatus).n.Add(1)
}

// EndGRPC is End for a gRPC request with the status of its response. Beyond 0 to 16 the status counts as 2
// (UNKNOWN), as gRPC wants. A negative status says that none came: what counts then is the one that a
// client makes of the HTTP code.
func (s *Series) EndGRPC(code, status int, d time.Duration) {
	code = bounded(code)
	switch {
	case status < 0:
		status = statusOf(code)
	case status > 16:
		status = unknown
	}
	s.durations(classOf(code, status)).observe(d)
	s.ended(code, status).n.Add(1)
}

// bounded maps codes that no standard knows to 599, so that an application cannot make series at will.
func bounded(code int) int {
	if code == Unreached || code >= 100 && code <= 599 {
		return code
	}
	return 599
}

// The gRPC statuses that are named here.
const (
	canceled         = 1
	unknown          = 2
	deadlineExceeded = 4
	permissionDenied = 7
	unimplemented    = 12
	internal         = 13
	unavailable      = 14
	dataLoss         = 15
	unauthenticated  = 16
)

// statusOf is the status of a response without one:
// https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
func statusOf(code int) int {
	switch code {
	case 400:
		return internal
	case 401:
		return unauthenticated
	case 403:
		return permissionDenied
	case 404:
		return unimplemented
	case Canceled:
		return canceled
	case 429, 502, 503, 504, Unreached:
		return unavailable
	}
	return unknown
}

// classOf is the class of a gRPC request's duration. The statuses that blame the server are those of
// OpenTelemetry's convention for server spans, by which the judge goes too.
func classOf(code, status int) int {
	if code == Unreached || code >= 400 {
		return code / 100
	}
	switch status {
	case unknown, deadlineExceeded, unimplemented, internal, unavailable, dataLoss:
		return 5
	case canceled:
		return 4
	}
	return code / 100
}

func (s *Series) ended(code, status int) *end {
	known := s.ends.Load()
	if known != nil {
		for _, e := range *known {
			if e.code == code && e.status == status {
				return e
			}
		}
	}
	return s.newEnd(code, status)
}

func (s *Series) newEnd(code, status int) *end {
	s.mu.Lock()
	defer s.mu.Unlock()
	var known []*end
	if p := s.ends.Load(); p != nil {
		known = *p
	}
	for _, e := range known {
		if e.code == code && e.status == status {
			return e
		}
	}
	e := &end{code: code, status: status}
	e.init(totalDesc, s.labels.total(code, status))
	longer := slices.Concat(known, []*end{e})
	s.ends.Store(&longer)
	return e
}

func (s *Series) durations(class int) *durations {
	if d := s.classes[class].Load(); d != nil {
		return d
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.classes[class].Load()
	if d == nil {
		d = newDurations(s.labels.duration(class))
		s.classes[class].Store(d)
	}
	return d
}

func (s *Series) collect(into chan<- prometheus.Metric) {
	for i := range s.classes {
		if d := s.classes[i].Load(); d != nil {
			into <- d
		}
	}
	for _, e := range *s.ends.Load() {
		into <- e
	}
	into <- &s.begun
}
