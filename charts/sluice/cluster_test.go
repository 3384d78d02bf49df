package sluice_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

const (
	installation = "sluice-system"
	operatorUser = "system:serviceaccount:sluice-system:sluice-operator"
	person       = "alice"
)

// cluster is an API server with the chart installed.
type cluster struct {
	kubeconfig string
	config     *rest.Config
	// real: a whole cluster, whose controllers act on Deployments; otherwise only an API server.
	real bool
}

var (
	shared     *cluster
	sharedErr  error
	sharedOnce sync.Once
	stop       []func()
)

func TestMain(m *testing.M) {
	code := m.Run()
	for i := len(stop) - 1; i >= 0; i-- {
		stop[i]()
	}
	os.Exit(code)
}

// apiServer gives the cluster that KUBECONFIG_E2E names, or an API server alone where
// KUBEBUILDER_ASSETS has the programs for one. Neither: the test is skipped.
func apiServer(t *testing.T) *cluster {
	t.Helper()
	kubeconfig, assets := os.Getenv("KUBECONFIG_E2E"), os.Getenv("KUBEBUILDER_ASSETS")
	if kubeconfig == "" && assets == "" {
		t.Skip("needs KUBECONFIG_E2E (a cluster) or KUBEBUILDER_ASSETS (a folder with etcd and kube-apiserver)")
	}
	sharedOnce.Do(func() {
		if kubeconfig != "" {
			shared = &cluster{kubeconfig: kubeconfig, real: true}
			shared.config, sharedErr = clientcmd.BuildConfigFromFlags("", kubeconfig)
			return
		}
		shared, sharedErr = startAPIServer()
	})
	if sharedErr != nil {
		t.Fatalf("start API server: %v", sharedErr)
	}
	return shared
}

func startAPIServer() (*cluster, error) {
	environment := &envtest.Environment{ControlPlaneStartTimeout: 2 * time.Minute, ControlPlaneStopTimeout: 2 * time.Minute}
	// As on any cluster, pods get their account's token; envtest turns that off.
	environment.ControlPlane.GetAPIServer().Configure().Disable("disable-admission-plugins")
	if _, err := environment.Start(); err != nil {
		return nil, err
	}
	stop = append(stop, func() { _ = environment.Stop() })
	admin, err := environment.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		return nil, err
	}
	kubeconfig, err := admin.KubeConfig()
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "sluice-chart-")
	if err != nil {
		return nil, err
	}
	stop = append(stop, func() { _ = os.RemoveAll(folder) })
	c := &cluster{kubeconfig: filepath.Join(folder, "kubeconfig")}
	if err := os.WriteFile(c.kubeconfig, kubeconfig, 0o600); err != nil {
		return nil, err
	}
	c.config, err = clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	return c, err
}

// withChart gives the cluster with the chart installed: as it is found, or installed for this test.
func withChart(t *testing.T) *cluster {
	t.Helper()
	c := apiServer(t)
	client := c.as(t, "", nil)
	_, err := client.AdmissionregistrationV1().MutatingAdmissionPolicyBindings().Get(t.Context(), "sluice-hold", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		c.helm(t, "install", "sluice", ".", "--namespace", installation, "--create-namespace")
		t.Cleanup(func() { c.helm(t, "uninstall", "sluice", "--namespace", installation, "--no-hooks") })
	} else if err != nil {
		t.Fatalf("get hold: %v", err)
	}
	return c
}

// as gives a client that acts as the user; empty: as the one in the kubeconfig, who may do everything.
// Warnings of the API server go to the function.
func (c *cluster) as(t *testing.T, user string, warn func(string)) *kubernetes.Clientset {
	t.Helper()
	config := rest.CopyConfig(c.config)
	config.QPS, config.Burst = 200, 200
	config.Impersonate.UserName = user
	config.WarningHandler = warnings(warn)
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatalf("make client: %v", err)
	}
	return client
}

type warnings func(string)

func (w warnings) HandleWarningHeader(_ int, _, text string) {
	if w != nil {
		w(text)
	}
}

// namespace makes a namespace that is gone after the test, in which the person may edit.
func (c *cluster) namespace(t *testing.T, labels map[string]string) string {
	t.Helper()
	client := c.as(t, "", nil)
	created, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "chart-", Labels: labels},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create namespace: %v", err)
	}
	t.Cleanup(func() {
		_ = client.CoreV1().Namespaces().Delete(context.WithoutCancel(t.Context()), created.Name, metav1.DeleteOptions{})
	})
	role := "admin" // with what the chart adds to it
	if !c.real {
		role = "cluster-admin" // nobody aggregates roles
	}
	_, err = client.RbacV1().RoleBindings(created.Name).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: person},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: person}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("bind role: %v", err)
	}
	eventually(t, "the person may edit", func(ctx context.Context) (bool, error) {
		return c.may(ctx, t, person, "create", schema.GroupResource{Group: "apps", Resource: "deployments"}, created.Name)
	})
	return created.Name
}

// may asks the API server whether the user may do so.
func (c *cluster) may(ctx context.Context, t *testing.T, user, verb string, resource schema.GroupResource, namespace string) (bool, error) {
	t.Helper()
	name, subresource := resource.Resource, ""
	if before, after, found := strings.Cut(resource.Resource, "/"); found {
		name, subresource = before, after
	}
	review, err := c.as(t, user, nil).AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: namespace, Verb: verb, Group: resource.Group, Resource: name, Subresource: subresource,
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return review.Status.Allowed, nil
}

// eventually polls until the condition holds; policies take effect about a second after they are written.
func eventually(t *testing.T, what string, condition func(context.Context) (bool, error)) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 30*time.Second, true, condition); err != nil {
		t.Fatalf("wait until %s: %v", what, err)
	}
}

// kubectl runs the real one as the person and returns everything it says.
func (c *cluster) kubectl(t *testing.T, input string, args ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), tool(t, "KUBECTL", "kubectl", "../assets/kubectl"),
		append([]string{"--kubeconfig", c.kubeconfig, "--as", person}, args...)...)
	command.Stdin = strings.NewReader(input)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	err := command.Run()
	return out.String(), err
}

func (c *cluster) helm(t *testing.T, args ...string) string {
	t.Helper()
	out, err := helm(t, append(args, "--kubeconfig", c.kubeconfig)...)
	if err != nil {
		t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// helm runs the real one in the chart's folder and returns everything it says.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	// Not the test's context: it is over when cleanups uninstall.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, tool(t, "HELM", "helm", "helm"), args...)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	err := command.Run()
	return out.String(), err
}

// tool finds a program: named by the variable, in build/bin, or installed. Without it the test is
// skipped, except in CI, where it must be there.
func tool(t *testing.T, variable, name, built string) string {
	t.Helper()
	if path := os.Getenv(variable); path != "" {
		return path
	}
	built = filepath.Join("../../build/bin", built)
	if path, err := filepath.Abs(built); err == nil {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("no %s: run make tools, or set %s", name, variable)
	}
	t.Skipf("no %s: run make tools, or set %s", name, variable)
	return ""
}
