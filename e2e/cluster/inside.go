package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sluice-mesh/sluice/e2e/cluster/component"
	"github.com/sluice-mesh/sluice/e2e/cluster/image"
	"github.com/sluice-mesh/sluice/e2e/cluster/pki"
)

// inside returns the command line that runs the arguments in the cluster's namespaces.
func inside(state State, args ...string) []string {
	return append([]string{
		"nsenter", "--target", strconv.Itoa(state.Supervisor.PID), "--mount", "--net", "--pid", "--uts", "--",
	}, args...)
}

// Exec replaces this process with one that runs in the cluster's namespaces, where KUBECONFIG names
// the administrator's kubeconfig and ctr finds containerd.
func (c Cluster) Exec(args []string) error {
	state, err := c.Running()
	if err != nil {
		return err
	}
	program, err := exec.LookPath("nsenter")
	if err != nil {
		return fmt.Errorf("run in cluster: %w", err)
	}
	environment := append(os.Environ(),
		"KUBECONFIG="+component.PKI+"/"+pki.AdminConfig, "CONTAINERD_NAMESPACE=k8s.io")
	if err := unix.Exec(program, inside(state, args...), environment); err != nil {
		return fmt.Errorf("run in cluster: %w", err)
	}
	return nil
}

// Load packs the images and gives them to the cluster's node. Pods use them with the pull policies
// Never and IfNotPresent.
func (c Cluster) Load(ctx context.Context, specs ...image.Spec) error {
	state, err := c.Running()
	if err != nil {
		return err
	}
	for _, spec := range specs {
		if err := load(ctx, state, spec); err != nil {
			return fmt.Errorf("load image %s: %w", spec.Name, err)
		}
	}
	return nil
}

func load(ctx context.Context, state State, spec image.Spec) error {
	line := inside(state, "ctr", "--namespace", "k8s.io", "images", "import", "--snapshotter", state.Snapshotter, "-")
	command := exec.CommandContext(ctx, line[0], line[1:]...)
	reader, writer := io.Pipe()
	packed := make(chan error, 1)
	go func() { // ends when the command has, which closes the reader
		err := image.Write(writer, spec)
		writer.CloseWithError(err)
		packed <- err
	}()
	var out bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = reader, &out, &out
	err := command.Run()
	reader.CloseWithError(errImporterEnded)
	if packError := <-packed; packError != nil && !errors.Is(packError, errImporterEnded) {
		return packError // then the importer only stumbled over what it was given
	}
	if err != nil {
		return fmt.Errorf("import: %w: %s", err, strings.TrimSpace(out.String()))
	}
	return nil
}

var errImporterEnded = errors.New("the importer ended")
