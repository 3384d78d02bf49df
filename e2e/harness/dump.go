package harness

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// ProxyAdminPort is where a proxy says what it has in force.
const ProxyAdminPort = 15020

// Dump writes the state of the namespace and of the installation to a folder: objects as YAML, the logs
// of every container, what every proxy has in force. It writes what it can and joins the errors.
func (s *Space) Dump(ctx context.Context, folder string) error {
	if err := os.RemoveAll(folder); err != nil {
		return fmt.Errorf("clear %s: %w", folder, err)
	}
	var errs []error
	for _, namespace := range []string{s.Name, SystemNamespace} {
		part := &Space{Cluster: s.Cluster, Name: namespace}
		errs = append(errs, part.dumpObjects(ctx, filepath.Join(folder, namespace)), part.dumpPods(ctx, filepath.Join(folder, namespace)))
	}
	return errors.Join(errs...)
}

func (s *Space) dumpObjects(ctx context.Context, folder string) error {
	lists := map[string]client.ObjectList{
		"rollouts": &v1alpha1.RolloutList{}, "trafficpolicies": &v1alpha1.TrafficPolicyList{}, "httproutes": &gateway.HTTPRouteList{},
		"deployments": &appsv1.DeploymentList{}, "replicasets": &appsv1.ReplicaSetList{},
		"pods": &corev1.PodList{}, "services": &corev1.ServiceList{}, "endpointslices": &discoveryv1.EndpointSliceList{},
		"events": &corev1.EventList{}, "leases": &coordinationv1.LeaseList{}, "configmaps": &corev1.ConfigMapList{},
	}
	var errs []error
	for name, list := range lists {
		if err := s.Client.List(ctx, list, client.InNamespace(s.Name)); err != nil {
			if !meta.IsNoMatchError(err) { // Sluice or the Gateway API may not be installed
				errs = append(errs, fmt.Errorf("list %s: %w", name, err))
			}
			continue
		}
		body, err := yaml.Marshal(list)
		if err != nil {
			errs = append(errs, fmt.Errorf("marshal %s: %w", name, err))
			continue
		}
		errs = append(errs, write(filepath.Join(folder, name+".yaml"), body))
	}
	return errors.Join(errs...)
}

func (s *Space) dumpPods(ctx context.Context, folder string) error {
	pods := &corev1.PodList{}
	if err := s.Client.List(ctx, pods, client.InNamespace(s.Name)); err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	var errs []error
	for _, pod := range pods.Items {
		for _, status := range append(append([]corev1.ContainerStatus{}, pod.Status.InitContainerStatuses...), pod.Status.ContainerStatuses...) {
			if status.State.Waiting == nil {
				errs = append(errs, s.dumpLog(ctx, folder, pod.Name, status.Name, false))
			}
			if status.RestartCount > 0 {
				errs = append(errs, s.dumpLog(ctx, folder, pod.Name, status.Name, true))
			}
			if status.Name == ProxyContainer && status.State.Running != nil {
				errs = append(errs, s.dumpProxy(ctx, folder, pod.Name))
			}
			if status.Name == loadContainer && status.State.Running != nil {
				body, err := s.Ask(ctx, http.MethodGet, pod.Name, statsPort, "stats", map[string]string{"since": "2000-01-01T00:00:00Z"})
				errs = append(errs, err, write(filepath.Join(folder, pod.Name+".stats.json"), body))
			}
		}
	}
	return errors.Join(errs...)
}

func (s *Space) dumpLog(ctx context.Context, folder, pod, container string, previous bool) error {
	name := pod + "." + container
	if previous {
		name += ".previous"
	}
	body, err := s.Kube.CoreV1().Pods(s.Name).GetLogs(pod, &corev1.PodLogOptions{
		Container: container, Previous: previous, Timestamps: true, LimitBytes: ptr.To[int64](8 << 20),
	}).DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("read log of %s: %w", name, err)
	}
	return write(filepath.Join(folder, name+".log"), body)
}

func (s *Space) dumpProxy(ctx context.Context, folder, pod string) error {
	var errs []error
	for path, ending := range map[string]string{"config": ".config.json", "metrics": ".metrics.txt"} {
		body, err := s.Ask(ctx, http.MethodGet, pod, ProxyAdminPort, path, nil)
		errs = append(errs, err)
		if err == nil {
			errs = append(errs, write(filepath.Join(folder, pod+ending), body))
		}
	}
	return errors.Join(errs...)
}

func write(path string, body []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if err := os.WriteFile(path, body, 0o644); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}
