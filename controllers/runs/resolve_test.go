package runs_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/controllers/runs"
)

func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(s), v1alpha1.AddToScheme(s)); err != nil {
		t.Fatal(err)
	}
	return s
}

// read makes a value of YAML.
func read[T any](t *testing.T, text string) T {
	t.Helper()
	var value T
	if err := yaml.UnmarshalStrict([]byte(text), &value); err != nil {
		t.Fatalf("the case's own YAML: %v\n%s", err, text)
	}
	return value
}

func template(t *testing.T, name, spec string) *v1alpha1.AnalysisTemplate {
	t.Helper()
	return &v1alpha1.AnalysisTemplate{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: read[v1alpha1.AnalysisTemplateSpec](t, spec),
	}
}

var weightedAt = metav1.NewMicroTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))

// releasing is a Rollout with a release that is on.
func releasing() *v1alpha1.Rollout {
	return &v1alpha1.Rollout{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart", UID: "1", Labels: map[string]string{"team": "carts"}},
		Spec:       v1alpha1.RolloutSpec{Service: v1alpha1.ServiceRef{Name: "cart"}},
		Status: v1alpha1.RolloutStatus{
			Stable: &v1alpha1.Revision{Hash: "old"}, Canary: &v1alpha1.Revision{Hash: "new"},
			Release: &v1alpha1.Release{ID: "abc-7", Attempt: 7, Weights: []v1alpha1.DecidedWeight{{Percent: 10, DecidedAt: weightedAt}}},
		},
	}
}

const errorRate = `{name: errors, successCondition: 'result[0] < {{args.most}}', provider: {prometheus: {query: 'errors{service="{{args.service}}",revision="{{args.revision}}"}'}}}`

func TestResolve(t *testing.T) {
	objects := []client.Object{
		template(t, "errors", `
args: [{name: most, value: "0.01"}, {name: service, valueFrom: {fieldRef: {fieldPath: spec.service.name}}}]
metrics: [`+errorRate+`]`),
		&v1alpha1.ClusterAnalysisTemplate{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: read[v1alpha1.AnalysisTemplateSpec](t, `
args: [{name: team}, {name: token, valueFrom: {secretKeyRef: {name: tokens, key: web}}}, {name: hash, valueFrom: {podTemplateHash: Stable}}, {name: service}]
metrics: [{name: web, interval: 10s, failureCondition: 'result.bad', provider: {web: {url: 'https://{{args.team}}.example/{{args.hash}}', headers: [{key: Authorization, value: 'Bearer {{args.token}}'}]}}}]`)},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "tokens"}, Data: map[string][]byte{"web": []byte("s3cret\n")}},
	}
	reader := fake.NewClientBuilder().WithScheme(scheme(t)).WithObjects(objects...).Build()
	got, err := runs.Resolve(context.Background(), reader, releasing(), read[v1alpha1.AnalysisRef](t, `
templates: [{name: errors}, {name: web, clusterScope: true}]
args: [{name: most, value: "0.02"}, {name: team, valueFrom: {fieldRef: {fieldPath: "metadata.labels['team']"}}}]`), "spec.analysis.background")
	if err != nil {
		t.Fatal(err)
	}
	want := read[v1alpha1.AnalysisRunSpec](t, `
rollout: cart
release: abc-7
revisions: {canary: new, stable: old}
since: "2026-01-02T03:04:05.000000Z"
args:
- {name: most, value: "0.02"}
- {name: service, value: cart}
- {name: team, value: carts}
- {name: token, valueFrom: {secretKeyRef: {name: tokens, key: web}}}
- {name: hash, value: old}
metrics:
- `+errorRate+`
- {name: web, interval: 10s, failureCondition: 'result.bad', provider: {web: {url: 'https://{{args.team}}.example/{{args.hash}}', headers: [{key: Authorization, value: 'Bearer {{args.token}}'}]}}}`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := runs.Endless(got); got != "web" {
		t.Errorf("endless metric: %q, want web", got)
	}
}

