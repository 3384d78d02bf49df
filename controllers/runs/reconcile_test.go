package runs_test

import (
	"context"
	"encoding/pem"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/controllers/runs"
	"github.com/sluice-mesh/sluice/internal/apiserver"
	"github.com/sluice-mesh/sluice/internal/promserver"
)

func TestReconciler(t *testing.T) {
	config := apiserver.Start(t)
	operator := asOperator(t, config)
	for name, test := range map[string]func(*bench){
		"success":      testSuccess,
		"failure":      testFailure,
		"refused":      testRefused,
		"secrets":      testSecrets,
		"authority":    testAuthority,
		"comparison":   testComparison,
		"ranks":        testRanks,
		"web":          testWeb,
		"slow-server":  testSlowServer,
		"restart":      testRestart,
		"deletion":     testDeletion,
		"jobs":         testJobs,
		"jobs-refused": testJobsRefused,
		"no-jobs":      testNoJobs,
		"retention":    testRetention,
		"prometheus":   testPrometheus,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(newBench(t, config, operator, "runs-"+name))
		})
	}
}

// metric is one that asks the installation's Prometheus.
func metric(name, query, more string) string {
	return "{name: " + name + ", successCondition: 'result[0] >= 1.0', provider: {prometheus: {query: " + query + "}}" + more + "}"
}

func testSuccess(b *bench) {
	b.server.answer("up", "1")
	b.start(b.server.URL)
	run := b.begin("run", "{metrics: ["+metric("up", "up", ", interval: 1s, count: 3")+"]}")
	status := b.await(run, "the run ends", ended)
	if status.Phase != v1alpha1.RunSuccessful || status.Score == nil || *status.Score != 100 || status.StartedAt == nil || status.CompletedAt == nil {
		b.Errorf("status is %+v, want a success with score 100", status)
	}
	m := status.Metrics[0]
	if m.Count != 3 || m.Successful != 3 || len(m.Measurements) != 3 || m.Measurements[0].Value != "[1]" || m.Measurements[0].FinishedAt == nil {
		b.Errorf("metric is %+v, want three measurements", m)
	}
	for i := 1; i < len(m.Measurements); i++ {
		if apart := m.Measurements[i].StartedAt.Sub(m.Measurements[i-1].FinishedAt.Time); apart < time.Second || apart > 20*time.Second {
			b.Errorf("measurements are %v apart, want a second", apart)
		}
	}
	if n := b.server.count("up"); n != 3 {
		b.Errorf("the server was asked %d times, want 3", n)
	}
	b.eventually("the events are there", func() (bool, string) {
		var list eventsv1.EventList
		if err := b.c.List(context.Background(), &list, client.InNamespace(b.namespace)); err != nil {
			b.Fatal(err)
		}
		reasons := sets.New[string]()
		for _, e := range list.Items {
			reasons.Insert(e.Reason)
		}
		return reasons.HasAll("Started", "Successful"), strings.Join(reasons.UnsortedList(), ", ")
	})
}

func testFailure(b *bench) {
	b.server.answer("up", "0")
	b.server.answer("fine", "1")
	b.start(b.server.URL)
	run := b.begin("run", "{metrics: ["+metric("up", "up", "")+", "+metric("fine", "fine", ", interval: 1s")+", "+metric("dry", "up", ", dryRun: true")+"]}")
	status := b.await(run, "the run ends", ended)
	if status.Phase != v1alpha1.RunFailed || !strings.HasPrefix(status.Message, "metric up failed: [0] does not meet successCondition result[0] >= 1.0") {
		b.Errorf("the run is %s (%s), want a failure of metric up", status.Phase, status.Message)
	}
	if status.Metrics[2].Name != "dry" || !status.Metrics[2].DryRun {
		b.Errorf("the third metric is %+v, want the one that is dry", status.Metrics[2])
	}
	asked := b.server.count("fine")
	time.Sleep(1500 * time.Millisecond)
	if again := b.server.count("fine"); again != asked {
		b.Errorf("the run that has failed goes on measuring: %d times, then %d", asked, again)
	}
}

