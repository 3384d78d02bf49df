package runs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/common/config"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-mesh/sluice/analysis/check"
	"github.com/sluice-mesh/sluice/analysis/prometheus"
	"github.com/sluice-mesh/sluice/analysis/web"
	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// Querier answers queries: the installation's Prometheus, or another.
type Querier interface {
	// Query evaluates an expression at a time.
	Query(ctx context.Context, expression string, at time.Time) (check.Result, error)
	// Range evaluates an expression at every step from one time to another.
	Range(ctx context.Context, expression string, from, to time.Time, step time.Duration) ([]check.Points, error)
}

// provider answers what a metric asks, about the version that the arguments name.
type provider interface {
	ask(ctx context.Context, args arguments, at time.Time) check.Result
	close()
}

// What bounds a Prometheus' answer to a metric's query, in bytes and in series.
const (
	maxAnswer = 4 << 20
	maxSeries = 10_000
)

// newProvider connects to what a metric asks. The error is a *Problem, or the API server's.
func (m *measurer) newProvider(ctx context.Context, secrets *secrets, run *v1alpha1.AnalysisRun, metric v1alpha1.Metric, args arguments) (provider, error) {
	switch p := metric.Provider; {
	case p.Prometheus != nil && p.Prometheus.Address == "":
		if m.prometheus == nil {
			return nil, &Problem{"provider.prometheus.address", "the installation has no Prometheus; give an address"}
		}
		return &querying{spec: p.Prometheus, since: since(run), querier: m.prometheus}, nil
	case p.Prometheus != nil:
		return m.connect(ctx, secrets, run, p.Prometheus, args)
	case p.Web != nil:
		connection, err := newConnection(ctx, secrets, p.Web.Connection)
		if err != nil {
			return nil, err
		}
		client, err := web.New(web.Options{Connection: connection, Loopback: m.loopback})
		if err != nil {
			return nil, &Problem{"provider.web.connection", err.Error()}
		}
		return &asking{p.Web, client}, nil
	}
	return nil, &Problem{"provider", "give one of prometheus, web, job"}
}

// connect makes the client of a Prometheus that a metric names. Nothing of the installation's connection goes
// to it.
func (m *measurer) connect(ctx context.Context, secrets *secrets, run *v1alpha1.AnalysisRun, spec *v1alpha1.PrometheusProvider, args arguments) (provider, error) {
	connection, err := newConnection(ctx, secrets, spec.Connection)
	if err != nil {
		return nil, err
	}
	if connection.Headers, err = headers(spec.Headers, args); err != nil {
		return nil, &Problem{"provider.prometheus.headers", err.Error()}
	}
	address, err := args.expand(spec.Address)
	if err != nil {
		return nil, &Problem{"provider.prometheus.address", err.Error()}
	}
	transport, err := connection.RoundTripper(config.WithDialContextFunc(web.Dialer(m.loopback)))
	if err != nil {
		return nil, &Problem{"provider.prometheus.connection", err.Error()}
	}
	client, err := prometheus.NewClient(prometheus.Options{
		Address: address, RoundTripper: transport, Timeout: duration(spec.Timeout), MaxBytes: maxAnswer, MaxSeries: maxSeries, Now: m.now,
	})
	if err != nil {
		return nil, &Problem{"provider.prometheus.address", err.Error()}
	}
	return &querying{spec: spec, since: since(run), querier: client, own: client}, nil
}

func since(run *v1alpha1.AnalysisRun) time.Time {
	if run.Spec.Since == nil {
		return time.Time{}
	}
	return run.Spec.Since.Time
}

// querying asks a Prometheus.
type querying struct {
	spec    *v1alpha1.PrometheusProvider
	since   time.Time
	querier Querier
	// own is the client, when it is this metric's own.
	own *prometheus.Client
}

func (q *querying) ask(ctx context.Context, args arguments, at time.Time) check.Result {
	query, err := args.expand(q.spec.Query)
	if err != nil {
		return check.FromError(err)
	}
	if timeout := duration(q.spec.Timeout); timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	if q.spec.Range == nil {
		result, err := q.querier.Query(ctx, query, at)
		if err != nil {
			return check.FromError(err)
		}
		return result
	}
	from := at.Add(-q.spec.Range.Window.Duration)
	if from.Before(q.since) {
		from = q.since
	}
	if !from.Before(at) {
		return check.FromError(errors.New("the canary has had no traffic yet"))
	}
	points, err := q.querier.Range(ctx, query, from, at, q.spec.Range.Step.Duration)
	if err != nil {
		return check.FromError(err)
	}
	return check.Result{Kind: check.KindRange, Range: points}
}

func (q *querying) close() {
	if q.own != nil {
		q.own.Close()
	}
}

// asking asks an HTTP server.
type asking struct {
	spec   *v1alpha1.WebProvider
	client *web.Client
}

func (a *asking) ask(ctx context.Context, args arguments, _ time.Time) check.Result {
	request := web.Request{Method: a.spec.Method, Timeout: duration(a.spec.Timeout)}
	var err error
	if request.Headers, err = headers(a.spec.Headers, args); err != nil {
		return check.FromError(err)
	}
	if request.URL, err = args.expand(a.spec.URL); err != nil {
		return check.FromError(err)
	}
	if request.Body, err = args.expand(a.spec.Body); err != nil {
		return check.FromError(err)
	}
	result, err := a.client.Ask(ctx, request)
	if err != nil {
		return check.FromError(err)
	}
	return result
}

func (a *asking) close() { a.client.Close() }

func headers(spec []v1alpha1.Header, args arguments) (map[string]string, error) {
	out := map[string]string{}
	for _, header := range spec {
		value, err := args.expand(header.Value)
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", header.Key, err)
		}
		out[header.Key] = value
	}
	return out, nil
}

// newConnection reads the Secrets of a connection. The error is a missingError, or the API server's.
func newConnection(ctx context.Context, secrets *secrets, spec *v1alpha1.Connection) (prometheus.Connection, error) {
	var c prometheus.Connection
	if spec == nil {
		return c, nil
	}
	c.ServerName, c.InsecureSkipVerify = spec.ServerName, spec.InsecureSkipVerify
	var problem error
	read := func(name, key string) string {
		if problem != nil {
			return ""
		}
		var value string
		value, problem = secrets.value(ctx, v1alpha1.SecretKeyRef{Name: name, Key: key})
		return value
	}
	if ref := spec.CASecret; ref != nil {
		c.CA = []byte(read(ref.Name, ref.Key))
	}
	if ref := spec.ClientCertificateSecret; ref != nil {
		c.Cert, c.Key = []byte(read(ref.Name, corev1.TLSCertKey)), []byte(read(ref.Name, corev1.TLSPrivateKeyKey))
	}
	if ref := spec.BearerTokenSecret; ref != nil {
		c.BearerToken = read(ref.Name, ref.Key)
	}
	if ref := spec.BasicAuthSecret; ref != nil {
		c.BasicAuth = &prometheus.BasicAuth{
			Username: read(ref.Name, corev1.BasicAuthUsernameKey), Password: read(ref.Name, corev1.BasicAuthPasswordKey),
		}
	}
	if problem != nil {
		return prometheus.Connection{}, problem
	}
	return c, nil
}
