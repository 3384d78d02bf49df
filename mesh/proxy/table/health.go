package table

import (
	"cmp"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// Outlier ejection: an endpoint that fails so many times in a row is out for a while, which grows with each
// time. It returns by time alone. Failures are counted for the metrics by the engines at the first try in any
// case, so that an ejection hides nothing from the judge.
const (
	defaultConsecutive = 5
	defaultEjection    = 30 * time.Second
	defaultMaxPercent  = 50
	// maxEjections is how many times the first ejection's length one can last.
	maxEjections = 10
)

// Outcome of a try, as the endpoint's health sees it.
type Outcome uint8

// The outcomes. Canceled says nothing about the endpoint.
const (
	Succeeded Outcome = iota
	// Failed: 5xx, a reset, a per-try timeout, gRPC's UNAVAILABLE, INTERNAL, UNKNOWN, DATA_LOSS or DEADLINE_EXCEEDED.
	Failed
	// Unreached: no connection.
	Unreached
	Canceled
)

// note books a try's outcome.
func (m *members) note(e *Endpoint, outcome Outcome, now time.Time) {
	switch outcome {
	case Succeeded:
		if e.failing.Load() != 0 {
			e.failing.Store(0)
		}
	case Failed, Unreached:
		e.failures.Add(1)
		if failing := e.failing.Add(1); m.outlier != nil && failing >= int32(cmp.Or(m.outlier.Consecutive, defaultConsecutive)) {
			m.circuit.eject.Lock()
			defer m.circuit.eject.Unlock()
			m.ejectNow(e, now.UnixNano())
		}
	case Canceled:
	}
}

// ejectNow takes an endpoint out unless it is, or too many are. The times that it was out before count less
// the longer it has done well: one is forgotten for each of the policy's ejection times.
func (m *members) ejectNow(e *Endpoint, now int64) {
	if e.ejectedAt(now) {
		return
	}
	out := 1
	for _, other := range m.endpoints {
		if other.ejectedAt(now) {
			out++
		}
	}
	if out > allowedOut(m.outlier, len(m.endpoints)) {
		return
	}
	base := int64(cmp.Or(m.outlier.Ejection, defaultEjection))
	forgotten := (now - e.ejected.Load()) / base
	times := min(max(e.ejections.Load()-forgotten, 0)+1, maxEjections)
	e.ejections.Store(times)
	e.failing.Store(0)
	e.ejected.Store(now + times*base)
	m.circuit.ejecting.Store(max(m.circuit.ejecting.Load(), now+times*base))
}

// allowedOut is how many of n endpoints may be out at a time.
func allowedOut(o *ir.Outlier, n int) int {
	if n < 2 {
		return 0
	}
	return max(n*int(min(cmp.Or(o.MaxPercent, defaultMaxPercent), 100))/100, 1)
}

// ejectedAt reports whether the endpoint is out.
func (e *Endpoint) ejectedAt(now int64) bool { return e.ejected.Load() > now }
