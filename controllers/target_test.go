package controllers

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/sluice-mesh/sluice/analysis"
	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/controllers/plan"
)

var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func after(seconds int) metav1.MicroTime {
	return metav1.NewMicroTime(began.Add(time.Duration(seconds) * time.Second))
}

// judged is a Rollout at its second weight.
func judged() *v1alpha1.Rollout {
	weight := func(n int32) v1alpha1.Step { return v1alpha1.Step{SetWeight: &n} }
	return &v1alpha1.Rollout{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "1"},
		Spec: v1alpha1.RolloutSpec{
			Service: v1alpha1.ServiceRef{Name: "web"},
			Canary:  v1alpha1.CanaryStrategy{Steps: []v1alpha1.Step{weight(10), weight(25), weight(50)}},
		},
		Status: v1alpha1.RolloutStatus{
			Phase:  v1alpha1.PhaseProgressing,
			Stable: &v1alpha1.Revision{Hash: "a", Ready: 4}, Canary: &v1alpha1.Revision{Hash: "b", Ready: 2},
			Step:   &v1alpha1.StepStatus{Index: 1},
			Weight: v1alpha1.WeightStatus{Desired: 25, Epoch: 7, DecidedAt: ptr.To(after(60))},
			Release: &v1alpha1.Release{
				Weights: []v1alpha1.DecidedWeight{{Percent: 10, DecidedAt: after(0)}, {Percent: 25, DecidedAt: after(60)}},
				WarmUps: []v1alpha1.WarmUp{{From: after(0), Until: after(30)}},
			},
		},
	}
}

