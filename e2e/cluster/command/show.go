package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/sluice-mesh/sluice/e2e/cluster"
	"github.com/sluice-mesh/sluice/e2e/cluster/supervisor"
)

// outputFlag defines --output and returns whether JSON is asked for.
func outputFlag(f *flags) func() (bool, error) {
	output := f.String("output", "text", "text or json")
	return func() (bool, error) {
		if *output != "text" && *output != "json" {
			return false, f.misused("output is text or json")
		}
		return *output == "json", nil
	}
}

func writeJSON(value any) error {
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

func status(f *flags) func(context.Context, cluster.Cluster, []string) error {
	output := outputFlag(f)
	return func(ctx context.Context, target cluster.Cluster, _ []string) error {
		asJSON, err := output()
		if err != nil {
			return err
		}
		state, err := target.Running()
		if err != nil {
			return err
		}
		components, err := target.Control().Components(ctx)
		if err != nil {
			return err
		}
		memory, err := state.Cgroup.Memory()
		if err != nil {
			memory = 0 // the machine does not count it
		}
		if asJSON {
			return writeJSON(map[string]any{
				"state": state, "components": components, "memoryBytes": memory,
			})
		}
		fmt.Printf("cluster %s  supervisor %d  memory %d MiB  addresses %v\n\n",
			state.Name, state.Supervisor.PID, memory>>20, state.Plan.Block)
		return table(components)
	}
}

func table(components []supervisor.Status) error {
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "COMPONENT\tSTATE\tSINCE\tDETAIL")
	for _, c := range components {
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\n", c.Name, c.State, time.Since(c.Since).Round(time.Second), c.Detail)
	}
	return out.Flush()
}

func list(f *flags) func(context.Context, cluster.Cluster, []string) error {
	return func(context.Context, cluster.Cluster, []string) error {
		names, err := cluster.List(f.parent)
		if err != nil {
			return err
		}
		for _, name := range names {
			fmt.Println(name)
		}
		return nil
	}
}

func environment(f *flags) func(context.Context, cluster.Cluster, []string) error {
	output := outputFlag(f)
	return func(_ context.Context, target cluster.Cluster, _ []string) error {
		asJSON, err := output()
		if err != nil {
			return err
		}
		state, err := target.Running()
		if err != nil {
			return err
		}
		prometheus := fmt.Sprintf("http://%s:9090", state.Plan.Prometheus())
		if asJSON {
			return writeJSON(map[string]any{
				"name": target.Name, "folder": target.Folder, "kubeconfig": target.Kubeconfig(),
				"prometheus": prometheus, "addresses": state.Plan,
			})
		}
		fmt.Printf("export KUBECONFIG=%q\n", target.Kubeconfig())
		fmt.Printf("export SLUICE_CLUSTER=%q\n", target.Name)
		fmt.Printf("export SLUICE_PROMETHEUS=%q\n", prometheus)
		return nil
	}
}

func logs(f *flags) func(context.Context, cluster.Cluster, []string) error {
	tail := f.Int("tail", 0, "print only that many of the last lines")
	return func(_ context.Context, target cluster.Cluster, arguments []string) error {
		if len(arguments) != 1 {
			return f.misused("name one component; status lists them, and there is also supervisor")
		}
		if *tail > 0 {
			lines, err := cluster.Tail(target.Log(arguments[0]), *tail)
			fmt.Println(lines)
			return err
		}
		file, err := os.Open(target.Log(arguments[0]))
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		defer file.Close()
		if _, err := io.Copy(os.Stdout, file); err != nil {
			return fmt.Errorf("print log: %w", err)
		}
		return nil
	}
}
