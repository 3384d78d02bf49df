package table

import (
	"io"
	"sync"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// Streams are the long-lived connections (TCP, WebSocket) that were drawn to one revision of a service.
// It is the same object in every configuration that has the revision, and in those after it while a
// connection is open.
type Streams struct {
	mu   sync.Mutex
	open map[io.Closer]struct{}
	// unweighted is since when the split gives the revision nothing; zero while it gives it something, or
	// there is no split.
	unweighted time.Time
}

// Add enters a connection, whose Close must be safe to call at any time; the caller calls leave when it
// has ended. A nil Streams takes nothing.
func (s *Streams) Add(conn io.Closer) (leave func()) {
	if s == nil {
		return func() {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[io.Closer]struct{}{}
	}
	s.open[conn] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, conn)
	}
}

// Enter is Add without a function to allocate; Exit must follow. A nil Streams takes nothing.
func (s *Streams) Enter(conn io.Closer) {
	if s != nil {
		s.Add(conn)
	}
}

// Exit ends what Enter began.
func (s *Streams) Exit(conn io.Closer) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, conn)
}

// weighted notes whether the split gives the revision something.
func (s *Streams) weighted(yes bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case yes:
		s.unweighted = time.Time{}
	case s.unweighted.IsZero():
		s.unweighted = now
	}
}

// overdue takes the connections that are still open after the drain.
func (s *Streams) overdue(now time.Time, drain time.Duration) []io.Closer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unweighted.IsZero() || now.Sub(s.unweighted) < drain {
		return nil
	}
	var all []io.Closer
	for conn := range s.open {
		all = append(all, conn)
		delete(s.open, conn)
	}
	return all
}

func (s *Streams) empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open) == 0
}

// CloseOverdue closes the streams of every revision that has had no weight for as long as the drain, and
// returns how many those were.
func (t *Table) CloseOverdue(now time.Time, drain time.Duration) int {
	closed := 0
	for _, s := range t.streams {
		for _, conn := range s.overdue(now, drain) {
			_ = conn.Close() // ends the relay, which reports for itself
			closed++
		}
	}
	return closed
}

// openStreams takes over or makes the streams of each revision of a service.
func (b *builder) openStreams(s *service) {
	names := map[string]bool{}
	for _, subset := range s.Subsets {
		names[subset.Name] = true
	}
	for _, name := range s.Split.Revisions() {
		names[name] = true
	}
	for name := range names {
		key := streamsKey{s.Key(), name}
		streams := b.previous.streams[key]
		if streams == nil {
			streams = &Streams{}
		}
		streams.weighted(givesWeight(s.Split, name), b.now)
		b.table.streams[key] = streams
	}
}

func givesWeight(split ir.Split, subset string) bool {
	if len(split.Shares) == 0 {
		return true
	}
	for _, share := range split.Shares {
		if share.Subset == subset && share.Weight > 0 {
			return true
		}
	}
	return false
}

// keepOpenStreams keeps those of revisions that the mesh no longer names until they have ended.
func (b *builder) keepOpenStreams() {
	for key, streams := range b.previous.streams {
		if b.table.streams[key] == nil && !streams.empty() {
			streams.weighted(false, b.now)
			b.table.streams[key] = streams
		}
	}
}