func testRefused(b *bench) {
	b.start(b.server.URL)
	for name, test := range map[string]struct{ spec, want string }{
		"query":     {"{metrics: [" + metric("up", "'sum('", "") + "]}", "spec.metrics[0].provider.prometheus.query: not PromQL"},
		"condition": {"{metrics: [{name: a, successCondition: 'result[0]', provider: {prometheus: {query: up}}}]}", "spec.metrics[0].successCondition: must be true or false"},
		"secret":    {"{args: [{name: a, valueFrom: {secretKeyRef: {name: none, key: b}}}], metrics: [" + metric("up", "up", "") + "]}", "spec.args: argument a: there is no Secret none"},
		"revision":  {"{metrics: [{name: a, successCondition: 'true', provider: {prometheus: {query: \"up{a='{{args.revision}}'}\"}}}]}", "{{args.revision}} is not known here; set spec.revisions of the run"},
	} {
		run := b.begin(name, test.spec)
		status := b.await(run, "the run ends", ended)
		if status.Phase != v1alpha1.RunError || !strings.Contains(status.Message, test.want) {
			b.Errorf("%s: the run is %s (%s), want an error that says %s", name, status.Phase, status.Message, test.want)
		}
	}
}

// testSecrets: an address of the metric's own, with credentials from Secrets; nothing of the installation goes
// there, and nothing secret is shown, whatever the server repeats.
func testSecrets(b *bench) {
	b.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: "s"}, StringData: map[string]string{
		"token": "t0p-s3cret\n", "tenant": "team-cart", "username": "me", "password": "pass-w0rd",
	}})
	b.server.answer("up", "1")
	b.start("http://127.0.0.1:1")
	own := func(query, more string) string {
		return "{args: [{name: tenant, valueFrom: {secretKeyRef: {name: s, key: tenant}}}], metrics: [{name: a, consecutiveErrorLimit: 0, successCondition: 'result[0] >= 1.0', provider: {prometheus: {address: '" +
			b.server.URL + "', query: " + query + ", headers: [{key: X-Scope-OrgID, value: '{{args.tenant}}'}], connection: {" + more + "}}}}]}"
	}
	status := b.await(b.begin("token", own("up", "bearerTokenSecret: {name: s, key: token}")), "the run ends", ended)
	if status.Phase != v1alpha1.RunSuccessful {
		b.Errorf("the run is %s (%s), want a success", status.Phase, status.Message)
	}
	if got := b.server.header("Authorization") + " " + b.server.header("X-Scope-OrgID"); got != "Bearer t0p-s3cret team-cart" {
		b.Errorf("the server was told %q, want the token and the tenant", got)
	}
	b.await(b.begin("basic", own("up", "basicAuthSecret: {name: s}")), "the run ends", ended)
	if got := b.server.header("Authorization"); got != "Basic bWU6cGFzcy13MHJk" {
		b.Errorf("the server was told %q, want me:pass-w0rd", got)
	}
	status = b.await(b.begin("repeats", own("refused", "bearerTokenSecret: {name: s, key: token}")), "the run ends", ended)
	if status.Phase != v1alpha1.RunError || strings.Contains(status.Message, "s3cret") || !strings.Contains(status.Message, "***") {
		b.Errorf("the run is %s (%s), want an error without the token", status.Phase, status.Message)
	}
}

// testAuthority: a server whose certificate is from an authority in a Secret, and one whose is not.
func testAuthority(b *bench) {
	tls := httptest.NewTLSServer(b.server)
	b.Cleanup(tls.Close)
	b.server.answer("up", "1")
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tls.Certificate().Raw})
	b.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: "s"}, Data: map[string][]byte{"ca.crt": authority}})
	b.start("http://127.0.0.1:1")
	for connection, want := range map[string]v1alpha1.RunPhase{
		"caSecret: {name: s, key: ca.crt}":                          v1alpha1.RunSuccessful,
		"caSecret: {name: s, key: ca.crt}, serverName: other.local": v1alpha1.RunError,
		"insecureSkipVerify: true":                                  v1alpha1.RunSuccessful,
		"":                                                          v1alpha1.RunError,
	} {
		run := b.begin("run-"+strings.ToLower(strings.Trim(strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
				return r
			}
			return '-'
		}, connection+"x"), "-")), "{metrics: [{name: a, consecutiveErrorLimit: 0, successCondition: 'result[0] >= 1.0', provider: {prometheus: {address: '"+tls.URL+"', query: up, connection: {"+connection+"}}}}]}")
		if status := b.await(run, "the run ends", ended); status.Phase != want {
			b.Errorf("connection {%s}: %s (%s), want %s", connection, status.Phase, status.Message, want)
		}
	}
}

