package observe

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// spoolBytes may wait to be written.
	spoolBytes = 256 << 10
	// spoolTime is how long a line waits for others to be written with.
	spoolTime = 50 * time.Millisecond
)

// spool is memory between requests and a writer that may be slow.
type spool struct {
	writer io.Writer
	lost   prometheus.Counter
	ending chan struct{} // closed by close
	done   chan struct{} // closed when all is written

	// wake says that there is something, full that there is much.
	wake, full chan struct{}

	mu             sync.Mutex
	waiting, spare []byte
	lines          int
}

func newSpool(w io.Writer, lost prometheus.Counter) *spool {
	s := &spool{
		writer: w, lost: lost, ending: make(chan struct{}), done: make(chan struct{}),
		wake: make(chan struct{}, 1), full: make(chan struct{}, 1),
	}
	go s.run() // ends with close
	return s
}

// add copies a line, or drops it when there is no room.
func (s *spool) add(line []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.waiting)
	if before+len(line) > spoolBytes {
		s.lost.Inc()
		return
	}
	s.waiting = append(s.waiting, line...)
	s.lines++
	if before == 0 {
		signal(s.wake)
	}
	if before < spoolBytes/2 && len(s.waiting) >= spoolBytes/2 {
		signal(s.full)
	}
}

// signal is not lost, but several are one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (s *spool) run() {
	defer close(s.done)
	timer := time.NewTimer(spoolTime)
	defer timer.Stop()
	for ending := false; !ending; {
		select {
		case <-s.wake:
			timer.Reset(spoolTime)
			select {
			case <-timer.C:
			case <-s.full:
			case <-s.ending:
			}
		case <-s.ending:
			ending = true
		}
		s.write()
	}
}

func (s *spool) write() {
	s.mu.Lock()
	lines, n := s.waiting, s.lines
	s.waiting, s.spare, s.lines = s.spare[:0], nil, 0
	s.mu.Unlock()
	if n == 0 {
		return
	}
	if _, err := s.writer.Write(lines); err != nil {
		s.lost.Add(float64(n))
	}
	if cap(lines) > spoolBytes/4 {
		return // a burst's memory is not kept
	}
	s.mu.Lock()
	s.spare = lines
	s.mu.Unlock()
}

// close writes what is waiting and returns, at the latest with the context: a writer may block for ever.
func (s *spool) close(ctx context.Context) {
	close(s.ending)
	select {
	case <-s.done:
	case <-ctx.Done():
	}
}
