// Command proxy is the data plane beside an application.
//
//	proxy redirect   turns the pod's TCP connections to the proxy, and exits (needs NET_ADMIN)
//	proxy run        carries them, until SIGTERM or SIGINT
//	proxy version
//
// Everything can be set by environment variables, which is how the injection does it; `proxy run -h` lists
// them with the flags that override them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/sluice-mesh/sluice/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code := command(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// command runs one subcommand and returns the exit code.
func command(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	name := ""
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	var err error
	switch name {
	case "redirect":
		err = redirect(args, getenv, stderr)
	case "run":
		err = run(ctx, args, getenv, stdout, stderr)
	case "version":
		fmt.Fprintln(stdout, version.Version)
	default:
		fmt.Fprintln(stderr, "usage: proxy redirect | run | version")
		return 2
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		logger(stderr, slog.LevelInfo).Error("ended", "command", name, "error", err)
		return 1
	}
	return 0
}

func logger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
}
