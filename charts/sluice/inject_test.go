package sluice_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

func pod(change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "shop"},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: ptr.To(false),
			Containers:                   []corev1.Container{{Name: "shop", Image: "shop:v1"}},
		},
	}
	if change != nil {
		change(p)
	}
	return p
}

// create asks what the API server would store, without storing it.
func (c *cluster) create(ctx context.Context, t *testing.T, namespace string, p *corev1.Pod) (*corev1.Pod, error) {
	t.Helper()
	return c.as(t, "", nil).CoreV1().Pods(namespace).Create(ctx, p, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
}

func initNames(p *corev1.Pod) string {
	var names []string
	for _, container := range p.Spec.InitContainers {
		names = append(names, container.Name)
	}
	return strings.Join(names, " ")
}

func volumeNames(p *corev1.Pod) string {
	var names []string
	for _, volume := range p.Spec.Volumes {
		name, _, _ := strings.Cut(volume.Name, "access-") // the rest is random
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

func (c *cluster) injected(t *testing.T, labels map[string]string) string {
	t.Helper()
	all := map[string]string{v1alpha1.LabelInject: "enabled"}
	for key, value := range labels {
		all[key] = value
	}
	namespace := c.namespace(t, all)
	if !c.real {
		// Nobody else makes the account that every pod needs.
		_, err := c.as(t, "", nil).CoreV1().ServiceAccounts(namespace).Create(t.Context(),
			&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatalf("create service account: %v", err)
		}
	}
	eventually(t, "the injection is in force", func(ctx context.Context) (bool, error) {
		p, err := c.create(ctx, t, namespace, pod(nil))
		return err == nil && len(p.Spec.InitContainers) == 2, nil
	})
	return namespace
}

func TestInject(t *testing.T) {
	c := withChart(t)
	namespace := c.injected(t, nil)
	const ours = "sluice-redirect sluice-proxy"
	cases := map[string]struct {
		change  func(*corev1.Pod)
		init    string
		volumes string
	}{
		"no init containers, no volumes": {nil, ours, "sluice-state"},
		"init containers of its own": {func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "one", Image: "one"}, {Name: "two", Image: "two"}}
		}, ours + " one two", "sluice-state"},
		"volumes of its own": {func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "mine", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		}, ours, "mine sluice-state"},
		"a service account's token": {func(p *corev1.Pod) {
			p.Spec.AutomountServiceAccountToken = nil
		}, ours, "kube-api- sluice-state"},
		"init containers, volumes and a token": {func(p *corev1.Pod) {
			p.Spec.AutomountServiceAccountToken = nil
			p.Spec.InitContainers = []corev1.Container{{Name: "one", Image: "one"}}
			p.Spec.Volumes = []corev1.Volume{{Name: "mine", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		}, ours + " one", "mine kube-api- sluice-state"},
		"a volume named like ours": {func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "sluice-state", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		}, ours, "sluice-state"},
		"must not run as root": {func(p *corev1.Pod) {
			p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](1000), FSGroup: ptr.To[int64](2000)}
		}, ours, "sluice-state"},
		"Linux": {func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Linux} }, ours, "sluice-state"},
		"label with another value": {func(p *corev1.Pod) {
			p.Labels = map[string]string{v1alpha1.LabelInject: "enabled"}
		}, ours, "sluice-state"},

		"opted out": {func(p *corev1.Pod) {
			p.Labels = map[string]string{v1alpha1.LabelInject: "disabled"}
		}, "", ""},
		"on the node's network":     {func(p *corev1.Pod) { p.Spec.HostNetwork = true }, "", ""},
		"not on the node's network": {func(p *corev1.Pod) { p.Spec.HostNetwork = false }, ours, "sluice-state"},
		"Windows":                   {func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }, "", ""},
		"has a proxy": {func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "sluice-proxy", Image: "mine"}}
		}, "sluice-proxy", ""},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			p, err := c.create(t.Context(), t, namespace, pod(test.change))
			if err != nil {
				t.Fatalf("create pod: %v", err)
			}
			if got := initNames(p); got != test.init {
				t.Errorf("init containers %q, want %q", got, test.init)
			}
			if got := volumeNames(p); got != test.volumes {
				t.Errorf("volumes %q, want %q", got, test.volumes)
			}
		})
	}

	t.Run("other namespaces", func(t *testing.T) {
		other := c.namespace(t, nil)
		for _, namespace := range []string{other, "kube-system", installation} {
			// Labelled as it may be: these two never get proxies.
			patch := []byte(`{"metadata":{"labels":{"sluice.dev/inject":"enabled"}}}`)
			if namespace != other {
				namespaces := c.as(t, "", nil).CoreV1().Namespaces()
				if _, err := namespaces.Patch(t.Context(), namespace, "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					undo := []byte(`{"metadata":{"labels":{"sluice.dev/inject":null}}}`)
					_, _ = namespaces.Patch(context.WithoutCancel(t.Context()), namespace, "application/merge-patch+json", undo, metav1.PatchOptions{})
				})
			}
			account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
			if !c.real {
				_, _ = c.as(t, "", nil).CoreV1().ServiceAccounts(namespace).Create(t.Context(), account, metav1.CreateOptions{})
			}
			p, err := c.create(t.Context(), t, namespace, pod(nil))
			if err != nil {
				t.Fatalf("create pod in %s: %v", namespace, err)
			}
			if len(p.Spec.InitContainers) != 0 {
				t.Errorf("pod in %s has %s", namespace, initNames(p))
			}
		}
	})
}