func testComparison(b *bench) {
	b.server.answer("errors{revision='new'}", "3")
	b.server.answer("errors{revision='old'}", "1")
	b.start(b.server.URL)
	run := b.begin("run", `{revisions: {canary: new, stable: old}, metrics: [{name: errors, compare: Stable, successCondition: 'result[0] <= 2 * stable[0]', provider: {prometheus: {query: "errors{revision='{{args.revision}}'}"}}}]}`)
	status := b.await(run, "the run ends", ended)
	if status.Phase != v1alpha1.RunFailed || !strings.Contains(status.Message, "[3] against [1] does not meet") {
		b.Errorf("the run is %s (%s), want a failure: 3 against 1", status.Phase, status.Message)
	}
}

// testRanks: sixty points of either version, the canary's all higher.
func testRanks(b *bench) {
	for revision, first := range map[string]string{"new": "9", "old": "1"} {
		var points []string
		for i := range 60 {
			points = append(points, "["+time.Unix(int64(i), 0).Format("05")+`, "`+first+"."+string(rune('0'+i%10))+`"]`)
		}
		for i := range points { // JSON has no leading zeros
			points[i] = strings.Replace(points[i], "[0", "[", 1)
		}
		b.server.answer("latency{revision='"+revision+"'}", strings.Join(points, ","))
	}
	b.start(b.server.URL)
	run := b.begin("run", `{revisions: {canary: new, stable: old}, metrics: [{name: latency, compare: Stable, mannWhitney: {}, provider: {prometheus: {query: "latency{revision='{{args.revision}}'}", range: {window: 10m, step: 10s}}}}]}`)
	if status := b.await(run, "the run ends", ended); status.Phase != v1alpha1.RunFailed {
		b.Errorf("the run is %s (%s), want a failure", status.Phase, status.Message)
	}
}

func testWeb(b *bench) {
	b.start("http://127.0.0.1:1")
	run := b.begin("run", "{args: [{name: at, value: '"+b.server.URL+"'}], metrics: [{name: a, successCondition: \"result.healthy && result.method == 'POST'\", provider: {web: {url: '{{args.at}}/json', method: POST, body: '{}'}}}]}")
	if status := b.await(run, "the run ends", ended); status.Phase != v1alpha1.RunSuccessful {
		b.Errorf("the run is %s (%s), want a success", status.Phase, status.Message)
	}
}

// testSlowServer: one that does not answer holds up neither other runs, nor its own run's end.
func testSlowServer(b *bench) {
	b.server.hang(b.T, "slow")
	b.server.answer("up", "1")
	b.start(b.server.URL)
	var slow []*v1alpha1.AnalysisRun
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		slow = append(slow, b.begin("slow-"+name, "{metrics: [{name: a, successCondition: 'true', provider: {prometheus: {query: slow, timeout: 1m}}}]}"))
	}
	b.eventually("all wait for the server", func() (bool, string) { return b.server.count("slow") == len(slow), "" })
	began := time.Now()
	status := b.await(b.begin("quick", "{metrics: ["+metric("up", "up", "")+"]}"), "the other run ends", ended)
	if took := time.Since(began); status.Phase != v1alpha1.RunSuccessful || took > 20*time.Second {
		b.Errorf("the other run is %s after %v, want success at once", status.Phase, took)
	}
	began = time.Now()
	b.terminate(slow[0])
	if status := b.await(slow[0], "the terminated run ends", ended); status.Phase != v1alpha1.RunInconclusive || time.Since(began) > 20*time.Second {
		b.Errorf("the terminated run is %s after %v, want inconclusive at once", status.Phase, time.Since(began))
	}
}

