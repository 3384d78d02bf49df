// Package promserver starts a real Prometheus for tests.
package promserver

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Server is a Prometheus that runs.
type Server struct {
	// Address is its URL.
	Address string
	// PID is its process.
	PID int
}

var listening = regexp.MustCompile(`msg="Listening on".* address=(\S+)`)

// Start starts a Prometheus with a configuration file of this text, which lives as long as the test; its log
// is the test's if that fails. Without the binary that `make build/bin/prometheus` builds, or that
// SLUICE_PROMETHEUS names, the test is skipped.
func Start(t *testing.T, config string) Server {
	t.Helper()
	path, folder := binary(t), t.TempDir()
	file := filepath.Join(folder, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), path, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(folder, "data"), //nolint:gosec // built by us
		"--web.listen-address=127.0.0.1:0", "--log.level=info")
	reader, writer := io.Pipe()
	command.Stdout, command.Stderr = writer, writer
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	listens, read := make(chan string, 1), make(chan struct{})
	var log strings.Builder
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(reader); lines.Scan(); {
			log.WriteString(lines.Text() + "\n")
			if found := listening.FindStringSubmatch(lines.Text()); found != nil {
				listens <- found[1]
			}
		}
	}()
	t.Cleanup(func() {
		_ = command.Wait() // the test's context has ended it
		_ = writer.Close()
		<-read
		if t.Failed() {
			t.Log(log.String())
		}
	})
	select {
	case at := <-listens:
		return Server{"http://" + at, command.Process.Pid}
	case <-time.After(30 * time.Second):
		t.Fatal("Prometheus does not listen")
		return Server{}
	}
}

// binary finds the program. Where it is named and not there in a build of CI, the test fails.
func binary(t *testing.T) string {
	t.Helper()
	path, named := os.LookupEnv("SLUICE_PROMETHEUS")
	if !named {
		_, here, _, _ := runtime.Caller(0)
		path = filepath.Join(filepath.Dir(here), "..", "..", "build", "bin", "prometheus")
	}
	if _, err := os.Stat(path); err != nil {
		if named && os.Getenv("CI") != "" {
			t.Fatalf("no Prometheus: %v", err)
		}
		t.Skipf("no Prometheus to test against (make build/bin/prometheus, or set SLUICE_PROMETHEUS): %v", err)
	}
	return path
}