func TestTargetOf(t *testing.T) {
	compare := analysis.DefaultComparison()
	compare.Success.Weight, compare.Latency.Weight = 1, 2
	compare.CanaryPods, compare.ControlPods = 2, 4
	usual := func() target {
		c := compare
		return target{
			release: analysis.Release{
				Namespace: "shop", Service: "web", Stable: "a", Canary: "b", Since: began,
				Weight: 25, WeightSince: began.Add(time.Minute), Planned: []uint32{10, 25, 50, 100},
				WarmUps: []analysis.Window{{From: began, Until: began.Add(30 * time.Second)}},
			},
			settings: analysis.Settings{Compare: &c, MinRequests: 1, Duration: time.Minute},
			epoch:    7,
		}
	}
	minute := metav1.Duration{Duration: time.Minute}
	tests := map[string]struct {
		with func(*v1alpha1.Rollout)
		want func(*target)
	}{
		"as the API fills it in": {func(r *v1alpha1.Rollout) {
			r.Spec.Analysis = v1alpha1.AnalysisSpec{Duration: &minute, MinRequests: ptr.To[int32](50), Compare: v1alpha1.CompareSpec{
				Enabled: ptr.To(true), Alpha: "0.01", Tolerance: "1.05", Slack: "0.0001", OverDispersion: "1",
				Success: v1alpha1.MetricWeight{Weight: ptr.To[int32](1)}, Latency: v1alpha1.MetricWeight{Critical: true},
			}}
		}, func(t *target) { t.settings.MinRequests, t.settings.Compare.Latency.Critical = 50, true }},
		"nothing said": {nil, nil},
		"beside a baseline": {func(r *v1alpha1.Rollout) {
			r.Status.Baseline = &v1alpha1.Revision{Hash: "a-baseline", Ready: 1}
		}, func(t *target) { t.release.Control, t.settings.Compare.ControlPods = "a-baseline", 1 }},
		"everything said": {func(r *v1alpha1.Rollout) {
			r.Spec.Analysis = v1alpha1.AnalysisSpec{
				SuccessRate: "99.5", LatencyP99: &metav1.Duration{Duration: 250 * time.Millisecond},
				Compare: v1alpha1.CompareSpec{
					Alpha: "0.05", Tolerance: "3", Slack: "0.01", OverDispersion: "2.5",
					LatencyBoundaries: []metav1.Duration{{Duration: time.Second}},
					Success:           v1alpha1.MetricWeight{Weight: ptr.To[int32](3), Critical: true}, Latency: v1alpha1.MetricWeight{Weight: ptr.To[int32](0)},
				},
			}
		}, func(t *target) {
			c := t.settings.Compare
			c.Alpha, c.Tolerated, c.Slack, c.Dispersion = .05, 3, .01, 2.5
			c.Ceiling, c.SafeSlack = 3, .01 // safe is no stricter than tolerated
			c.Success, c.Latency = analysis.MetricWeight{Weight: 3, Critical: true}, analysis.MetricWeight{}
			t.settings.SuccessRate, t.settings.LatencyP99 = .995, 250*time.Millisecond
			t.release.Boundaries, t.release.Threshold = []time.Duration{time.Second}, 250*time.Millisecond
		}},
		"no comparison": {func(r *v1alpha1.Rollout) { r.Spec.Analysis.Compare.Enabled = ptr.To(false) }, func(t *target) { t.settings.Compare = nil }},
		"steps that were skipped": {func(r *v1alpha1.Rollout) {
			r.Spec.Canary.Steps = append(r.Spec.Canary.Steps[:1:1], v1alpha1.Step{SetWeight: ptr.To[int32](20)}, v1alpha1.Step{SetWeight: ptr.To[int32](100)})
		}, func(t *target) { t.release.Planned = []uint32{10, 25, 100} }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			rollout, want := judged(), usual()
			if test.with != nil {
				test.with(rollout)
			}
			if test.want != nil {
				test.want(&want)
			}
			got, err := targetOf(rollout)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(target{})); diff != "" {
				t.Errorf("unexpected target (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTargetOfWhatCannotBeJudged(t *testing.T) {
	tests := map[string]struct {
		with func(*v1alpha1.Rollout)
		want string
	}{
		"no weight yet":   {func(r *v1alpha1.Rollout) { r.Status.Release.Weights = nil }, "no canary has weight"},
		"no weight now":   {func(r *v1alpha1.Rollout) { r.Status.Weight.Desired = 0 }, "no canary has weight"},
		"no release":      {func(r *v1alpha1.Rollout) { r.Status.Release = nil }, "no canary has weight"},
		"a rate of text":  {func(r *v1alpha1.Rollout) { r.Spec.Analysis.SuccessRate = "all" }, `spec.analysis.successRate: "all" is not a number`},
		"an alpha of NaN": {func(r *v1alpha1.Rollout) { r.Spec.Analysis.Compare.Alpha = "NaN" }, `spec.analysis.compare.alpha: "NaN" is not a number`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			rollout := judged()
			test.with(rollout)
			if _, err := targetOf(rollout); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestVerdictOf(t *testing.T) {
	about := target{release: analysis.Release{Weight: 25}, epoch: 7}
	said := analysis.Verdict{
		Outcome: analysis.Inconclusive, Reason: "too few", LowTraffic: true, Score: ptr.To(97.6),
		Metrics: []analysis.MetricVerdict{
			{Name: analysis.SuccessRate, Canary: analysis.Rate{Bad: 21, Of: 1000}, Control: analysis.Rate{Bad: 80, Of: 9000},
				Ratio: 2.3125, Low: 1.0627, High: 5.5897, P: .0041, Score: 0, Critical: true},
			{Name: analysis.Latency, Canary: analysis.Rate{Of: 5}, Control: analysis.Rate{Of: 20}, Ratio: math.NaN(), High: math.Inf(1), P: 1, Score: 100},
		},
	}
	want := v1alpha1.Verdict{
		Outcome: v1alpha1.VerdictInconclusive, Reason: "too few", LowTraffic: true, Score: ptr.To[int32](98), Weight: 25, Epoch: 7, At: after(0),
		Metrics: []v1alpha1.MetricVerdict{
			{Name: "success-rate", Canary: "21/1000", Control: "80/9000", Ratio: "2.31", Low: "1.06", High: "5.59", P: "0.0041", Score: ptr.To[int32](0), Critical: true},
			{Name: "latency", Canary: "0/5", Control: "0/20", Low: "0.00", P: "1.0000", Score: ptr.To[int32](100)},
		},
	}
	if diff := cmp.Diff(want, verdictOf(said, about, began)); diff != "" {
		t.Errorf("unexpected verdict (-want +got):\n%s", diff)
	}
	if v := verdictOf(analysis.Verdict{Outcome: analysis.Inconclusive}, about, began); v.Score != nil || v.Metrics != nil {
		t.Errorf("without evidence: score %v, metrics %v, want none", v.Score, v.Metrics)
	}
}

// The plan asks for the share that the judge reckons with.
func TestBaselineShare(t *testing.T) {
	for percent := range int32(101) {
		if got, want := plan.BaselineShare(percent), analysis.BaselineShare(uint32(percent)); uint32(got) != want { //nolint:gosec // 0 to 100
			t.Errorf("beside a weight of %d: %d, want %d", percent, got, want)
		}
	}
}
