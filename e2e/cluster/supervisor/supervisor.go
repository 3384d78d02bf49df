// Package supervisor is the first process of a cluster: process 1 in a process namespace of its own,
// with mount, network and host name namespaces to match. It sets the node up, starts the node's
// components, and answers questions and orders on a unix socket.
//
// It restarts nothing by itself: a component that dies is a finding, and is shown as one. When the
// supervisor ends, for whatever reason, the kernel ends every process of the cluster, and with them
// go its mounts, interfaces and firewall rules. That is why it may simply exit.
package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"syscall"

	"github.com/sluice-mesh/sluice/e2e/cluster/component"
	"github.com/sluice-mesh/sluice/e2e/cluster/subnet"
)

// Config is all that a supervisor has to be told.
type Config struct {
	Folder     string                `json:"folder"`   // of the cluster, as the host sees it
	Programs   string                `json:"programs"` // folder of the multi-call binary, likewise
	Name       string                `json:"name"`
	Plan       subnet.Plan           `json:"plan"`
	Components []component.Component `json:"components"`
}

// Orders is the file descriptor from which a supervisor reads its Config, as JSON, and then Keep.
// Where it ends before Keep, whoever started the cluster has gone and the supervisor goes too.
const Orders = 3

// Keep is the JSON value that tells a supervisor to stay when its starter has gone.
const Keep = "keep"

// Link is the name of the network interface that the starter moves into the cluster's namespace
// before it sends the Config.
const Link = "eth0"

// Run is the supervisor. It returns when it is told to end, or when the context does.
func Run(ctx context.Context) error {
	syscall.CloseOnExec(Orders)
	orders := os.NewFile(Orders, "orders")
	if orders == nil {
		return errors.New("read orders: the supervisor is started by cluster up, not by hand")
	}
	decoder := json.NewDecoder(orders)
	var config Config
	if err := decoder.Decode(&config); err != nil {
		return fmt.Errorf("read orders: %w", err)
	}
	abandoned := make(chan error, 1)
	go func() { abandoned <- awaitKeep(decoder) }()

	node, err := setUp(config)
	if err != nil {
		return err
	}
	server, err := node.listen(ctx)
	if err != nil {
		return err
	}
	node.startAll(ctx)
	served := make(chan error, 1)
	go func() { served <- server.serve() }()

	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-served:
			return err
		case err := <-abandoned:
			if err != nil {
				return err
			}
			abandoned = nil
		}
	}
}

// awaitKeep returns nil once the starter has said Keep.
func awaitKeep(decoder *json.Decoder) error {
	var order string
	switch err := decoder.Decode(&order); {
	case errors.Is(err, io.EOF):
		return errors.New("wait for the cluster to be kept: who started it has gone")
	case err != nil:
		return fmt.Errorf("wait for the cluster to be kept: %w", err)
	case order != Keep:
		return fmt.Errorf("wait for the cluster to be kept: unknown order %q", order)
	}
	return nil
}

func setUp(config Config) (*node, error) {
	if err := mountAll(config.Folder, config.Programs); err != nil {
		return nil, err
	}
	if err := syscall.Sethostname([]byte(config.Name)); err != nil {
		return nil, fmt.Errorf("set host name: %w", err)
	}
	if err := connect(config.Plan); err != nil {
		return nil, err
	}
	if err := raiseFileLimit(); err != nil {
		return nil, err
	}
	return newNode(config.Components, slog.New(slog.NewTextHandler(os.Stderr, nil)))
}

// raiseFileLimit lets the components and, through containerd, all pods open as many files as the
// machine allows. The call also keeps Go from restoring the old limit for the processes it starts.
func raiseFileLimit() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read limit of open files: %w", err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raise limit of open files: %w", err)
	}
	return nil
}
