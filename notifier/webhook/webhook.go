// Package webhook delivers events to HTTP endpoints: one POST with the Event as JSON each. It owns the
// request and what the answer means; it does not queue or retry (notifier.Queue does) and does not
// know where addresses and tokens come from.
//
// An endpoint gets:
//
//	POST <url>
//	Content-Type: application/json
//	User-Agent: sluice/<version>
//	Sluice-Event-Id: <event ID>        the same for every attempt, so that a repeat can be told
//	Sluice-Event-Kind: <event kind>
//	Authorization: Bearer <token>      when the target has one
//
// Any 2xx is success. 408, 425, 429 and 5xx are tried again, after Retry-After when the answer has
// one; everything else is permanent. Redirects are not followed: they would carry the token and the
// event to an address that nobody configured.
//
// The URL comes from a Secret in the Rollout's namespace and is called from the operator's network
// position. Nothing is refused by default, since in-cluster endpoints are the common case; whoever
// may create Rollouts and Secrets can therefore make the operator POST (never read: no part of an
// answer but its status is shown to anybody) to addresses that the operator can reach. Where that is
// too much, restrict the operator's egress with a NetworkPolicy, or pass a Transport that dials
// selectively.
package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-mesh/sluice/notifier"
	"github.com/sluice-mesh/sluice/notifier/internal/failure"
)

// Config of a Sender. Zero values mean the defaults named with the fields.
type Config struct {
	// Version is the operator's, for the user agent ("dev").
	Version string
	// Timeout bounds one request from dialling to the last byte of the answer (10 seconds).
	Timeout time.Duration
	// Transport carries the requests. Nil: one that verifies certificates with the system's roots,
	// demands TLS 1.2 and honours the proxy variables of the environment.
	Transport http.RoundTripper
}

// Sender posts events. It is safe for concurrent use.
type Sender struct {
	client *http.Client
	agent  string
}

// maxAnswer is how much of an answer is read, so that its connection can be used again.
const maxAnswer = 16 << 10

// New returns a Sender.
func New(cfg Config) *Sender {
	if cfg.Version == "" {
		cfg.Version = "dev"
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Transport == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		transport.MaxResponseHeaderBytes = 64 << 10
		cfg.Transport = transport
	}
	return &Sender{
		client: &http.Client{
			Transport:     cfg.Transport,
			Timeout:       cfg.Timeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		agent: "sluice/" + cfg.Version,
	}
}

// To returns the Notifier of one endpoint. Its errors name the target and never its URL, host, token
// or answer.
func (s *Sender) To(target notifier.Target) notifier.Notifier { return endpoint{s, target} }

// CloseIdle closes connections that are kept for later requests.
func (s *Sender) CloseIdle() { s.client.CloseIdleConnections() }

type endpoint struct {
	*Sender
	target notifier.Target
}

// Notify posts the event once.
func (e endpoint) Notify(ctx context.Context, event notifier.Event) error {
	request, err := e.request(ctx, event)
	if err != nil {
		return notifier.Permanent(fmt.Errorf("make request for webhook %s: %w", e.target.Name, err))
	}
	response, err := e.client.Do(request)
	if err != nil {
		return fmt.Errorf("post to webhook %s: %s", e.target.Name, failure.Reason(err))
	}
	defer response.Body.Close()
	// Only so that the connection can be used again.
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, maxAnswer))
	return e.judge(response)
}

var errURL = errors.New("the url is not an absolute http or https URL")

func (e endpoint) request(ctx context.Context, event notifier.Event) (*http.Request, error) {
	address, err := url.Parse(strings.TrimSpace(e.target.Address.Reveal()))
	if err != nil || address.Host == "" || address.Scheme != "https" && address.Scheme != "http" {
		return nil, errURL // the parser's own words quote the URL
	}
	body, err := json.Marshal(event)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address.String(), bytes.NewReader(body))
	if err != nil {
		return nil, errURL
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", e.agent)
	request.Header.Set("Sluice-Event-Id", event.ID)
	request.Header.Set("Sluice-Event-Kind", event.Kind)
	if token := strings.TrimSpace(e.target.Token.Reveal()); token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	return request, nil
}

func (e endpoint) judge(response *http.Response) error {
	code := response.StatusCode
	if code >= 200 && code <= 299 {
		return nil
	}
	err := fmt.Errorf("post to webhook %s: it answered %d %s", e.target.Name, code, http.StatusText(code))
	switch {
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests, code >= 500:
		if pause, ok := retryAfter(response.Header.Get("Retry-After"), time.Now()); ok {
			return notifier.RetryAfter(err, pause)
		}
		return err
	case code >= 300 && code <= 399:
		return notifier.Permanent(fmt.Errorf("%w; redirects are not followed", err))
	}
	return notifier.Permanent(err)
}

// retryAfter reads the header's two forms (RFC 9110, section 10.2.3): seconds, or a date.
func retryAfter(value string, now time.Time) (time.Duration, bool) {
	if value == "" {
		return 0, false
	}
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return max(0, at.Sub(now)), true
}
