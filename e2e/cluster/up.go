package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluice-mesh/sluice/e2e/cluster/addon"
	"github.com/sluice-mesh/sluice/e2e/cluster/component"
	"github.com/sluice-mesh/sluice/e2e/cluster/host"
	"github.com/sluice-mesh/sluice/e2e/cluster/supervisor"
)

// Options are how a cluster is started.
type Options struct {
	Programs string // the folder of kube, pause, coredns and prometheus
	Addons   addon.Options
	Timeout  time.Duration
	Progress *Progress
}

// Up starts the cluster and returns when all of it is ready. Where it is up already it only says so;
// what a dead one left is removed first. If it fails or the context ends, nothing is left, except
// that the logs of a failure are quoted in the error.
func (c Cluster) Up(ctx context.Context, options Options) error {
	if err := host.Require(); err != nil {
		return err
	}
	programs, err := filepath.Abs(options.Programs)
	if err != nil {
		return fmt.Errorf("find programs: %w", err)
	}
	options.Programs = programs
	for _, program := range []string{"kube", "pause", "coredns", "prometheus"} {
		if _, err := os.Stat(filepath.Join(programs, program)); err != nil {
			return fmt.Errorf("find programs: %w: build them with make %s", err, "up")
		}
	}
	host.LoadModules(ctx)

	s, err := c.claim(ctx, options)
	if err != nil || s == nil {
		return err
	}
	timeout, cancel := context.WithTimeout(ctx, options.Timeout)
	defer cancel()
	if err := c.complete(timeout, s, options); err != nil {
		err = c.explain(err)
		s.orders.Close() // which ends it, should the removal fail
		return errors.Join(err, c.Down(context.WithoutCancel(ctx)))
	}
	return nil
}

// claim starts the cluster's supervisor under the lock, or returns nil where it runs already.
func (c Cluster) claim(ctx context.Context, options Options) (*started, error) {
	unlock, err := c.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if state, err := c.Running(); err == nil {
		if !state.Up {
			return nil, fmt.Errorf("start cluster %s: another process is starting it", c.Name)
		}
		options.Progress.Step("cluster %s is up already: %s", c.Name, c.Kubeconfig())
		return nil, nil
	}
	if err := c.remove(ctx); err != nil {
		return nil, err
	}
	s, err := c.start(ctx, options.Programs)
	if err != nil {
		return nil, errors.Join(c.explain(err), c.remove(context.WithoutCancel(ctx)))
	}
	options.Progress.Step("cluster %s has %v, logs in %s", c.Name, s.state.Plan.Block, filepath.Join(c.Folder, logFolder))
	return s, nil
}

// complete brings the started cluster to where everything is ready.
func (c Cluster) complete(ctx context.Context, s *started, options Options) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	go func() { // ends when the work below has: it is waited for before complete returns
		defer close(watched)
		select {
		case <-s.ended:
			cancel(errSupervisorEnded)
		case <-ctx.Done():
		}
	}()
	err := c.steps(ctx, s, options)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	cancel(nil)
	<-watched
	return err
}

var errSupervisorEnded = errors.New("the supervisor ended")

func (c Cluster) steps(ctx context.Context, s *started, options Options) error {
	await := func(name string) error {
		if err := c.awaitReady(ctx, name); err != nil {
			return err
		}
		options.Progress.Step("%s is ready", name)
		return nil
	}

	if err := await(component.Containerd); err != nil {
		return err
	}
	loaded := make(chan error, 1)
	go func() { // waited for below, on each way out
		loaded <- c.Load(ctx, addon.Images(options.Programs)...)
	}()
	err := await(component.APIServer)
	if loadErr := <-loaded; loadErr != nil || err != nil {
		return errors.Join(err, loadErr)
	}
	options.Progress.Step("images are loaded")
	// Not before: a pod that finds no image is tried again seconds later.
	manifests, err := addon.Manifests(s.state.Plan, options.Addons)
	if err != nil {
		return err
	}
	if err := c.kubectl(ctx, options.Programs, manifests, "apply", "--server-side", "--filename", "-"); err != nil {
		return err
	}
	for _, name := range []string{component.ControllerManager, component.Scheduler, component.Kubelet, component.Proxy} {
		if err := await(name); err != nil {
			return err
		}
	}
	if err := c.awaitPods(ctx, options); err != nil {
		return err
	}
	s.state.Up = true
	if err := c.save(s.state); err != nil {
		return err
	}
	if err := s.keep(); err != nil {
		return err
	}
	options.Progress.Step("cluster %s is up: export KUBECONFIG=%s", c.Name, c.Kubeconfig())
	return nil
}

// awaitReady waits until the supervisor reports the component ready, or failed.
func (c Cluster) awaitReady(ctx context.Context, name string) error {
	var failed error
	err := host.Poll(ctx, func() bool {
		all, err := c.Control().Components(ctx)
		if err != nil {
			return false // it does not listen yet; where it has ended, the context says so
		}
		for _, status := range all {
			if status.State == supervisor.Failed {
				failed = &componentError{status}
				return true
			}
		}
		for _, status := range all {
			if status.Name == name {
				return status.State == supervisor.Ready
			}
		}
		return false
	})
	if err != nil {
		return fmt.Errorf("wait for %s: %w", name, err)
	}
	return failed
}

// awaitPods waits for the node and for the add-ons.
func (c Cluster) awaitPods(ctx context.Context, options Options) error {
	waits := []struct{ what, namespace, condition, object string }{
		{"name server", "kube-system", "Available", "deployment/coredns"},
		{"prometheus", "monitoring", "Available", "deployment/prometheus"},
		{"node", "default", "Ready", "node/" + c.Name},
	}
	for _, wait := range waits {
		err := c.kubectl(ctx, options.Programs, nil, "wait", "--namespace", wait.namespace,
			"--for=condition="+wait.condition, wait.object, "--timeout", options.Timeout.String())
		if err != nil {
			return fmt.Errorf("wait for %s: %w", wait.what, err)
		}
		options.Progress.Step("%s is ready", wait.what)
	}
	return nil
}

func (c Cluster) kubectl(ctx context.Context, programs string, input []byte, args ...string) error {
	command := exec.CommandContext(ctx, filepath.Join(programs, "kube"), append([]string{"kubectl"}, args...)...)
	command.Env = append(os.Environ(),
		"KUBECONFIG="+c.Kubeconfig(), "KUBECACHEDIR="+filepath.Join(c.Folder, "data", "kubectl"))
	command.Stdin = bytes.NewReader(input)
	out, err := command.CombinedOutput()
	if err != nil {
		return fmt.Errorf("kubectl %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}