func TestInjectedContainers(t *testing.T) {
	c := withChart(t)
	p, err := c.create(t.Context(), t, c.injected(t, nil), pod(nil))
	if err != nil {
		t.Fatalf("create pod: %v", err)
	}
	redirect, proxy := p.Spec.InitContainers[0], p.Spec.InitContainers[1]

	if redirect.RestartPolicy != nil || !slices.Equal(redirect.Command, []string{"/proxy", "redirect"}) {
		t.Errorf("redirect: restart policy %v, command %v", redirect.RestartPolicy, redirect.Command)
	}
	if sc := redirect.SecurityContext; *sc.RunAsUser != 0 || *sc.RunAsNonRoot || *sc.AllowPrivilegeEscalation || !*sc.ReadOnlyRootFilesystem ||
		!slices.Equal(sc.Capabilities.Add, []corev1.Capability{"NET_ADMIN"}) || !slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		t.Errorf("redirect: security context %v", sc)
	}
	if proxy.RestartPolicy == nil || *proxy.RestartPolicy != corev1.ContainerRestartPolicyAlways || !slices.Equal(proxy.Command, []string{"/proxy", "run"}) {
		t.Errorf("proxy: restart policy %v, command %v", proxy.RestartPolicy, proxy.Command)
	}
	if sc := proxy.SecurityContext; *sc.RunAsUser != 15099 || *sc.RunAsGroup != 15099 || !*sc.RunAsNonRoot || *sc.AllowPrivilegeEscalation ||
		!*sc.ReadOnlyRootFilesystem || len(sc.Capabilities.Add) != 0 || !slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		t.Errorf("proxy: security context %v", sc)
	}
	for _, container := range []corev1.Container{redirect, proxy} {
		if container.Resources.Requests.Cpu().IsZero() || container.Resources.Requests.Memory().IsZero() {
			t.Errorf("%s: requests %v; an autoscaler needs both", container.Name, container.Resources.Requests)
		}
	}
	if proxy.StartupProbe.HTTPGet.Path != "/startup" || proxy.StartupProbe.HTTPGet.Port.IntValue() != 15020 || proxy.StartupProbe.PeriodSeconds != 1 {
		t.Errorf("proxy: startup probe %v", proxy.StartupProbe)
	}
	if proxy.ReadinessProbe.HTTPGet.Path != "/ready" || proxy.ReadinessProbe.HTTPGet.Port.IntValue() != 15020 || proxy.Lifecycle != nil {
		t.Errorf("proxy: readiness probe %v, lifecycle %v", proxy.ReadinessProbe, proxy.Lifecycle)
	}
	if port := proxy.Ports[0]; port.Name != "sluice-metrics" || port.ContainerPort != 15020 {
		t.Errorf("proxy: port %v", port)
	}
	if mount := proxy.VolumeMounts[0]; mount.Name != "sluice-state" || mount.MountPath != "/var/lib/sluice" {
		t.Errorf("proxy: mount %v", mount)
	}
	got := map[string]string{}
	for _, env := range proxy.Env {
		got[env.Name] = env.Value
		if env.ValueFrom != nil {
			got[env.Name] = env.ValueFrom.FieldRef.FieldPath
		}
	}
	for name, want := range map[string]string{
		"SLUICE_XDS_ADDRESS": "sluice-xds.sluice-system.svc.cluster.local:15010",
		"POD_NAME":           "metadata.name", "POD_NAMESPACE": "metadata.namespace", "POD_UID": "metadata.uid",
		"POD_IP": "status.podIP", "HOST_IP": "status.hostIP",
		"SLUICE_REVISION": "metadata.labels['pod-template-hash']",
		"SLUICE_ZONE":     "metadata.labels['topology.kubernetes.io/zone']",
		"SLUICE_SOURCE":   "default",
	} {
		if got[name] != want {
			t.Errorf("proxy: %s is %q, want %q", name, got[name], want)
		}
	}
	for _, name := range []string{"SLUICE_DRAIN", "GOMEMLIMIT", "GOMAXPROCS"} {
		if got[name] == "" {
			t.Errorf("proxy: no %s", name)
		}
	}
}

