package harness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

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

// Connections counts established TCP connections to a port of a pod, from anywhere.
func Connections(pod *corev1.Pod, container string, port int) (int, error) {
	pid, err := PID(pod, container)
	if err != nil {
		return 0, err
	}
	count := 0
	for _, name := range []string{"tcp", "tcp6"} {
		table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, name))
		if err != nil {
			return 0, fmt.Errorf("read connections of %s: %w", pod.Name, err)
		}
		count += established(string(table), port)
	}
	return count, nil
}

// established counts lines of /proc/net/tcp in state 01 whose local port is the one given: the second
// field is the local address in hexadecimal, the fourth the state.
func established(table string, port int) int {
	local := fmt.Sprintf(":%04X", port)
	count := 0
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) > 3 && strings.HasSuffix(fields[1], local) && fields[3] == "01" {
			count++
		}
	}
	return count
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

// Leader returns the operator's pod that leads: the one whose name begins the holder of a lease that
// has not run out.
func (c *Cluster) Leader(ctx context.Context) (*corev1.Pod, error) {
	operators, err := c.Operators(ctx)
	if err != nil {
		return nil, err
	}
	leases := &coordinationv1.LeaseList{}
	if err := c.Client.List(ctx, leases, client.InNamespace(SystemNamespace)); err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	for i := range leases.Items {
		if pod := holder(&leases.Items[i], operators); pod != nil {
			return pod, nil
		}
	}
	return nil, fmt.Errorf("find leader: no lease in %s is held by one of %d operators", SystemNamespace, len(operators))
}

func holder(lease *coordinationv1.Lease, operators []corev1.Pod) *corev1.Pod {
	if lease.Spec.HolderIdentity == nil || lease.Spec.RenewTime == nil || lease.Spec.LeaseDurationSeconds == nil {
		return nil
	}
	if time.Since(lease.Spec.RenewTime.Time) > time.Duration(*lease.Spec.LeaseDurationSeconds)*time.Second {
		return nil
	}
	for i, pod := range operators {
		if strings.HasPrefix(*lease.Spec.HolderIdentity, pod.Name) {
			return &operators[i]
		}
	}
	return nil
}

// AwaitLeader waits until an operator leads that took the lead, or renewed it, after the call.
func (c *Cluster) AwaitLeader(ctx context.Context) error {
	began := time.Now()
	leases, err := Follow[*coordinationv1.Lease](ctx, c.Client, &coordinationv1.LeaseList{}, client.InNamespace(SystemNamespace))
	if err != nil {
		return err
	}
	defer leases.Stop()
	return leases.Await(ctx, "an operator to lead", func(all []*coordinationv1.Lease) bool {
		return slices.ContainsFunc(all, func(l *coordinationv1.Lease) bool {
			return l.Spec.HolderIdentity != nil && *l.Spec.HolderIdentity != "" && l.Spec.RenewTime != nil && l.Spec.RenewTime.After(began)
		})
	})
}

// AwaitOperators waits until so many operators are ready.
func (c *Cluster) AwaitOperators(ctx context.Context, count int) error {
	pods, err := Follow[*corev1.Pod](ctx, c.Client, &corev1.PodList{}, client.InNamespace(SystemNamespace),
		client.MatchingLabels{"app.kubernetes.io/component": operatorComponent})
	if err != nil {
		return err
	}
	defer pods.Stop()
	return pods.Await(ctx, fmt.Sprintf("%d operators to be ready", count), func(all []*corev1.Pod) bool {
		ready := 0
		for _, p := range all {
			if slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
				return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
			}) {
				ready++
			}
		}
		return ready == count && (count > 0 || len(all) == 0) // one that is stopping still acts
	})
}

// KillLeader kills the leading operator and returns its pod.
func (c *Cluster) KillLeader(ctx context.Context) (*corev1.Pod, error) {
	pod, err := c.Leader(ctx)
	if err != nil {
		return nil, err
	}
	return pod, Kill(pod, operatorContainer(pod))
}

// RenewOperators replaces the operator's pods by new ones and waits until they are ready and one leads.
// The kubelet makes a container that was killed several times wait longer and longer.
func (c *Cluster) RenewOperators(ctx context.Context) error {
	operators, err := c.Operators(ctx)
	if err != nil {
		return err
	}
	pods, err := Follow[*corev1.Pod](ctx, c.Client, &corev1.PodList{}, client.InNamespace(SystemNamespace),
		client.MatchingLabels{"app.kubernetes.io/component": operatorComponent})
	if err != nil {
		return err
	}
	defer pods.Stop()
	for i := range operators {
		if err := c.Client.Delete(ctx, &operators[i]); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete operator: %w", err)
		}
	}
	gone := func(all []*corev1.Pod) bool {
		return !slices.ContainsFunc(all, func(p *corev1.Pod) bool {
			return slices.ContainsFunc(operators, func(old corev1.Pod) bool { return old.UID == p.UID })
		})
	}
	if err := pods.Await(ctx, "the operators before to be gone", gone); err != nil {
		return err
	}
	if err := c.AwaitOperators(ctx, len(operators)); err != nil {
		return err
	}
	return c.AwaitLeader(ctx)
}

// operatorContainer is the name of the operator's container: the pod's only one.
func operatorContainer(pod *corev1.Pod) string { return pod.Spec.Containers[0].Name }
