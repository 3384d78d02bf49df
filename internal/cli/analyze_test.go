package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/sluice-mesh/sluice/analysis/replay"
)

// recording is one of those that package replay tests itself with.
func recording(name string) string {
	return filepath.Join("..", "..", "analysis", "replay", "testdata", name+".jsonl.gz")
}

// analyzed runs analyze without any cluster.
func analyzed(t *testing.T, args ...string) (code int, out, problems string) {
	t.Helper()
	env, stdout, stderr := (&world{namespace: "demo"}).environment()
	code = run(t.Context(), "sluice", append([]string{"analyze"}, args...), env)
	return code, stdout.String(), stderr.String()
}

func TestAnalyzeShowsWhatItWouldHaveDecided(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		code int
	}{
		"good":             {[]string{recording("good")}, ExitDone},
		"bad":              {[]string{recording("bad"), "--success-rate", "99"}, exitWouldRollBack},
		"istio":            {[]string{recording("istio")}, exitWouldRollBack},
		"held":             {[]string{recording("good"), "--duration", "5m"}, exitWouldHold},
		"several at once":  {[]string{recording("good"), recording("bad")}, exitWouldRollBack},
		"with a Rollout":   {[]string{recording("good"), "-f", rolloutFile(t, "")}, exitWouldHold},
		"thresholds alone": {[]string{recording("bad"), "--compare=false", "--success-rate", "90"}, ExitDone},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, problems := analyzed(t, append([]string{"--replay"}, test.args...)...)
			if code != test.code || problems != "" {
				t.Errorf("exit %d, want %d: %s", code, test.code, problems)
			}
			golden(t, "analyze "+name, out)
		})
	}
}

func TestAnalyzeAsJSON(t *testing.T) {
	code, out, problems := analyzed(t, "--replay", recording("bad"), "-o", "json")
	if code != exitWouldRollBack || problems != "" {
		t.Fatalf("exit %d: %s", code, problems)
	}
	var result replay.Result
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		t.Fatal(err)
	}
	if d := result.Decisions[0]; d.Outcome != replay.RollBack || d.At == nil || len(result.Timeline) < 3 {
		t.Errorf("got %+v", result)
	}
	_, asYAML, _ := analyzed(t, "--replay", recording("bad"), "-o", "yaml")
	text, err := yaml.YAMLToJSON([]byte(asYAML))
	if err != nil {
		t.Fatal(err)
	}
	var again replay.Result
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	one, _ := json.Marshal(result)
	other, _ := json.Marshal(again)
	if diff := cmp.Diff(string(one), string(other)); diff != "" {
		t.Errorf("JSON (-) and YAML (+) differ:\n%s", diff)
	}
}

// rolloutFile writes a Rollout, beside another object.
func rolloutFile(t *testing.T, more string, compare ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "rollout.yaml")
	text := `apiVersion: v1
kind: Service
metadata: {name: cart}
---
apiVersion: sluice.dev/v1alpha1
kind: Rollout
metadata: {name: cart, namespace: shop}
spec:
  workloadRef: {name: cart}
  service: {name: cart}
  canary:
    steps:
      - setWeight: 10
      - setWeight: 25
      - analysis: {duration: 3m}
      - setWeight: 50
  analysis:
    successRate: "99"
    compare: {` + strings.Join(compare, "") + `alpha: "0.05", warmUp: 30s}
` + more
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestAnalyzeTakesARolloutsSettings(t *testing.T) {
	var j judgeFlags
	flags := pflag.NewFlagSet("analyze", pflag.ContinueOnError)
	j.bind(flags)
	if err := flags.Parse([]string{"-f", rolloutFile(t, "  bakeTime: 2m\n"), "--alpha", "0.02"}); err != nil {
		t.Fatal(err)
	}
	o, rollout, err := j.options(flags)
	if err != nil {
		t.Fatal(err)
	}
	if rollout.Spec.Service.Name != "cart" || o.Settings.SuccessRate != .99 || o.Settings.Compare.Alpha != .02 || o.WarmUp != 30*time.Second {
		t.Errorf("got %+v, %+v", o, o.Settings.Compare)
	}
	if diff := cmp.Diff([]uint32{10, 25, 50, 100}, o.Planned); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[uint32]time.Duration{25: 3 * time.Minute, 100: 2 * time.Minute}, o.Durations); diff != "" {
		t.Error(diff)
	}
}