// TestProblems has a case for everything that is refused before a run begins.
func TestProblems(t *testing.T) {
	metric := func(text string) string { return "{metrics: [" + text + "]}" }
	prometheus := func(query, condition string) string {
		return metric(`{name: a, successCondition: '` + condition + `', provider: {prometheus: {query: '` + query + `'}}}`)
	}
	const one = "{templates: [{name: a}]}"
	const up = "{name: a, successCondition: 'result[0] > 0.0', provider: {prometheus: {query: up}}}"
	cases := map[string]struct {
		// a and b are templates; ref names them; want is the problem.
		a, b, ref, want string
		// rest: no release is on; baseline: the Rollout has one.
		rest, baseline bool
	}{
		"nothing is wrong":          {a: metric(up), ref: one},
		"no template":               {ref: "{}", want: "spec.x.templates: no template is named; name at least one"},
		"a template that is not":    {ref: one, want: "spec.x.templates[0].name: there is no AnalysisTemplate a; create it, or correct the name or clusterScope"},
		"a cluster's that is not":   {a: metric(up), ref: "{templates: [{name: a}, {name: a, clusterScope: true}]}", want: "spec.x.templates[1].name: there is no ClusterAnalysisTemplate a; create it"},
		"an argument nobody has":    {a: metric(up), ref: "{templates: [{name: a}], args: [{name: b, value: c}]}", want: "spec.x.args[0].name: no template has an argument b; remove it, or correct the name"},
		"an argument without value": {a: "{args: [{name: b}], metrics: [" + up + "]}", ref: one, want: "spec.x.args: argument b of AnalysisTemplate a has no value; give it one"},
		"an argument with two values": {a: "{args: [{name: c, value: d}], metrics: [" + up + "]}", b: "{args: [{name: c, value: e}], metrics: [{name: b, successCondition: 'true', provider: {prometheus: {query: up}}}]}",
			ref: "{templates: [{name: a}, {name: b}]}", want: "spec.x.args: argument c has one value in AnalysisTemplate a and another in AnalysisTemplate b; give it one here"},
		"an argument with two values, and the Rollout's": {a: "{args: [{name: c, value: d}], metrics: [" + up + "]}", b: "{args: [{name: c, value: e}], metrics: [{name: b, successCondition: 'true', provider: {prometheus: {query: up}}}]}",
			ref: "{templates: [{name: a}, {name: b}], args: [{name: c, value: f}]}"},
		"too many metrics":             {a: metric(many(20)), b: metric(strings.ReplaceAll(many(21), "name: m", "name: n")), ref: "{templates: [{name: a}, {name: b}]}", want: "spec.x.templates: 41 metrics in all, and a run has at most 40; split the analysis"},
		"too many arguments":           {a: "{args: [" + manyArgs("a", 30) + "], metrics: [" + up + "]}", b: "{args: [" + manyArgs("b", 31) + "], metrics: [" + many(1) + "]}", ref: "{templates: [{name: a}, {name: b}]}", want: "spec.x.templates: 61 arguments in all, and a run has at most 60; split the analysis"},
		"a metric's name twice":        {a: metric(up), b: metric(up), ref: "{templates: [{name: a}, {name: b}]}", want: "spec.x.templates[1]: AnalysisTemplate b: spec.metrics[0].name: AnalysisTemplate a has a metric a too; names must differ over all templates, so rename one"},
		"a field that is not":          {a: "{args: [{name: b, valueFrom: {fieldRef: {fieldPath: metadata.labels.none}}}], metrics: [" + up + "]}", ref: one, want: "spec.x.templates[0]: AnalysisTemplate a: spec.args[0].valueFrom: fieldRef.fieldPath: the Rollout has no field metadata.labels.none; correct the path"},
		"a field of the ref":           {a: "{args: [{name: b}], metrics: [" + up + "]}", ref: "{templates: [{name: a}], args: [{name: b, valueFrom: {fieldRef: {fieldPath: spec.service}}}]}", want: "spec.x.args[0].valueFrom: fieldRef.fieldPath: the Rollout's field spec.service is not a text, a number or a truth value"},
		"a baseline that is not":       {a: "{args: [{name: b, valueFrom: {podTemplateHash: Baseline}}], metrics: [" + up + "]}", ref: one, want: "spec.x.templates[0]: AnalysisTemplate a: spec.args[0].valueFrom: podTemplateHash: there is no Baseline; set the Rollout's spec.analysis.compare.against to Baseline to have one"},
		"a baseline, at rest":          {a: "{args: [{name: b, valueFrom: {podTemplateHash: Baseline}}], metrics: [" + up + "]}", ref: one, rest: true, baseline: true},
		"no baseline, at rest":         {a: "{args: [{name: b, valueFrom: {podTemplateHash: Baseline}}], metrics: [" + up + "]}", ref: one, rest: true, want: "podTemplateHash: there is no Baseline"},
		"a Secret that is not":         {a: "{args: [{name: b, valueFrom: {secretKeyRef: {name: none, key: c}}}], metrics: [" + up + "]}", ref: one, want: "spec.x.args: argument b: there is no Secret none in namespace shop; create it, or correct the name"},
		"a key that is not":            {a: "{args: [{name: b, valueFrom: {secretKeyRef: {name: tokens, key: c}}}], metrics: [" + up + "]}", ref: one, want: "Secret tokens has no key c; add it, or correct the key"},
		"a Secret that is forbidden":   {a: "{args: [{name: b, valueFrom: {secretKeyRef: {name: forbidden, key: c}}}], metrics: [" + up + "]}", ref: one, want: "the operator may not read Secret forbidden; set operator.readSecrets to true in the chart's values"},
		"an unknown argument":          {a: prometheus("up{a=\"{{args.b}}\"}", "true"), ref: one, want: "spec.x.templates[0]: AnalysisTemplate a: spec.metrics[0].provider.prometheus.query: unknown argument b; declare it in spec.args, or correct the name"},
		"a placeholder that is none":   {a: prometheus("up{a=\"{{arg.b}}\"}", "true"), ref: one, want: "write {{args.name}}"},
		"a query that is none":         {a: prometheus("sum(up", "true"), ref: one, want: "spec.metrics[0].provider.prometheus.query: not PromQL: at 7: unclosed left parenthesis"},
		"a query of a range":           {a: prometheus("up[5m]", "true"), ref: one, want: "spec.metrics[0].provider.prometheus.query: the query gives a range vector, which is no single result; wrap it in a function such as rate()"},
		"a condition that is none":     {a: prometheus("up", "result[0] >"), ref: one, want: "spec.metrics[0].successCondition: "},
		"a condition of a number":      {a: prometheus("up", "result[0]"), ref: one, want: "spec.metrics[0].successCondition: must be true or false"},
		"a condition of a vector":      {a: prometheus("up", "result > 0.0"), ref: one, want: "spec.metrics[0].successCondition: "},
		"a condition of a scalar":      {a: prometheus("scalar(up)", "result > 0.0"), ref: one},
		"a secret condition":           {a: "{args: [{name: b, valueFrom: {secretKeyRef: {name: tokens, key: web}}}], metrics: [{name: a, successCondition: \"result[0] < {{args.b}}\", provider: {prometheus: {query: up}}}]}", ref: one, want: "spec.metrics[0].successCondition: argument b comes from a Secret and would be shown here"},
		"comparing alike":              {a: metric("{name: a, compare: Stable, successCondition: 'result[0] > 0.0', provider: {prometheus: {query: up}}}"), ref: one, want: "spec.metrics[0].compare: the provider asks the same about both versions; use {{args.revision}} to tell which one is measured"},
		"comparing":                    {a: metric("{name: a, compare: Stable, successCondition: 'result[0] > stable[0]', provider: {prometheus: {query: \"up{a='{{args.revision}}'}\"}}}"), ref: one},
		"comparing with no baseline":   {a: metric("{name: a, compare: Baseline, successCondition: 'result[0] > baseline[0]', provider: {prometheus: {query: \"up{a='{{args.revision}}'}\"}}}"), ref: one, want: "spec.metrics[0].compare: there is no Baseline; set the Rollout's spec.analysis.compare.against to Baseline to have one"},
		"comparing, at rest":           {a: metric("{name: a, compare: Baseline, successCondition: 'result[0] > baseline[0]', provider: {prometheus: {query: \"up{a='{{args.revision}}'}\"}}}"), ref: one, rest: true, baseline: true},
		"comparing with none, at rest": {a: metric("{name: a, compare: Baseline, successCondition: 'result[0] > baseline[0]', provider: {prometheus: {query: \"up{a='{{args.revision}}'}\"}}}"), ref: one, rest: true, want: "compare: there is no Baseline"},
		"comparing with a baseline":    {a: metric("{name: a, compare: Baseline, successCondition: 'result[0] > baseline[0]', provider: {prometheus: {query: \"up{a='{{args.revision}}'}\"}}}"), ref: one, baseline: true},
		"an address from arguments":    {a: "{args: [{name: b, value: 'nowhere'}], metrics: [{name: a, successCondition: 'true', provider: {prometheus: {address: '{{args.b}}', query: up}}}]}", ref: one, want: "provider.prometheus.address: not a URL such as https://prometheus.example:9090; correct it"},
		"an address with a password":   {a: metric("{name: a, successCondition: 'true', provider: {prometheus: {address: 'http://a:b@c', query: up}}}"), ref: one, want: "provider.prometheus.address: a URL does not hold a user's name or password"},
		"a token that is not":          {a: metric("{name: a, successCondition: 'true', provider: {prometheus: {address: 'http://a', query: up, connection: {bearerTokenSecret: {name: none, key: b}}}}}"), ref: one, want: "provider.prometheus.connection: there is no Secret none in namespace shop"},
		"an authority that is none":    {a: metric("{name: a, successCondition: 'true', provider: {web: {url: 'http://a', connection: {caSecret: {name: tokens, key: web}}}}}"), ref: one, want: "provider.web.connection: "},
		"a header's unknown argument":  {a: metric("{name: a, successCondition: 'true', provider: {web: {url: 'http://a', headers: [{key: A, value: '{{args.b}}'}]}}}"), ref: one, want: "provider.web.headers[0].value: unknown argument b"},
		"a body's unknown argument":    {a: metric("{name: a, successCondition: 'true', provider: {web: {url: 'http://a', method: POST, body: '{{args.b}}'}}}"), ref: one, want: "provider.web.body: unknown argument b"},
		"a job's unknown argument":     {a: metric("{name: a, provider: {job: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: '{{args.b}}'}]}}}}}}"), ref: one, want: "provider.job.spec: unknown argument b"},
		"a job that is none":           {a: metric("{name: a, provider: {job: {spec: {parallelism: many, template: {spec: {restartPolicy: Never, containers: [{name: a, image: b}]}}}}}}"), ref: one, want: "provider.job.spec: not a Job's spec: json: cannot unmarshal string"},
		"a job that shows a secret": {a: "{args: [{name: b, valueFrom: {secretKeyRef: {name: tokens, key: web}}}], metrics: [{name: a, provider: {job: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: b, args: ['{{args.b}}']}]}}}}}}]}", ref: one,
			want: "provider.job.spec: argument b comes from a Secret and would be shown here"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			builder := fake.NewClientBuilder().WithScheme(scheme(t)).WithInterceptorFuncs(interceptor.Funcs{
				Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
					if key.Name == "forbidden" {
						return apierrors.NewForbidden(corev1.Resource("secrets"), key.Name, errors.New("no"))
					}
					return c.Get(ctx, key, o, options...)
				},
			}).WithObjects(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "tokens"}, Data: map[string][]byte{"web": []byte("s3cret")}})
			for name, spec := range map[string]string{"a": test.a, "b": test.b} {
				if spec != "" {
					builder.WithObjects(template(t, name, spec))
				}
			}
			rollout := releasing()
			if test.rest {
				rollout.Status = v1alpha1.RolloutStatus{}
			}
			if test.baseline {
				rollout.Spec.Analysis.Compare.Against = v1alpha1.RevisionBaseline
				if !test.rest {
					rollout.Status.Baseline = &v1alpha1.Revision{Hash: "old-b"}
				}
			}
			_, err := runs.Resolve(context.Background(), builder.Build(), rollout, read[v1alpha1.AnalysisRef](t, test.ref), "spec.x")
			var problem *runs.Problem
			switch {
			case test.want == "" && err != nil:
				t.Fatalf("refused: %v", err)
			case test.want == "":
				return
			case !errors.As(err, &problem):
				t.Fatalf("got %v, want a Problem", err)
			case !strings.Contains(err.Error(), test.want):
				t.Errorf("got  %q\nwant %q", err, test.want)
			case !strings.HasPrefix(problem.Field, "spec.x") || strings.Contains(problem.Message, "s3cret"):
				t.Errorf("the field is %q and the message %q, want a field of the Rollout and no secret", problem.Field, problem.Message)
			}
		})
	}
}

