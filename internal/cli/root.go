// Package cli is the command line: it shows releases and passes people's orders on. It decides nothing
// about a release: an order is an annotation on the Rollout, and the operator's answer in its status is
// what the person reads. The judge is here only to be tried on what is past. It knows the API types and
// nothing of the operator's insides.
package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/internal/version"
)

// Exit codes, for pipelines.
const (
	ExitDone       = 0 // what was asked is so: the newest version is what runs
	ExitError      = 1
	ExitInProgress = 2
	ExitRolledBack = 3
	ExitStalled    = 4
)

// exit is an error that has been told already; only the code is left.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// environment is what commands have from outside. Tests give their own.
type environment struct {
	genericiooptions.IOStreams
	flags *genericclioptions.ConfigFlags
	// now, and id for orders.
	now func() time.Time
	id  func() string
	// connect gives a client and the namespace that the flags name.
	connect func() (client.WithWatch, string, error)
	// config is the connection itself, for what is not an object.
	config func() (*rest.Config, error)
	// user is who gives an order.
	user func(context.Context) string
	// settle is how long a watch looks whether a release starts, when at first none is on.
	settle time.Duration
	// style decides about colours and redrawing.
	style style
}

// Run runs the command line and returns its exit code. The program is the name under which it was
// started: kubectl-sluice is a kubectl plugin.
func Run(ctx context.Context, program string, args []string, streams genericiooptions.IOStreams) int {
	return run(ctx, program, args, newEnvironment(streams))
}

func run(ctx context.Context, program string, args []string, env *environment) int {
	root := newRoot(filepath.Base(program), env)
	root.SetArgs(args)
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.ErrOut)
	err := root.ExecuteContext(ctx)
	var code exit
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &code):
		return int(code)
	case ctx.Err() != nil: // interrupted by the person who knows it
		return ExitError
	}
	fmt.Fprintln(env.ErrOut, "error:", err)
	return ExitError
}

func newRoot(program string, env *environment) *cobra.Command {
	name := "sluice"
	if program == "kubectl-sluice" {
		name = "kubectl sluice"
	}
	root := &cobra.Command{
		Use:   "sluice",
		Short: "Watch and steer releases",
		Long: "Watch and steer releases.\n\n" +
			"A Rollout releases new versions of a Deployment step by step. These commands show where a release is\n" +
			"and pass your orders on to the operator; a refused order says why.",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: name},
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	env.flags.AddFlags(root.PersistentFlags())
	root.AddCommand(newGet(env), newStatus(env), newUndo(env), newAnalyze(env), newMesh(env), newVersion(env))
	root.AddCommand(newOrders(env)...)
	return root
}

func newVersion(env *environment) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print this program's version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(env.Out, "sluice", version.Version)
			return err
		},
	}
}

func newEnvironment(streams genericiooptions.IOStreams) *environment {
	env := &environment{
		IOStreams: streams,
		flags:     genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag(),
		now:       time.Now,
		id:        randomID,
		settle:    2 * time.Second,
		style:     styleOf(streams.Out),
	}
	env.config = func() (*rest.Config, error) {
		config, err := env.flags.ToRESTConfig()
		if err != nil {
			return nil, fmt.Errorf("find the cluster: %w", err)
		}
		config.UserAgent = "sluice/" + strings.TrimPrefix(version.Version, "v")
		return config, nil
	}
	env.connect = env.connectByFlags
	env.user = func(ctx context.Context) string {
		config, err := env.config()
		if err != nil {
			return ""
		}
		clients, err := kubernetes.NewForConfig(config)
		if err != nil {
			return ""
		}
		return whoami(ctx, clients)
	}
	return env
}