// testRestart: another operator goes on where the status says.
func testRestart(b *bench) {
	b.server.answer("up", "1")
	b.start(b.server.URL)
	run := b.begin("run", "{metrics: ["+metric("up", "up", ", interval: 1s, count: 6")+"]}")
	first := b.await(run, "two are measured", func(s v1alpha1.AnalysisRunStatus) bool { return len(s.Metrics) > 0 && s.Metrics[0].Count >= 2 })
	if first.Phase != v1alpha1.RunRunning {
		b.Fatalf("the run is %s before the other operator begins", first.Phase)
	}
	b.stop()
	b.start(b.server.URL)
	status := b.await(run, "the run ends", ended)
	if status.Metrics[0].Count != 6 || !status.StartedAt.Equal(first.StartedAt) || !status.Metrics[0].Measurements[0].StartedAt.Equal(&first.Metrics[0].Measurements[0].StartedAt) {
		b.Errorf("status is %+v, want what it was, and the other measurements", status)
	}
	if n := b.server.count("up"); n > 7 { // one may have been under way
		b.Errorf("the server was asked %d times, want 6 or 7", n)
	}
}

func testDeletion(b *bench) {
	b.server.answer("up", "1")
	b.start(b.server.URL)
	run := b.begin("run", "{metrics: ["+metric("up", "up", ", interval: 1s")+"]}")
	b.await(run, "one is measured", func(s v1alpha1.AnalysisRunStatus) bool { return len(s.Metrics) > 0 && s.Metrics[0].Count > 0 })
	if err := b.c.Delete(context.Background(), run); err != nil {
		b.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	asked := b.server.count("up")
	time.Sleep(2 * time.Second)
	if again := b.server.count("up"); again != asked {
		b.Errorf("the run that is gone goes on measuring: %d times, then %d", asked, again)
	}
}

const jobRun = `{args: [{name: host, value: cart}], metrics: [{name: smoke, interval: 1s, count: 2, provider: {job: {metadata: {labels: {team: carts}}, spec: {ttlSecondsAfterFinished: 0, backoffLimit: 0, template: {spec: {
  restartPolicy: Never, containers: [{name: test, image: test, args: ["{{args.host}}"]}]}}}}}}]}`

// finish ends a Job as the Job controller does.
func (b *bench) finish(job *batchv1.Job, kind batchv1.JobConditionType) {
	b.Helper()
	now := metav1.Now()
	job.Status.StartTime = &now
	before := batchv1.JobSuccessCriteriaMet
	if kind == batchv1.JobFailed {
		before = batchv1.JobFailureTarget
	} else {
		job.Status.CompletionTime = &now
		job.Status.Succeeded = 1
	}
	for _, t := range []batchv1.JobConditionType{before, kind} {
		job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{
			Type: t, Status: corev1.ConditionTrue, Reason: "BackoffLimitExceeded", Message: "it has reached the limit", LastTransitionTime: now,
		})
	}
	if err := b.c.Status().Update(context.Background(), job); err != nil {
		b.Fatal(err)
	}
}

// jobNamed waits for a Job.
func (b *bench) jobNamed(name string) *batchv1.Job {
	b.Helper()
	job := &batchv1.Job{}
	b.eventually("Job "+name+" is there", func() (bool, string) {
		err := b.c.Get(context.Background(), client.ObjectKey{Namespace: b.namespace, Name: name}, job)
		if client.IgnoreNotFound(err) != nil {
			b.Fatal(err)
		}
		return err == nil, "it is not"
	})
	return job
}

// left are the names of the Jobs that are not being deleted: no garbage collector runs here.
func (b *bench) left() []string {
	b.Helper()
	var list batchv1.JobList
	if err := b.c.List(context.Background(), &list, client.InNamespace(b.namespace)); err != nil {
		b.Fatal(err)
	}
	names := []string{}
	for _, job := range list.Items {
		if job.DeletionTimestamp == nil {
			names = append(names, job.Name)
		}
	}
	slices.Sort(names)
	return names
}

