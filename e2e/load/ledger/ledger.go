// Package ledger keeps account of how a client's requests ended: which version answered, how fast and
// how well, and which requests no application answered at all. It owns counting and its JSON; it does
// not know how requests are sent.
package ledger

import (
	"sync"
	"time"
)

const (
	// Resolution of the timeline.
	Resolution = 100 * time.Millisecond
	// maxSlices bounds the timeline: the newest ten minutes.
	maxSlices = 6000
	// maxNames bounds the versions and reasons told apart; the rest is counted as Other.
	maxNames   = 64
	maxSamples = 50
	// Other stands for the versions and reasons beyond those told apart.
	Other = "other"
)

// Request is one that has begun. The zero value is not one; Begin makes them.
type Request struct {
	began  time.Time
	window int64
}

// Began is when it was sent.
func (r Request) Began() time.Time { return r.began }

// End is how a request ended.
type End struct {
	// Lost says why no application answered; empty: Version answered with Status.
	Lost   string
	Detail string
	// Version and Status of the answer.
	Version string
	Status  int
	// Returned says that the client had left this version for another one before.
	Returned bool
}

// Ledger is safe for concurrent use.
type Ledger struct {
	now  func() time.Time
	slow time.Duration

	mu       sync.Mutex
	started  time.Time
	rate     float64
	sent     uint64
	done     uint64
	skipped  uint64
	total    *account
	window   *account
	timeline []Slice
}

// New opens a ledger. An answer that takes longer than slow is a bad one; zero: none is for its time.
func New(slow time.Duration, now func() time.Time) *Ledger {
	at := now()
	return &Ledger{now: now, slow: slow, started: at, total: newAccount(0, at), window: newAccount(1, at)}
}

// SetRate notes the rate that is asked for.
func (l *Ledger) SetRate(rate float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate = rate
}

// Begin notes a request that is sent now.
func (l *Ledger) Begin() Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	return Request{began: l.now(), window: l.window.id}
}

// Skip notes a request that was due and could not be sent.
func (l *Ledger) Skip() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.skipped++
}

// Finish notes how a request ended.
func (l *Ledger) Finish(r Request, end End) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.now()
	took := at.Sub(r.began)
	slow := l.slow > 0 && took > l.slow
	l.done++
	l.total.add(at, took, slow, end)
	if r.window == l.window.id {
		l.window.add(at, took, slow, end)
	}
	l.mark(at, end, end.Lost == "" && (slow || end.Status >= 500))
}

// mark counts the end in the timeline.
func (l *Ledger) mark(at time.Time, end End, bad bool) {
	at = at.Truncate(Resolution)
	if n := len(l.timeline); n == 0 || at.After(l.timeline[n-1].At) {
		if n >= maxSlices {
			l.timeline = append(l.timeline[:0], l.timeline[n-maxSlices/2:]...)
		}
		l.timeline = append(l.timeline, Slice{At: at})
	}
	last := &l.timeline[len(l.timeline)-1]
	if end.Lost != "" {
		last.Lost++
		return
	}
	if last.Versions == nil {
		last.Versions = map[string]SliceCounts{}
	}
	name := bounded(last.Versions, end.Version)
	counts := last.Versions[name]
	counts.Requests++
	if bad {
		counts.Bad++
	}
	last.Versions[name] = counts
}

// Cut ends the window and begins the next one; it returns the snapshot of the moment before.
// Requests begun before a cut are counted in the total only.
func (l *Ledger) Cut() Snapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.snapshot()
	l.window = newAccount(l.window.id+1, l.now())
	return s
}

// Snapshot takes one; with the part of the timeline that begins at since or later, when that is not
// the zero time.
func (l *Ledger) Snapshot(since time.Time) Snapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.snapshot()
	if since.IsZero() {
		return s
	}
	for _, slice := range l.timeline {
		if slice.At.Before(since) {
			continue
		}
		copied := Slice{At: slice.At, Lost: slice.Lost, Versions: map[string]SliceCounts{}}
		for name, counts := range slice.Versions {
			copied.Versions[name] = counts
		}
		s.Timeline = append(s.Timeline, copied)
	}
	return s
}

func (l *Ledger) snapshot() Snapshot {
	return Snapshot{
		At: l.now(), Started: l.started, Rate: l.rate,
		Sent: l.sent, InFlight: l.sent - l.done, Skipped: l.skipped,
		Total: l.total.tally(), Window: l.window.tally(),
	}
}

// bounded returns the name, or Other where the map has no room for another one.
func bounded[V any](m map[string]V, name string) string {
	if _, found := m[name]; !found && len(m) >= maxNames {
		return Other
	}
	return name
}
