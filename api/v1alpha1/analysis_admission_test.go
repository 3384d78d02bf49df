package v1alpha1_test

import (
	"context"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

const (
	usual = `{name: errors, interval: 30s, count: 5, successCondition: 'result[0] < 0.01', provider: {prometheus: {query: 'errors{revision="{{args.revision}}"}'}}}`
	job   = `{spec: {backoffLimit: 0, template: {metadata: {labels: {a: b}}, spec: {restartPolicy: Never, containers: [{name: test, image: test, args: ["{{args.host}}"], env: [{name: A, value: b}]}]}}}}`
)

// TestAnalysisAdmission has an accepted and a rejected case for every rule of the kinds for analysis. Each
// rejection names the field and the remedy. Rules of metrics are those of all three kinds.
func TestAnalysisAdmission(t *testing.T) {
	c := apiServer(t)
	prometheus := func(more string) string {
		return "{metrics: [{name: a, successCondition: 'true', provider: {prometheus: {query: up, " + more + "}}}]}"
	}
	web := func(more string) string {
		return "{metrics: [{name: a, successCondition: 'true', provider: {web: {url: 'http://a', " + more + "}}}]}"
	}
	metric := func(more string) string {
		return "{metrics: [{name: a, successCondition: 'true', provider: {prometheus: {query: up}}, " + more + "}]}"
	}
	ranks := func(more, provider string) string {
		return "{metrics: [{name: a, " + more + ", provider: {prometheus: {query: up, " + provider + "}}}]}"
	}
	const span = "range: {window: 10m, step: 10s}"
	cases := map[string]struct {
		spec string
		// refused is part of the message; empty: accepted.
		refused string
	}{
		"a usual spec": {spec: "{metrics: [" + usual + "]}"},
		"every field": {spec: `
args:
- {name: host, value: shop}
- {name: team, valueFrom: {fieldRef: {fieldPath: "metadata.labels['team']"}}}
- {name: token, valueFrom: {secretKeyRef: {name: tokens, key: prometheus}}}
- {name: hash, valueFrom: {podTemplateHash: Baseline}}
- {name: must-be-given}
metrics:
- {name: p 99.9_a-b, interval: 1s, initialDelay: 0s, count: 0, successCondition: 'result < 1.0', failureCondition: 'result > 2.0', failureLimit: 3,
   inconclusiveLimit: 2, consecutiveErrorLimit: 0, dryRun: true, weight: 100, critical: true, compare: Stable,
   provider: {prometheus: {address: 'https://thanos:9090/prefix', query: up, headers: [{key: X-Scope-OrgID, value: "{{args.team}}"}], timeout: 100ms,
     connection: {caSecret: {name: a, key: b}, clientCertificateSecret: {name: c}, serverName: d, insecureSkipVerify: true, bearerTokenSecret: {name: e, key: f}}}}}
- {name: ranks, compare: Baseline, mannWhitney: {direction: Either, tolerance: "0.2", difference: "1.5", alpha: "0.05", minPoints: 20}, provider: {prometheus: {query: up, range: {window: 10m, step: 10s}}}}
- {name: web, failureCondition: 'result.bad', provider: {web: {url: "{{args.host}}/health", method: POST, body: "{}", headers: [{key: Authorization, value: "Bearer {{args.token}}"}], timeout: 1m, connection: {basicAuthSecret: {name: a}}}}}
- {name: job, provider: {job: {metadata: {labels: {a: b}, annotations: {c: d}}, spec: ` + job[len("{spec: "):] + `}}
`},
		"no metrics":             {spec: "{metrics: []}", refused: "spec.metrics"},
		"two of one name":        {spec: "{metrics: [" + usual + ", " + usual + "]}", refused: "Duplicate value"},
		"no name":                {spec: strings.Replace("{metrics: ["+usual+"]}", "name: errors", `name: ""`, 1), refused: "a name has letters, digits"},
		"a name with a slash":    {spec: strings.Replace("{metrics: ["+usual+"]}", "name: errors", `name: a/b`, 1), refused: "a name has letters, digits"},
		"no provider":            {spec: "{metrics: [{name: a, successCondition: 'true', provider: {}}]}", refused: "provider has exactly one of prometheus, web, job"},
		"two providers":          {spec: "{metrics: [{name: a, successCondition: 'true', provider: {prometheus: {query: up}, web: {url: 'http://a'}}}]}", refused: "provider has exactly one of prometheus, web, job"},
		"no condition":           {spec: "{metrics: [{name: a, provider: {prometheus: {query: up}}}]}", refused: "successCondition, failureCondition or mannWhitney is needed"},
		"count without interval": {spec: metric("count: 2"), refused: "interval is needed where count is not 1"},
		"endless at once":        {spec: metric("count: 0"), refused: "interval is needed where count is not 1"},
		"one, without interval":  {spec: metric("count: 1")},
		"endless":                {spec: metric("interval: 10s, failureLimit: 100, inconclusiveLimit: 100")},
		"a negative count":       {spec: metric("interval: 10s, count: -1"), refused: "metrics[0].count"},
		"too short an interval":  {spec: metric("interval: 10ms"), refused: "interval is a duration such as 30s or 5m, at least 1s"},
		"a negative delay":       {spec: metric("initialDelay: -1s"), refused: "initialDelay is a duration such as 30s or 5m, not negative"},
		"a duration that is none": {
			spec: metric("interval: soon"), refused: "metrics[0].interval"},
		"a negative failure limit":        {spec: metric("failureLimit: -1"), refused: "metrics[0].failureLimit"},
		"a negative inconclusive limit":   {spec: metric("inconclusiveLimit: -1"), refused: "metrics[0].inconclusiveLimit"},
		"a negative error limit":          {spec: metric("consecutiveErrorLimit: -1"), refused: "metrics[0].consecutiveErrorLimit"},
		"all may fail":                    {spec: metric("interval: 1s, count: 3, failureLimit: 3"), refused: "failureLimit is below count"},
		"the only one may fail":           {spec: metric("failureLimit: 1"), refused: "failureLimit is below count"},
		"all may be inconclusive":         {spec: metric("interval: 1s, count: 3, inconclusiveLimit: 3"), refused: "inconclusiveLimit is below count"},
		"all but one may fail":            {spec: metric("interval: 1s, count: 3, failureLimit: 2, inconclusiveLimit: 2")},
		"weight zero":                     {spec: metric("weight: 0"), refused: "metrics[0].weight"},
		"compared with the canary":        {spec: metric("compare: Canary"), refused: "metrics[0].compare"},
		"ranks and a condition":           {spec: metric("compare: Stable, mannWhitney: {}"), refused: "mannWhitney takes the place of successCondition and failureCondition"},
		"ranks":                           {spec: ranks("compare: Stable, mannWhitney: {}", span)},
		"ranks of one":                    {spec: ranks("mannWhitney: {}", span), refused: "mannWhitney compares two versions; set compare to Stable or Baseline"},
		"ranks without range":             {spec: ranks("compare: Stable, mannWhitney: {}", ""), refused: "mannWhitney and provider.prometheus.range go together"},
		"range without ranks":             {spec: prometheus(span), refused: "mannWhitney and provider.prometheus.range go together"},
		"a direction that is none":        {spec: ranks("compare: Stable, mannWhitney: {direction: Up}", span), refused: "mannWhitney.direction"},
		"a tolerance in percent":          {spec: ranks("compare: Stable, mannWhitney: {tolerance: 10%}", span), refused: "mannWhitney.tolerance is a number such as 0.1"},
		"a negative difference":           {spec: ranks(`compare: Stable, mannWhitney: {difference: "-1"}`, span), refused: "mannWhitney.difference is a number such as 0.5"},
		"too large an alpha":              {spec: ranks(`compare: Stable, mannWhitney: {alpha: "0.3"}`, span), refused: "mannWhitney.alpha is a chance such as 0.01"},
		"too few points":                  {spec: ranks("compare: Stable, mannWhitney: {minPoints: 2}", span), refused: "mannWhitney.minPoints"},
		"too short a window":              {spec: ranks("compare: Stable, mannWhitney: {}", "range: {window: 1s, step: 1s}"), refused: "range.window is between 10s and 24h"},
		"too short a step":                {spec: ranks("compare: Stable, mannWhitney: {}", "range: {window: 10s, step: 10ms}"), refused: "range.step is at least 1s"},
		"a step beyond the window":        {spec: ranks("compare: Stable, mannWhitney: {}", "range: {window: 10s, step: 20s}"), refused: "range.step is at most as long as window"},
		"no query":                        {spec: "{metrics: [{name: a, successCondition: 'true', provider: {prometheus: {}}}]}", refused: "prometheus.query"},
		"an empty query":                  {spec: "{metrics: [{name: a, successCondition: 'true', provider: {prometheus: {query: ''}}}]}", refused: "prometheus.query"},
		"an address that is none":         {spec: prometheus("address: 'prometheus:9090'"), refused: "provider.prometheus.address is a URL that begins with http:// or https://"},
		"an address from an argument":     {spec: prometheus("address: '{{args.address}}'")},
		"headers without an address":      {spec: prometheus("headers: [{key: A, value: b}]"), refused: "connection and headers go with an address of their own"},
		"connection without an address":   {spec: prometheus("connection: {serverName: a}"), refused: "connection and headers go with an address of their own"},
		"two ways to say who we are":      {spec: prometheus("address: 'http://a', connection: {bearerTokenSecret: {name: a, key: b}, basicAuthSecret: {name: a}}"), refused: "connection has bearerTokenSecret or basicAuthSecret, not both"},
		"a Secret without key":            {spec: prometheus("address: 'http://a', connection: {caSecret: {name: a}}"), refused: "caSecret.key"},
		"too long a timeout":              {spec: prometheus("timeout: 10m"), refused: "timeout is between 100ms and 1m"},
		"too long a timeout of the web":   {spec: web("timeout: 10m"), refused: "timeout is between 100ms and 1m"},
		"a header with a space":           {spec: web("headers: [{key: 'A B', value: c}]"), refused: "a header's key has letters, digits and - only"},
		"a header twice":                  {spec: web("headers: [{key: A, value: c}, {key: A, value: d}]"), refused: "Duplicate value"},
		"a URL that is none":              {spec: strings.Replace(web(""), "http://a", "ftp://a", 1), refused: "provider.web.url begins with http:// or https://"},
		"a method that is none":           {spec: web("method: DELETE"), refused: "web.method"},
		"a GET with a body":               {spec: web("body: a"), refused: "provider.web.body is sent with method POST or PUT only"},
		"a job with a condition":          {spec: "{metrics: [{name: a, successCondition: 'true', provider: {job: " + job + "}}]}", refused: "a job says by itself whether it succeeded"},
		"a job that compares":             {spec: "{metrics: [{name: a, compare: Stable, provider: {job: " + job + "}}]}", refused: "a job says by itself whether it succeeded"},
		"a job":                           {spec: "{metrics: [{name: a, provider: {job: " + job + "}}]}"},
		"a job without template":          {spec: "{metrics: [{name: a, provider: {job: {spec: {}}}}]}", refused: "job.spec.template"},
		"a job that restarts always":      {spec: strings.Replace("{metrics: [{name: a, provider: {job: "+job+"}}]}", "Never", "Always", 1), refused: "restartPolicy is Never or OnFailure"},
		"a job without containers":        {spec: "{metrics: [{name: a, provider: {job: {spec: {template: {spec: {restartPolicy: Never, containers: []}}}}}}]}", refused: "spec.containers"},
		"a job that is suspended":         {spec: strings.Replace("{metrics: [{name: a, provider: {job: "+job+"}}]}", "backoffLimit: 0", "suspend: true", 1), refused: "a suspended Job never ends"},
		"an argument twice":               {spec: "{args: [{name: a}, {name: a}], metrics: [" + usual + "]}", refused: "Duplicate value"},
		"an argument of ours":             {spec: "{args: [{name: revision}], metrics: [" + usual + "]}", refused: "the name revision is Sluice's own"},
		"an argument with a dot":          {spec: "{args: [{name: a.b}], metrics: [" + usual + "]}", refused: "a name begins with a letter"},
		"two values":                      {spec: "{args: [{name: a, value: b, valueFrom: {podTemplateHash: Canary}}], metrics: [" + usual + "]}", refused: "an argument has value or valueFrom, not both"},
		"a value from nowhere":            {spec: "{args: [{name: a, valueFrom: {}}], metrics: [" + usual + "]}", refused: "valueFrom has exactly one of secretKeyRef, fieldRef, podTemplateHash"},
		"a hash of no version":            {spec: "{args: [{name: a, valueFrom: {podTemplateHash: Latest}}], metrics: [" + usual + "]}", refused: "podTemplateHash"},
		"a field of nothing":              {spec: "{args: [{name: a, valueFrom: {fieldRef: {fieldPath: name}}}], metrics: [" + usual + "]}", refused: "fieldPath begins with metadata., spec. or status."},
		"a Secret's key without the name": {spec: "{args: [{name: a, valueFrom: {secretKeyRef: {key: b}}}], metrics: [" + usual + "]}", refused: "secretKeyRef.name"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			err := c.Create(context.Background(), analysis(t, "AnalysisTemplate", "case", test.spec), client.DryRunAll)
			expect(t, err, test.refused)
		})
	}

	// The other kinds have the same rules of metrics; a run has some more.
	t.Run("cluster-wide", func(t *testing.T) {
		template := analysis(t, "ClusterAnalysisTemplate", "case", "{metrics: ["+usual+"]}")
		template.SetNamespace("")
		expect(t, c.Create(context.Background(), template, client.DryRunAll), "")
		template = analysis(t, "ClusterAnalysisTemplate", "case", metric("count: 2"))
		template.SetNamespace("")
		expect(t, c.Create(context.Background(), template, client.DryRunAll), "interval is needed where count is not 1")
	})
	runs := map[string]struct{ spec, refused string }{
		"by hand": {spec: "{metrics: [" + usual + "]}"},
		"every field": {spec: "{rollout: shop, release: abc-1, stage: step-2, revisions: {canary: a, stable: b, baseline: c}, terminate: true, args: [{name: a, value: b}, " +
			"{name: c, valueFrom: {secretKeyRef: {name: d, key: e}}}], metrics: [" + usual + "]}"},
		"a metric that cannot be":   {spec: metric("count: 2"), refused: "interval is needed where count is not 1"},
		"an argument without value": {spec: "{args: [{name: a}], metrics: [" + usual + "]}", refused: "an argument of a run has value or valueFrom.secretKeyRef"},
		"an argument of a Rollout":  {spec: "{args: [{name: a, valueFrom: {podTemplateHash: Canary}}], metrics: [" + usual + "]}", refused: "an argument of a run has value or valueFrom.secretKeyRef"},
	}
	for name, test := range runs {
		t.Run("run "+name, func(t *testing.T) {
			expect(t, c.Create(context.Background(), analysis(t, "AnalysisRun", "case", test.spec), client.DryRunAll), test.refused)
		})
	}
	t.Run("run with a name that is no label", func(t *testing.T) {
		err := c.Create(context.Background(), analysis(t, "AnalysisRun", strings.Repeat("a", 64), "{metrics: ["+usual+"]}"), client.DryRunAll)
		expect(t, err, "at most 63 characters")
	})
	t.Run("run that is changed", func(t *testing.T) { testChangedRun(t, c) })
	t.Run("job is kept as it was written", func(t *testing.T) { testKeptJob(t, c) })
}

