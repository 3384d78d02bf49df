package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
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
