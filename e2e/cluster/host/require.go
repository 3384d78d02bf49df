// Package host owns what a cluster takes from the machine that it runs on: the link and the routes,
// the cgroups, the process; and it takes all of it back. It does not know what a cluster is for.
package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNotRoot says that only root can do this.
var ErrNotRoot = errors.New("a cluster needs root: run it as root, or install sudo")

// capabilities are those without which containers cannot be started, by number.
var capabilities = map[int]string{
	unix.CAP_CHOWN: "CHOWN", unix.CAP_DAC_OVERRIDE: "DAC_OVERRIDE", unix.CAP_FOWNER: "FOWNER",
	unix.CAP_KILL: "KILL", unix.CAP_MKNOD: "MKNOD", unix.CAP_NET_ADMIN: "NET_ADMIN",
	unix.CAP_SETGID: "SETGID", unix.CAP_SETPCAP: "SETPCAP", unix.CAP_SETUID: "SETUID",
	unix.CAP_SYS_ADMIN: "SYS_ADMIN", unix.CAP_SYS_CHROOT: "SYS_CHROOT", unix.CAP_SYS_PTRACE: "SYS_PTRACE",
}

// programs are those that have to be installed, with the Debian package that has them.
var programs = map[string]string{
	"containerd": "containerd", "ctr": "containerd", "runc": "runc", "nft": "nftables", "nsenter": "util-linux",
	"/usr/lib/cni/ptp": "containernetworking-plugins",
}

// Require returns an error of one sentence if this process cannot run a cluster here.
func Require() error {
	if os.Geteuid() != 0 {
		return ErrNotRoot
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return fmt.Errorf("read own capabilities: %w", err)
	}
	if missing := missingCapabilities(string(status)); len(missing) > 0 {
		return fmt.Errorf("a cluster needs more of root than there is here; missing capabilities: %s",
			strings.Join(missing, ", "))
	}
	for program, pkg := range programs {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("a cluster needs %s, which is not installed: make packages, or install %s", program, pkg)
		}
	}
	return nil
}

func missingCapabilities(status string) []string {
	var effective uint64
	for line := range strings.Lines(status) {
		if value, found := strings.CutPrefix(line, "CapEff:"); found {
			effective, _ = strconv.ParseUint(strings.TrimSpace(value), 16, 64) // 0 where unreadable: all are missing
		}
	}
	var missing []string
	for number := range unix.CAP_LAST_CAP + 1 {
		if name, needed := capabilities[number]; needed && effective&(1<<number) == 0 {
			missing = append(missing, name)
		}
	}
	return missing
}

// Snapshotter returns containerd's snapshotter that works for data in the folder: an overlay cannot
// be laid over another overlay, such as a container's own root.
func Snapshotter(folder string) (string, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(folder, &fs); err != nil {
		return "", fmt.Errorf("inspect file system: %w", err)
	}
	known, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return "", fmt.Errorf("read known file systems: %w", err)
	}
	if fs.Type == unix.OVERLAYFS_SUPER_MAGIC || !strings.Contains(string(known), "\toverlay\n") {
		return "native", nil
	}
	return "overlayfs", nil
}

// LoadModules asks the kernel for what containers and their networks use, where it has it as modules.
// A kernel that has it built in, or a machine without modules, is fine: what is really missing is
// noticed by whoever uses it.
func LoadModules(ctx context.Context) {
	for _, module := range []string{"overlay", "veth", "nf_tables", "nf_conntrack", "nft_redir", "nft_nat", "nft_masq", "nft_fib_inet"} {
		_ = exec.CommandContext(ctx, "modprobe", "--quiet", module).Run() // see above
	}
}
