package slack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	slackapi "github.com/slack-go/slack"
	"github.com/slack-go/slack/socketmode"
	"golang.org/x/sync/errgroup"

	"github.com/sluice-mesh/sluice/notifier"
	"github.com/sluice-mesh/sluice/notifier/internal/recent"
)

const (
	// steady is how long a connection must last for its end to be nothing strange: Slack refreshes
	// connections every few hours.
	steady = 10 * time.Second
	// atOnce is how many presses are handled at a time; each may wait for the API server and Slack.
	atOnce = 16
	// ackWithin is how long Slack waits before it shows the person a failure.
	ackWithin = 3 * time.Second
)

// Run takes presses until ctx ends, connecting anew with back-off whenever the connection ends, and
// returns when the presses under way have been handled. Only the leader may run it.
func (b *Bot) Run(ctx context.Context) error {
	defer b.CloseIdle()
	if b.cfg.Approvals == nil {
		<-ctx.Done()
		return nil
	}
	l := &listener{Bot: b, seen: recent.New(1024)}
	l.presses.SetLimit(atOnce)
	defer func() { _ = l.presses.Wait() }()

	pauses := b.cfg.BackOff()
	pauses.Reset()
	for {
		lasted, err := l.listen(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if lasted >= steady {
			b.cfg.Log.Info("slack connection ended, connecting again", "after", lasted.Round(time.Second))
			pauses.Reset()
			continue
		}
		pause := pauses.NextBackOff()
		if asked, ok := notifier.Pause(err); ok {
			pause = max(pause, asked)
		}
		b.cfg.Log.Warn("slack connection failed", "error", err, "again", pause)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

type listener struct {
	*Bot
	presses errgroup.Group
	seen    *recent.Set
}

var errEnded = errors.New("the connection ended")

// single lets the library open one connection. It would open the next by itself, at once and with the
// tokens that it was made with.
type single struct {
	*http.Client
	used atomic.Bool
}

func (s *single) Do(request *http.Request) (*http.Response, error) {
	if s.used.Swap(true) {
		return nil, errEnded
	}
	return s.Client.Do(request)
}

// listen holds one Socket Mode connection and returns how long it was up.
func (l *listener) listen(ctx context.Context) (lasted time.Duration, err error) {
	bot, app, err := l.cfg.Tokens(ctx)
	if err != nil {
		return 0, fmt.Errorf("get slack tokens: %w", err)
	}
	if app == "" {
		return 0, errors.New("get slack tokens: there is no app-level token")
	}
	api := slackapi.New(bot, slackapi.OptionAppLevelToken(app),
		slackapi.OptionAPIURL(l.cfg.APIURL), slackapi.OptionHTTPClient(&single{Client: l.http}))
	client := socketmode.New(api,
		socketmode.OptionReadLimit(maxAnswer),
		socketmode.OptionDialer(&websocket.Dialer{
			Proxy:            http.ProxyFromEnvironment,
			HandshakeTimeout: 15 * time.Second,
			WriteBufferSize:  32 << 10, // Slack does not put split frames together
		}))

	connection, end := context.WithCancel(ctx)
	defer end()
	done := make(chan error, 1)
	go func() { done <- client.RunContext(connection) }()

	err = errEnded
	var since time.Time
	for {
		select {
		case event := <-client.Events:
			switch data := event.Data.(type) {
			case *slackapi.ConnectionErrorEvent:
				if !errors.Is(data.ErrorObj, errEnded) {
					err = l.judge("apps.connections.open", "", data.ErrorObj)
				}
				end()
			case slackapi.InteractionCallback:
				l.take(connection, ctx, client, event, data)
			default:
				if event.Type == socketmode.EventTypeHello {
					since = l.cfg.Now()
					l.cfg.Log.Info("taking approvals from slack")
				} else if event.Request != nil && event.Request.EnvelopeID != "" {
					_ = client.AckCtx(connection, event.Request.EnvelopeID, nil)
				}
			}
		case ended := <-done:
			if errors.Is(err, errEnded) && ended != nil && !errors.Is(ended, context.Canceled) {
				err = l.judge("apps.connections.open", "", ended)
			}
			if !since.IsZero() {
				lasted = l.cfg.Now().Sub(since)
			}
			return lasted, err
		}
	}
}

// take acknowledges an interaction before anything else, then handles the presses in it aside.
// A press outlives the connection that it came through.
func (l *listener) take(connection, ctx context.Context, client *socketmode.Client, event socketmode.Event, callback slackapi.InteractionCallback) {
	acknowledging, cancel := context.WithTimeout(connection, ackWithin)
	defer cancel()
	if err := client.AckCtx(acknowledging, event.Request.EnvelopeID, nil); err != nil {
		l.cfg.Log.Warn("slack press not acknowledged", "error", err)
		return
	}
	if !l.seen.Add(envelope(callback, event.Request.EnvelopeID)) {
		return
	}
	for _, press := range pressesIn(callback) {
		if !l.presses.TryGo(func() error { l.handle(ctx, press); return nil }) {
			l.cfg.Log.Warn("slack press refused", "user", press.userID, "reason", "too many at a time")
		}
	}
}