// Containers go on for a moment when the pod is deleted, unless somebody has decided otherwise.
func TestInjectedPreStop(t *testing.T) {
	c := withChart(t)
	command := &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"leave"}}}
	p, err := c.create(t.Context(), t, c.injected(t, nil), pod(func(p *corev1.Pod) {
		p.Spec.Containers = []corev1.Container{
			{Name: "none", Image: "shop:v1"},
			{Name: "own", Image: "shop:v1", Lifecycle: &corev1.Lifecycle{PreStop: command}},
			{Name: "start", Image: "shop:v1", Lifecycle: &corev1.Lifecycle{PostStart: command}},
		}
	}))
	if err != nil {
		t.Fatalf("create pod: %v", err)
	}
	for _, container := range p.Spec.Containers {
		sleeps := container.Lifecycle != nil && container.Lifecycle.PreStop != nil && container.Lifecycle.PreStop.Sleep != nil
		switch container.Name {
		case "own":
			if sleeps || container.Lifecycle.PreStop.Exec == nil {
				t.Errorf("the container's own preStop was replaced: %+v", container.Lifecycle)
			}
		case "start":
			if !sleeps || container.Lifecycle.PostStart == nil {
				t.Errorf("lifecycle %+v, want the postStart that was there and a sleep", container.Lifecycle)
			}
		default:
			if !sleeps || container.Lifecycle.PreStop.Sleep.Seconds != 3 {
				t.Errorf("lifecycle %+v, want a sleep of 3 s", container.Lifecycle)
			}
		}
	}
	// The API server refuses a sleep that is longer than the pod has.
	p, err = c.create(t.Context(), t, c.injected(t, nil), pod(func(p *corev1.Pod) { p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](2) }))
	if err != nil {
		t.Fatalf("create pod with little time: %v", err)
	}
	if lifecycle := p.Spec.Containers[0].Lifecycle; lifecycle != nil {
		t.Errorf("lifecycle %+v of a pod with little time", lifecycle)
	}
}

func TestInjectedSource(t *testing.T) {
	c := withChart(t)
	namespace := c.injected(t, nil)
	cases := map[string]struct {
		labels map[string]string
		want   string
	}{
		"neither label": {nil, "default"},
		"app":           {map[string]string{"app": "a"}, "a"},
		"both":          {map[string]string{"app": "a", "app.kubernetes.io/name": "n"}, "n"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			p, err := c.create(t.Context(), t, namespace, pod(func(p *corev1.Pod) { p.Labels = test.labels }))
			if err != nil {
				t.Fatalf("create pod: %v", err)
			}
			for _, env := range p.Spec.InitContainers[1].Env {
				if env.Name == "SLUICE_SOURCE" && env.Value != test.want {
					t.Errorf("SLUICE_SOURCE is %q, want %q", env.Value, test.want)
				}
			}
		})
	}
}

func TestInjectedNamespaceAgainstPodSecurity(t *testing.T) {
	c := withChart(t)
	namespaces := c.as(t, "", nil).CoreV1().Namespaces()
	create := func(ctx context.Context, level string) error {
		_, err := namespaces.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			GenerateName: "chart-",
			Labels:       map[string]string{v1alpha1.LabelInject: "enabled", "pod-security.kubernetes.io/enforce": level},
		}}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	for _, level := range []string{"baseline", "restricted"} {
		var err error
		eventually(t, "a namespace that enforces "+level+" is refused", func(ctx context.Context) (bool, error) {
			err = create(ctx, level)
			return err != nil, nil
		})
		if want := "set pod-security.kubernetes.io/enforce=privileged"; !strings.Contains(err.Error(), want) {
			t.Errorf("refused with %q, want %q", err, want)
		}
	}
	if err := create(t.Context(), "privileged"); err != nil {
		t.Errorf("privileged is refused: %v", err)
	}
}
