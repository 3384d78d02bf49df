// Package web asks HTTP servers for JSON documents, for metrics that are not in Prometheus. It owns how a
// request is made safely on behalf of people who write templates but may not see what the operator sees:
// bounded in time and size, without redirects to other servers, to no address of the operator's own node,
// and with nothing secret in an error. What the document means is the condition's business (package check).
package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/common/config"

	"github.com/sluice-mesh/sluice/analysis/check"
	"github.com/sluice-mesh/sluice/analysis/prometheus"
)

const (
	defaultTimeout  = 10 * time.Second
	defaultMaxBytes = 1 << 20
	// shown is how many bytes of a refusal are told.
	shown = 200
	// redirects is how many are followed, to the same server.
	redirects = 3
)

// Options configure a Client. The zero value is a plain one.
type Options struct {
	// Connection says how the server is reached: TLS, credentials, headers for all requests.
	Connection prometheus.Connection
	// MaxBytes bounds a response. Zero: 1 MiB.
	MaxBytes int64
	// Loopback allows servers on this machine, for tests and for programs that people run.
	Loopback bool
}

// Request is one question.
type Request struct {
	// URL of http or https, without credentials.
	URL string
	// Method is GET, POST or PUT. Empty: GET.
	Method string
	// Headers of the request. Values may be secret.
	Headers map[string]string
	// Body of a POST or PUT.
	Body string
	// Timeout from the start to the last byte of the response. Zero: 10 seconds.
	Timeout time.Duration
}

// Client asks servers. It is safe for concurrent use.
type Client struct {
	http     *http.Client
	maxBytes int64
	secrets  []string // of the connection
}

// New makes a Client. It does not talk to a server yet. Errors have no secrets.
func New(options Options) (*Client, error) {
	transport, err := options.Connection.RoundTripper(config.WithDialContextFunc(Dialer(options.Loopback)), config.WithUserAgent("sluice"))
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what it was about
	}
	client := &Client{http: &http.Client{Transport: transport, CheckRedirect: sameServer}, maxBytes: options.MaxBytes}
	if client.maxBytes <= 0 {
		client.maxBytes = defaultMaxBytes
	}
	client.secrets = append(client.secrets, options.Connection.BearerToken)
	if basic := options.Connection.BasicAuth; basic != nil {
		client.secrets = append(client.secrets, basic.Password)
	}
	for _, value := range options.Connection.Headers {
		client.secrets = append(client.secrets, parts(value)...)
	}
	return client, nil
}

// Close closes idle connections. The Client can be used on.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Ask makes a request and gives the JSON document of the response. A status other than 2xx is an error with
// the first 200 bytes. Whatever the server calls the content, it must be JSON. Errors are for people: they
// hold neither the URL nor anything of the request's headers.
func (c *Client) Ask(ctx context.Context, request Request) (check.Result, error) {
	timeout := request.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	made, err := request.make(ctx)
	if err != nil {
		return check.Result{}, err
	}
	result, err := c.ask(made)
	switch {
	case err == nil:
		return result, nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("no answer within %s", timeout)
	case ctx.Err() != nil:
		return check.Result{}, fmt.Errorf("ask server: %w", ctx.Err())
	}
	secrets := append([]string{}, c.secrets...)
	for name, value := range request.Headers {
		if !public[http.CanonicalHeaderKey(name)] {
			secrets = append(secrets, parts(value)...)
		}
	}
	secrets = append(secrets, made.URL.RequestURI(), made.URL.RawQuery) // servers like to repeat them
	for _, values := range made.URL.Query() {
		for _, value := range values {
			if len(value) >= 8 {
				secrets = append(secrets, value, url.QueryEscape(value))
			}
		}
	}
	return check.Result{}, fmt.Errorf("%s %s: %s", made.Method, made.URL.Host, check.Redact(err.Error(), secrets...))
}

// public are headers whose values are not secret; blotting them out would make errors unreadable.
var public = map[string]bool{"Accept": true, "Content-Type": true, "User-Agent": true, "Host": true}

// parts are a header's value, and what is in it after a scheme such as Bearer.
func parts(value string) []string {
	_, after, _ := strings.Cut(strings.TrimSpace(value), " ")
	return []string{value, after}
}

func (c *Client) ask(request *http.Request) (check.Result, error) {
	response, err := c.http.Do(request)
	if err != nil {
		var transport *url.Error // its text has the URL
		if errors.As(err, &transport) {
			err = transport.Err
		}
		return check.Result{}, err
	}
	defer response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode > 299 {
		start, _ := io.ReadAll(io.LimitReader(response.Body, shown)) // what there is will do
		return check.Result{}, fmt.Errorf("%d %s: %s", response.StatusCode, http.StatusText(response.StatusCode), line(start))
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, c.maxBytes+1))
	if err != nil {
		return check.Result{}, fmt.Errorf("read response: %w", err)
	}
	if int64(len(body)) > c.maxBytes {
		return check.Result{}, fmt.Errorf("the response is larger than %d bytes", c.maxBytes)
	}
	result, err := check.FromJSON(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	if err != nil {
		kind := response.Header.Get("Content-Type")
		if kind == "" {
			kind = "of no type"
		}
		return check.Result{}, fmt.Errorf("the response (%d, %s) is %w", response.StatusCode, line([]byte(kind)), err)
	}
	return result, nil
}
