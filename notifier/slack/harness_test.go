package slack_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/sluice-mesh/sluice/notifier"
	"github.com/sluice-mesh/sluice/notifier/slack"
	"github.com/sluice-mesh/sluice/notifier/slack/slackfake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait; nothing waits that long unless it is broken.
const patience = 10 * time.Second

// workspace is a fake Slack, and what the operator would keep beside a Bot.
type workspace struct {
	*slackfake.Server
	url     string
	threads *memory
	panel   *panel
	log     *logbook

	mu       sync.Mutex
	bot, app string
}

func newWorkspace(t *testing.T, options slackfake.Options) *workspace {
	t.Helper()
	options.BotToken, options.AppToken = "xoxb-s3cr3t-bot", "xapp-s3cr3t-app"
	fake := slackfake.New(options)
	server := httptest.NewServer(fake)
	t.Cleanup(server.Close)
	t.Cleanup(fake.Close)
	w := &workspace{
		Server: fake, url: server.URL, threads: &memory{refs: map[slack.Key]slack.Ref{}},
		panel: &panel{changed: make(chan struct{})}, log: &logbook{}, bot: options.BotToken, app: options.AppToken,
	}
	t.Cleanup(func() {
		if log := w.log.String(); strings.Contains(log, "s3cr3t") {
			t.Errorf("a token shows in the log:\n%s", log)
		}
	})
	return w
}

func (w *workspace) tokens(context.Context) (bot, app string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bot, w.app, nil
}

// rotate changes what the operator knows; SetTokens what Slack accepts.
func (w *workspace) rotate(bot, app string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bot, w.app = bot, app
}

func (w *workspace) await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.Wait(ctx, condition); err != nil {
		t.Fatalf("waiting for %s: %v\nmessages: %+v\ncalls: %+v\nlog: %s", what, err, w.Messages(), w.Calls(), w.log)
	}
}

// leader is one life of the operator: a Bot and a queue, until stop.
type leader struct {
	*notifier.Queue
	bot  *slack.Bot
	stop func()
}

func (w *workspace) lead(t *testing.T) *leader {
	t.Helper()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	quick := func() backoff.BackOff { return backoff.NewConstantBackOff(10 * time.Millisecond) }
	bot := slack.New(slack.Config{
		Tokens: w.tokens, Threads: w.threads, Approvals: w.panel, APIURL: w.url + "/api",
		Transport: transport, Log: log, BackOff: quick,
	})
	queue, err := notifier.NewQueue(notifier.Config{
		Channels:   map[string]func(notifier.Target) notifier.Notifier{notifier.ChannelSlack: bot.To},
		Registerer: prometheus.NewRegistry(), Log: log, BackOff: quick, Grace: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{queue.Run, bot.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	l := &leader{Queue: queue, bot: bot, stop: sync.OnceFunc(func() {
		cancel()
		running.Wait()
		bot.CloseIdle()
	})}
	t.Cleanup(l.stop)
	return l
}

func (l *leader) tell(events ...notifier.Event) {
	for _, event := range events {
		l.Enqueue(event, []notifier.Target{{Channel: notifier.ChannelSlack, Name: "#releases", Address: "#releases"}})
	}
}

// memory is where the operator would keep places of messages.
type memory struct {
	mu    sync.Mutex
	refs  map[slack.Key]slack.Ref
	fails int
}

func (m *memory) Load(_ context.Context, key slack.Key) (slack.Ref, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ref, ok := m.refs[key]
	return ref, ok, nil
}

func (m *memory) Save(_ context.Context, key slack.Key, ref slack.Ref) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails > 0 {
		m.fails--
		return fmt.Errorf("conflict")
	}
	m.refs[key] = ref
	return nil
}

// last returns the ID of the last event that was delivered and saved for the only release.
func (m *memory) last() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	for ref := range maps.Values(m.refs) {
		return ref.Event
	}
	return ""
}

// panel is who may approve, and what was decided.
type panel struct {
	mu        sync.Mutex
	approvers []string
	err       error
	decisions []notifier.Decision
	changed   chan struct{}
	block     chan struct{}
}

func (p *panel) Approvers(context.Context, notifier.Decision) ([]string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.approvers), nil
}

func (p *panel) Decide(ctx context.Context, decision notifier.Decision) error {
	if p.block != nil {
		select {
		case <-p.block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return p.err
	}
	p.decisions = append(p.decisions, decision)
	return nil
}

func (p *panel) taken() []notifier.Decision {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.decisions)
}

// logbook is a log that may be read while it is written.
type logbook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// story makes the events of one release, in order.
type story struct{ count int }

func (s *story) event(kind, reason string, desired, live int32) notifier.Event {
	s.count++
	return notifier.Event{
		ID: fmt.Sprintf("r1-%s-%d", kind, s.count), Kind: kind, At: time.Date(2026, 5, 6, 7, 8, s.count, 0, time.UTC),
		Namespace: "shop", Rollout: "cart", Release: "r1", Phase: "Progressing", Reason: reason,
		Step: "2 of 4: approval", StepIndex: 1, Desired: desired, Live: live,
		StableImages: []string{"registry.test/cart:v1"}, CanaryImages: []string{"registry.test/cart:v2"},
	}
}

func (s *story) end(kind, reason string) notifier.Event {
	event := s.event(kind, reason, 0, 0)
	event.Phase, event.Final = "RolledBack", true
	if kind == notifier.KindPromoted {
		event.Phase, event.Desired, event.Live = "Healthy", 100, 100
	}
	return event
}

// texts returns the words of messages, in order.
func texts(messages []slackfake.Message) []string {
	list := make([]string, len(messages))
	for i, message := range messages {
		list[i] = message.Text
	}
	return list
}
