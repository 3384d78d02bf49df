package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Cgroup is a cgroup of the same path in every hierarchy of the machine, such as "/sluice-dev". The
// kubelet keeps the pods' cgroups below it.
type Cgroup string

// system is the child for the node's own processes: with cgroup v2 processes are in leaves only.
const system = "system"

// hierarchy is where one is mounted.
type hierarchy struct {
	path    string
	unified bool // cgroup v2
}

// Create makes the cgroup and moves the process into a child of it.
func (c Cgroup) Create(pid int) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		if h.unified {
			h.delegate("/")
		}
		for _, path := range []string{string(c), filepath.Join(string(c), system)} {
			if err := h.make(path); err != nil {
				return err
			}
		}
		if h.unified {
			h.delegate(string(c))
		}
		procs := filepath.Join(h.path, string(c), system, "cgroup.procs")
		if err := os.WriteFile(procs, []byte(strconv.Itoa(pid)), 0o644); err != nil {
			return fmt.Errorf("enter cgroup: %w", err)
		}
	}
	return nil
}

func (h hierarchy) make(path string) error {
	path = filepath.Join(h.path, path)
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make cgroup: %w", err)
	}
	// A cpuset starts empty, and an empty one takes no process.
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		if h.unified {
			continue
		}
		parent, err := os.ReadFile(filepath.Join(filepath.Dir(path), file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read cpuset: %w", err)
		}
		if err := os.WriteFile(filepath.Join(path, file), parent, 0o644); err != nil {
			return fmt.Errorf("fill cpuset: %w", err)
		}
	}
	return nil
}

// delegate lets children have the controllers that pods are limited by. Controllers that the machine
// does not have are left out; the kubelet names those that it cannot do without.
func (h hierarchy) delegate(path string) {
	for _, controller := range []string{"cpu", "cpuset", "memory", "pids", "io", "hugetlb"} {
		_ = os.WriteFile(filepath.Join(h.path, path, "cgroup.subtree_control"), []byte("+"+controller), 0o644) // see above
	}
}

// Remove removes the cgroup and all below it, in every hierarchy. It returns an error while a process
// is left in any of them.
func (c Cgroup) Remove() error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	var failures []error
	for _, h := range all {
		failures = append(failures, removeTree(filepath.Join(h.path, string(c))))
	}
	return errors.Join(failures...)
}

// removeTree removes folders only, children first: a cgroup's files cannot be removed and need not be.
func removeTree(path string) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read cgroup: %w", err)
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeTree(filepath.Join(path, entry.Name())); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove cgroup: %w", err)
	}
	return nil
}

// Exists reports whether any hierarchy has the cgroup.
func (c Cgroup) Exists() bool {
	all, err := hierarchies()
	if err != nil {
		return false
	}
	for _, h := range all {
		if _, err := os.Stat(filepath.Join(h.path, string(c))); err == nil {
			return true
		}
	}
	return false
}

// Memory returns the bytes of memory that the processes of the cgroup have to themselves, that is,
// without the page cache.
func (c Cgroup) Memory() (int64, error) {
	all, err := hierarchies()
	if err != nil {
		return 0, err
	}
	for _, h := range all {
		content, err := os.ReadFile(filepath.Join(h.path, string(c), "memory.stat"))
		if err != nil {
			continue // another hierarchy has it
		}
		for line := range strings.Lines(string(content)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			if name == "total_rss" || h.unified && name == "anon" {
				return strconv.ParseInt(value, 10, 64)
			}
		}
	}
	return 0, errors.New("read memory of cgroup: no hierarchy counts it")
}

func hierarchies() ([]hierarchy, error) {
	content, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	all := parseMounts(string(content))
	if len(all) == 0 {
		return nil, errors.New("find cgroups: none are mounted")
	}
	return all, nil
}

// parseMounts finds the cgroup mounts in the format of proc_pid_mountinfo(5).
func parseMounts(mountinfo string) []hierarchy {
	var all []hierarchy
	for line := range strings.Lines(mountinfo) {
		before, after, found := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if !found || len(fields) < 5 || len(kind) < 1 {
			continue
		}
		if kind[0] == "cgroup" || kind[0] == "cgroup2" {
			all = append(all, hierarchy{path: fields[4], unified: kind[0] == "cgroup2"})
		}
	}
	return all
}
