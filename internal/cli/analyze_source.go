package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/sluice-mesh/sluice/analysis/prometheus"
	"github.com/sluice-mesh/sluice/analysis/replay"
	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// serverFlags say how a Prometheus is reached.
type serverFlags struct {
	address    string
	timeout    time.Duration
	headers    []string
	connection prometheus.Connection
	basic      prometheus.BasicAuth
}

func (s *serverFlags) bind(f *pflag.FlagSet) {
	f.StringVar(&s.address, "prometheus", "", "URL of the Prometheus to read, such as http://localhost:9090")
	f.DurationVar(&s.timeout, "prometheus-timeout", time.Minute, "how long one query may take")
	f.StringVar(&s.connection.CAFile, "prometheus-ca", "", "file with the certificate authorities of the Prometheus")
	f.StringVar(&s.connection.CertFile, "prometheus-cert", "", "file with the client certificate for it")
	f.StringVar(&s.connection.KeyFile, "prometheus-key", "", "file with the key of the client certificate")
	f.StringVar(&s.connection.ServerName, "prometheus-server-name", "", "name to expect in its certificate")
	f.BoolVar(&s.connection.InsecureSkipVerify, "prometheus-insecure", false, "accept any certificate of it")
	f.StringVar(&s.connection.BearerTokenFile, "prometheus-bearer-token-file", "", "file with the bearer token for it")
	f.StringVar(&s.basic.Username, "prometheus-username", "", "user for basic authentication")
	f.StringVar(&s.basic.PasswordFile, "prometheus-password-file", "", "file with the password of that user")
	f.StringArrayVar(&s.headers, "prometheus-header", nil, "header to send, such as X-Scope-OrgID=team; may be repeated")
}

// sampler connects; the URL is never in an error.
func (s *serverFlags) sampler() (*prometheus.Sampler, error) {
	connection := s.connection
	if s.basic.Username != "" || s.basic.PasswordFile != "" {
		if s.basic.Username == "" || s.basic.PasswordFile == "" {
			return nil, errors.New("--prometheus-username and --prometheus-password-file: give both, or none")
		}
		connection.BasicAuth = &s.basic
	}
	for _, header := range s.headers {
		name, value, found := strings.Cut(header, "=")
		if !found || name == "" {
			return nil, errors.New("--prometheus-header: write NAME=VALUE")
		}
		if connection.Headers == nil {
			connection.Headers = map[string]string{}
		}
		connection.Headers[name] = value
	}
	sampler, err := prometheus.New(prometheus.Options{
		Address: s.address, Connection: connection, Timeout: s.timeout, MaxBytes: 64 << 20,
	})
	if err != nil {
		return nil, fmt.Errorf("--prometheus: %w", err)
	}
	return sampler, nil
}

// foreignFlags say how series are read that are not Sluice's.
type foreignFlags struct {
	preset, label           string
	requests, canary        string
	stable, latency, unit   string
	errors, cancelled, slow []string
	weights                 string
}

func (o *foreignFlags) bind(f *pflag.FlagSet) {
	f.StringVar(&o.preset, "preset", "", "mesh whose series are read: istio or linkerd; Sluice's by default")
	f.StringVar(&o.label, "revision-label", "", "label that tells canary and stable apart (default with istio destination_workload, with linkerd dst_deployment)")
	f.StringVar(&o.requests, "requests", "", `counter of requests that have ended, of both revisions, such as 'http_requests_total{job="front"}'`)
	f.StringVar(&o.canary, "canary-matcher", "", `labels of the canary's requests among them, such as 'version="v2"'`)
	f.StringVar(&o.stable, "stable-matcher", "", "the same of stable")
	f.StringArrayVar(&o.errors, "error-matcher", nil, `labels of requests that failed, such as 'code=~"5.."'; what any of several matches has failed`)
	f.StringArrayVar(&o.cancelled, "cancelled-matcher", nil, "labels of requests that the client gave up: neither good nor bad")
	f.StringVar(&o.latency, "latency-metric", "", `buckets of the durations of the same requests, such as 'http_duration_seconds_bucket{job="front"}'`)
	f.StringArrayVar(&o.slow, "latency-error-matcher", nil, "labels of buckets of requests that failed; as --error-matcher by default")
	f.StringVar(&o.unit, "latency-unit", "", "unit of these buckets: s or ms; told by the metric's name by default")
	f.StringVar(&o.weights, "weights", "auto", "the canary's weights, such as 10@2026-03-01T18:05:00Z,50@2026-03-01T18:15:00Z; auto guesses them from the shares")
}

