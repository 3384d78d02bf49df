package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is a process that can be recognised later: the kernel gives a number again, but never with
// the same start time.
type Process struct {
	PID     int    `json:"pid"`
	Started uint64 `json:"started"` // in clock ticks since the machine started
}

// Identify returns the process that has the number now.
func Identify(pid int) (Process, error) {
	now, err := inspect(pid)
	if err != nil {
		return Process{}, fmt.Errorf("identify process %d: %w", pid, err)
	}
	return Process{PID: pid, Started: now.started}, nil
}

// Alive reports whether the process still runs. One that ended and was not waited for does not.
func (p Process) Alive() bool {
	if p.PID == 0 {
		return false
	}
	now, err := inspect(p.PID)
	return err == nil && now.started == p.Started && !now.ended()
}

// Kill ends the process and returns when it is gone. A supervisor is gone only after every process of
// its cluster is.
func (p Process) Kill(ctx context.Context) error {
	if !p.Alive() {
		return nil
	}
	if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill process %d: %w", p.PID, err)
	}
	if err := Poll(ctx, func() bool { return !p.Alive() }); err != nil {
		return fmt.Errorf("wait for the end of process %d: %w", p.PID, err)
	}
	return nil
}

// Poll returns nil when done does, or the error of the context.
func Poll(ctx context.Context, done func() bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// stat is what proc_pid_stat(5) tells of a process.
type stat struct {
	started uint64
	state   string
	threads int
}

// ended reports whether only the entry is left that the parent has to collect. The first thread may be
// a zombie while others live, and it is the last one to go that ends a process namespace.
func (s stat) ended() bool { return (s.state == "Z" || s.state == "X") && s.threads <= 1 }

func inspect(pid int) (stat, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(string(content))
}

// parseStat reads the fields 3, 20 and 22. The second is a name in parentheses that may itself have
// anything in it.
func parseStat(content string) (stat, error) {
	end := strings.LastIndexByte(content, ')')
	if end < 0 {
		return stat{}, errors.New("parse process status: no name")
	}
	fields := strings.Fields(content[end+1:])
	if len(fields) < 20 {
		return stat{}, errors.New("parse process status: too few fields")
	}
	threads, err := strconv.Atoi(fields[17])
	if err != nil {
		return stat{}, fmt.Errorf("parse process status: %w", err)
	}
	started, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("parse process status: %w", err)
	}
	return stat{started: started, state: fields[0], threads: threads}, nil
}