func testChangedRun(t *testing.T, c client.Client) {
	ctx := context.Background()
	if err := c.Create(ctx, analysis(t, "AnalysisRun", "changed", "{args: [{name: a, value: b}], metrics: ["+usual+"]}")); err != nil {
		t.Fatal(err)
	}
	change := func(by func(*v1alpha1.AnalysisRunSpec)) error {
		run := &v1alpha1.AnalysisRun{}
		if err := c.Get(ctx, client.ObjectKey{Namespace: metav1.NamespaceDefault, Name: "changed"}, run); err != nil {
			t.Fatal(err)
		}
		by(&run.Spec)
		return c.Update(ctx, run)
	}
	expect(t, change(func(s *v1alpha1.AnalysisRunSpec) { s.Metrics[0].SuccessCondition = "true" }), "spec.metrics: cannot be changed; create another run")
	expect(t, change(func(s *v1alpha1.AnalysisRunSpec) { *s.Args[0].Value = "c" }), "spec.args: cannot be changed; create another run")
	expect(t, change(func(s *v1alpha1.AnalysisRunSpec) { s.Args = nil }), "spec.args: cannot be changed; create another run")
	const only = "spec: nothing but terminate can be changed; create another run"
	expect(t, change(func(s *v1alpha1.AnalysisRunSpec) { s.Rollout = "other" }), only)
	expect(t, change(func(s *v1alpha1.AnalysisRunSpec) { s.Revisions.Canary = "other" }), only)
	expect(t, change(func(s *v1alpha1.AnalysisRunSpec) { now := metav1.NowMicro(); s.Since = &now }), only)
	expect(t, change(func(s *v1alpha1.AnalysisRunSpec) { s.Terminate = true }), "")
	expect(t, change(func(s *v1alpha1.AnalysisRunSpec) { s.Terminate = false }), "spec.terminate: a run that was terminated does not go on")
}