func TestAnalyzeRefuses(t *testing.T) {
	from := []string{"--replay", "--prometheus", "http://localhost:1", "-n", "shop", "--service", "cart", "--from", "1h"}
	with := func(args ...string) []string { return append(append([]string(nil), from...), args...) }
	istio := func(args ...string) []string { return append(with("--preset", "istio"), args...) }
	generic := func(args ...string) []string {
		return append([]string{"--replay", "--prometheus", "http://localhost:1", "--from", "1h", "--requests", "r", "--canary-matcher", `a="1"`, "--stable-matcher", `a="2"`, "--error-matcher", `c="5"`}, args...)
	}
	file := filepath.Join(t.TempDir(), "empty.yaml")
	if err := os.WriteFile(file, []byte("kind: Service\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		part string
	}{
		"no replay":            {[]string{recording("good")}, "say --replay"},
		"another output":       {[]string{"--replay", "-o", "xml", recording("good")}, "--output xml: it is one of json, yaml"},
		"no source":            {[]string{"--replay"}, "--prometheus: say which"},
		"no address":           {[]string{"--replay", "--prometheus", "localhost", "-n", "a", "--service", "b", "--from", "1h"}, "--prometheus: parse"},
		"no begin":             {[]string{"--replay", "--prometheus", "http://a", "-n", "a", "--service", "b"}, "--from: say when"},
		"no service":           {[]string{"--replay", "--prometheus", "http://a", "-n", "a", "--from", "1h"}, "--service: name"},
		"no namespace":         {[]string{"--replay", "--prometheus", "http://a", "--service", "b", "--from", "1h"}, "--namespace: name"},
		"a strange time":       {with("--to", "yesterday"), "--to yesterday: it is neither"},
		"an end before":        {with("--to", "2h"), "--to 2h: it is not after --from 1h"},
		"file and server":      {with(recording("good")), "--prometheus is for a Prometheus"},
		"no such file":         {[]string{"--replay", "nowhere.jsonl"}, "nowhere.jsonl"},
		"alpha":                {with("--alpha", "0.5"), "--alpha 0.5: write a chance"},
		"tolerance":            {with("--tolerance", "0.9"), "--tolerance 0.9: write a ratio"},
		"slack":                {with("--slack", "-1"), "--slack -1: write a share"},
		"over-dispersion":      {with("--over-dispersion", "NaN"), "--over-dispersion NaN: write"},
		"success rate":         {with("--success-rate", "101"), "--success-rate 101: write a percentage"},
		"min requests":         {with("--min-requests", "0"), "--min-requests 0: write"},
		"warm-up":              {with("--warm-up", "-1s"), "--warm-up -1s: write a duration"},
		"interval":             {with("--interval", "1ms"), "--interval 1ms: write a duration"},
		"boundaries":           {with("--latency-boundaries", "2s,1s"), "--latency-boundaries: write"},
		"nothing to judge by":  {with("--compare=false"), "--compare=false leaves nothing"},
		"half a basic auth":    {with("--prometheus-username", "a"), "give both"},
		"a header":             {with("--prometheus-header", "a"), "--prometheus-header: write NAME=VALUE"},
		"no Rollout":           {with("-f", file), "there is no Rollout"},
		"a baseline":           {[]string{"--replay", recording("good"), "-f", rolloutFile(t, "  bakeTime: 1m\n", "against: Baseline, ")}, "--control: the Rollout compares"},
		"an unknown field":     {with("-f", rolloutFile(t, "  speed: fast\n")), "speed"},
		"another mesh":         {with("--preset", "envoy"), "--preset envoy: it is one of istio, linkerd"},
		"no canary":            {istio("--stable", "b"), "--canary: say which"},
		"no stable":            {istio("--canary", "b"), "--stable: say which"},
		"a matcher for ours":   {with("--error-matcher", `code="5"`), "--error-matcher is for series of other meshes"},
		"names for generic":    {generic("--canary", "a"), "--canary and --stable go with --preset"},
		"a bad selector":       {generic("--requests", "r{a}"), "--requests: label a"},
		"a bad matcher":        {generic("--error-matcher", "5.."), "--error-matcher:"},
		"an unknown unit":      {generic("--latency-metric", "took_bucket"), "--latency-unit"},
		"no buckets":           {generic("--latency-metric", "took_seconds"), "--latency-metric: "},
		"weights without time": {generic("--weights", "10,20"), "--weights 10: write"},
		"weights that fall":    {generic("--weights", "10@30m,5@20m"), "--weights 5@20m: weights and their times must rise"},
		"nobody listens":       {with(), "query prometheus"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, problems := analyzed(t, test.args...)
			if code != ExitError || out != "" || !strings.Contains(problems, test.part) {
				t.Errorf("exit %d, %q, %q, want an error with %q", code, out, problems, test.part)
			}
		})
	}
}

// The defaults of the flags are those of the API.
func TestAnalyzeHasTheDefaultsOfARollout(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "charts", "sluice", "templates", "crd-rollouts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	plain := regexp.MustCompile(`(?m)^.*\{\{.*$`).ReplaceAllString(string(text), "")
	var crd apiextensions.CustomResourceDefinition
	if err := yaml.Unmarshal([]byte(plain), &crd); err != nil {
		t.Fatal(err)
	}
	spec := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	of := func(path ...string) string {
		at := spec
		for _, name := range path {
			at = at.Properties[name]
		}
		if at.Default == nil {
			t.Fatalf("%v has no default", path)
		}
		return strings.Trim(string(at.Default.Raw), `"`)
	}
	flags := pflag.NewFlagSet("analyze", pflag.ContinueOnError)
	(&judgeFlags{}).bind(flags)
	for flag, path := range map[string][]string{
		"alpha": {"analysis", "compare", "alpha"}, "tolerance": {"analysis", "compare", "tolerance"}, "slack": {"analysis", "compare", "slack"},
		"over-dispersion": {"analysis", "compare", "overDispersion"}, "warm-up": {"analysis", "compare", "warmUp"}, "duration": {"analysis", "duration"},
		"interval": {"analysis", "interval"}, "min-requests": {"analysis", "minRequests"},
	} {
		got, want := flags.Lookup(flag).DefValue, of(path...)
		if d, err := time.ParseDuration(want); err == nil {
			want = d.String()
		}
		if got != want {
			t.Errorf("--%s is %s by default, and the Rollout's %s is %s", flag, got, strings.Join(path, "."), want)
		}
	}
	if bake, err := time.ParseDuration(of("bakeTime")); err != nil || bake != defaultBake {
		t.Errorf("bakeTime %v, %v", bake, err)
	}
}
