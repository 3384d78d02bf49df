package v1alpha1_test

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/internal/apiserver"
)

// apiServer starts a real API server that knows the CRDs of this package.
func apiServer(t *testing.T) client.Client {
	t.Helper()
	config := apiserver.Start(t)
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const accepted = `
workloadRef: {name: shop}
service: {name: shop}
canary:
  steps:
  - setWeight: 10
  - pause: {duration: 1m}
  - analysis: {}
  - setWeight: 50
  - approval: {message: look at the dashboard, timeout: 1h}
`

var narrowed = strings.Replace(accepted, "service: {name: shop}", "service: {name: shop, narrow: true}", 1)

// TestAdmission has an accepted and a rejected case for every rule of the CRD. Each rejection names the
// field and the remedy.
func TestAdmission(t *testing.T) {
	c := apiServer(t)
	cases := map[string]struct {
		spec string
		// refused is part of the message; empty: accepted.
		refused string
	}{
		"a usual spec":                 {spec: accepted},
		"every field":                  {spec: accepted + "analysis: {duration: 30s, interval: 500ms, successRate: \"99.5\", latencyP99: 250ms, minRequests: 10, lowTraffic: Pass, compare: {enabled: true, against: Baseline, alpha: \"0.05\", tolerance: \"1.25\", slack: \"0.001\", warmUp: 0s, latencyBoundaries: [50ms, 1s], overDispersion: \"2.5\", success: {weight: 3, critical: true}, latency: {weight: 0}}, background: {templates: [{name: a}], startingStep: 4}, beforePromotion: {templates: [{name: a, clusterScope: true}], args: [{name: x, value: one}]}, afterPromotion: {templates: [{name: b}]}}\nbakeTime: 0s\ndeadlines: {progress: 1m, acknowledge: 5s, analysis: 1m, drain: 0s, release: 1h}\nnotifications: {slack: {channel: C0123456789, approvers: [U1]}, webhooks: [{name: a, secretRef: {name: s}}]}"},
		"success rate of one hundred":  {spec: accepted + "analysis: {successRate: \"100\"}"},
		"no steps":                     {spec: with("canary: {steps: []}"), refused: "spec.canary.steps"},
		"first step without weight":    {spec: with("canary: {steps: [{pause: {}}, {setWeight: 10}]}"), refused: "the first step must be setWeight"},
		"weights fall":                 {spec: with("canary: {steps: [{setWeight: 50}, {setWeight: 10}]}"), refused: "setWeight must rise from step to step; put the steps in rising order"},
		"a weight twice":               {spec: with("canary: {steps: [{setWeight: 10}, {pause: {}}, {setWeight: 10}]}"), refused: "remove the one that repeats a weight"},
		"weight zero":                  {spec: with("canary: {steps: [{setWeight: 0}]}"), refused: "should be greater than or equal to 1"},
		"weight above one hundred":     {spec: with("canary: {steps: [{setWeight: 101}]}"), refused: "should be less than or equal to 100"},
		"two things in one step":       {spec: with("canary: {steps: [{setWeight: 10, pause: {}}]}"), refused: "exactly one of setWeight, pause, analysis, approval; split it"},
		"nothing in a step":            {spec: with("canary: {steps: [{setWeight: 10}, {}]}"), refused: "exactly one of setWeight, pause, analysis, approval"},
		"another kind of workload":     {spec: strings.Replace(accepted, "{name: shop}", "{kind: StatefulSet, name: shop}", 1), refused: "only Deployment is supported"},
		"another version of workload":  {spec: strings.Replace(accepted, "{name: shop}", "{apiVersion: apps/v2, name: shop}", 1), refused: "only apps/v1 is supported"},
		"success rate with a percent":  {spec: accepted + "analysis: {successRate: \"99%\"}", refused: "a percentage such as 99 or 99.5, without a percent sign"},
		"success rate above 100":       {spec: accepted + "analysis: {successRate: \"101\"}", refused: "a percentage such as 99 or 99.5"},
		"alpha of zero":                {spec: accepted + "analysis: {compare: {alpha: \"0.0\"}}", refused: "spec.analysis.compare.alpha: a chance such as 0.01, between 0.0001 and 0.2"},
		"alpha of one half":            {spec: accepted + "analysis: {compare: {alpha: \"0.5\"}}", refused: "spec.analysis.compare.alpha"},
		"alpha that is no number":      {spec: accepted + "analysis: {compare: {alpha: \"1 %\"}}", refused: "spec.analysis.compare.alpha"},
		"tolerance below one":          {spec: accepted + "analysis: {compare: {tolerance: \"0.9\"}}", refused: "spec.analysis.compare.tolerance: a ratio such as 1.05, between 1 and 10"},
		"tolerance above ten":          {spec: accepted + "analysis: {compare: {tolerance: \"10.1\"}}", refused: "spec.analysis.compare.tolerance"},
		"slack above a tenth":          {spec: accepted + "analysis: {compare: {slack: \"0.2\"}}", refused: "spec.analysis.compare.slack: a share such as 0.0001, between 0 and 0.1"},
		"slack in percent":             {spec: accepted + "analysis: {compare: {slack: \"1\"}}", refused: "spec.analysis.compare.slack"},
		"no slack":                     {spec: accepted + "analysis: {compare: {slack: \"0\"}}"},
		"negative warm-up":             {spec: accepted + "analysis: {compare: {warmUp: -1s}}", refused: "spec.analysis.compare.warmUp: a duration such as 60s, at most 1h, not negative"},
		"warm-up of hours":             {spec: accepted + "analysis: {compare: {warmUp: 2h}}", refused: "spec.analysis.compare.warmUp"},
		"boundaries fall":              {spec: accepted + "analysis: {compare: {latencyBoundaries: [1s, 50ms]}}", refused: "spec.analysis.compare.latencyBoundaries: durations between 1ms and 1m in rising order"},
		"a boundary of zero":           {spec: accepted + "analysis: {compare: {latencyBoundaries: [0s]}}", refused: "spec.analysis.compare.latencyBoundaries"},
		"six boundaries":               {spec: accepted + "analysis: {compare: {latencyBoundaries: [1s, 2s, 3s, 4s, 5s, 6s]}}", refused: "must have at most 5 items"},
		"over-dispersion below one":    {spec: accepted + "analysis: {compare: {overDispersion: \"0.5\"}}", refused: "spec.analysis.compare.overDispersion: a number such as 1 or 2.5, between 1 and 100"},
		"nothing is compared":          {spec: accepted + "analysis: {compare: {success: {weight: 0}, latency: {weight: 0}}}", refused: "cannot both have weight 0; set enabled to false"},
		"nothing is judged":            {spec: accepted + "analysis: {compare: {enabled: false}}", refused: "with compare.enabled false nothing is judged; set successRate or latencyP99"},
		"thresholds only":              {spec: accepted + "analysis: {successRate: \"99\", compare: {enabled: false}}"},
		"compared with a third":        {spec: accepted + "analysis: {compare: {against: Canary}}", refused: "spec.analysis.compare.against"},
		"narrowed, and a baseline":     {spec: narrowed + "analysis: {compare: {against: Baseline}}", refused: "spec.service.narrow: a narrowed Service would not select the baseline's pods; turn narrow off, or set"},
		"narrowed":                     {spec: narrowed + "analysis: {compare: {against: Stable}}"},
		"narrowed, nothing said":       {spec: narrowed},
		"another policy":               {spec: accepted + "analysis: {lowTraffic: Promote}", refused: "spec.analysis.lowTraffic"},
		"background without templates": {spec: accepted + "analysis: {background: {}}", refused: "spec.analysis.background.templates: name at least one template"},
		"background from nowhere":      {spec: accepted + "analysis: {background: {templates: [{name: a}], startingStep: 5}}", refused: "spec.analysis.background.startingStep: there is no such step"},
		"nothing before promotion":     {spec: accepted + "analysis: {beforePromotion: {}}", refused: "spec.analysis.beforePromotion.templates: name at least one template"},
		"nothing after promotion":      {spec: accepted + "analysis: {afterPromotion: {}}", refused: "spec.analysis.afterPromotion.templates: name at least one template"},
		"a step with templates":        {spec: with("canary: {steps: [{setWeight: 10}, {analysis: {templates: [{name: a}], args: [{name: x, value: one}]}}]}")},
		"a step's arguments for none":  {spec: with("canary: {steps: [{setWeight: 10}, {analysis: {args: [{name: x, value: one}]}}]}"), refused: "analysis.args are for templates; name at least one"},
		"interval too short":           {spec: accepted + "analysis: {interval: 10ms}", refused: "spec.analysis.interval: at least 100ms"},
		"latency of zero":              {spec: accepted + "analysis: {latencyP99: 0s}", refused: "spec.analysis.latencyP99: between 1ms and 1m"},
		"no requests needed":           {spec: accepted + "analysis: {minRequests: 0}", refused: "should be greater than or equal to 1"},
		"progress deadline of zero":    {spec: accepted + "deadlines: {progress: 0s}", refused: "spec.deadlines.progress: at least 1s"},
		"acknowledge deadline of zero": {spec: accepted + "deadlines: {acknowledge: 0s}", refused: "spec.deadlines.acknowledge: at least 1s"},
		"analysis deadline of zero":    {spec: accepted + "deadlines: {analysis: 0s}", refused: "spec.deadlines.analysis: at least 1s"},
		"release deadline of zero":     {spec: accepted + "deadlines: {release: 0s}", refused: "spec.deadlines.release: at least 1s"},
		"negative drain":               {spec: accepted + "deadlines: {drain: -1s}", refused: "spec.deadlines.drain"},
		"negative bake time":           {spec: accepted + "bakeTime: -1s", refused: "spec.bakeTime"},
		"pause of zero":                {spec: with("canary: {steps: [{setWeight: 10}, {pause: {duration: 0s}}]}"), refused: "pause.duration"},
		"negative analysis":            {spec: with("canary: {steps: [{setWeight: 10}, {analysis: {duration: -1s}}]}"), refused: "analysis.duration"},
		"negative analysis by default": {spec: accepted + "analysis: {duration: -1s}", refused: "spec.analysis.duration"},
		"approval that times out at 0": {spec: with("canary: {steps: [{setWeight: 10}, {approval: {timeout: 0s}}]}"), refused: "approval.timeout"},
		"a duration that is none":      {spec: accepted + "bakeTime: soon", refused: "spec.bakeTime"},
		"no workload":                  {spec: strings.Replace(accepted, "workloadRef: {name: shop}", "", 1), refused: "spec.workloadRef: Required value"},
		"workload without name":        {spec: strings.Replace(accepted, "{name: shop}", "{name: \"\"}", 1), refused: "spec.workloadRef.name"},
		"no service":                   {spec: strings.Replace(accepted, "service: {name: shop}", "", 1), refused: "spec.service: Required value"},
		"two webhooks of one name":     {spec: accepted + "notifications: {webhooks: [{name: a, secretRef: {name: s}}, {name: a, secretRef: {name: t}}]}", refused: "Duplicate value"},
		"a Slack channel without name": {spec: accepted + "notifications: {slack: {channel: \"\"}}", refused: "spec.notifications.slack.channel"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			err := c.Create(context.Background(), rollout(t, "case", test.spec), client.DryRunAll)
			switch {
			case test.refused == "" && err != nil:
				t.Fatalf("refused: %v", err)
			case test.refused != "" && err == nil:
				t.Fatal("accepted")
			case test.refused != "" && !strings.Contains(err.Error(), test.refused):
				t.Fatalf("refused with %q, want a message with %q", err, test.refused)
			}
		})
	}

	t.Run("defaults", func(t *testing.T) {
		u := rollout(t, "defaults", accepted)
		if err := c.Create(context.Background(), u); err != nil {
			t.Fatal(err)
		}
		var got v1alpha1.Rollout
		if err := c.Get(context.Background(), client.ObjectKeyFromObject(u), &got); err != nil {
			t.Fatal(err)
		}
		spec := got.Spec
		if spec.WorkloadRef.Kind != "Deployment" || spec.BakeTime.Duration.String() != "1m0s" || spec.Analysis.SuccessRate != "" || spec.Analysis.LowTraffic != v1alpha1.LowTrafficHold ||
			*spec.Analysis.MinRequests != 50 || spec.Analysis.Interval.Duration.String() != "1s" || spec.Deadlines.Release.Duration.String() != "24h0m0s" {
			t.Errorf("defaults are not as documented: %+v", spec)
		}
		if c := spec.Analysis.Compare; !*c.Enabled || c.Against != v1alpha1.RevisionStable || c.Alpha != "0.01" || c.Tolerance != "1.05" || c.Slack != "0.0001" || c.WarmUp.Duration.String() != "1m0s" ||
			c.OverDispersion != "1" || c.Success.Weight != nil || c.Latency.Weight != nil || c.LatencyBoundaries != nil {
			t.Errorf("defaults of the comparison are not as documented: %+v", c)
		}
		got.Spec.WorkloadRef.Name = "other"
		if err := c.Update(context.Background(), &got); err == nil || !strings.Contains(err.Error(), "spec.workloadRef: cannot be changed") {
			t.Errorf("change of workloadRef: %v, want a refusal with the remedy", err)
		}
		got.Spec.WorkloadRef.Name, got.Spec.Service.Name = "shop", "other"
		if err := c.Update(context.Background(), &got); err == nil || !strings.Contains(err.Error(), "spec.service.name: cannot be changed") {
			t.Errorf("change of service: %v, want a refusal with the remedy", err)
		}
	})

	t.Run("a name that is no label", func(t *testing.T) {
		err := c.Create(context.Background(), rollout(t, strings.Repeat("a", 64), accepted), client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), "at most 63 characters") {
			t.Errorf("got %v, want a refusal that names the limit", err)
		}
	})
}

// with replaces the accepted spec's steps.
func with(canary string) string {
	before, _, _ := strings.Cut(accepted, "canary:")
	return before + canary + "\n"
}

func rollout(t *testing.T, name, spec string) *unstructured.Unstructured {
	t.Helper()
	var values map[string]any
	if err := yaml.Unmarshal([]byte(spec), &values); err != nil {
		t.Fatalf("the case's own YAML: %v", err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": values}}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Rollout"))
	u.SetNamespace(metav1.NamespaceDefault)
	u.SetName(name)
	return u
}
