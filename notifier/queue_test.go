package notifier_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/sluice-mesh/sluice/notifier"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a channel whose answers the test decides.
type recorder struct {
	mu     sync.Mutex
	got    []string
	at     []time.Duration
	start  time.Time
	answer func(ctx context.Context, target notifier.Target, event notifier.Event) error
}

func (r *recorder) to(target notifier.Target) notifier.Notifier { return recording{r, target} }

type recording struct {
	*recorder
	target notifier.Target
}

func (r recording) Notify(ctx context.Context, event notifier.Event) error {
	if r.answer != nil {
		if err := r.answer(ctx, r.target, event); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, event.ID)
	r.at = append(r.at, time.Since(r.start))
	return nil
}

func (r *recorder) ids() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.got...)
}

// harness runs a queue in the test's bubble until the test has ended.
type harness struct {
	*notifier.Queue
	recorder *recorder
	registry *prometheus.Registry
	log      *strings.Builder
	stop     func()
}

func start(t *testing.T, cfg notifier.Config, r *recorder, run bool) *harness {
	t.Helper()
	h := &harness{recorder: r, registry: prometheus.NewRegistry(), log: &strings.Builder{}}
	r.start = time.Now()
	cfg.Channels = map[string]func(notifier.Target) notifier.Notifier{"test": r.to, "other": r.to}
	cfg.Registerer = h.registry
	cfg.Log = slog.New(slog.NewTextHandler(h.log, nil))
	if cfg.BackOff == nil {
		cfg.BackOff = func() backoff.BackOff { return backoff.NewConstantBackOff(time.Second) }
	}
	queue, err := notifier.NewQueue(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.Queue = queue
	if run {
		h.run(t)
	}
	return h
}

func (h *harness) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(h.stop)
	synctest.Wait()
}

// count reads a counter summed over the labels that are not asked for.
func (h *harness) count(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	families, err := h.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for _, family := range families {
		if family.GetName() != "sluice_notifications_"+name {
			continue
		}
	metrics:
		for _, metric := range family.GetMetric() {
			have := map[string]string{}
			for _, pair := range metric.GetLabel() {
				have[pair.GetName()] = pair.GetValue()
			}
			for i := 0; i < len(labels); i += 2 {
				if have[labels[i]] != labels[i+1] {
					continue metrics
				}
			}
			sum += metric.GetCounter().GetValue()
		}
	}
	return sum
}

func event(id string) notifier.Event {
	return notifier.Event{ID: id, Kind: notifier.KindWeight, Namespace: "shop", Rollout: "shop", Release: "r1"}
}

func final(id string) notifier.Event {
	e := event(id)
	e.Kind, e.Final = notifier.KindPromoted, true
	return e
}

var target = notifier.Target{Channel: "test", Name: "a", Address: "https://example.test/hook/s3cr3t", Token: "t0ken"}

func targets(list ...notifier.Target) []notifier.Target { return list }

func TestOrderIsKeptThroughFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		r := &recorder{answer: func(context.Context, notifier.Target, notifier.Event) error {
			if down.Load() {
				return errors.New("away")
			}
			return nil
		}}
		h := start(t, notifier.Config{}, r, true)
		before := time.Now()
		for i := range 5 {
			h.Enqueue(event(fmt.Sprint("e", i)), targets(target))
		}
		if took := time.Since(before); took != 0 {
			t.Errorf("Enqueue took %v while the channel was away", took)
		}
		time.Sleep(10*time.Second + time.Millisecond) // virtual
		synctest.Wait()
		if got := r.ids(); len(got) != 0 {
			t.Fatalf("delivered %v while the channel was away", got)
		}
		if got := h.count(t, "retries_total"); got != 10 {
			t.Errorf("retries = %v, want 10: one a second", got)
		}
		down.Store(false)
		time.Sleep(time.Second) // virtual
		synctest.Wait()
		if diff := cmp.Diff([]string{"e0", "e1", "e2", "e3", "e4"}, r.ids()); diff != "" {
			t.Error(diff)
		}
		if got := h.count(t, "sent_total", "channel", "test"); got != 5 {
			t.Errorf("sent = %v, want 5", got)
		}
		h.stop()
	})
}

func TestRetryAfterReplacesTheBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		r := &recorder{answer: func(context.Context, notifier.Target, notifier.Event) error {
			if tries++; tries == 1 {
				return fmt.Errorf("post: %w", notifier.RetryAfter(errors.New("slow down"), 42*time.Second))
			}
			return nil
		}}
		h := start(t, notifier.Config{}, r, true)
		h.Enqueue(event("e"), targets(target))
		time.Sleep(time.Minute) // virtual
		synctest.Wait()
		if diff := cmp.Diff([]time.Duration{42 * time.Second}, r.at); diff != "" {
			t.Error(diff)
		}
		h.stop()
	})
}

func TestDefaultBackOffGrowsAndIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries []time.Time
		r := &recorder{answer: func(context.Context, notifier.Target, notifier.Event) error {
			tries = append(tries, time.Now())
			return errors.New("away")
		}}
		cfg := notifier.Config{Deadline: 20 * time.Minute}
		cfg.Channels = map[string]func(notifier.Target) notifier.Notifier{"test": r.to}
		cfg.Log = slog.New(slog.DiscardHandler)
		queue, err := notifier.NewQueue(cfg)
		if err != nil {
			t.Fatal(err)
		}
		h := &harness{Queue: queue}
		h.run(t)
		h.Enqueue(event("e"), targets(target))
		time.Sleep(20 * time.Minute) // virtual
		synctest.Wait()
		for i := range tries[1:] {
			pause := tries[i+1].Sub(tries[i])
			mean := min(500*time.Millisecond<<i, time.Minute)
			if i > 10 {
				mean = time.Minute
			}
			if pause < mean/2 || pause > mean*3/2+1 {
				t.Errorf("pause %d = %v, want between half and one and a half of %v", i, pause, mean)
			}
		}
		if len(tries) < 15 || len(tries) > 60 {
			t.Errorf("%d attempts in 20 minutes", len(tries))
		}
		h.stop()
	})
}

func TestPermanentErrorIsNotRetriedAndNotLoggedWithSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		r := &recorder{answer: func(_ context.Context, target notifier.Target, e notifier.Event) error {
			if e.ID != "bad" {
				return nil
			}
			tries++
			return notifier.Permanent(fmt.Errorf("careless %s with %s", target.Address.Reveal(), target.Token.Reveal()))
		}}
		h := start(t, notifier.Config{}, r, true)
		h.Enqueue(event("bad"), targets(target))
		h.Enqueue(event("good"), targets(target))
		synctest.Wait()
		if tries != 1 {
			t.Errorf("%d attempts, want 1", tries)
		}
		if diff := cmp.Diff([]string{"good"}, r.ids()); diff != "" {
			t.Error(diff)
		}
		if got := h.count(t, "dropped_total", "channel", "test", "reason", "permanent"); got != 1 {
			t.Errorf("dropped = %v, want 1", got)
		}
		h.stop()
		if log := h.log.String(); !strings.Contains(log, "careless [redacted] with [redacted]") {
			t.Errorf("log: %s", log)
		}
	})
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		r := &recorder{answer: func(context.Context, notifier.Target, notifier.Event) error {
			if down.Load() {
				return errors.New("away")
			}
			return nil
		}}
		h := start(t, notifier.Config{Deadline: time.Minute, FinalDeadline: time.Hour}, r, true)
		for i := range 3 {
			h.Enqueue(event(fmt.Sprint("e", i)), targets(target))
		}
		h.Enqueue(final("end"), targets(target))
		time.Sleep(2 * time.Minute) // virtual
		synctest.Wait()
		if got := h.count(t, "dropped_total", "reason", "deadline"); got != 3 {
			t.Errorf("dropped = %v, want the 3 ordinary ones", got)
		}
		down.Store(false)
		time.Sleep(time.Minute) // virtual
		synctest.Wait()
		if diff := cmp.Diff([]string{"end"}, r.ids()); diff != "" {
			t.Error(diff)
		}
		h.stop()
		if !strings.Contains(h.log.String(), "error=away") {
			t.Errorf("the log does not say why: %s", h.log)
		}
	})
}

func TestRepeatIsDeliveredOncePerTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		h := start(t, notifier.Config{}, r, true)
		second := target
		second.Address = "elsewhere"
		for range 3 {
			h.Enqueue(event("e"), targets(target, second, target))
			synctest.Wait()
		}
		if diff := cmp.Diff([]string{"e", "e"}, r.ids()); diff != "" {
			t.Error(diff)
		}
		h.stop()
	})
}

