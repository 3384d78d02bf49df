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
	started, _, err := inspect(pid)
	if err != nil {
		return Process{}, fmt.Errorf("identify process %d: %w", pid, err)
	}
	return Process{PID: pid, Started: started}, nil
}

// Alive reports whether the process still runs. One that ended and was not waited for does not.
func (p Process) Alive() bool {
	if p.PID == 0 {
		return false
	}
	started, state, err := inspect(p.PID)
	return err == nil && started == p.Started && state != "Z" && state != "X"
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

func inspect(pid int) (started uint64, state string, err error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, "", err
	}
	return parseStat(string(content))
}

// parseStat reads the third and the 22nd field of proc_pid_stat(5). The second is a name in
// parentheses that may itself have anything in it.
func parseStat(stat string) (started uint64, state string, err error) {
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, "", errors.New("parse process status: no name")
	}
	fields := strings.Fields(stat[end+1:])
	if len(fields) < 20 {
		return 0, "", errors.New("parse process status: too few fields")
	}
	started, err = strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return 0, "", fmt.Errorf("parse process status: %w", err)
	}
	return started, fields[0], nil
}