// foreign is what the flags say; nil: the series are Sluice's.
func (a *analyze) series(namespace, service string, bounds []time.Duration, now time.Time) (*replay.Foreign, error) {
	o := a.foreign
	if o.preset == "" && o.requests == "" {
		for _, flag := range []string{"revision-label", "canary-matcher", "stable-matcher", "error-matcher", "cancelled-matcher", "latency-metric", "latency-error-matcher", "latency-unit", "weights"} {
			if a.flags.Changed(flag) {
				return nil, fmt.Errorf("--%s is for series of other meshes: name them with --preset or --requests", flag)
			}
		}
		return nil, nil //nolint:nilnil // Sluice's own
	}
	f := replay.Foreign{Errors: o.errors}
	if o.preset != "" {
		preset, known := replay.Presets[o.preset]
		if !known {
			return nil, fmt.Errorf("--preset %s: it is one of istio, linkerd; name other series with --requests", o.preset)
		}
		f = preset.By(namespace, service, o.label, a.want.Canary, a.want.Stable)
	} else if a.want.Canary != "" || a.want.Stable != "" {
		return nil, errors.New("--canary and --stable go with --preset; with --requests say --canary-matcher and --stable-matcher")
	}
	for _, part := range []struct {
		text string
		into *string
	}{{o.requests, &f.Requests}, {o.canary, &f.Canary}, {o.stable, &f.Stable}, {o.latency, &f.Latency}} {
		if part.text != "" {
			*part.into = part.text
		}
	}
	if len(o.errors) > 0 {
		f.Errors, f.LatencyErrors = o.errors, o.errors
	}
	if len(o.cancelled) > 0 {
		f.Cancelled = o.cancelled
	}
	if len(o.slow) > 0 {
		f.LatencyErrors = o.slow
	}
	switch {
	case f.Canary == "":
		return nil, errors.New("--canary: say which revision is the canary, or --canary-matcher")
	case f.Stable == "":
		return nil, errors.New("--stable: say which revision is stable, or --stable-matcher")
	}
	var err error
	if o.latency != "" || o.unit != "" {
		if f.LatencyUnit, err = o.unitOf(f.Latency); err != nil {
			return nil, err
		}
	}
	for _, bound := range bounds {
		f.BoundarySeconds = append(f.BoundarySeconds, bound.Seconds())
	}
	if f.Weights, err = weightsOf(o.weights, now); err != nil {
		return nil, err
	}
	_, err = f.Selectors()
	return &f, flagged(err)
}

// flagged names the flags where the fields of replay.Foreign are named otherwise.
func flagged(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for field, flag := range map[string]string{
		"requests:": "--requests:", "canary:": "--canary-matcher:", "stable:": "--stable-matcher:", "errors:": "--error-matcher:",
		"cancelled:": "--cancelled-matcher:", "latency:": "--latency-metric:", "latency errors:": "--latency-error-matcher:",
		"canary and stable:": "--canary-matcher and --stable-matcher:",
	} {
		if rest, is := strings.CutPrefix(text, field); is {
			return errors.New(flag + rest)
		}
	}
	return err
}

func (o *foreignFlags) unitOf(metric string) (float64, error) {
	name, _, _ := strings.Cut(metric, "{")
	switch {
	case o.unit == "s", o.unit == "" && strings.Contains(name, "_seconds"):
		return 1, nil
	case o.unit == "ms", o.unit == "" && (strings.Contains(name, "_milliseconds") || strings.Contains(name, "_ms_")):
		return .001, nil
	}
	return 0, fmt.Errorf("--latency-unit %s: it is s or ms, and the metric's name does not tell", o.unit)
}

// weightsOf reads weights with their times.
func weightsOf(text string, now time.Time) ([]replay.Weight, error) {
	if text == "" || text == "auto" {
		return nil, nil
	}
	var all []replay.Weight
	for _, part := range strings.Split(text, ",") {
		weight, at, found := strings.Cut(part, "@")
		percent, err := strconv.ParseUint(weight, 10, 8)
		if err != nil || !found || percent < 1 || percent > 100 {
			return nil, fmt.Errorf("--weights %s: write a weight from 1 to 100 and its time, such as 10@2026-03-01T18:05:00Z, with commas between", part)
		}
		since, err := moment("weights", at, now)
		if err != nil {
			return nil, err
		}
		if n := len(all); n > 0 && (uint32(percent) <= all[n-1].Percent || since.Before(all[n-1].At)) {
			return nil, fmt.Errorf("--weights %s: weights and their times must rise", part)
		}
		all = append(all, replay.Weight{Percent: uint32(percent), At: since.UTC()})
	}
	return all, nil
}

