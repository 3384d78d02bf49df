package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/sluice-mesh/sluice/e2e/cluster/component"
	"github.com/sluice-mesh/sluice/e2e/cluster/host"
	"github.com/sluice-mesh/sluice/e2e/cluster/pki"
	"github.com/sluice-mesh/sluice/e2e/cluster/supervisor"
)

// SuperviseArgument is the first argument with which a program that starts clusters is started again
// to be a cluster's supervisor: it then has to call supervisor.Run.
const SuperviseArgument = "supervise"

// started is a cluster whose supervisor runs. It ends with this process unless it is kept.
type started struct {
	state  State
	orders *os.File
	ended  <-chan struct{} // closed when the supervisor has ended
}

// start starts the supervisor of a cluster in an empty folder and lets it begin.
func (c Cluster) start(ctx context.Context, programs string) (*started, error) {
	for _, dir := range []string{"pki", "config", logFolder, "data/log", "data/lib", "data/containerd"} {
		if err := os.MkdirAll(filepath.Join(c.Folder, dir), 0o755); err != nil {
			return nil, fmt.Errorf("make cluster folder: %w", err)
		}
	}
	snapshotter, err := host.Snapshotter(c.Folder)
	if err != nil {
		return nil, err
	}
	s, err := c.launch(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.settle(s, programs, snapshotter); err != nil {
		s.orders.Close() // which ends it
		<-s.ended
		return nil, err
	}
	return s, nil
}

// launch starts the supervisor's process in its namespaces, where it waits for its orders.
func (c Cluster) launch(ctx context.Context) (*started, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own program: %w", err)
	}
	log, err := os.Create(c.Log("supervisor"))
	if err != nil {
		return nil, fmt.Errorf("create log: %w", err)
	}
	defer log.Close() // the child has its own
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	defer read.Close()
	child := exec.CommandContext(context.WithoutCancel(ctx), self, SuperviseArgument)
	child.Dir = "/"
	child.Stdout, child.Stderr = log, log
	child.ExtraFiles = []*os.File{read} // descriptor supervisor.Orders
	child.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS,
		Setsid:     true, // Ctrl-C is for who started it, who then removes everything
	}
	if err := child.Start(); err != nil {
		write.Close()
		return nil, fmt.Errorf("start supervisor: %w", err)
	}
	ended := make(chan struct{})
	go func() { // ends with the supervisor, or with this process
		_ = child.Wait() // how it ended is in its log
		close(ended)
	}()
	process, err := host.Identify(child.Process.Pid)
	if err != nil {
		write.Close()
		return nil, err
	}
	return &started{state: State{Name: c.Name, Supervisor: process}, orders: write, ended: ended}, nil
}

// settle gives the supervisor its place on the machine and its orders.
func (c Cluster) settle(s *started, programs, snapshotter string) error {
	s.state.Snapshotter = snapshotter
	s.state.Cgroup = c.cgroup()
	if err := c.save(s.state); err != nil { // first of all: from now on Down finds it
		return err
	}
	if err := s.state.Cgroup.Create(s.state.Supervisor.PID); err != nil {
		return err
	}
	plan, link, err := host.Claim(s.state.Supervisor.PID, supervisor.Link)
	if err != nil {
		return err
	}
	s.state.Plan, s.state.Link = plan, link
	if err := c.save(s.state); err != nil {
		return err
	}
	node := component.Node{
		Name: c.Name, Plan: plan, Cgroup: string(s.state.Cgroup), Snapshotter: snapshotter,
	}
	keys := filepath.Join(c.Folder, "pki")
	if err := pki.Write(keys, c.Name, plan); err != nil {
		return err
	}
	if err := publish(filepath.Join(keys, pki.AdminConfig), c.Kubeconfig()); err != nil {
		return err
	}
	if err := component.WriteConfig(filepath.Join(c.Folder, "config"), node); err != nil {
		return err
	}
	orders := supervisor.Config{
		Folder: c.Folder, Programs: programs, Name: c.Name, Plan: plan, Components: component.All(node),
	}
	if err := json.NewEncoder(s.orders).Encode(orders); err != nil {
		return fmt.Errorf("send orders to supervisor: %w", err)
	}
	return nil
}

// publish copies the administrator's kubeconfig to where people look for it, and gives it to whoever
// became root with sudo.
func publish(source, target string) error {
	content, err := os.ReadFile(source)
	if err != nil {
		return fmt.Errorf("publish kubeconfig: %w", err)
	}
	if err := os.WriteFile(target, content, 0o600); err != nil {
		return fmt.Errorf("publish kubeconfig: %w", err)
	}
	owner, bySudo := os.LookupEnv("SUDO_UID")
	if !bySudo {
		return nil
	}
	user, err := strconv.Atoi(owner)
	if err != nil {
		return fmt.Errorf("publish kubeconfig: read SUDO_UID: %w", err)
	}
	group, err := strconv.Atoi(os.Getenv("SUDO_GID"))
	if err != nil {
		return fmt.Errorf("publish kubeconfig: read SUDO_GID: %w", err)
	}
	if err := os.Chown(target, user, group); err != nil {
		return fmt.Errorf("publish kubeconfig: %w", err)
	}
	return nil
}

// keep lets the cluster outlive this process.
func (s *started) keep() error {
	if err := json.NewEncoder(s.orders).Encode(supervisor.Keep); err != nil {
		return fmt.Errorf("keep cluster: %w", err)
	}
	if err := s.orders.Close(); err != nil {
		return fmt.Errorf("keep cluster: %w", err)
	}
	return nil
}
