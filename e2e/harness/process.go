package harness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// PID returns the number, on this machine, of the first process of a running container.
func PID(pod *corev1.Pod, container string) (int, error) {
	id := ""
	for _, status := range append(append([]corev1.ContainerStatus{}, pod.Status.InitContainerStatuses...), pod.Status.ContainerStatuses...) {
		if status.Name == container && status.State.Running != nil {
			_, id, _ = strings.Cut(status.ContainerID, "://")
		}
	}
	if id == "" {
		return 0, fmt.Errorf("find process of %s/%s: it does not run", pod.Name, container)
	}
	paths, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return 0, fmt.Errorf("list processes: %w", err)
	}
	first := 0
	for _, path := range paths {
		cgroup, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(cgroup), id) {
			continue // it ended while we looked, or is another's
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err == nil && (first == 0 || pid < first) {
			first = pid
		}
	}
	if first == 0 {
		return 0, fmt.Errorf("find process of %s/%s: none on this machine is in its cgroup", pod.Name, container)
	}
	return first, nil
}

// Kill sends SIGKILL to a container's first process, which ends the container; the kubelet starts it
// again where the pod says so.
func Kill(pod *corev1.Pod, container string) error {
	pid, err := PID(pod, container)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s/%s: %w", pod.Name, container, err)
	}
	return nil
}

// ResidentMB returns the resident memory of a container's first process, in units of 2^20 bytes.
func ResidentMB(pod *corev1.Pod, container string) (float64, error) {
	pid, err := PID(pod, container)
	if err != nil {
		return 0, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("read memory of %s/%s: %w", pod.Name, container, err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, found := strings.CutPrefix(line, "VmRSS:"); found {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			if err != nil {
				return 0, fmt.Errorf("parse memory of %s/%s: %w", pod.Name, container, err)
			}
			return kb / 1024, nil
		}
	}
	return 0, fmt.Errorf("read memory of %s/%s: it has none", pod.Name, container)
}

// InNetworkOf runs a program of this machine in a pod's network namespace.
func InNetworkOf(ctx context.Context, pod *corev1.Pod, container, program string, args ...string) (string, error) {
	pid, err := PID(pod, container)
	if err != nil {
		return "", err
	}
	return run(ctx, "nsenter", append([]string{"--target", strconv.Itoa(pid), "--net", "--", program}, args...)...)
}

// CutOff drops everything between the pod and a TCP port elsewhere, connections that are open
// included, until the returned function undoes it.
func CutOff(ctx context.Context, pod *corev1.Pod, container string, port int) (undo func(context.Context) error, err error) {
	const table = "sluice_e2e"
	rules := fmt.Sprintf(`table inet %s {
	chain out { type filter hook output priority -300; tcp dport %d drop; }
	chain in { type filter hook input priority -300; tcp sport %d drop; }
}`, table, port, port)
	if _, err := InNetworkOf(ctx, pod, container, "nft", rules); err != nil {
		return nil, fmt.Errorf("cut off %s: %w", pod.Name, err)
	}
	return func(ctx context.Context) error {
		_, err := InNetworkOf(ctx, pod, container, "nft", "delete", "table", "inet", table)
		return err
	}, nil
}

// Pods lists the pods of an application in a namespace.
func (c *Cluster) Pods(ctx context.Context, namespace, app string) ([]corev1.Pod, error) {
	list := &corev1.PodList{}
	if err := c.Client.List(ctx, list, client.InNamespace(namespace), client.MatchingLabels{LabelApp: app}); err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	return list.Items, nil
}

// Operators lists the operator's pods.
func (c *Cluster) Operators(ctx context.Context) ([]corev1.Pod, error) {
	list := &corev1.PodList{}
	err := c.Client.List(ctx, list, client.InNamespace(SystemNamespace), client.MatchingLabels{"app.kubernetes.io/component": operatorComponent})
	if err != nil {
		return nil, fmt.Errorf("list operators: %w", err)
	}
	return list.Items, nil
}

// Leader returns the operator's pod that leads.
func (c *Cluster) Leader(ctx context.Context) (*corev1.Pod, error) {
	operators, err := c.Operators(ctx)
	if err != nil {
		return nil, err
	}
	leases := &coordinationv1.LeaseList{}
	if err := c.Client.List(ctx, leases, client.InNamespace(SystemNamespace)); err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	for _, lease := range leases.Items {
		if lease.Spec.HolderIdentity == nil {
			continue
		}
		for i, pod := range operators {
			if strings.HasPrefix(*lease.Spec.HolderIdentity, pod.Name) {
				return &operators[i], nil
			}
		}
	}
	return nil, fmt.Errorf("find leader: no lease in %s is held by one of %d operators", SystemNamespace, len(operators))
}

// KillLeader kills the leading operator and returns its pod.
func (c *Cluster) KillLeader(ctx context.Context) (*corev1.Pod, error) {
	pod, err := c.Leader(ctx)
	if err != nil {
		return nil, err
	}
	return pod, Kill(pod, operatorContainer(pod))
}

// operatorContainer is the name of the operator's container: the pod's only one.
func operatorContainer(pod *corev1.Pod) string { return pod.Spec.Containers[0].Name }