// testKeptJob: fields of a Job that the type does not name survive the API server and this package.
func testKeptJob(t *testing.T, c client.Client) {
	ctx := context.Background()
	written := analysis(t, "AnalysisTemplate", "job", "{metrics: [{name: a, provider: {job: "+job+"}}]}")
	want, _, _ := unstructured.NestedSlice(written.Object, "spec", "metrics")
	if err := c.Create(ctx, written); err != nil {
		t.Fatal(err)
	}
	template := &v1alpha1.AnalysisTemplate{}
	if err := c.Get(ctx, client.ObjectKeyFromObject(written), template); err != nil {
		t.Fatal(err)
	}
	copied := template.DeepCopy()
	if raw := string(copied.Spec.Metrics[0].Provider.Job.Spec.Raw); !strings.Contains(raw, `"env":[{"name":"A","value":"b"}]`) || !strings.Contains(raw, `"labels":{"a":"b"}`) {
		t.Errorf("read %s, want all of what was written: %v", raw, want)
	}
	copied.ObjectMeta = metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "job-again"}
	if err := c.Create(ctx, copied); err != nil {
		t.Fatal(err)
	}
	again := &v1alpha1.AnalysisTemplate{}
	if err := c.Get(ctx, client.ObjectKeyFromObject(copied), again); err != nil {
		t.Fatal(err)
	}
	if got, want := string(again.Spec.Metrics[0].Provider.Job.Spec.Raw), string(template.Spec.Metrics[0].Provider.Job.Spec.Raw); got != want {
		t.Errorf("written again it is %s, want %s", got, want)
	}
}

// expect compares an error of the API server with a part of its message; empty: no error.
func expect(t *testing.T, err error, refused string) {
	t.Helper()
	switch {
	case refused == "" && err != nil:
		t.Errorf("refused: %v", err)
	case refused != "" && err == nil:
		t.Errorf("accepted, want %q", refused)
	case refused != "" && !strings.Contains(err.Error(), refused):
		t.Errorf("refused with %q, want a message with %q", err, refused)
	}
}

func analysis(t *testing.T, kind, name, spec string) *unstructured.Unstructured {
	t.Helper()
	var values map[string]any
	if err := yaml.Unmarshal([]byte(spec), &values); err != nil {
		t.Fatalf("the case's own YAML: %v\n%s", err, spec)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": values}}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	u.SetNamespace(metav1.NamespaceDefault)
	u.SetName(name)
	return u
}
