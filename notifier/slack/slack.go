// Package slack shows releases in Slack and takes approvals from it. It owns the message of a release
// (one, created with the first event and updated after), the thread below it (a reply for each thing
// that happens), the buttons of an approval, and the Socket Mode connection through which presses
// come. It does not queue or retry (notifier.Queue does), does not know where tokens and the place of
// a message are kept, who may approve, or what a decision does: those are passed in.
//
// The Slack app needs the bot scope chat:write (and chat:write.public, or an invitation to the
// channel), interactivity, Socket Mode, and an app-level token with connections:write. No address of
// the cluster has to be reachable from Slack.
package slack

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	slackapi "github.com/slack-go/slack"

	"github.com/sluice-mesh/sluice/notifier"
)

// Tokens returns the bot token (xoxb-) and the app-level token (xapp-) that are valid now. It is
// asked for every call and every connection, so that a rotated Secret is picked up.
type Tokens func(ctx context.Context) (bot, app string, err error)

// TokenFiles reads the tokens from files, as a mounted Secret has them. An empty path is no token.
func TokenFiles(bot, app string) Tokens {
	return func(context.Context) (string, string, error) {
		botToken, err := readToken(bot)
		if err != nil {
			return "", "", fmt.Errorf("read bot token: %w", err)
		}
		appToken, err := readToken(app)
		if err != nil {
			return "", "", fmt.Errorf("read app-level token: %w", err)
		}
		return botToken, appToken, nil
	}
}

func readToken(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	token, err := io.ReadAll(io.LimitReader(file, 4096))
	return strings.TrimSpace(string(token)), err
}

// Key names a release's message.
type Key struct {
	Namespace, Rollout, Release string
	// Channel is the channel as the target names it, ID or name.
	Channel string
}

// Ref is where a release's message is, and what it shows.
type Ref struct {
	// Channel is the channel's ID, Timestamp the message's.
	Channel   string `json:"channel"`
	Timestamp string `json:"ts"`
	// Awaiting is the step whose approval the message's buttons are for; nil without buttons.
	Awaiting *int32 `json:"awaiting,omitempty"`
	// Event is the ID of the last event that was delivered.
	Event string `json:"event,omitempty"`
}

// Threads remembers where messages are, beyond the life of the process, so that a new leader goes on
// with the same message. Save is called once for each event, and once more for a new message.
type Threads interface {
	// Load returns false when the key is not known.
	Load(ctx context.Context, key Key) (Ref, bool, error)
	Save(ctx context.Context, key Key, ref Ref) error
}

// Approvals is what becomes of a press on a button.
type Approvals interface {
	// Approvers lists the IDs of the Slack users that may decide: those of the release and those of
	// the installation. With an empty list nobody may.
	Approvers(ctx context.Context, decision notifier.Decision) ([]string, error)
	// Decide carries the decision out. The text of a notifier.Refusal (the release is over, somebody
	// was faster) is shown to the person; other errors are logged and the person asked to try again.
	Decide(ctx context.Context, decision notifier.Decision) error
}

// Config of a Bot.
type Config struct {
	// Tokens and Threads are required.
	Tokens  Tokens
	Threads Threads
	// Approvals; nil: messages have no buttons and Run only waits.
	Approvals Approvals
	// APIURL replaces https://slack.com/api/. The tokens are sent there.
	APIURL string
	// Transport carries the Web API's requests; nil: one like http.DefaultTransport.
	Transport http.RoundTripper
	// Log; nil: slog.Default().
	Log *slog.Logger
	// Now; nil: time.Now.
	Now func() time.Time
	// BackOff makes the pauses between attempts to connect and to answer a press; the randomness is its
	// own. Nil: exponential from 500 ms to 1 minute.
	BackOff func() backoff.BackOff
}

// Bot is Sluice's presence in one workspace. It is safe for concurrent use.
type Bot struct {
	cfg  Config
	http *http.Client

	mu      sync.Mutex
	threads map[Key]*thread
	// limited holds until when Slack wants no more calls, by method and channel.
	limited map[string]time.Time
}

// New returns a Bot. It makes no connection.
func New(cfg Config) *Bot {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.BackOff == nil {
		cfg.BackOff = exponential
	}
	if cfg.APIURL == "" {
		cfg.APIURL = slackapi.APIURL
	}
	if !strings.HasSuffix(cfg.APIURL, "/") {
		cfg.APIURL += "/"
	}
	if cfg.Transport == nil {
		cfg.Transport = http.DefaultTransport.(*http.Transport).Clone()
	}
	return &Bot{
		cfg: cfg,
		http: &http.Client{
			Transport: bounded{cfg.Transport},
			Timeout:   15 * time.Second,
			// A redirect would carry the token elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		threads: make(map[Key]*thread),
		limited: make(map[string]time.Time),
	}
}

func exponential() backoff.BackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.Multiplier, b.MaxInterval = 500*time.Millisecond, 2, time.Minute
	return b
}

// To returns the Notifier of one channel, Target.Address.
func (b *Bot) To(target notifier.Target) notifier.Notifier {
	return conversation{b, target.Address.Reveal()}
}

// CloseIdle closes connections that are kept for later calls.
func (b *Bot) CloseIdle() { b.http.CloseIdleConnections() }

// bounded cuts answers off; the client reads them whole.
type bounded struct{ http.RoundTripper }

const maxAnswer = 1 << 20

func (t bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.RoundTripper.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	response.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(response.Body, maxAnswer), response.Body}
	return response, nil
}

// CloseIdleConnections makes http.Client's method of that name work.
func (t bounded) CloseIdleConnections() {
	if closer, ok := t.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}

// subject is what a button is about: its value, as JSON.
type subject struct {
	Namespace string `json:"namespace"`
	Rollout   string `json:"rollout"`
	Release   string `json:"release"`
	StepIndex int32  `json:"stepIndex"`
}

func (s subject) value() (string, error) {
	value, err := json.Marshal(s)
	if err != nil {
		return "", fmt.Errorf("encode button: %w", err)
	}
	return string(value), nil
}
