// Command demo releases three versions of a small shop on a cluster that is up: a good one, one that
// returns errors, one that is slow. It shows what happens as it happens, ends with a table, and leaves
// everything in place to be looked at. Its exit code is 0 only if the first was promoted, the others
// were rolled back, and no request failed because of the mesh.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sluice-mesh/sluice/e2e/harness"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		code = 1
	}
	os.Exit(code)
}

func run(ctx context.Context, args []string) (int, error) {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	name := flags.String("cluster", "demo", "name of the cluster, as e2e/cluster knows it")
	output := flags.String("output", "text", "text, or json: one object a line, the last one is the result")
	rate := flags.Float64("rps", 80, "requests a second that the load generator sends")
	limit := flags.Duration("timeout", 10*time.Minute, "how long all of it may take")
	if err := flags.Parse(args); err != nil {
		return 2, nil // flag has said why
	}
	screen, err := newScreen(os.Stdout, *output)
	if err != nil {
		return 2, err
	}
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	kubeconfig, err := harness.KubeconfigOf(*name)
	if err != nil {
		return 1, err
	}
	cluster, err := harness.Connect(kubeconfig)
	if err != nil {
		return 1, err
	}
	s := &show{cluster: cluster, screen: screen, rate: *rate}
	results, err := s.play(ctx)
	if err != nil {
		s.dump(ctx)
		return 1, err
	}
	problems := judge(results)
	screen.finish(results, problems, directions(cluster))
	if len(problems) > 0 {
		s.dump(ctx)
		return 1, nil
	}
	return 0, nil
}

// directions say how to look around and how to remove everything.
func directions(c *harness.Cluster) []string {
	return []string{
		"The cluster is still up. Look around:",
		"  export KUBECONFIG=" + c.Kubeconfig,
		"  " + c.Bin("kube") + " kubectl --namespace " + namespace + " get rollouts,deployments,pods",
		"  " + c.Bin("kube") + " kubectl --namespace " + namespace + " describe rollout " + released,
		"Release something yourself (shop:v1 to v5 are the same program; its behaviour is its environment):",
		"  " + c.Bin("kube") + " kubectl --namespace " + namespace + " set env deployment/" + released + " SHOP_VERSION=v5 SHOP_ERROR_RATE=0 SHOP_LATENCY=0s SHOP_LATENCY_JITTER=0s",
		"Remove everything:",
		"  make down NAME=" + c.Name(),
	}
}