// many are so many metrics; manyArgs, arguments.
func many(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("{name: m%d, successCondition: 'result[0] > 0.0', provider: {prometheus: {query: up}}}", i))
	}
	return strings.Join(all, ", ")
}

func manyArgs(name string, n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("{name: %s%d, value: b}", name, i))
	}
	return strings.Join(all, ", ")
}

// TestEndless: who waits for a run's end must know which metrics have none.
func TestEndless(t *testing.T) {
	const ever, dry, once = "{name: ever, interval: 1s, provider: {}}", "{name: dry, dryRun: true, interval: 1s, provider: {}}", "{name: once, provider: {}}"
	for metrics, want := range map[string]string{
		once: "", ever: "ever", once + ", " + ever: "ever", once + ", " + dry: "", dry: "dry",
		"{name: none, interval: 1s, count: 0, provider: {}}": "none", "{name: two, interval: 1s, count: 2, provider: {}}": "",
	} {
		if got := runs.Endless(read[v1alpha1.AnalysisRunSpec](t, "{metrics: ["+metrics+"]}")); got != want {
			t.Errorf("%s: %q is endless, want %q", metrics, got, want)
		}
	}
}

// TestTrouble: what is not a person's to mend is no Problem, so that it is tried again.
func TestTrouble(t *testing.T) {
	down := errors.New("no connection")
	reader := fake.NewClientBuilder().WithScheme(scheme(t)).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return down
		},
	}).Build()
	_, err := runs.Resolve(context.Background(), reader, releasing(), v1alpha1.AnalysisRef{Templates: []v1alpha1.TemplateRef{{Name: "a"}}}, "spec.x")
	if problem := (*runs.Problem)(nil); !errors.Is(err, down) || errors.As(err, &problem) {
		t.Errorf("got %v, want the API server's own error", err)
	}
}

func TestName(t *testing.T) {
	rollout := releasing()
	first := runs.Name(rollout, v1alpha1.StageOfStep(2))
	if first != "cart-7-step-2" || runs.Name(rollout, v1alpha1.StageOfStep(2)) != first {
		t.Errorf("name is %s, want cart-7-step-2, always", first)
	}
	rollout.Status.Release.Attempt = 8
	if again := runs.Name(rollout, v1alpha1.StageOfStep(2)); again == first {
		t.Errorf("the next release's run has the same name %s", again)
	}
	names := map[string]bool{}
	for _, long := range []string{strings.Repeat("a", 63), strings.Repeat("a", 62) + "b", strings.Repeat("a", 62) + "c"} {
		rollout.Name = long
		name := runs.Name(rollout, v1alpha1.StageBeforePromotion)
		if len(name) > 63 || names[name] || !strings.HasSuffix(name, "-8-before-promotion") {
			t.Errorf("name of %s is %s (%d characters), want 63 at most, its own, with the stage", long, name, len(name))
		}
		names[name] = true
	}
}
