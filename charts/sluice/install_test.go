package sluice_test

import (
	"context"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// TestLifeOfInstallation installs, upgrades and uninstalls on a cluster that has no Sluice yet. The hook
// that ends releases is left out: it needs a running operator, with which the end-to-end tests uninstall.
func TestLifeOfInstallation(t *testing.T) {
	c := apiServer(t)
	client := c.as(t, "", nil)
	_, err := client.AdmissionregistrationV1().MutatingAdmissionPolicyBindings().Get(t.Context(), "sluice-hold", metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		t.Skipf("needs a cluster without Sluice (get hold: %v)", err)
	}

	// Labelled before anybody could refuse it.
	before := c.namespace(t, nil)
	recreate := deployment("before", func(d *appsv1.Deployment) { d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType })
	eventually(t, "no policy of an earlier installation is in force", func(ctx context.Context) (bool, error) {
		_, err = client.AppsV1().Deployments(before).Create(ctx, recreate, metav1.CreateOptions{})
		return err == nil, nil
	})

	c.helm(t, "install", "sluice", ".", "--namespace", installation, "--create-namespace")
	gone := false
	t.Cleanup(func() {
		if !gone {
			c.helm(t, "uninstall", "sluice", "--namespace", installation, "--no-hooks")
		}
	})
	namespace := c.injected(t, nil)
	drain := func(ctx context.Context) string {
		p, err := c.create(ctx, t, namespace, pod(nil))
		if err != nil || len(p.Spec.InitContainers) != 2 {
			return ""
		}
		for _, env := range p.Spec.InitContainers[1].Env {
			if env.Name == "SLUICE_DRAIN" {
				return env.Value
			}
		}
		return ""
	}

	s := &subject{cluster: c, namespace: before, name: "before"}
	s.awaitHold(t)
	s.update(t, person, func(d *appsv1.Deployment) { d.Labels["a"] = "b" }) // not refused: it was so before
	s.update(t, person, image("v2"))
	s.is(t, "held", "v2")

	c.helm(t, "upgrade", "sluice", ".", "--namespace", installation, "--set", "proxy.drain=77s")
	eventually(t, "an upgrade is in force", func(ctx context.Context) (bool, error) { return drain(ctx) == "77s", nil })
	s.is(t, "held", "v2")

	// Pods can be created at every moment of an uninstallation.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	refused := make(chan error, 1)
	created := 0
	go func() {
		defer close(refused)
		for ctx.Err() == nil {
			if _, err := c.create(ctx, t, namespace, pod(nil)); err != nil && ctx.Err() == nil {
				refused <- fmt.Errorf("after %d pods: %w", created, err)
				return
			}
			created++
		}
	}()
	c.helm(t, "uninstall", "sluice", "--namespace", installation, "--no-hooks")
	gone = true
	eventually(t, "nothing is injected", func(ctx context.Context) (bool, error) {
		p, err := c.create(ctx, t, namespace, pod(nil))
		return err == nil && len(p.Spec.InitContainers) == 0, nil
	})
	cancel()
	if err := <-refused; err != nil {
		t.Errorf("create pod during the uninstallation: %v", err)
	}
	if created < 10 {
		t.Errorf("only %d pods were tried", created)
	}

	// Nothing holds any more, which is a policy of its own that the API server forgets by itself; the CRD is kept.
	eventually(t, "nothing is held", func(ctx context.Context) (bool, error) {
		d, err := s.dryRun(ctx, t, s.as(t, person, nil), unpause)
		return err == nil && !d.Spec.Paused, nil
	})
	s.update(t, person, unpause)
	s.is(t, "free", "v2")
	out, err := c.kubectl(t, "", "get", "--raw", "/apis/sluice.dev/v1alpha1")
	if err != nil {
		t.Errorf("the CRD is gone: %v\n%s", err, out)
	}
}

// TestUserRoles: whoever may view or edit a namespace may do so with its Rollouts, without further ado.
func TestUserRoles(t *testing.T) {
	c := withChart(t)
	if !c.real {
		t.Skip("needs the controller that aggregates roles")
	}
	namespace := c.namespace(t, nil)
	const viewer = "victor"
	_, err := c.as(t, "", nil).RbacV1().RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: viewer},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: viewer}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rollouts := schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "rollouts"}
	eventually(t, "roles are aggregated", func(ctx context.Context) (bool, error) {
		sees, err := c.may(ctx, t, viewer, "list", rollouts, namespace)
		if err != nil || !sees {
			return false, err
		}
		return c.may(ctx, t, person, "patch", rollouts, namespace)
	})
	for _, test := range []struct {
		user, verb, resource string
		want                 bool
	}{
		{viewer, "watch", "rollouts", true},
		{viewer, "patch", "rollouts", false},
		{person, "create", "rollouts", true},
		{person, "delete", "rollouts", true},
		// Status is the operator's word.
		{person, "patch", "rollouts/status", false},
	} {
		got, err := c.may(t.Context(), t, test.user, test.verb, schema.GroupResource{Group: rollouts.Group, Resource: test.resource}, namespace)
		if err != nil || got != test.want {
			t.Errorf("%s may %s %s: %v (%v), want %v", test.user, test.verb, test.resource, got, err, test.want)
		}
	}
}

