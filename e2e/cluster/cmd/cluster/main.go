//go:build linux

// Command cluster starts, shows and removes real Kubernetes clusters on this machine.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/sluice-mesh/sluice/e2e/cluster/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command.Run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
