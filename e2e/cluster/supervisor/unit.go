package supervisor

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/sluice-mesh/sluice/e2e/cluster/component"
)

// State of a component.
type State string

// The states. Only an order leads out of Stopped and Failed.
const (
	Waiting  State = "waiting"  // for a component that it needs
	Starting State = "starting" // runs, and its probe does not succeed yet
	Ready    State = "ready"    // its probe succeeded since it was started
	Stopped  State = "stopped"  // by order
	Failed   State = "failed"   // could not be started, or ended by itself
)

// Status is what is known of a component. PID is that of the cluster's process namespace and is 0
// where nothing runs.
type Status struct {
	Name   string    `json:"name"`
	State  State     `json:"state"`
	Since  time.Time `json:"since"`
	PID    int       `json:"pid,omitempty"`
	Detail string    `json:"detail,omitempty"` // how it ended
}

const (
	probeInterval = 50 * time.Millisecond
	probeTimeout  = 2 * time.Second
	// stopTimeout is how long a component may take to end before it is killed.
	stopTimeout = 20 * time.Second
)

// unit is one component and its process, if there is one.
type unit struct {
	component component.Component
	processes *processes
	prober    prober
	log       *slog.Logger

	order sync.Mutex // one order at a time

	mu       sync.Mutex
	status   Status
	stopping bool          // the process was told to end
	gone     chan struct{} // closed when the process has ended; nil where nothing runs
}

func (u *unit) now() Status {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.status
}

func (u *unit) set(state State, pid int, detail string) {
	u.status = Status{Name: u.component.Name, State: state, Since: time.Now(), PID: pid, Detail: detail}
	u.log.Info("component changed", "component", u.component.Name, "state", state, "detail", detail)
}

// start starts the component and returns when it is ready. It does nothing where it runs already.
func (u *unit) start(ctx context.Context) error {
	u.order.Lock()
	defer u.order.Unlock()
	gone, err := u.spawn()
	if err != nil {
		u.mu.Lock()
		u.set(Failed, 0, err.Error())
		u.mu.Unlock()
		return err
	}
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for {
		err := u.prober.probe(ctx, u.component.Probe)
		if err == nil {
			u.mu.Lock()
			defer u.mu.Unlock()
			if u.status.State == Starting {
				u.set(Ready, u.status.PID, "")
			}
			return nil
		}
		select {
		case <-tick.C:
		case <-gone:
			return fmt.Errorf("start %s: %s", u.component.Name, u.now().Detail)
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %w", u.component.Name, ctx.Err(), err)
		}
	}
}

func (u *unit) spawn() (<-chan struct{}, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.gone != nil {
		return u.gone, nil
	}
	path, err := exec.LookPath(u.component.Path)
	if err != nil {
		return nil, fmt.Errorf("find program: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(component.Logs, u.component.Name+".log"),
		os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	defer log.Close() // the child has its own
	// The base name is what the multi-call binary goes by.
	pid, exit, err := u.processes.start(path, append([]string{u.component.Name}, u.component.Args...), log)
	if err != nil {
		return nil, err
	}
	gone := make(chan struct{})
	u.gone, u.stopping = gone, false
	u.set(Starting, pid, "")
	go func() { // ends with the process
		status := <-exit
		u.mu.Lock()
		defer u.mu.Unlock()
		u.gone = nil
		if u.stopping {
			u.set(Stopped, 0, describe(status))
		} else {
			u.set(Failed, 0, describe(status))
		}
		close(gone)
	}()
	return gone, nil
}

// stop ends the component and returns when its process is gone: politely at first, unless kill is
// set. It does nothing where nothing runs.
func (u *unit) stop(ctx context.Context, kill bool) error {
	u.order.Lock()
	defer u.order.Unlock()
	u.mu.Lock()
	gone, pid := u.gone, u.status.PID
	if gone == nil {
		u.mu.Unlock()
		return nil
	}
	u.stopping = true
	u.mu.Unlock()

	if !kill {
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && err != syscall.ESRCH {
			return fmt.Errorf("stop %s: %w", u.component.Name, err)
		}
		timeout := time.NewTimer(stopTimeout)
		defer timeout.Stop()
		select {
		case <-gone:
			return nil
		case <-timeout.C:
		case <-ctx.Done():
			return fmt.Errorf("stop %s: %w", u.component.Name, ctx.Err())
		}
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
		return fmt.Errorf("kill %s: %w", u.component.Name, err)
	}
	<-gone
	return nil
}

func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "ended by signal: " + status.Signal().String()
	}
	return fmt.Sprintf("ended with exit code %d", status.ExitStatus())
}
