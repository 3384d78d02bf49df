package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubeyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/sluice-mesh/sluice/analysis"
	"github.com/sluice-mesh/sluice/analysis/replay"
	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// judgeFlags are what the judge demands: from a Rollout, or its defaults, and above that what flags say.
type judgeFlags struct {
	file                                string
	compare                             bool
	alpha, tolerance, slack, disperse   float64
	warmUp, duration, interval, latency time.Duration
	successRate                         float64
	minRequests                         int
	boundaries                          []time.Duration
}

// The defaults of a Rollout.
const (
	defaultWarmUp      = time.Minute
	defaultDuration    = time.Minute
	defaultInterval    = time.Second
	defaultMinRequests = 50
	defaultBake        = time.Minute
)

func (j *judgeFlags) bind(f *pflag.FlagSet) {
	d := analysis.DefaultComparison()
	f.StringVarP(&j.file, "filename", "f", "", "file with a Rollout whose steps and spec.analysis are taken; flags come before it")
	f.BoolVar(&j.compare, "compare", true, "compare the canary with stable")
	f.Float64Var(&j.alpha, "alpha", d.Alpha, "chance, at most, of ever rolling back a canary that is no worse than tolerated")
	f.Float64Var(&j.tolerance, "tolerance", d.Tolerated, "how many times as many bad requests as stable the canary may have")
	f.Float64Var(&j.slack, "slack", d.Slack, "share of the canary's requests that may be bad beyond the tolerance")
	f.Float64Var(&j.disperse, "over-dispersion", d.Dispersion, "how many errors come together when one comes")
	f.DurationVar(&j.warmUp, "warm-up", defaultWarmUp, "how long new pods of the canary have traffic before it counts")
	f.DurationSliceVar(&j.boundaries, "latency-boundaries", nil, "durations beyond which a request is slow, such as 100ms,1s; chosen from stable's latencies by default")
	f.Float64Var(&j.successRate, "success-rate", 0, "threshold: share of the canary's requests that must succeed, in percent, such as 99.5")
	f.DurationVar(&j.latency, "latency-p99", 0, "threshold: the longest that 99 of 100 of the canary's requests may take")
	f.IntVar(&j.minRequests, "min-requests", defaultMinRequests, "how many requests the canary must have answered at a weight to pass")
	f.DurationVar(&j.duration, "duration", defaultDuration, "how long the judge looks at each weight")
	f.DurationVar(&j.interval, "interval", defaultInterval, "time between two looks")
}

// options are how to judge, and the Rollout that was named, if one was.
func (j *judgeFlags) options(flags *pflag.FlagSet) (replay.Options, *v1alpha1.Rollout, error) {
	var rollout *v1alpha1.Rollout
	o := replay.Options{Durations: map[uint32]time.Duration{}}
	if j.file != "" {
		var err error
		if rollout, err = readRollout(j.file); err != nil {
			return o, nil, err
		}
		if err := j.take(rollout, flags, &o); err != nil {
			return o, nil, fmt.Errorf("--filename %s: %w", j.file, err)
		}
	}
	if err := j.refuse(); err != nil {
		return o, nil, err
	}
	o.WarmUp, o.Interval = j.warmUp, j.interval
	o.Settings.Duration, o.Settings.MinRequests = j.duration, j.minRequests
	o.Settings.SuccessRate, o.Settings.LatencyP99 = j.successRate/100, j.latency
	if flags.Changed("duration") {
		o.Durations = nil
	}
	if !j.compare {
		o.Settings.Compare = nil
		return o, rollout, nil
	}
	c := analysis.DefaultComparison()
	if o.Settings.Compare != nil {
		c = *o.Settings.Compare
	}
	c.Alpha, c.Tolerated, c.Slack, c.Dispersion = j.alpha, j.tolerance, j.slack, j.disperse
	// Safe is never stricter than what is tolerated.
	c.Ceiling, c.SafeSlack = max(c.Ceiling, c.Tolerated), max(c.SafeSlack, c.Slack)
	o.Settings.Compare = &c
	return o, rollout, nil
}

// refuse holds the flags to what a Rollout may say.
func (j *judgeFlags) refuse() error {
	for _, n := range []struct {
		flag        string
		value       float64
		least, most float64
		write       string
	}{
		{"alpha", j.alpha, .0001, .2, "a chance between 0.0001 and 0.2, such as 0.01"},
		{"tolerance", j.tolerance, 1, 10, "a ratio between 1 and 10, such as 1.05"},
		{"slack", j.slack, 0, .1, "a share between 0 and 0.1, such as 0.0001"},
		{"over-dispersion", j.disperse, 1, 100, "a number between 1 and 100"},
		{"success-rate", j.successRate, 0, 100, "a percentage such as 99.5, or leave it out"},
		{"min-requests", float64(j.minRequests), 1, 1e9, "a number of requests from 1 on"},
	} {
		if !(n.value >= n.least && n.value <= n.most) {
			return fmt.Errorf("--%s %v: write %s", n.flag, n.value, n.write)
		}
	}
	for _, d := range []struct {
		flag        string
		value       time.Duration
		least, most time.Duration
	}{
		{"warm-up", j.warmUp, 0, time.Hour}, {"duration", j.duration, 0, 30 * 24 * time.Hour},
		{"interval", j.interval, 100 * time.Millisecond, time.Hour}, {"latency-p99", j.latency, 0, time.Minute},
	} {
		if d.value < d.least || d.value > d.most {
			return fmt.Errorf("--%s %v: write a duration between %v and %v", d.flag, d.value, d.least, d.most)
		}
	}
	for i, b := range j.boundaries {
		if len(j.boundaries) > 5 || b < time.Millisecond || b > time.Minute || (i > 0 && b <= j.boundaries[i-1]) {
			return errors.New("--latency-boundaries: write at most five durations between 1ms and 1m that rise, such as 100ms,1s")
		}
	}
	if !j.compare && j.successRate == 0 && j.latency == 0 {
		return errors.New("--compare=false leaves nothing to judge by: give --success-rate or --latency-p99")
	}
	return nil
}

