package runs_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"github.com/sluice-mesh/sluice/analysis/prometheus"
	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/controllers/runs"
)

// asOperator lets a user do what the chart lets the operator do, and no more, and is that user.
func asOperator(t *testing.T, config *rest.Config) *rest.Config {
	t.Helper()
	const helm = "../../build/bin/helm"
	if _, err := os.Stat(helm); err != nil {
		t.Skipf("no Helm to render the operator's role (make build/bin/helm): %v", err)
	}
	role, err := exec.CommandContext(t.Context(), helm, "template", "sluice", "../../charts/sluice", "--show-only", "templates/operator-clusterrole.yaml").Output()
	if err != nil {
		t.Fatalf("render the operator's role: %v", err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme(t)})
	if err != nil {
		t.Fatal(err)
	}
	granted := &rbacv1.ClusterRole{}
	if err := yaml.UnmarshalStrict(role, granted); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "operator"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: granted.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "operator"}},
	}
	for _, o := range []client.Object{granted, binding} {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	operator := rest.CopyConfig(config)
	operator.Impersonate.UserName = "operator"
	return operator
}

// bench is one namespace of a real API server, with the reconciler of its runs.
type bench struct {
	*testing.T
	operator  *rest.Config
	c         client.Client
	namespace string
	server    *server
	jobs      bool
	stop      func()
}

func newBench(t *testing.T, config, operator *rest.Config, namespace string) *bench {
	t.Helper()
	c, err := client.New(config, client.Options{Scheme: scheme(t)})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, operator: operator, c: c, namespace: namespace, server: newServer(t), jobs: true}
	b.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	return b
}

// start starts an operator that runs the namespace's analyses, asking an installation's Prometheus.
func (b *bench) start(address string) {
	b.Helper()
	m, err := ctrl.NewManager(b.operator, ctrl.Options{
		Scheme: scheme(b.T), Metrics: metricsserver.Options{BindAddress: "0"},
		Cache:      cache.Options{DefaultNamespaces: map[string]cache.Config{b.namespace: {}}},
		Client:     client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}},
		Controller: config.Controller{SkipNameValidation: ptr.To(true)},
	})
	if err != nil {
		b.Fatal(err)
	}
	installation, err := prometheus.NewClient(prometheus.Options{Address: address})
	if err != nil {
		b.Fatal(err)
	}
	r := &runs.Reconciler{
		Client: m.GetClient(), Reader: m.GetAPIReader(), Events: m.GetEventRecorder("sluice"), Prometheus: installation,
		Jobs: b.jobs, Loopback: true, Now: time.Now,
	}
	if err := r.SetupWithManager(m); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- m.Start(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-over; err != nil {
			b.Errorf("the operator ended: %v", err)
		}
		installation.Close()
	})
	b.Cleanup(b.stop)
}

func (b *bench) create(o client.Object) {
	b.Helper()
	if err := b.c.Create(context.Background(), o); err != nil {
		b.Fatalf("create %T: %v", o, err)
	}
}

// begin creates a run with these metrics.
func (b *bench) begin(name, spec string) *v1alpha1.AnalysisRun {
	b.Helper()
	run := &v1alpha1.AnalysisRun{
		ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: name}, Spec: read[v1alpha1.AnalysisRunSpec](b.T, spec),
	}
	b.create(run)
	return run
}

// await waits until a run is as wanted.
func (b *bench) await(run *v1alpha1.AnalysisRun, what string, wanted func(v1alpha1.AnalysisRunStatus) bool) v1alpha1.AnalysisRunStatus {
	b.Helper()
	b.eventually(what, func() (bool, string) {
		if err := b.c.Get(context.Background(), client.ObjectKeyFromObject(run), run); err != nil {
			b.Fatal(err)
		}
		return wanted(run.Status), fmt.Sprintf("%+v", run.Status)
	})
	return run.Status
}

func (b *bench) eventually(what string, is func() (bool, string)) {
	b.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		ok, seen := is()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("wait until %s: %s", what, seen)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func ended(s v1alpha1.AnalysisRunStatus) bool { return s.Phase.Ended() }

// terminate ends a run from outside, as a Rollout's reconciler does.
func (b *bench) terminate(run *v1alpha1.AnalysisRun) {
	b.Helper()
	before := run.DeepCopy()
	run.Spec.Terminate = true
	if err := b.c.Patch(context.Background(), run, client.MergeFrom(before)); err != nil {
		b.Fatal(err)
	}
}

// server speaks Prometheus' API, and that of a plain JSON endpoint at /json. It answers each query with the
// value that the test has set for it.
type server struct {
	*httptest.Server

	mu      sync.Mutex
	values  map[string]string
	slow    map[string]chan struct{}
	asked   map[string]int
	headers http.Header
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{values: map[string]string{}, slow: map[string]chan struct{}{}, asked: map[string]int{}}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = nil
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// answer sets a query's value; "" makes the server refuse it.
func (s *server) answer(query, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[query] = value
}

// hang makes a query wait until the test ends.
func (s *server) hang(t *testing.T, query string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	until := make(chan struct{})
	s.slow[query] = until
	t.Cleanup(func() { close(until) })
}

func (s *server) count(query string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[query]
}

func (s *server) header(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.headers.Get(name)
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.FormValue("query")
	s.mu.Lock()
	s.asked[query]++
	s.headers = r.Header.Clone()
	value, until := s.values[query], s.slow[query]
	s.mu.Unlock()
	if until != nil {
		select {
		case <-until:
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.URL.Path == "/json":
		fmt.Fprintf(w, `{"method": %q, "healthy": true}`, r.Method)
	case value == "":
		w.WriteHeader(http.StatusUnprocessableEntity)
		fmt.Fprintf(w, `{"status": "error", "errorType": "execution", "error": "no %s, said %s"}`, query, strings.ReplaceAll(r.Header.Get("Authorization"), `"`, ""))
	case strings.HasSuffix(r.URL.Path, "query_range"):
		fmt.Fprintf(w, `{"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": [%s]}]}}`, value)
	default:
		fmt.Fprintf(w, `{"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [%d, %q]}]}}`, time.Now().Unix(), value)
	}
}
