// Package process starts programs on a core of their own, ends them with all that they started, and reads
// what they use from /proc. It runs on Linux.
package process

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Spec is a program to start.
type Spec struct {
	// Name for people and for the log's name.
	Name string
	// Core that it and its children run on, from 0.
	Core int
	// Path of the program, and its arguments.
	Path string
	Args []string
	// Env is added to the environment.
	Env []string
	// Dir takes the log of standard output and error.
	Dir string
}

// Group is a program that runs, with its children. They are a process group, which is what Stop and the
// figures go by.
type Group struct {
	name string
	pid  int
	log  string
	done chan struct{}
	err  error // after done
}

// Start starts the program. It ends when Stop is called; should this process die, the program gets SIGTERM.
func Start(ctx context.Context, spec Spec) (*Group, error) {
	path, err := exec.LookPath(spec.Path)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w; make bench-proxy installs and builds what it needs", spec.Name, err)
	}
	g := &Group{name: spec.Name, log: filepath.Join(spec.Dir, spec.Name+".log"), done: make(chan struct{})}
	out, err := os.Create(g.log)
	if err != nil {
		return nil, fmt.Errorf("make log of %s: %w", spec.Name, err)
	}
	defer out.Close()
	args := append([]string{"-c", strconv.Itoa(spec.Core), path}, spec.Args...)
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "taskset", args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), spec.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	g.pid = cmd.Process.Pid
	go func() {
		defer close(g.done)
		g.err = cmd.Wait()
	}()
	return g, nil
}

// grace is how long a program may take to end when asked to.
const grace = 3 * time.Second

// Stop ends the program and all that it started, and returns when it has ended. It may be called again.
func (g *Group) Stop() {
	_ = syscall.Kill(-g.pid, syscall.SIGTERM) // it may have ended
	select {
	case <-g.done:
	case <-time.After(grace):
	}
	_ = syscall.Kill(-g.pid, syscall.SIGKILL) // children that outlived it, too
	<-g.done
}

// Wait returns when the program has ended by itself, or ends it with the context.
func (g *Group) Wait(ctx context.Context) error {
	select {
	case <-g.done:
		if g.err != nil {
			return g.died()
		}
		return nil
	case <-ctx.Done():
		g.Stop()
		return fmt.Errorf("wait for %s: %w", g.name, ctx.Err())
	}
}

// Running is nil while the program runs, and says what it said last once it has ended.
func (g *Group) Running() error {
	select {
	case <-g.done:
		return g.died()
	default:
		return nil
	}
}

// Output is what the program has said so far.
func (g *Group) Output() (string, error) {
	text, err := os.ReadFile(g.log)
	if err != nil {
		return "", fmt.Errorf("read log of %s: %w", g.name, err)
	}
	return string(text), nil
}

func (g *Group) died() error {
	text, _ := g.Output()
	if last := 800; len(text) > last {
		text = text[len(text)-last:]
	}
	reason := "exit status 0"
	if g.err != nil {
		reason = g.err.Error()
	}
	return fmt.Errorf("%s ended: %s: %s", g.name, reason, strings.TrimSpace(text))
}

// PinSelf puts all threads of this process on one core, and those it will have.
func PinSelf(core int) error {
	var set unix.CPUSet
	set.Set(core)
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("list threads: %w", err)
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			continue
		}
		if err := unix.SchedSetaffinity(id, &set); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("pin to core %d: %w", core, err)
		}
	}
	runtime.GOMAXPROCS(1)
	return nil
}

// RaiseFiles lets this process and those that it starts open as many files as the machine allows, and returns
// how many.
func RaiseFiles() (uint64, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read limit of open files: %w", err)
	}
	limit.Cur = limit.Max
	// Set by hand, so that children keep it: what the runtime raises by itself it takes back for them.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("raise limit of open files: %w", err)
	}
	return limit.Cur, nil
}

// readiness is how long a program may take until it listens.
const readiness = 60 * time.Second

// Listening returns when all addresses take connections. That the program ends before is an error.
func (g *Group) Listening(ctx context.Context, addresses ...string) error {
	ctx, cancel := context.WithTimeout(ctx, readiness)
	defer cancel()
	for _, address := range addresses {
		for {
			var dialer net.Dialer
			conn, err := dialer.DialContext(ctx, "tcp", address)
			if err == nil {
				conn.Close()
				break
			}
			if err := g.Running(); err != nil {
				return err
			}
			if ctx.Err() != nil {
				return fmt.Errorf("wait for %s to listen on %s: %w", g.name, address, ctx.Err())
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

// tried are the ports that FreePort has looked at.
var tried sync.Map

// FreePort finds a port that nobody listens on and that it has not returned before, below those that the kernel
// gives to outgoing connections, so that neither another program nor one of a load's connections takes it before
// the program does that it is for.
func FreePort(ctx context.Context) (uint16, error) {
	for range 100 {
		port := uint16(10000 + rand.IntN(20000))
		if _, before := tried.LoadOrStore(port, true); before {
			continue
		}
		var config net.ListenConfig
		l, err := config.Listen(ctx, "tcp", fmt.Sprintf(":%d", port))
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("find a free port: none of a hundred between 10000 and 30000 was free")
}
