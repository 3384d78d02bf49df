// Command operator carries Rollouts through their releases and serves the mesh to proxies. Every
// replica serves xDS; the leader reconciles.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sluice-mesh/sluice/internal/version"
)

func main() {
	o := options{}
	root := &cobra.Command{
		Use: "operator", Short: "Progressive delivery through Sluice's mesh",
		SilenceUsage: true, SilenceErrors: true, Version: version.Version, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), o) },
	}
	o.bind(root.Flags())
	root.AddCommand(&cobra.Command{
		Use: "uninstall", Short: "End every release: delete all Rollouts and wait until each is gone",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return uninstall(cmd.Context()) },
	})
	if err := root.ExecuteContext(ctrl.SetupSignalHandler()); err != nil {
		fmt.Fprintln(os.Stderr, "operator:", err)
		os.Exit(1)
	}
}
