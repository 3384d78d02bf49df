package notifier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-mesh/sluice/notifier/internal/recent"
)

// Config of a Queue. Zero values mean the defaults named with the fields.
type Config struct {
	// Channels makes the Notifier for a target, by Target.Channel. Required.
	Channels map[string]func(Target) Notifier
	// Registerer takes the metrics. Nil: they are kept, but not exposed.
	Registerer prometheus.Registerer
	// Log; nil: slog.Default().
	Log *slog.Logger
	// Depth is how many events of one release may wait for one target (64), Capacity how many may
	// wait in all (8192).
	Depth, Capacity int
	// Parallel is how many deliveries each kind of channel makes at a time (16), so that slow
	// webhooks do not hold up Slack.
	Parallel int
	// Deadline ends the attempts to deliver an event, counted from Enqueue (15 minutes);
	// FinalDeadline those of an event that ends a release (6 hours).
	Deadline, FinalDeadline time.Duration
	// Attempt bounds one attempt (30 seconds).
	Attempt time.Duration
	// Grace is how long Run goes on delivering after its context has ended (5 seconds).
	Grace time.Duration
	// BackOff makes the pauses between the attempts for one event; the randomness is its own.
	// Nil: exponential from 500 ms to 1 minute, each pause between half and one and a half of it.
	BackOff func() backoff.BackOff
}

// Queue stands between the operator and the channels. Enqueue never blocks; Run delivers. Events of
// one release arrive at one target in the order of Enqueue, and each event ID at most once per target
// while the Queue lives (the last 16384 IDs are remembered). Releases and targets do not wait for each
// other. Time is the runtime's; tests run in a bubble of testing/synctest.
type Queue struct {
	cfg     Config
	metrics metrics
	slots   map[string]chan struct{}

	mu      sync.Mutex
	lanes   map[laneKey]*lane
	waiting int
	seen    *recent.Set
	// serve starts a worker for a lane; nil until Run. closed: Run has been told to end.
	serve  func(laneKey)
	closed bool
}

// laneKey is one release at one target.
type laneKey struct {
	channel, name, address      string
	namespace, rollout, release string
}

// lane holds what waits; served while a worker takes from it.
type lane struct {
	items  []item
	served bool
}

type item struct {
	event    Event
	target   Target
	deadline time.Time
}

const remembered = 16384

// NewQueue returns a Queue that takes events and delivers them once Run is called.
func NewQueue(cfg Config) (*Queue, error) {
	cfg.Depth = positive(cfg.Depth, 64)
	cfg.Capacity = positive(cfg.Capacity, 8192)
	cfg.Parallel = positive(cfg.Parallel, 16)
	cfg.Deadline = positive(cfg.Deadline, 15*time.Minute)
	cfg.FinalDeadline = positive(cfg.FinalDeadline, 6*time.Hour)
	cfg.Attempt = positive(cfg.Attempt, 30*time.Second)
	cfg.Grace = positive(cfg.Grace, 5*time.Second)
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.BackOff == nil {
		cfg.BackOff = exponential
	}
	q := &Queue{
		cfg:     cfg,
		metrics: newMetrics(),
		slots:   make(map[string]chan struct{}),
		lanes:   make(map[laneKey]*lane),
		seen:    recent.New(remembered),
	}
	for channel := range cfg.Channels {
		q.slots[channel] = make(chan struct{}, cfg.Parallel)
		q.metrics.expect(channel)
	}
	if cfg.Registerer != nil {
		if err := q.metrics.register(cfg.Registerer); err != nil {
			return nil, fmt.Errorf("register notification metrics: %w", err)
		}
	}
	return q, nil
}

func positive[T int | time.Duration](value, otherwise T) T {
	if value <= 0 {
		return otherwise
	}
	return value
}

func exponential() backoff.BackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.Multiplier, b.MaxInterval = 500*time.Millisecond, 2, time.Minute
	return b
}