// readRollout reads the one Rollout of a file.
func readRollout(name string) (*v1alpha1.Rollout, error) {
	text, err := os.ReadFile(name) //nolint:gosec // the person names it
	if err != nil {
		return nil, fmt.Errorf("--filename: %w", err)
	}
	var found *v1alpha1.Rollout
	documents := kubeyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("--filename %s: %w", name, err)
		}
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal(document, &kind); err != nil {
			return nil, fmt.Errorf("--filename %s: %w", name, err)
		}
		if kind.Kind != "Rollout" || kind.APIVersion != v1alpha1.GroupVersion.String() {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("--filename %s: it has several Rollouts; keep one of them", name)
		}
		found = &v1alpha1.Rollout{}
		if err := yaml.UnmarshalStrict(document, found); err != nil {
			return nil, fmt.Errorf("--filename %s: %w", name, err)
		}
	}
	if found == nil {
		return nil, fmt.Errorf("--filename %s: there is no Rollout of %s in it", name, v1alpha1.GroupVersion)
	}
	return found, nil
}

// take takes what a Rollout says, where no flag does.
func (j *judgeFlags) take(rollout *v1alpha1.Rollout, flags *pflag.FlagSet, o *replay.Options) error {
	spec := rollout.Spec.Analysis
	number := func(flag, field, text string, into *float64) error {
		if text == "" || flags.Changed(flag) {
			return nil
		}
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("spec.analysis.%s: %q is not a number", field, text)
		}
		*into = n
		return nil
	}
	duration := func(flag string, d *metav1.Duration, into *time.Duration) {
		if d != nil && !flags.Changed(flag) {
			*into = d.Duration
		}
	}
	err := errors.Join(
		number("success-rate", "successRate", spec.SuccessRate, &j.successRate),
		number("alpha", "compare.alpha", spec.Compare.Alpha, &j.alpha),
		number("tolerance", "compare.tolerance", spec.Compare.Tolerance, &j.tolerance),
		number("slack", "compare.slack", spec.Compare.Slack, &j.slack),
		number("over-dispersion", "compare.overDispersion", spec.Compare.OverDispersion, &j.disperse),
	)
	if err != nil {
		return err
	}
	duration("duration", spec.Duration, &j.duration)
	duration("interval", spec.Interval, &j.interval)
	duration("latency-p99", spec.LatencyP99, &j.latency)
	duration("warm-up", spec.Compare.WarmUp, &j.warmUp)
	if spec.MinRequests != nil && !flags.Changed("min-requests") {
		j.minRequests = int(*spec.MinRequests)
	}
	if spec.Compare.Enabled != nil && !flags.Changed("compare") {
		j.compare = *spec.Compare.Enabled
	}
	if !flags.Changed("latency-boundaries") {
		for _, b := range spec.Compare.LatencyBoundaries {
			j.boundaries = append(j.boundaries, b.Duration)
		}
	}
	c := analysis.DefaultComparison()
	success, latency := spec.Compare.Success, spec.Compare.Latency
	c.Success, c.Latency = c.Success.With(success.Weight, success.Critical), c.Latency.With(latency.Weight, latency.Critical)
	o.Settings.Compare = &c
	j.steps(rollout, o)
	return nil
}

// steps takes the weights of the plan, and for how long each is looked at.
func (j *judgeFlags) steps(rollout *v1alpha1.Rollout, o *replay.Options) {
	weight := uint32(0)
	for _, step := range rollout.Spec.Canary.Steps {
		switch {
		case step.SetWeight != nil:
			weight = uint32(min(max(*step.SetWeight, 1), 100)) //nolint:gosec // 1 to 100
			o.Planned = append(o.Planned, weight)
		case step.Analysis != nil && step.Analysis.Duration != nil:
			o.Durations[weight] = max(o.Durations[weight], step.Analysis.Duration.Duration)
		}
	}
	bake := defaultBake
	if rollout.Spec.BakeTime != nil {
		bake = rollout.Spec.BakeTime.Duration
	}
	o.Planned, o.Durations[100] = append(o.Planned, 100), max(o.Durations[100], bake)
}
