package controllers

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-mesh/sluice/analysis"
	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/controllers/plan"
)

// This file translates between a Rollout and the judge: what is to be judged and what is demanded comes from
// spec and status alone, so that any leader, after any restart, asks the same.

// target is what the judge looks at next.
type target struct {
	release  analysis.Release
	settings analysis.Settings
	// epoch of the weight that the verdict is about.
	epoch int64
	// live: all proxies have that weight.
	live bool
}

// targetOf says what the judge must look at now.
func targetOf(rollout *v1alpha1.Rollout) (target, error) {
	spec, status := rollout.Spec.Analysis, rollout.Status
	if status.Stable == nil || status.Canary == nil || status.Release == nil || len(status.Release.Weights) == 0 ||
		status.Weight.Desired <= 0 || status.Weight.DecidedAt == nil {
		return target{}, fmt.Errorf("judge rollout %s: no canary has weight", rollout.Name)
	}
	release := analysis.Release{
		Namespace: rollout.Namespace, Service: rollout.Spec.Service.Name,
		Stable: status.Stable.Hash, Canary: status.Canary.Hash,
		Since:  status.Release.Weights[0].DecidedAt.Time,
		Weight: uint32(status.Weight.Desired), WeightSince: status.Weight.DecidedAt.Time,
		Planned: planned(rollout),
	}
	if status.Baseline != nil {
		release.Control = status.Baseline.Hash
	}
	for _, w := range status.Release.WarmUps {
		release.WarmUps = append(release.WarmUps, analysis.Window{From: w.From.Time, Until: w.Until.Time})
	}
	for _, boundary := range spec.Compare.LatencyBoundaries {
		release.Boundaries = append(release.Boundaries, boundary.Duration)
	}
	settings, err := settingsOf(rollout)
	if err != nil {
		return target{}, err
	}
	release.Threshold = settings.LatencyP99
	return target{release, settings, status.Weight.Epoch, status.Weight.LiveAt != nil}, nil
}

// planned are all weights of a release, rising: those that were decided and those that the steps will ask
// for. The last is 100.
func planned(rollout *v1alpha1.Rollout) []uint32 {
	weights := []uint32{100}
	for _, w := range rollout.Status.Release.Weights {
		weights = append(weights, uint32(min(max(w.Percent, 1), 100))) //nolint:gosec // 1 to 100
	}
	for _, step := range rollout.Spec.Canary.Steps {
		if step.SetWeight != nil && *step.SetWeight > rollout.Status.Weight.Desired {
			weights = append(weights, uint32(min(*step.SetWeight, 100))) //nolint:gosec // 1 to 100
		}
	}
	slices.Sort(weights)
	return slices.Compact(weights)
}

// settingsOf says what the judge demands. Numbers that cannot be read name their field: the API lets none
// through, but it may be older than this program.
func settingsOf(rollout *v1alpha1.Rollout) (analysis.Settings, error) {
	spec, status := rollout.Spec.Analysis, rollout.Status
	settings := analysis.Settings{MinRequests: 1, Duration: plan.LookFor(rollout.Spec, status)}
	if spec.MinRequests != nil {
		settings.MinRequests = int(*spec.MinRequests)
	}
	if spec.LatencyP99 != nil {
		settings.LatencyP99 = spec.LatencyP99.Duration
	}
	percent := 0.
	if err := number(spec.SuccessRate, "successRate", &percent); err != nil {
		return settings, err
	}
	settings.SuccessRate = percent / 100
	if spec.Compare.Enabled != nil && !*spec.Compare.Enabled {
		return settings, nil
	}
	compare := analysis.DefaultComparison()
	for _, n := range []struct {
		text, field string
		into        *float64
	}{
		{spec.Compare.Alpha, "compare.alpha", &compare.Alpha},
		{spec.Compare.Tolerance, "compare.tolerance", &compare.Tolerated},
		{spec.Compare.Slack, "compare.slack", &compare.Slack},
		{spec.Compare.OverDispersion, "compare.overDispersion", &compare.Dispersion},
	} {
		if err := number(n.text, n.field, n.into); err != nil {
			return settings, err
		}
	}
	// Safe is never stricter than what is tolerated.
	compare.Ceiling, compare.SafeSlack = max(compare.Ceiling, compare.Tolerated), max(compare.SafeSlack, compare.Slack)
	success, latency := spec.Compare.Success, spec.Compare.Latency
	compare.Success, compare.Latency = compare.Success.With(success.Weight, success.Critical), compare.Latency.With(latency.Weight, latency.Critical)
	if status.Canary != nil && status.Stable != nil {
		compare.CanaryPods, compare.ControlPods = int(status.Canary.Ready), int(status.Stable.Ready)
	}
	if status.Baseline != nil {
		compare.ControlPods = int(status.Baseline.Ready)
	}
	settings.Compare = &compare
	return settings, nil
}

// number reads a number of spec.analysis; an empty text leaves what is there.
func number(text, field string, into *float64) error {
	if text == "" {
		return nil
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
		return fmt.Errorf("spec.analysis.%s: %q is not a number", field, text)
	}
	*into = n
	return nil
}

// verdictOf is what status keeps of a verdict.
func verdictOf(said analysis.Verdict, about target, at time.Time) v1alpha1.Verdict {
	v := v1alpha1.Verdict{
		Outcome: v1alpha1.VerdictOutcome(said.Outcome), Reason: said.Reason,
		Weight: int32(about.release.Weight), Epoch: about.epoch, At: metav1.NewMicroTime(at), //nolint:gosec // 0 to 100
		LowTraffic: said.LowTraffic,
	}
	if said.Score != nil {
		v.Score = score(*said.Score)
	}
	for _, m := range said.Metrics {
		v.Metrics = append(v.Metrics, v1alpha1.MetricVerdict{
			Name: m.Name, Canary: rate(m.Canary), Control: rate(m.Control),
			Ratio: decimals(m.Ratio, 2), Low: decimals(m.Low, 2), High: decimals(m.High, 2), P: decimals(m.P, 4),
			Score: score(m.Score), Critical: m.Critical,
		})
	}
	return v
}

func rate(r analysis.Rate) string { return fmt.Sprintf("%d/%d", r.Bad, r.Of) }

// decimals writes a number; one that there is not (no number, or without bound) is empty.
func decimals(n float64, places int) string {
	if math.IsNaN(n) || math.IsInf(n, 0) {
		return ""
	}
	return strconv.FormatFloat(n, 'f', places, 64)
}

// score is a score in whole points; nil when it is no number.
func score(s float64) *int32 {
	if math.IsNaN(s) {
		return nil
	}
	points := int32(math.Round(min(max(s, 0), 100)))
	return &points
}
