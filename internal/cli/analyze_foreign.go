package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/sluice-mesh/sluice/analysis/replay"
)

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