// TestOperatorPermissions: what the operator may do, as the API server sees it, and a sample of what it
// must not.
func TestOperatorPermissions(t *testing.T) {
	c := withChart(t)
	namespace := c.namespace(t, nil)
	apps := func(resource string) schema.GroupResource {
		return schema.GroupResource{Group: "apps", Resource: resource}
	}
	eventually(t, "the operator's role is known", func(ctx context.Context) (bool, error) {
		return c.may(ctx, t, operatorUser, "list", apps("deployments"), namespace)
	})
	for _, test := range []struct {
		verb      string
		resource  schema.GroupResource
		namespace string
		want      bool
	}{
		{"update", schema.GroupResource{Group: "sluice.dev", Resource: "rollouts"}, namespace, true},
		{"patch", schema.GroupResource{Group: "sluice.dev", Resource: "rollouts/status"}, namespace, true},
		{"create", apps("replicasets"), namespace, true},
		{"create", schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}, installation, true},

		{"delete", schema.GroupResource{Group: "sluice.dev", Resource: "rollouts"}, namespace, false},
		{"create", apps("deployments"), namespace, false},
		{"delete", apps("deployments"), namespace, false},
		{"list", schema.GroupResource{Resource: "secrets"}, namespace, false},
		{"list", schema.GroupResource{Resource: "configmaps"}, namespace, false},
		{"create", schema.GroupResource{Resource: "pods"}, namespace, false},
		{"create", schema.GroupResource{Resource: "pods/exec"}, namespace, false},
		{"create", schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}, namespace, false},
		{"update", schema.GroupResource{Group: "admissionregistration.k8s.io", Resource: "mutatingadmissionpolicies"}, "", false},
	} {
		got, err := c.may(t.Context(), t, operatorUser, test.verb, test.resource, test.namespace)
		if err != nil || got != test.want {
			t.Errorf("the operator may %s %s: %v (%v), want %v", test.verb, test.resource, got, err, test.want)
		}
	}
}

// TestOperatorIsRestricted: the operator's pod is accepted where the strictest level of PodSecurity is
// enforced.
func TestOperatorIsRestricted(t *testing.T) {
	c := withChart(t)
	client := c.as(t, "", nil)
	namespace := c.namespace(t, map[string]string{"pod-security.kubernetes.io/enforce": "restricted"})
	d, err := client.AppsV1().Deployments(installation).Get(t.Context(), "sluice-operator", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: d.Spec.Template.Spec.ServiceAccountName}}
	if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = c.create(t.Context(), t, namespace, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "operator"}, Spec: d.Spec.Template.Spec})
	if err != nil {
		t.Errorf("the operator's pod: %v", err)
	}
}