func TestFullLaneCoalesces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		h := start(t, notifier.Config{Depth: 4}, r, false)
		ask := event("ask")
		ask.Kind = notifier.KindApprovalNeeded
		h.Enqueue(final("end1"), targets(target))
		h.Enqueue(ask, targets(target))
		for i := range 10 {
			h.Enqueue(event(fmt.Sprint("e", i)), targets(target))
		}
		h.run(t)
		synctest.Wait()
		if diff := cmp.Diff([]string{"end1", "ask", "e8", "e9"}, r.ids()); diff != "" {
			t.Error(diff)
		}
		if got := h.count(t, "dropped_total", "reason", "coalesced"); got != 8 {
			t.Errorf("coalesced = %v, want 8", got)
		}
		h.stop()
	})
}

func TestFullQueueKeepsFinalEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		h := start(t, notifier.Config{Capacity: 3}, r, false)
		for i := range 3 {
			e := event(fmt.Sprint("e", i))
			e.Release = e.ID
			h.Enqueue(e, targets(target))
		}
		end := final("end")
		end.Release = "over"
		h.Enqueue(end, targets(target))
		late := event("late")
		late.Release = "late"
		h.Enqueue(late, targets(target))
		h.run(t)
		synctest.Wait()
		got := r.ids()
		if len(got) != 3 || !strings.Contains(strings.Join(got, " "), "end") {
			t.Errorf("delivered %v, want three with the final one", got)
		}
		if got := h.count(t, "dropped_total", "reason", "full"); got != 2 {
			t.Errorf("dropped = %v, want 2", got)
		}
		h.stop()
	})
}

func TestSlowTargetHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{answer: func(ctx context.Context, target notifier.Target, _ notifier.Event) error {
			if target.Name == "hung" {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}}
		h := start(t, notifier.Config{Parallel: 2, Attempt: 10 * time.Second}, r, true)
		hung := notifier.Target{Channel: "test", Name: "hung"}
		for i := range 2 {
			e := event(fmt.Sprint("h", i))
			e.Release = e.ID
			h.Enqueue(e, targets(hung))
		}
		synctest.Wait()
		h.Enqueue(event("e"), targets(notifier.Target{Channel: "other"}, target))
		synctest.Wait()
		if diff := cmp.Diff([]string{"e"}, r.ids()); diff != "" {
			t.Errorf("another kind of channel waited: %s", diff)
		}
		time.Sleep(10 * time.Second) // virtual: the attempt's bound
		synctest.Wait()
		if diff := cmp.Diff([]string{"e", "e"}, r.ids()); diff != "" {
			t.Errorf("a target of the same kind waited longer than an attempt: %s", diff)
		}
		h.stop()
	})
}

func TestStopDeliversWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{answer: func(context.Context, notifier.Target, notifier.Event) error {
			time.Sleep(time.Second) // virtual: a slow channel
			return nil
		}}
		h := start(t, notifier.Config{Grace: 3500 * time.Millisecond}, r, true)
		for i := range 6 {
			h.Enqueue(event(fmt.Sprint("e", i)), targets(target))
		}
		synctest.Wait()
		before := time.Now()
		h.stop()
		if took := time.Since(before); took > 4*time.Second {
			t.Errorf("Run ended after %v", took)
		}
		if diff := cmp.Diff([]string{"e0", "e1", "e2", "e3"}, r.ids()); diff != "" {
			t.Error(diff)
		}
		h.Enqueue(event("late"), targets(target))
		if got := h.count(t, "dropped_total", "reason", "shutdown"); got != 3 {
			t.Errorf("dropped = %v, want 3", got)
		}
		if err := h.Run(t.Context()); err == nil {
			t.Error("a second Run was accepted")
		}
	})
}

func TestUnknownChannelIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, notifier.Config{}, &recorder{}, true)
		h.Enqueue(event("e"), targets(notifier.Target{Channel: "pigeon"}))
		if got := h.count(t, "dropped_total", "channel", "unknown", "reason", "unknown_channel"); got != 1 {
			t.Errorf("dropped = %v, want 1", got)
		}
		h.stop()
	})
}

func TestSecretsHide(t *testing.T) {
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "target", target, "address", target.Address)
	for _, text := range []string{fmt.Sprint(target), fmt.Sprintf("%+v %#v %q", target, target, target.Token), log.String()} {
		if strings.Contains(text, "s3cr3t") || strings.Contains(text, "t0ken") {
			t.Errorf("a secret shows in %s", text)
		}
	}
}