func testJobs(b *bench) {
	b.start(b.server.URL)
	run := b.begin("run", jobRun)
	job := b.jobNamed("run-0-0")
	if got := job.Spec.Template.Spec.Containers[0].Args; !slices.Equal(got, []string{"cart"}) {
		b.Errorf("the Job's arguments are %v, want cart", got)
	}
	if job.Labels["team"] != "carts" || job.Labels[v1alpha1.LabelAnalysisRun] != "run" || !metav1.IsControlledBy(job, run) {
		b.Errorf("the Job has labels %v and owners %v, want its run's", job.Labels, job.OwnerReferences)
	}
	if job.Spec.TTLSecondsAfterFinished != nil || ptr.Deref(job.Spec.ActiveDeadlineSeconds, 0) != 3600 {
		b.Errorf("the Job goes after %v s and may take %v s, want that it stays, and an hour", job.Spec.TTLSecondsAfterFinished, job.Spec.ActiveDeadlineSeconds)
	}
	status := b.await(run, "the Job is on record", func(s v1alpha1.AnalysisRunStatus) bool {
		return len(s.Metrics) > 0 && len(s.Metrics[0].Measurements) == 1 && s.Metrics[0].Measurements[0].Job == "run-0-0"
	})
	if status.Metrics[0].Measurements[0].Phase != v1alpha1.RunRunning {
		b.Errorf("the measurement is %+v, want it under way", status.Metrics[0].Measurements[0])
	}
	// Another operator takes over: it finds the Job, and makes no other.
	b.stop()
	b.start(b.server.URL)
	b.finish(job, batchv1.JobComplete)
	second := b.jobNamed("run-0-1")
	b.eventually("the first Job goes", func() (bool, string) {
		left := b.left()
		return slices.Equal(left, []string{"run-0-1"}), strings.Join(left, ", ")
	})
	b.finish(second, batchv1.JobFailed)
	status = b.await(run, "the run ends", ended)
	if status.Phase != v1alpha1.RunFailed || !strings.Contains(status.Message, "the Job failed: BackoffLimitExceeded: it has reached the limit") {
		b.Errorf("the run is %s (%s), want a failure that says why", status.Phase, status.Message)
	}
	time.Sleep(300 * time.Millisecond)
	if left := b.left(); !slices.Equal(left, []string{"run-0-1"}) {
		b.Errorf("Jobs left are %v, want the one that failed, for its logs", left)
	}

	terminated := b.begin("terminated", jobRun)
	b.jobNamed("terminated-0-0")
	b.terminate(terminated)
	if status := b.await(terminated, "the terminated run ends", ended); status.Phase != v1alpha1.RunInconclusive {
		b.Errorf("the terminated run is %s, want inconclusive", status.Phase)
	}
	b.eventually("its Job goes", func() (bool, string) {
		left := b.left()
		return !slices.Contains(left, "terminated-0-0"), strings.Join(left, ", ")
	})
}

// testJobsRefused: a Job that the API server does not take, and one of the same name that is another's.
func testJobsRefused(b *bench) {
	b.start(b.server.URL)
	bad := strings.Replace(strings.Replace(jobRun, "interval: 1s, count: 2", "consecutiveErrorLimit: 0", 1), "image: test", "image: test, unknown: field", 1)
	status := b.await(b.begin("bad", bad), "the run ends", ended)
	if status.Phase != v1alpha1.RunError || !strings.Contains(status.Message, "provider.job.spec: the API server refuses the Job") || !strings.Contains(status.Message, "unknown") {
		b.Errorf("the run is %s (%s), want an error with what the API server says", status.Phase, status.Message)
	}
	other := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: "taken-0-0"}, Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{
		Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "a", Image: "b"}}}}}}
	b.create(other)
	status = b.await(b.begin("taken", strings.Replace(jobRun, "interval: 1s, count: 2", "consecutiveErrorLimit: 0", 1)), "the run ends", ended)
	if status.Phase != v1alpha1.RunError || !strings.Contains(status.Message, "there is a Job taken-0-0 that is not this run's; delete it") {
		b.Errorf("the run is %s (%s), want an error that names the Job", status.Phase, status.Message)
	}
	if left := b.left(); !slices.Equal(left, []string{"taken-0-0"}) {
		b.Errorf("Jobs left are %v, want the other's", left)
	}
}

func testNoJobs(b *bench) {
	b.jobs = false
	b.start(b.server.URL)
	status := b.await(b.begin("run", jobRun), "the run ends", ended)
	if status.Phase != v1alpha1.RunError || !strings.Contains(status.Message, "spec.metrics[0].provider.job: the operator may not run Jobs; set operator.runJobs to true") {
		b.Errorf("the run is %s (%s), want an error with the remedy", status.Phase, status.Message)
	}
}

