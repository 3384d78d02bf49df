package prometheus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/sluice-mesh/sluice/analysis/check"
)

// Options configure a Client or a Sampler. Only Address is required.
type Options struct {
	// Address is the server's URL, such as http://prometheus.monitoring.svc:9090, with a path where it has
	// a prefix. Credentials do not belong in it; the Connection has them.
	Address string
	// Connection says how the server is reached.
	Connection Connection
	// RoundTripper carries the requests instead of the Connection, when not nil.
	RoundTripper http.RoundTripper
	// ScrapeInterval is the time between two scrapes of a proxy. Zero: found out from the samples.
	ScrapeInterval time.Duration
	// Timeout bounds what one call takes. Zero: 5 seconds.
	Timeout time.Duration
	// MaxBytes bounds one response, uncompressed. Zero: 16 MiB.
	MaxBytes int64
	// MaxSeries bounds the series of one response. Zero: 50,000.
	MaxSeries uint64
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// Client asks a server any query. It is safe for concurrent use.
type Client struct {
	options Options
	query   string // URL
	http    *http.Client
	api     v1.API
}

// NewClient makes a Client. It does not talk to the server yet.
func NewClient(options Options) (*Client, error) {
	address, err := url.Parse(options.Address)
	switch { // never with the address or the parser's error, which may hold credentials
	case err != nil, address.Scheme != "http" && address.Scheme != "https", address.Host == "":
		return nil, errors.New("parse prometheus address: not an http or https URL")
	case address.User != nil, address.RawQuery != "", address.Fragment != "":
		return nil, errors.New("parse prometheus address: it holds credentials, a query or a fragment")
	}
	if options.RoundTripper == nil {
		if options.RoundTripper, err = options.Connection.RoundTripper(); err != nil {
			return nil, fmt.Errorf("connect to prometheus: %w", err)
		}
	}
	if options.Timeout <= 0 {
		options.Timeout = 5 * time.Second
	}
	if options.MaxBytes <= 0 {
		options.MaxBytes = 16 << 20
	}
	if options.MaxSeries == 0 {
		options.MaxSeries = 50_000
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	c := &Client{options: options, query: address.JoinPath("api/v1/query").String(), http: &http.Client{
		Transport: bounded{options.RoundTripper, options.MaxBytes},
		// Credentials must not follow a redirect to another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	client, err := api.NewClient(api.Config{Address: options.Address, Client: c.http})
	if err != nil {
		return nil, errors.New("make prometheus client")
	}
	c.api = v1.NewAPI(client)
	return c, nil
}

// Close closes the connections that are idle.
func (c *Client) Close() {
	if idle, ok := c.options.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		idle.CloseIdleConnections()
	}
}

// Query evaluates an expression at a time, or now where that is zero: to a scalar, a vector or a string. A result that is something
// else is an error, and so is an answer that is not complete.
func (c *Client) Query(ctx context.Context, expression string, at time.Time) (check.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	body, err := c.fetch(ctx, expression, at, nil)
	if err != nil {
		return check.Result{}, err
	}
	result, err := resultOf(body)
	switch {
	case err != nil:
		return check.Result{}, fmt.Errorf("query prometheus: %w", err)
	case uint64(len(result.Series)) > c.options.MaxSeries:
		return check.Result{}, fmt.Errorf("query prometheus: more than %d series", c.options.MaxSeries)
	}
	return result, nil
}

// errHistogram is a result that no condition can be put to.
var errHistogram = errors.New("the result is a histogram, not a number; take histogram_quantile or histogram_count of it")

// resultOf reads the answer to a query. The Go client does not know strings.
func resultOf(body []byte) (check.Result, error) {
	var answer struct {
		Status, ErrorType, Error string
		Warnings                 []string
		Data                     struct {
			ResultType string
			Result     json.RawMessage
		}
	}
	if json.Unmarshal(body, &answer) != nil {
		return check.Result{}, errors.New("bad_response: not what the API answers")
	}
	if answer.Status != "success" {
		return check.Result{}, fmt.Errorf("%s: %s", short(answer.ErrorType), short(answer.Error))
	}
	harmless, err := complete(answer.Warnings)
	if err != nil {
		return check.Result{}, err
	}
	result := check.Result{Warnings: harmless}
	var (
		scalar model.Scalar
		text   model.String
		vector model.Vector
	)
	switch answer.Data.ResultType {
	case "scalar":
		err = json.Unmarshal(answer.Data.Result, &scalar)
		result.Kind, result.Number = check.KindScalar, float64(scalar.Value)
	case "string":
		err = json.Unmarshal(answer.Data.Result, &text)
		result.Kind, result.Text = check.KindString, text.Value
	case "vector":
		err = json.Unmarshal(answer.Data.Result, &vector)
		result.Kind = check.KindVector
	case "matrix":
		return check.Result{}, errors.New("the result is a range of samples, not one value; take rate or another function of it")
	default:
		return check.Result{}, errors.New("the answer has no result")
	}
	if err != nil {
		return check.Result{}, errors.New("bad_response: not what the API answers")
	}
	for _, s := range vector {
		if s == nil || s.Histogram != nil {
			return check.Result{}, errHistogram
		}
		result.Series = append(result.Series, check.Series{Labels: labelsOf(s.Metric), Value: float64(s.Value)})
	}
	return result, nil
}

// Range evaluates an expression at every step from one time to another, both included.
func (c *Client) Range(ctx context.Context, expression string, from, to time.Time, step time.Duration) ([]check.Points, error) {
	ctx, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	value, warnings, _, err := c.api.QueryRange(ctx, expression, v1.Range{Start: from, End: to, Step: step}, v1.WithLimit(c.options.MaxSeries))
	if err != nil {
		return nil, clean("query prometheus", err)
	}
	if _, err := complete(warnings); err != nil {
		return nil, fmt.Errorf("query prometheus: %w", err)
	}
	matrix, ok := value.(model.Matrix)
	switch {
	case !ok:
		return nil, errors.New("query prometheus: the answer has no result")
	case uint64(len(matrix)) > c.options.MaxSeries:
		return nil, fmt.Errorf("query prometheus: more than %d series", c.options.MaxSeries)
	}
	points := make([]check.Points, 0, len(matrix))
	for _, s := range matrix {
		if s == nil || len(s.Histograms) > 0 {
			return nil, fmt.Errorf("query prometheus: %w", errHistogram)
		}
		p := check.Points{Labels: labelsOf(s.Metric), Values: make([]float64, len(s.Values))}
		for i, v := range s.Values {
			p.Values[i] = float64(v.Value)
		}
		points = append(points, p)
	}
	return points, nil
}

// complete tells warnings about an expression, which the answer bears out, from those that say that
// something is missing in it.
func complete(warnings []string) (harmless []string, err error) {
	for _, w := range warnings {
		if !strings.HasPrefix(w, "PromQL ") {
			return nil, fmt.Errorf("the answer is not complete: %s", short(w))
		}
		harmless = append(harmless, short(w))
	}
	return harmless, nil
}

func labelsOf(metric model.Metric) map[string]string {
	labels := make(map[string]string, len(metric))
	for name, value := range metric {
		labels[string(name)] = string(value)
	}
	return labels
}

// fetch reads the answer to an expression as it stands, into the memory given. Errors of the server's are
// worded as its Go client does.
func (c *Client) fetch(ctx context.Context, expression string, at time.Time, into []byte) ([]byte, error) {
	values := url.Values{"query": {expression}, "limit": {strconv.FormatUint(c.options.MaxSeries, 10)}}
	if !at.IsZero() {
		values.Set("time", strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', -1, 64))
	}
	form := values.Encode()
	status, body, err := c.do(ctx, http.MethodPost, c.query, form, into)
	switch status {
	case http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusNotImplemented: // a proxy that lets no POST through
		status, body, err = c.do(ctx, http.MethodGet, c.query+"?"+form, "", into)
	}
	if err != nil {
		return body, err
	}
	var answer struct{ ErrorType, Error string }
	switch {
	case status/100 == 2:
		return body, nil
	case status == http.StatusBadRequest || status == http.StatusUnprocessableEntity:
		if json.Unmarshal(body, &answer) == nil && answer.Error != "" {
			return body, fmt.Errorf("query prometheus: %s: %s", short(answer.ErrorType), short(answer.Error))
		}
		return body, fmt.Errorf("query prometheus: client_error: client error: %d", status)
	case status/100 == 4:
		return body, fmt.Errorf("query prometheus: client_error: client error: %d", status)
	case status/100 == 5:
		return body, fmt.Errorf("query prometheus: server_error: server error: %d", status)
	}
	return body, fmt.Errorf("query prometheus: bad_response: bad response code %d", status)
}

func (c *Client) do(ctx context.Context, method, address, form string, into []byte) (int, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(form))
	if err != nil {
		return 0, into, errors.New("query prometheus: make request")
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header["Idempotency-Key"] = nil // a query may be asked again on another connection
	response, err := c.http.Do(request)
	if err != nil {
		return 0, into, clean("query prometheus", err)
	}
	defer response.Body.Close()
	buffer := bytes.NewBuffer(into[:0])
	if _, err := io.Copy(buffer, response.Body); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return response.StatusCode, buffer.Bytes(), clean("query prometheus", err)
	}
	return response.StatusCode, buffer.Bytes(), nil
}
