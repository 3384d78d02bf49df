package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-mesh/sluice/e2e/cluster/host"
)

// downTimeout bounds how long the kernel may take to give everything back.
const downTimeout = 60 * time.Second

// Down removes the cluster and all that it left on the machine: processes, and with them mounts,
// interfaces and rules; cgroups; the folder. It does nothing where nothing is left, and takes the
// same care of a cluster that died.
func (c Cluster) Down(ctx context.Context) error {
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return c.remove(ctx)
}

// remove is Down for who holds the lock.
func (c Cluster) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, downTimeout)
	defer cancel()
	state, err := c.State()
	switch {
	case errors.Is(err, ErrNotUp):
		state = State{}
	case err != nil:
		return err // without it the processes are unknown, and their folder is all that leads to them
	}
	if err := state.Supervisor.Kill(ctx); err != nil {
		return fmt.Errorf("remove cluster: %w", err)
	}
	if state.Link != 0 {
		if err := host.Release(state.Link); err != nil {
			return fmt.Errorf("remove cluster: %w", err)
		}
	}
	var left error // a cgroup is busy for a moment after its last process ended
	if err := host.Poll(ctx, func() bool { left = c.cgroup().Remove(); return left == nil }); err != nil {
		return fmt.Errorf("remove cluster: %w: %w", err, left)
	}
	if err := os.RemoveAll(c.Folder); err != nil {
		return fmt.Errorf("remove cluster: %w", err)
	}
	return nil
}

// lock keeps others from starting or removing a cluster beside this one until the returned function
// is called. It locks the parent folder itself, which leaves no file behind.
func (c Cluster) lock() (unlock func(), err error) {
	parent := filepath.Dir(c.Folder)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, fmt.Errorf("lock clusters: %w", err)
	}
	dir, err := os.Open(parent)
	if err != nil {
		return nil, fmt.Errorf("lock clusters: %w", err)
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		dir.Close()
		return nil, fmt.Errorf("lock clusters: %w", err)
	}
	return func() { dir.Close() }, nil
}
