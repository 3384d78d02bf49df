package command

import (
	"context"
	"os"
	"time"

	"github.com/sluice-mesh/sluice/e2e/cluster"
	"github.com/sluice-mesh/sluice/e2e/cluster/addon"
	"github.com/sluice-mesh/sluice/e2e/cluster/image"
	"github.com/sluice-mesh/sluice/e2e/cluster/supervisor"
)

func up(f *flags) func(context.Context, cluster.Cluster, []string) error {
	quiet := f.Bool("quiet", false, "say nothing unless it fails")
	interval := f.Duration("scrape-interval", time.Second, "of Prometheus")
	timeout := f.Duration("timeout", 3*time.Minute, "until everything has to be ready")
	programs := f.String("programs", f.programs, "folder of kube, pause, coredns and prometheus")
	return func(ctx context.Context, target cluster.Cluster, _ []string) error {
		progress := cluster.NewProgress(os.Stderr)
		if *quiet {
			progress = cluster.Quiet()
		}
		return target.Up(ctx, cluster.Options{
			Programs: *programs,
			Addons:   addon.Options{ScrapeInterval: *interval},
			Timeout:  *timeout,
			Progress: progress,
		})
	}
}

func down(f *flags) func(context.Context, cluster.Cluster, []string) error {
	quiet := f.Bool("quiet", false, "say nothing unless it fails")
	return func(ctx context.Context, target cluster.Cluster, _ []string) error {
		progress := cluster.NewProgress(os.Stderr)
		if *quiet {
			progress = cluster.Quiet()
		}
		if err := target.Down(ctx); err != nil {
			return err
		}
		progress.Step("cluster %s is gone", target.Name)
		return nil
	}
}

// list of strings, one a flag.
type values []string

func (v *values) String() string         { return "" }
func (v *values) Set(value string) error { *v = append(*v, value); return nil }

func load(f *flags) func(context.Context, cluster.Cluster, []string) error {
	var spec image.Spec
	f.StringVar(&spec.Name, "image", "", "name and tag of the image, such as sluice/operator:dev")
	f.StringVar(&spec.User, "user", "65532", "user that it runs as, unless the pod says otherwise")
	f.Var((*values)(&spec.Entrypoint), "entrypoint", "program in the image and, repeated, its arguments (default the first file)")
	f.Var((*values)(&spec.Env), "env", "NAME=value in its environment (repeatable)")
	return func(ctx context.Context, target cluster.Cluster, arguments []string) error {
		if spec.Name == "" || len(arguments) == 0 {
			return f.misused("load needs --image and at least one file")
		}
		for _, argument := range arguments {
			file, err := image.ParseFile(argument)
			if err != nil {
				return err
			}
			spec.Files = append(spec.Files, file)
		}
		return target.Load(ctx, spec)
	}
}

func execute(f *flags) func(context.Context, cluster.Cluster, []string) error {
	return func(_ context.Context, target cluster.Cluster, arguments []string) error {
		if len(arguments) == 0 {
			return f.misused("exec needs a command")
		}
		return target.Exec(arguments)
	}
}

func order(action supervisor.Action) func(*flags) func(context.Context, cluster.Cluster, []string) error {
	return func(f *flags) func(context.Context, cluster.Cluster, []string) error {
		kill := false
		if action != supervisor.Start {
			f.BoolVar(&kill, "kill", false, "do not ask it to end, kill it")
		}
		timeout := f.Duration("timeout", time.Minute, "until it has to have taken effect")
		return func(ctx context.Context, target cluster.Cluster, arguments []string) error {
			if len(arguments) != 1 {
				return f.misused("name one component; status lists them")
			}
			if _, err := target.Running(); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(ctx, *timeout)
			defer cancel()
			return target.Control().Order(ctx, arguments[0], action, kill)
		}
	}
}
