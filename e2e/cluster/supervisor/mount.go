package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/sluice-mesh/sluice/e2e/cluster/component"
)

// mountAll shapes the cluster's own view of the file system: the cluster's folder at a short path,
// its own /run, /var/lib and /var/log, its own processes in
// /proc. Nothing of it is seen by the host.
func mountAll(folder, programs string) error {
	// Both are kept open, as they may themselves lie below what is covered next.
	cluster, err := os.Open(folder)
	if err != nil {
		return fmt.Errorf("open cluster folder: %w", err)
	}
	defer cluster.Close()
	binaries, err := os.Open(programs)
	if err != nil {
		return fmt.Errorf("open folder of programs: %w", err)
	}
	defer binaries.Close()
	handle := func(file *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", file.Fd()) }

	steps := []struct {
		what                   string
		source, target, fsType string
		flags                  uintptr
		data                   string
	}{
		{"keep mounts from the host", "", "/", "", unix.MS_REC | unix.MS_PRIVATE, ""},
		{"mount proc", "proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"mount run", "tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
		{"mount cluster folder", handle(cluster), component.Root, "", unix.MS_BIND, ""},
		{"mount programs", handle(binaries), component.Programs, "", unix.MS_BIND, ""},
		{"mount logs", handle(cluster) + "/data/log", "/var/log", "", unix.MS_BIND, ""},
		// The kubelet and the network plugins have paths below it that no option changes.
		{"mount state", handle(cluster) + "/data/lib", "/var/lib", "", unix.MS_BIND, ""},
		// For pods that ask for mounts to be propagated.
		{"share mounts within the cluster", "", "/", "", unix.MS_REC | unix.MS_SHARED, ""},
	}
	for _, step := range steps {
		if step.target == component.Root || step.target == component.Programs {
			if err := os.MkdirAll(step.target, 0o755); err != nil {
				return fmt.Errorf("%s: %w", step.what, err)
			}
		}
		if err := unix.Mount(step.source, step.target, step.fsType, step.flags, step.data); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	for _, dir := range []string{temporary, filepath.Dir(component.ContainerdSocket), "/run/lock"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
	}
	return coverSettings()
}

// kernelSettings are those that a kubelet insists on, with the values that it wants. They belong to
// the whole machine, so it is shown files that have them already and has no reason to write.
var kernelSettings = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

func coverSettings() error {
	for setting, value := range kernelSettings {
		target := filepath.Join("/proc/sys", setting)
		if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
			continue // this kernel does not have it, and the kubelet does not ask for it
		}
		cover := filepath.Join("/run/settings", setting)
		if err := os.MkdirAll(filepath.Dir(cover), 0o755); err != nil {
			return fmt.Errorf("cover kernel setting: %w", err)
		}
		if err := os.WriteFile(cover, []byte(value+"\n"), 0o444); err != nil {
			return fmt.Errorf("cover kernel setting: %w", err)
		}
		if err := unix.Mount(cover, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("cover kernel setting %s: %w", setting, err)
		}
	}
	return nil
}

// temporary is the components' folder for temporary files: the machine's own outlives the cluster.
const temporary = "/run/tmp"
