// Command sluice shows releases and passes people's orders on. Installed as kubectl-sluice it is a plugin
// of kubectl.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	// Credential plugins that kubeconfigs name.
	_ "k8s.io/client-go/plugin/pkg/client/auth"

	"github.com/sluice-mesh/sluice/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Run(ctx, os.Args[0], os.Args[1:], genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr})
	stop()
	os.Exit(code)
}
