package cluster

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sluice-mesh/sluice/e2e/cluster/component"
	"github.com/sluice-mesh/sluice/e2e/cluster/supervisor"
)

// componentError is a component that died.
type componentError struct{ status supervisor.Status }

func (e *componentError) Error() string { return e.status.Name + " " + e.status.Detail }

const (
	quotedLines = 15
	quotedBytes = 16 << 10
)

// explain adds the end of the log of what failed to the error: the logs are about to be removed.
func (c Cluster) explain(err error) error {
	log := "supervisor"
	var failed *componentError
	switch {
	case errors.As(err, &failed):
		log = failed.status.Name
	case errors.Is(err, errSupervisorEnded):
	default:
		if _, statErr := os.Stat(c.Log(component.Kubelet)); statErr == nil {
			log = component.Kubelet // everything runs and pods are not ready: it knows most
		}
	}
	lines, readErr := Tail(c.Log(log), quotedLines)
	if readErr != nil || lines == "" {
		return err
	}
	return fmt.Errorf("%w\nlast lines of the log of %s:\n%s", err, log, lines)
}

// Tail returns the last lines of a file, of which it reads a bounded part only.
func Tail(path string, count int) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read log: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", fmt.Errorf("read log: %w", err)
	}
	size := min(info.Size(), max(quotedBytes, int64(count)*512))
	content := make([]byte, size)
	if _, err := file.ReadAt(content, info.Size()-size); err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read log: %w", err)
	}
	lines := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n"), nil
}
