package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is what /proc counts CPU time in: USER_HZ is 100 on every architecture.
const tick = 10 * time.Millisecond

// Memory is what processes occupy, in bytes.
type Memory struct {
	// Resident is all of it; Anonymous is what no file backs.
	Resident, Anonymous int64
}

// MB is bytes in 10^6.
func MB(bytes int64) float64 { return float64(bytes) / 1e6 }

// CPU is the time that all processes of the group have used so far, those that have ended included.
func (g *Group) CPU() (time.Duration, error) {
	members, err := g.members()
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, m := range members {
		sum += m.cpu
	}
	return sum, nil
}

// Memory of all processes of the group.
func (g *Group) Memory() (Memory, error) {
	members, err := g.members()
	if err != nil {
		return Memory{}, err
	}
	var sum Memory
	for _, m := range members {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(m.pid), "smaps_rollup"))
		if gone(err) {
			continue
		}
		if err != nil {
			return Memory{}, fmt.Errorf("read memory of %s: %w", g.name, err)
		}
		memory, err := parseRollup(string(text))
		if err != nil {
			return Memory{}, fmt.Errorf("read memory of %s: %w", g.name, err)
		}
		sum.Resident += memory.Resident
		sum.Anonymous += memory.Anonymous
	}
	return sum, nil
}

// stat is what /proc/<pid>/stat says of a process.
type stat struct {
	pid, group int
	// cpu is its own and that of its children that have ended and were waited for.
	cpu time.Duration
}

// members are the processes of the group. That there are none is an error.
func (g *Group) members() ([]stat, error) {
	if err := g.Running(); err != nil {
		return nil, err
	}
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var members []stat
	for _, folder := range folders {
		text, err := os.ReadFile(filepath.Join(folder, "stat"))
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read process: %w", err)
		}
		s, err := parseStat(string(text))
		if err != nil {
			return nil, fmt.Errorf("read process: %w", err)
		}
		if s.group == g.pid {
			members = append(members, s)
		}
	}
	if len(members) == 0 {
		return nil, fmt.Errorf("read processes of %s: there are none", g.name)
	}
	return members, nil
}

// gone reports whether the process ended while it was looked at.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}

// parseStat reads the line of proc(5). The second field, the command in parentheses, may contain anything.
func parseStat(line string) (stat, error) {
	id, _, found := strings.Cut(line, " (")
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	if !found || len(fields) < 15 {
		return stat{}, fmt.Errorf("parse %.80q: not a stat line", line)
	}
	// fields[0] is field 3, state; 5 is the process group; 14 to 17 are utime, stime, cutime and cstime.
	numbers := make([]int64, 0, 6)
	for _, field := range append([]string{id, fields[2]}, fields[11:15]...) {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return stat{}, fmt.Errorf("parse stat line: %w", err)
		}
		numbers = append(numbers, n)
	}
	ticks := numbers[2] + numbers[3] + numbers[4] + numbers[5]
	return stat{pid: int(numbers[0]), group: int(numbers[1]), cpu: time.Duration(ticks) * tick}, nil
}

// parseRollup reads /proc/<pid>/smaps_rollup, which is exact where the counters of status lag behind.
func parseRollup(text string) (Memory, error) {
	var m Memory
	for name, into := range map[string]*int64{"\nRss:": &m.Resident, "\nAnonymous:": &m.Anonymous} {
		_, rest, found := strings.Cut(text, name)
		line, _, _ := strings.Cut(rest, "\n")
		fields := strings.Fields(line)
		if !found || len(fields) != 2 || fields[1] != "kB" {
			return Memory{}, fmt.Errorf("parse smaps_rollup: no line of %s", strings.Trim(name, "\n:"))
		}
		kib, err := strconv.ParseInt(fields[0], 10, 64)
		if err != nil {
			return Memory{}, fmt.Errorf("parse smaps_rollup: %w", err)
		}
		*into = kib << 10
	}
	return m, nil
}