// named is a recording and the file that it is in, if it is in one.
type named struct {
	name      string
	recording *replay.Recording
}

// recordings opens the files, or makes a recording of a Prometheus.
func (env *environment) recordings(ctx context.Context, a *analyze, files []string, options replay.Options, rollout *v1alpha1.Rollout) ([]named, error) {
	if len(files) > 0 {
		for _, flag := range []string{"prometheus", "from", "to", "service", "record", "preset", "requests", "weights"} {
			if a.flags.Changed(flag) {
				return nil, fmt.Errorf("--%s is for a Prometheus; a recording says for itself what it is of", flag)
			}
		}
		var all []named
		for _, file := range files {
			recording, err := openFile(file)
			if err != nil {
				return nil, err
			}
			all = append(all, named{file, recording})
		}
		return all, nil
	}
	request, err := env.request(a, options, rollout)
	if err != nil {
		return nil, err
	}
	sampler, err := a.server.sampler()
	if err != nil {
		return nil, err
	}
	defer sampler.Close()
	tell := progress(env.ErrOut)
	defer tell.end()
	request.Progress = tell.at
	recording, err := keep(ctx, sampler, request, a.record)
	if err != nil {
		return nil, err
	}
	return []named{{"", recording}}, nil
}

// request says what to read of a Prometheus.
func (env *environment) request(a *analyze, options replay.Options, rollout *v1alpha1.Rollout) (replay.Request, error) {
	r := replay.Request{Service: a.service, Want: a.want, Threshold: options.Settings.LatencyP99, Boundaries: a.judge.boundaries}
	if env.flags.Namespace != nil {
		r.Namespace = *env.flags.Namespace
	}
	if rollout != nil {
		if r.Service == "" {
			r.Service = rollout.Spec.Service.Name
		}
		if r.Namespace == "" {
			r.Namespace = rollout.Namespace
		}
	}
	generic := a.foreign.requests != "" && a.foreign.preset == ""
	switch {
	case a.server.address == "":
		return r, errors.New("--prometheus: say which Prometheus to read, such as http://localhost:9090, or name a recording")
	case a.from == "":
		return r, errors.New("--from: say when the time to look at begins, such as 2026-03-01T18:00:00Z, or 90m for 90 minutes ago")
	case r.Service == "" && !generic:
		return r, errors.New("--service: name the Service that was called")
	case r.Namespace == "" && !generic:
		return r, errors.New("--namespace: name the namespace of the Service, with -n")
	}
	now := env.now()
	var err error
	if r.From, err = moment("from", a.from, now); err != nil {
		return r, err
	}
	r.Until = now
	if a.to != "" {
		if r.Until, err = moment("to", a.to, now); err != nil {
			return r, err
		}
	}
	if !r.Until.After(r.From) {
		return r, fmt.Errorf("--to %s: it is not after --from %s", a.to, a.from)
	}
	r.Foreign, err = a.series(r.Namespace, r.Service, a.judge.boundaries, now)
	return r, err
}

// memoryLimit is what a recording that is not kept in a file may have, before it is gzipped.
const memoryLimit = 2 << 30

// keep makes a recording, in a file where one is named, else in memory.
func keep(ctx context.Context, sampler *prometheus.Sampler, request replay.Request, name string) (*replay.Recording, error) {
	if name == "" {
		var memory replay.Memory
		err := replay.Record(ctx, sampler, request, func(h replay.Header) (*replay.Writer, error) {
			return replay.NewWriter(&memory, true, h, memoryLimit)
		})
		if err != nil {
			return nil, wide(err)
		}
		return replay.Open(memory.Open)
	}
	var file *os.File
	err := replay.Record(ctx, sampler, request, func(h replay.Header) (*replay.Writer, error) {
		var err error
		if file, err = os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o644); err != nil { //nolint:gosec // the person names it
			return nil, fmt.Errorf("--record: %w", err)
		}
		return replay.NewWriter(io.Writer(file), strings.HasSuffix(name, ".gz"), h, 0)
	})
	if file != nil {
		err = errors.Join(err, file.Close())
		if err != nil {
			err = errors.Join(err, os.Remove(name))
		}
	}
	if err != nil {
		return nil, wide(err)
	}
	return openFile(name)
}

// wide says what to do about too much.
func wide(err error) error {
	if errors.Is(err, replay.ErrTooMuch) {
		return fmt.Errorf("%w; take a shorter time with --from and --to", err)
	}
	return err
}
