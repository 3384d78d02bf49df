package traffic_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
	gatewaybeta "sigs.k8s.io/gateway-api/apis/v1beta1"
	"sigs.k8s.io/yaml"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/controllers/meshsync"
	"github.com/sluice-mesh/sluice/controllers/traffic"
	"github.com/sluice-mesh/sluice/internal/apiserver"
	"github.com/sluice-mesh/sluice/mesh/ir"
)

func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme, gateway.Install, gatewaybeta.Install} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

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
	granted := &rbacv1.ClusterRole{}
	if err := yaml.UnmarshalStrict(role, granted); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme(t)})
	if err != nil {
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

// published remembers the last mesh.
type published struct{ atomic.Pointer[ir.Mesh] }

func (p *published) Publish(mesh ir.Mesh) error {
	p.Store(&mesh)
	return ir.Validate(mesh)
}

// start runs what derives the mesh, and the reconciler, until the test ends.
func start(t *testing.T, config *rest.Config) *published {
	t.Helper()
	m, err := ctrl.NewManager(config, ctrl.Options{Scheme: scheme(t), Metrics: metricsserver.Options{BindAddress: "0"}})
	if err != nil {
		t.Fatal(err)
	}
	kinds, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	mesh := &published{}
	syncer, err := meshsync.NewSyncer(t.Context(), meshsync.Options{
		Cache: m.GetCache(), Reader: m.GetAPIReader(), Discovery: kinds, Publisher: mesh, Refresh: 200 * time.Millisecond,
		Settings: ir.Settings{AccessLog: ir.AccessLog{Errors: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Add(syncer); err != nil {
		t.Fatal(err)
	}
	if err := (&traffic.Reconciler{Client: m.GetClient(), Reader: m.GetAPIReader(), Judge: syncer}).SetupWithManager(m); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- m.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-over; err != nil {
			t.Errorf("the operator ended: %v", err)
		}
	})
	return mesh
}

// bench is one API server with an operator.
type bench struct {
	*testing.T
	c    client.Client
	mesh *published
}

// create creates objects that are written as YAML.
func (b bench) create(text string) {
	b.Helper()
	for document := range strings.SplitSeq(text, "---\n") {
		var head metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(document), &head); err != nil {
			b.Fatal(err)
		}
		object, err := b.c.Scheme().New(head.GroupVersionKind())
		if err != nil {
			b.Fatal(err)
		}
		if err := yaml.UnmarshalStrict([]byte(document), object); err != nil {
			b.Fatal(err)
		}
		if err := b.c.Create(b.Context(), object.(client.Object)); err != nil {
			b.Fatalf("create %s: %v", head.Kind, err)
		}
	}
}

// eventually waits until what is read is what is wanted, and shows what it was otherwise.
func (b bench) eventually(what, want string, read func() string) {
	b.Helper()
	got := ""
	err := wait.PollUntilContextTimeout(b.Context(), 50*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		got = read()
		return got == want, nil
	})
	if err != nil {
		b.Fatalf("%s is %q, want %q", what, got, want)
	}
}

func (b bench) policy(name string) string {
	var p v1alpha1.TrafficPolicy
	if err := b.c.Get(b.Context(), client.ObjectKey{Namespace: "shop", Name: name}, &p); err != nil {
		return err.Error()
	}
	return conditions(p.Status.Conditions)
}

func (b bench) route(name string) string {
	var r gateway.HTTPRoute
	if err := b.c.Get(b.Context(), client.ObjectKey{Namespace: "shop", Name: name}, &r); err != nil {
		return err.Error()
	}
	var parents []string
	for _, p := range r.Status.Parents {
		parents = append(parents, fmt.Sprintf("%s %s: %s", p.ControllerName, p.ParentRef.Name, conditions(p.Conditions)))
	}
	return strings.Join(parents, "; ")
}

func conditions(list []metav1.Condition) string {
	var all []string
	for _, c := range list {
		all = append(all, fmt.Sprintf("%s=%s %s at %d", c.Type, c.Status, c.Reason, c.ObservedGeneration))
	}
	return strings.Join(all, ", ")
}

// service is what the mesh has of one: its timeout and its routes with the services that they lead to.
func (b bench) service(key string) string {
	mesh := b.mesh.Load()
	if mesh == nil {
		return "no mesh"
	}
	for _, s := range mesh.Services {
		if s.Key() != key {
			continue
		}
		text := fmt.Sprint(s.Policy.Timeouts.Request)
		for _, r := range s.Routes {
			text += " " + r.Name
			for _, backend := range r.Backends {
				text += ">" + backend.Service
			}
			if r.Fault != nil {
				text += fmt.Sprintf("!%d", r.Fault.AbortShare)
			}
		}
		return text
	}
	return "not there"
}

const world = `apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {sluice.dev/inject: enabled}}
---
apiVersion: v1
kind: Namespace
metadata: {name: outside}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {ports: [{name: http, port: 80}], selector: {app: cart}}
---
apiVersion: v1
kind: Service
metadata: {name: archive, namespace: outside}
spec: {ports: [{name: http, port: 80}], selector: {app: archive}}
`

func policyText(name, service, spec string) string {
	return "apiVersion: sluice.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: " + name + ", namespace: shop}\nspec: {targetRef: {name: " + service + "}, " + spec + "}\n"
}

// TestTraffic follows policies and routes through a real API server, with the operator's own rights, from a
// cluster without the Gateway API to one with it and back.
func TestTraffic(t *testing.T) {
	config := apiserver.Start(t)
	c, err := client.New(config, client.Options{Scheme: scheme(t)})
	if err != nil {
		t.Fatal(err)
	}
	b := bench{T: t, c: c}
	b.create(world)
	operator := asOperator(t, config)
	b.mesh = start(t, operator)

	b.eventually("the service", "0s", func() string { return b.service("shop/cart") })
	if !b.mesh.Load().Settings.AccessLog.Errors {
		t.Error("the mesh has not the settings")
	}

	// Policies: one in force, one that is younger, one for nobody, and one whose authority comes later.
	b.create(policyText("a", "cart", "timeouts: {request: 5s}"))
	b.eventually("the policy", "Accepted=True Accepted at 1", func() string { return b.policy("a") })
	b.eventually("the service", "5s", func() string { return b.service("shop/cart") })
	b.create(policyText("b", "cart", "timeouts: {request: 6s}"))
	b.eventually("the younger policy", "Accepted=False Conflicted at 1", func() string { return b.policy("b") })
	b.create(policyText("c", "gone", "sticky: {}"))
	b.eventually("the policy for nobody", "Accepted=False TargetNotFound at 1", func() string { return b.policy("c") })
	b.create("apiVersion: v1\nkind: Service\nmetadata: {name: gone, namespace: shop}\nspec: {ports: [{name: http, port: 80}]}\n")
	b.eventually("the policy for somebody", "Accepted=True Accepted at 1", func() string { return b.policy("c") })
	b.create("apiVersion: v1\nkind: Service\nmetadata: {name: secure, namespace: shop}\nspec: {ports: [{name: http, port: 80}]}\n---\n" +
		policyText("d", "secure", "timeouts: {request: 7s}, tls: {serverName: a, caConfigMap: {name: ca}}"))
	b.eventually("the policy without authority", "Accepted=False Invalid at 1", func() string { return b.policy("d") })
	b.eventually("the service without authority", "0s", func() string { return b.service("shop/secure") })
	b.create("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ca, namespace: shop}\ndata: {ca.crt: " + fmt.Sprintf("%q", config.CAData) + "}\n")
	b.eventually("the policy with an authority", "Accepted=True Accepted at 1", func() string { return b.policy("d") })
	b.eventually("the service with an authority", "7s", func() string { return b.service("shop/secure") })
	var first v1alpha1.TrafficPolicy
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "a"}, &first); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), &first); err != nil {
		t.Fatal(err)
	}
	b.eventually("the next policy", "Accepted=True Accepted at 1", func() string { return b.policy("b") })
	b.eventually("the service", "6s", func() string { return b.service("shop/cart") })

	// Routes, once their kinds are installed.
	installed := install(t, config)
	const inForce = "sluice.dev/mesh cart: Accepted=True Accepted at 1, ResolvedRefs=%s at 1"
	b.create(`apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: cart}]
  rules: [{backendRefs: [{name: archive, namespace: outside, port: 80}]}]
`)
	b.eventually("the route without a grant", fmt.Sprintf(inForce, "False RefNotPermitted"), func() string { return b.route("r") })
	b.eventually("the service without a grant", "6s HTTPRoute/shop/r/0!1000000 unmatched!1000000", func() string { return b.service("shop/cart") })
	b.eventually("a service that nobody leads to", "not there", func() string { return b.service("outside/archive") })
	b.create(`apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: shop, namespace: outside}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}]
  to: [{group: "", kind: Service}]
`)
	b.eventually("the route with a grant", fmt.Sprintf(inForce, "True ResolvedRefs"), func() string { return b.route("r") })
	b.eventually("the service with a grant", "6s HTTPRoute/shop/r/0>outside/archive unmatched!1000000", func() string { return b.service("shop/cart") })
	b.eventually("a backend outside of the mesh's namespaces", "0s", func() string { return b.service("outside/archive") })
	archive := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "archive", Namespace: "outside"}}
	if err := c.Delete(t.Context(), archive); err != nil {
		t.Fatal(err)
	}
	b.eventually("the route without its backend", fmt.Sprintf(inForce, "False BackendNotFound"), func() string { return b.route("r") })

	// Other controllers' words stay, and ours go with what they were about.
	var r gateway.HTTPRoute
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "r"}, &r); err != nil {
		t.Fatal(err)
	}
	r.Status.Parents = append(r.Status.Parents, gateway.RouteParentStatus{
		ParentRef: gateway.ParentReference{Name: "edge"}, ControllerName: "example.com/edge",
		Conditions: []metav1.Condition{{Type: "Accepted", Status: "True", Reason: "Accepted", LastTransitionTime: metav1.Now()}},
	})
	if err := c.Status().Update(t.Context(), &r); err != nil {
		t.Fatal(err)
	}
	r.Spec.ParentRefs = []gateway.ParentReference{{Name: "edge"}}
	if err := c.Update(t.Context(), &r); err != nil {
		t.Fatal(err)
	}
	b.eventually("the route that is a Gateway's", "example.com/edge edge: Accepted=True Accepted at 0", func() string { return b.route("r") })
	b.eventually("the service", "6s", func() string { return b.service("shop/cart") })

	// Without the kinds again, the mesh goes on.
	if err := envtest.UninstallCRDs(config, installed); err != nil {
		t.Fatal(err)
	}
	b.create(policyText("e", "elsewhere", "sticky: {}"))
	b.eventually("a policy afterwards", "Accepted=False TargetNotFound at 1", func() string { return b.policy("e") })
}

// install installs the Gateway API's CRDs, of the version that is linked.
func install(t *testing.T, config *rest.Config) envtest.CRDInstallOptions {
	t.Helper()
	folder, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		t.Fatalf("find the Gateway API's CRDs: %v", err)
	}
	crds := filepath.Join(strings.TrimSpace(string(folder)), "config", "crd", "standard")
	options := envtest.CRDInstallOptions{ErrorIfPathMissing: true, MaxTime: time.Minute}
	for _, kind := range []string{"httproutes", "grpcroutes", "referencegrants"} {
		options.Paths = append(options.Paths, filepath.Join(crds, "gateway.networking.k8s.io_"+kind+".yaml"))
	}
	if _, err := envtest.InstallCRDs(config, options); err != nil {
		t.Fatalf("install the Gateway API's CRDs: %v", err)
	}
	return options
}
