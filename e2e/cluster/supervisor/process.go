package supervisor

import (
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// processes starts children and reaps everything that ends: the children, and the orphans that the
// kernel hands to process 1. Nothing else in the supervisor may wait for a process, which rules out
// os/exec.
type processes struct {
	mu    sync.Mutex // held over start and reap, so that no child ends before it is known
	exits map[int]chan syscall.WaitStatus
}

func newProcesses() *processes {
	p := &processes{exits: map[int]chan syscall.WaitStatus{}}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	go func() { // ends with process 1
		for range ended {
			p.reap()
		}
	}()
	return p
}

// start runs the executable with both outputs appended to the log. The status arrives on the channel
// when the process has ended.
func (p *processes) start(path string, argv []string, log *os.File) (int, <-chan syscall.WaitStatus, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, nil, fmt.Errorf("open null device: %w", err)
	}
	defer null.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Dir:   "/",
		Env:   environment,
		Files: []uintptr{null.Fd(), log.Fd(), log.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, nil, fmt.Errorf("start %s: %w", path, err)
	}
	exit := make(chan syscall.WaitStatus, 1)
	p.exits[pid] = exit
	return pid, exit, nil
}

// environment is that of every component, so that none depends on who ran cluster up.
var environment = []string{
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=" + temporary,
	"TMPDIR=" + temporary,
}

// reap collects all that have ended by now: one signal may stand for many.
func (p *processes) reap() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if exit, ours := p.exits[pid]; ours {
			exit <- status
			delete(p.exits, pid)
		}
	}
}
