// Package command is the command line of the program cluster: flags in, text out. It decides nothing
// about clusters.
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sluice-mesh/sluice/e2e/cluster"
	"github.com/sluice-mesh/sluice/e2e/cluster/host"
	"github.com/sluice-mesh/sluice/e2e/cluster/supervisor"
)

// command is one subcommand. Its run is called with the flags parsed.
type command struct {
	name, arguments, summary string
	root                     bool // it needs root, and takes it by sudo
	define                   func(*flags) (run func(context.Context, cluster.Cluster, []string) error)
}

// flags are those of one subcommand; every one has name and dir.
type flags struct {
	*flag.FlagSet
	name, dir string
	parent    string // folder of clusters whose folder is not given
	programs  string // folder of this program and the others
}

func commands() []command {
	return []command{
		{"up", "", "start the cluster and wait until all of it is ready", true, up},
		{"down", "", "remove the cluster and all that it left", true, down},
		{"status", "", "show what runs", true, status},
		{"list", "", "list the clusters", false, list},
		{"env", "", "print the environment of its clients, for eval", false, environment},
		{"load", "PATH[:TARGET]...", "give the node an image of static programs", true, load},
		{"exec", "-- COMMAND...", "run a command in the cluster's namespaces, on its node", true, execute},
		{"logs", "COMPONENT", "print the log of a component", false, logs},
		{"start", "COMPONENT", "start a component and wait until it is ready", true, order(supervisor.Start)},
		{"stop", "COMPONENT", "stop a component and wait until it is gone", true, order(supervisor.Stop)},
		{"restart", "COMPONENT", "stop and start a component", true, order(supervisor.Restart)},
	}
}

// errUsage says that the arguments were wrong, and that the user has been told.
var errUsage = errors.New("usage")

// Run runs the program with the arguments after its name and returns the exit code.
func Run(ctx context.Context, arguments []string) int {
	err := run(ctx, arguments)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		return 2
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "cluster: interrupted")
		return 130
	}
	fmt.Fprintln(os.Stderr, "cluster:", err)
	return 1
}

func run(ctx context.Context, arguments []string) error {
	if len(arguments) == 0 || arguments[0] == "help" || strings.HasPrefix(arguments[0], "-") {
		usage(os.Stderr)
		return errUsage
	}
	if arguments[0] == cluster.SuperviseArgument {
		return supervisor.Run(ctx)
	}
	for _, c := range commands() {
		if c.name == arguments[0] {
			return c.execute(ctx, arguments)
		}
	}
	usage(os.Stderr)
	return errUsage
}

func usage(out io.Writer) {
	fmt.Fprintln(out, "A real Kubernetes cluster on this machine.")
	fmt.Fprintln(out, "\nUsage: cluster COMMAND [--name NAME] [--dir FOLDER] ...")
	for _, c := range commands() {
		fmt.Fprintf(out, "  %-24s %s\n", strings.TrimSpace(c.name+" "+c.arguments), c.summary)
	}
}

func (c command) execute(ctx context.Context, arguments []string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own program: %w", err)
	}
	programs := filepath.Dir(self)
	f := &flags{
		FlagSet:  flag.NewFlagSet("cluster "+c.name, flag.ContinueOnError),
		parent:   filepath.Join(filepath.Dir(programs), "cluster"),
		programs: programs,
	}
	f.StringVar(&f.name, "name", "dev", "name of the cluster and of its node")
	f.StringVar(&f.dir, "dir", "", "folder of the cluster (default ../cluster/NAME beside this program's folder)")
	f.Usage = func() {
		fmt.Fprintf(f.Output(), "Usage: cluster %s [flags] %s\n\n%s.\n\n", c.name, c.arguments, c.summary)
		f.PrintDefaults()
	}
	action := c.define(f)
	if err := f.Parse(arguments[1:]); err != nil {
		return errUsage // already told
	}
	if f.dir == "" {
		f.dir = filepath.Join(f.parent, f.name)
	}
	target, err := cluster.At(f.name, f.dir)
	if err != nil {
		return err
	}
	if c.root && os.Geteuid() != 0 {
		return becomeRoot(self, arguments)
	}
	return action(ctx, target, f.Args())
}

// becomeRoot replaces this process with itself, run by sudo.
func becomeRoot(self string, arguments []string) error {
	sudo, err := exec.LookPath("sudo")
	if err != nil {
		return host.ErrNotRoot
	}
	if err := unix.Exec(sudo, append([]string{"sudo", self}, arguments...), os.Environ()); err != nil {
		return fmt.Errorf("become root: %w", err)
	}
	return nil
}

// misused tells the user what was wrong with the arguments.
func (f *flags) misused(message string) error {
	fmt.Fprintf(f.Output(), "cluster: %s\n", message)
	f.Usage()
	return errUsage
}