// testRetention: twelve releases with a run each; the present one's is kept besides ten.
func testRetention(b *bench) {
	b.server.answer("up", "1")
	b.start(b.server.URL)
	rollout := &v1alpha1.Rollout{
		ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: "cart"},
		Spec: v1alpha1.RolloutSpec{
			WorkloadRef: v1alpha1.WorkloadRef{Name: "cart"}, Service: v1alpha1.ServiceRef{Name: "cart"},
			Canary: v1alpha1.CanaryStrategy{Steps: []v1alpha1.Step{{SetWeight: ptr.To[int32](10)}}},
		},
	}
	b.create(rollout)
	spec := read[v1alpha1.AnalysisRunSpec](b.T, "{metrics: ["+metric("up", "up", "")+"]}")
	for attempt := range int64(12) {
		now := metav1.NowMicro()
		rollout.Status.Release = &v1alpha1.Release{ID: "abc-" + string(rune('a'+attempt)), Attempt: attempt + 1, StartedAt: now, PhaseSince: now}
		if err := b.c.Status().Update(context.Background(), rollout); err != nil {
			b.Fatal(err)
		}
		spec.Release = rollout.Status.Release.ID
		run := runs.New(rollout, v1alpha1.StageBackground, spec)
		b.create(run)
		b.eventually("the run ends", func() (bool, string) {
			err := b.c.Get(context.Background(), client.ObjectKeyFromObject(run), run)
			return err == nil && run.Status.Phase.Ended(), string(run.Status.Phase)
		})
	}
	b.eventually("the oldest goes", func() (bool, string) {
		var list v1alpha1.AnalysisRunList
		if err := b.c.List(context.Background(), &list, client.InNamespace(b.namespace)); err != nil {
			b.Fatal(err)
		}
		var names []string
		for _, run := range list.Items {
			names = append(names, run.Name)
		}
		return len(names) == 11 && !slices.Contains(names, "cart-1-background"), strings.Join(names, ", ")
	})
}

// testPrometheus asks a real one, for each kind of answer that it can give.
func testPrometheus(b *bench) {
	b.start(promserver.Start(b.T, "scrape_configs: []\n").Address)
	for name, test := range map[string]struct {
		query, condition string
		want             v1alpha1.RunPhase
		message          string
	}{
		"vector":    {"vector(1) > 0", "result[0] == 1.0 && series[0].value == 1.0", v1alpha1.RunSuccessful, ""},
		"scalar":    {"scalar(vector(0.5))", "result < 0.6", v1alpha1.RunSuccessful, ""},
		"string":    {`"a"`, "result == 'b'", v1alpha1.RunFailed, "does not meet"},
		"nothing":   {"vector(1) < 0", "result[0] < 1.0", v1alpha1.RunError, "the query returned no series"},
		"nan":       {"vector(0) / 0", "result[0] < 1.0", v1alpha1.RunError, "NaN"},
		"two":       {`label_replace(vector(1), "a", "b", "", "") or label_replace(vector(2), "a", "c", "", "")`, "result[0] < 3.0", v1alpha1.RunError, "2 series where the condition takes 1"},
		"histogram": {"histogram_quantile(0.99, rate(none[1m]))", "result[0] < 1.0", v1alpha1.RunError, "the query returned no series"},
	} {
		spec := v1alpha1.AnalysisRunSpec{Metrics: []v1alpha1.Metric{{
			Name: name, SuccessCondition: test.condition, ConsecutiveErrorLimit: ptr.To[int32](0),
			Provider: v1alpha1.MetricProvider{Prometheus: &v1alpha1.PrometheusProvider{Query: test.query}},
		}}}
		run := &v1alpha1.AnalysisRun{ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: name}, Spec: spec}
		b.create(run)
		if status := b.await(run, "the run ends", ended); status.Phase != test.want || !strings.Contains(status.Message, test.message) {
			b.Errorf("%s: the run is %s (%s), want %s (%s)", name, status.Phase, status.Message, test.want, test.message)
		}
	}
}
