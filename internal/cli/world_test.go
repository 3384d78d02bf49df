package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// patience is how long a test waits for what takes milliseconds.
const patience = 20 * time.Second

var (
	apiServer     *rest.Config
	apiServerErr  error
	apiServerOnce sync.Once
	apiServerStop = func() {}
)

func TestMain(m *testing.M) {
	code := m.Run()
	apiServerStop()
	os.Exit(code)
}

// world is a namespace on a real API server where KUBEBUILDER_ASSETS has one, and in memory elsewhere.
type world struct {
	client.WithWatch
	config    *rest.Config
	namespace string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	scheme, err := newScheme()
	if err == nil {
		err = corev1.AddToScheme(scheme)
	}
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		c := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.Rollout{}).Build()
		return &world{WithWatch: c, namespace: "demo"}
	}
	apiServerOnce.Do(func() {
		environment := &envtest.Environment{
			CRDInstallOptions:        envtest.CRDInstallOptions{Paths: []string{"../../build/crds"}, ErrorIfPathMissing: true, MaxTime: time.Minute},
			ControlPlaneStartTimeout: 2 * time.Minute, ControlPlaneStopTimeout: 2 * time.Minute,
		}
		apiServer, apiServerErr = environment.Start()
		apiServerStop = func() { _ = environment.Stop() }
	})
	if apiServerErr != nil {
		t.Fatalf("start API server: %v", apiServerErr)
	}
	c, err := client.NewWithWatch(apiServer, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "cli-"}}
	if err := c.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	return &world{WithWatch: c, config: apiServer, namespace: namespace.Name}
}

// add creates a Rollout with its status.
func (w *world) add(t *testing.T, change func(*v1alpha1.Rollout)) *v1alpha1.Rollout {
	t.Helper()
	r := rollout(change)
	r.Namespace, r.CreationTimestamp = w.namespace, metav1.Time{}
	r.Spec.Canary.Steps = r.Spec.Canary.Steps[:8] // a real API server refuses the ninth
	status := r.Status
	for i := range status.Conditions {
		status.Conditions[i].LastTransitionTime = metav1.NewTime(noon)
	}
	if err := w.Create(t.Context(), r); err != nil {
		t.Fatalf("create rollout: %v", err)
	}
	status.ObservedGeneration = r.Generation
	r.Status = status
	if err := w.Status().Update(t.Context(), r); err != nil {
		t.Fatalf("write status: %v", err)
	}
	return r
}

func template(image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "shop"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "shop", Image: image}}},
	}
}

func (w *world) addDeployment(t *testing.T, image string, held bool) *appsv1.Deployment {
	t.Helper()
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "shop", Labels: map[string]string{v1alpha1.LabelRollout: "shop"}},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "shop"}},
			Template: template(image),
		},
	}
	if held {
		d.Spec.Paused = true
		d.Annotations = map[string]string{v1alpha1.AnnotationHeld: "true"}
	}
	if err := w.Create(t.Context(), d); err != nil {
		t.Fatalf("create deployment: %v", err)
	}
	return d
}

// operate is an operator for the test: it changes each state of the Rollout as the function says, until
// the test ends. The function returns whether it has changed the status.
func (w *world) operate(t *testing.T, act func(*v1alpha1.Rollout) bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := follow(ctx, w, w.namespace, "shop", func(r *v1alpha1.Rollout) (bool, error) {
			r = r.DeepCopy()
			if !act(r) {
				return false, nil
			}
			if err := w.Status().Update(ctx, r); err != nil && ctx.Err() == nil {
				return false, fmt.Errorf("write status: %w", err)
			}
			return false, nil
		})
		if ctx.Err() == nil {
			t.Errorf("operator: %v", err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// buffer may be written and read at the same time.
type buffer struct {
	mutex sync.Mutex
	bytes bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.bytes.Write(p)
}

func (b *buffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.bytes.String()
}

// environment gives the command line this world.
func (w *world) environment() (env *environment, out, problems *buffer) {
	out, problems = &buffer{}, &buffer{}
	env = &environment{
		IOStreams: genericiooptions.IOStreams{In: strings.NewReader(""), Out: out, ErrOut: problems},
		flags:     genericclioptions.NewConfigFlags(true),
		now:       func() time.Time { return noon },
		id:        func() string { return "order-1" },
		connect:   func() (client.WithWatch, string, error) { return w, w.namespace, nil },
		config:    func() (*rest.Config, error) { return w.config, nil },
		user:      func(context.Context) string { return "jane" },
		settle:    50 * time.Millisecond,
	}
	return env, out, problems
}

// run runs the command line in this world.
func (w *world) run(t *testing.T, args ...string) (code int, out, problems string) {
	t.Helper()
	env, stdout, stderr := w.environment()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	code = run(ctx, "sluice", args, env)
	return code, stdout.String(), stderr.String()
}