// Enqueue hands the event to every target and returns at once. When there is no room, the oldest
// event of the same release that a newer one stands in for is dropped: an event carries the whole
// picture. Events that end a release go last, those about an approval before them. The event's and
// targets' slices are copied.
func (q *Queue) Enqueue(event Event, targets []Target) {
	event.StableImages = slices.Clone(event.StableImages)
	event.CanaryImages = slices.Clone(event.CanaryImages)
	deadline := time.Now().Add(q.cfg.Deadline)
	if event.Final {
		deadline = time.Now().Add(q.cfg.FinalDeadline)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, target := range targets {
		q.add(item{event: event, target: target, deadline: deadline})
	}
}

func (q *Queue) add(it item) {
	channel := it.target.Channel
	if q.cfg.Channels[channel] == nil {
		// The name of an unknown kind is not the installation's; it does not become a label.
		q.drop(it, "unknown", reasonUnknownChannel, nil)
		return
	}
	if q.closed {
		q.drop(it, channel, reasonShutdown, nil)
		return
	}
	key := it.key()
	if !q.seen.Add(fmt.Sprintf("%q %q %q %q", key.channel, key.name, key.address, it.event.ID)) {
		return
	}
	l := q.lanes[key]
	if l == nil {
		l = &lane{}
		q.lanes[key] = l
	}
	l.items = append(l.items, it)
	q.waiting++
	if len(l.items) > q.cfg.Depth {
		q.shed(key, reasonCoalesced)
	} else if q.waiting > q.cfg.Capacity {
		q.shed(q.crowded(key), reasonFull)
	}
	if len(l.items) == 0 && !l.served {
		delete(q.lanes, key)
		return
	}
	if q.serve != nil && !l.served {
		l.served = true
		q.serve(key)
	}
}

func (i item) key() laneKey {
	return laneKey{
		channel: i.target.Channel, name: i.target.Name, address: i.target.Address.Reveal(),
		namespace: i.event.Namespace, rollout: i.event.Rollout, release: i.event.Release,
	}
}

// rank orders events by how much is lost when they are dropped.
func (i item) rank() int {
	switch {
	case i.event.Final:
		return 2
	case i.event.Kind == KindApprovalNeeded, i.event.Kind == KindApproved:
		return 1
	}
	return 0
}

// crowded returns the lane to shed from when the queue as a whole is full: the release's own when it
// has something to coalesce, else the one whose least event loses least, of those the longest.
func (q *Queue) crowded(own laneKey) laneKey {
	if len(q.lanes[own].items) > 1 {
		return own
	}
	worst, least := own, q.lanes[own].items[q.lanes[own].victim()].rank()
	for key, l := range q.lanes {
		if len(l.items) == 0 {
			continue
		}
		rank := l.items[l.victim()].rank()
		if rank < least || rank == least && len(l.items) > len(q.lanes[worst].items) {
			worst, least = key, rank
		}
	}
	return worst
}

// victim is the index of the oldest of the events of least rank; the lane must not be empty.
func (l *lane) victim() int {
	victim := 0
	for i := range l.items {
		if l.items[i].rank() < l.items[victim].rank() {
			victim = i
		}
	}
	return victim
}

// shed drops the victim of a lane.
func (q *Queue) shed(key laneKey, reason string) {
	l := q.lanes[key]
	victim := l.victim()
	q.drop(l.items[victim], key.channel, reason, nil)
	l.items = slices.Delete(l.items, victim, victim+1)
	q.waiting--
}

func (q *Queue) drop(it item, channel, reason string, cause error) {
	q.metrics.dropped.WithLabelValues(channel, reason).Inc()
	attrs := []any{"channel", channel, "target", it.target.Name, "event", it.event.ID, "reason", reason}
	if cause != nil {
		attrs = append(attrs, "error", it.target.Token.Redact(it.target.Address.Redact(cause.Error())))
	}
	q.cfg.Log.Warn("notification dropped", attrs...)
}

// Run delivers until ctx ends, goes on for at most Config.Grace with what still waits, and returns
// when every delivery has ended. It may be called once.
func (q *Queue) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var workers sync.WaitGroup

	q.mu.Lock()
	if q.serve != nil {
		q.mu.Unlock()
		return errors.New("run notification queue: it has been run before")
	}
	// Called with the lock held and never after closed, so the group does not grow once waited for.
	q.serve = func(key laneKey) { workers.Go(func() { q.work(work, key) }) }
	for key, l := range q.lanes {
		l.served = true
		q.serve(key)
	}
	q.mu.Unlock()

	<-ctx.Done()
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	grace := time.AfterFunc(q.cfg.Grace, stop)
	defer grace.Stop()
	workers.Wait()
	return nil
}

// work delivers what waits in a lane, in order, and takes the lane away when it is empty.
func (q *Queue) work(ctx context.Context, key laneKey) {
	for {
		it, ok := q.take(key)
		if !ok {
			return
		}
		if ctx.Err() != nil {
			q.drop(it, key.channel, reasonShutdown, nil)
			continue
		}
		q.deliver(ctx, it)
	}
}

func (q *Queue) take(key laneKey) (item, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.lanes[key]
	if len(l.items) == 0 {
		delete(q.lanes, key)
		return item{}, false
	}
	it := l.items[0]
	l.items = slices.Delete(l.items, 0, 1)
	q.waiting--
	return it, true
}

func (q *Queue) deliver(work context.Context, it item) {
	ctx, cancel := context.WithDeadline(work, it.deadline)
	defer cancel()
	channel := it.target.Channel
	notifier := q.cfg.Channels[channel](it.target)
	var last error
	tries := 0
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		if tries++; tries > 1 {
			q.metrics.retries.WithLabelValues(channel).Inc()
		}
		err := q.attempt(ctx, channel, notifier, it.event)
		// What ended the attempts says less than what the channel answered before.
		if err != nil && (last == nil || ctx.Err() == nil) {
			last = err
		}
		return struct{}{}, err
	}, backoff.WithBackOff(q.cfg.BackOff()), backoff.WithMaxElapsedTime(0))
	switch {
	case err == nil:
		q.metrics.sent.WithLabelValues(channel).Inc()
		q.cfg.Log.Debug("notification sent", "channel", channel, "target", it.target.Name, "event", it.event.ID)
	case IsPermanent(last):
		q.drop(it, channel, reasonPermanent, last)
	case work.Err() != nil:
		q.drop(it, channel, reasonShutdown, last)
	default:
		q.drop(it, channel, reasonDeadline, last)
	}
}

func (q *Queue) attempt(ctx context.Context, channel string, notifier Notifier, event Event) error {
	select {
	case q.slots[channel] <- struct{}{}:
		defer func() { <-q.slots[channel] }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, q.cfg.Attempt)
	defer cancel()
	return notifier.Notify(ctx, event)
}
