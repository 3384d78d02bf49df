package prometheus

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// queue is the looks that wait for the query under way to end, so that all of them share the next one.
// Alone, a look does not wait at all.
type queue struct {
	mu   sync.Mutex
	busy bool
	next *batch
	most int // looks in one query; 0: mostLooks
}

var errAlone = errors.New("ask alone")

// mostLooks is how many looks share a query at most.
const mostLooks = 100

// batch is one query that looks share.
type batch struct {
	from    time.Time
	what    selection
	looks   int
	waiting int // under queue.mu
	ctx     context.Context
	cancel  context.CancelFunc
	done    chan struct{}

	// When it is done:
	answer *answer
	users  atomic.Int32
	err    error
}

// share hands the answer about a selection's time from on, of a query that other looks may share, to use.
// errAlone says that the selection must be asked for alone.
func (s *Sampler) share(ctx context.Context, what *selection, from time.Time, use func(*answer) error) error {
	kind := 0
	if what.native {
		kind = 1
	}
	q := &s.shared[kind]
	b := q.join(ctx, s, what, from)
	select {
	case <-b.done:
	case <-ctx.Done():
		if q.leave(b) {
			b.let(s)
		}
		return clean("query prometheus", ctx.Err())
	}
	defer b.let(s)
	if b.err != nil {
		return b.err
	}
	return use(b.answer)
}

// join joins the next query. The query lives until its time is over or nobody waits for it.
func (q *queue) join(ctx context.Context, s *Sampler, what *selection, from time.Time) *batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.next != nil && q.next.looks >= q.limit() {
		// One that does not fit in goes alone.
		b := newBatch(ctx, s, what, from)
		go q.ask(s, b)
		return b
	}
	if q.next == nil {
		q.next = newBatch(ctx, s, what, from)
	} else {
		q.next.add(what, from)
	}
	b := q.next
	if !q.busy {
		q.busy = true
		go q.run(s)
	}
	return b
}

func (q *queue) limit() int {
	if q.most == 0 {
		return mostLooks
	}
	return q.most
}

func newBatch(ctx context.Context, s *Sampler, what *selection, from time.Time) *batch {
	b := &batch{from: from, done: make(chan struct{}), what: selection{cold: what.cold}}
	b.ctx, b.cancel = context.WithTimeout(context.WithoutCancel(ctx), s.options.Timeout)
	b.add(what, from)
	return b
}

func (b *batch) add(what *selection, from time.Time) {
	if from.Before(b.from) {
		b.from = from
	}
	b.looks++
	b.waiting++
	b.what.native = what.native
	b.what.cold = b.what.cold.and(what.cold)
	b.what.namespaces = unite(b.what.namespaces, what.namespaces)
	b.what.services = unite(b.what.services, what.services)
	b.what.revisions = unite(b.what.revisions, what.revisions)
	b.what.bounds = unite(b.what.bounds, what.bounds)
}

func unite(a, b []string) []string {
	for _, x := range b {
		if !slices.Contains(a, x) {
			a = append(a, x)
		}
	}
	return a
}

// run asks queries until nobody waits.
func (q *queue) run(s *Sampler) {
	for {
		q.mu.Lock()
		b := q.next
		if q.next = nil; b == nil {
			q.busy = false
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
		q.ask(s, b)
	}
}

// ask asks one query and hands its answer to those who still wait.
func (q *queue) ask(s *Sampler, b *batch) {
	defer b.cancel()
	a := s.answers.Get().(*answer)
	b.err = s.ask(b.ctx, &b.what, b.from, s.options.Now().Add(lead).Truncate(time.Millisecond), a)
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case b.looks > 1 && b.err != nil && b.ctx.Err() == nil:
		// One of them may be at fault: each asks alone, and fewer share the next query.
		q.most, b.err = max(b.looks/2, 1), errAlone
	case b.looks == 1 && errors.Is(b.err, errTooLarge):
		b.err = errAlone // in smaller pieces
	case b.err == nil && q.most > 0 && q.most < mostLooks:
		q.most++
	}
	b.answer = a
	b.users.Store(int32(b.waiting)) //nolint:gosec // few
	if b.waiting == 0 {
		s.answers.Put(a)
	}
	b.waiting = -1
	close(b.done)
}

// leave stops waiting, and says whether the answer was there nevertheless. A query that nobody waits for any
// more is given up, and one that has not begun is forgotten, so that nobody joins it.
func (q *queue) leave(b *batch) (answered bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if b.waiting < 0 {
		return true
	}
	if b.waiting--; b.waiting == 0 {
		b.cancel()
		if q.next == b {
			q.next = nil
		}
	}
	return false
}

// let lets go of the answer.
func (b *batch) let(s *Sampler) {
	if b.users.Add(-1) == 0 {
		s.answers.Put(b.answer)
	}
}
