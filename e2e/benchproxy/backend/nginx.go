package backend

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"

	"github.com/sluice-mesh/sluice/e2e/benchproxy/process"
)

//go:embed nginx.conf.tmpl
var nginxConf string

var nginxTemplate = template.Must(template.New("nginx").Parse(nginxConf))

// Nginx answers HTTP/1.1 with the three bodies.
type Nginx struct {
	group  *process.Group
	status string
}

// StartNginx starts it with one worker on a core, on the port of all hosts. statusPort is where it tells how
// much it served. Dir takes its files.
func StartNginx(ctx context.Context, dir string, core int, port, statusPort uint16) (*Nginx, error) {
	var conf bytes.Buffer
	err := nginxTemplate.Execute(&conf, map[string]any{
		"Dir": dir, "Hosts": Hosts(), "Port": port, "StatusPort": statusPort,
		"SmallPath": SmallPath, "KilobytePath": KilobytePath, "LargePath": LargePath,
		"Small": string(Small), "Kilobyte": string(Kilobyte),
	})
	if err != nil {
		return nil, fmt.Errorf("write configuration of the backend: %w", err)
	}
	path := filepath.Join(dir, "backend.conf")
	if err := os.WriteFile(path, conf.Bytes(), 0o644); err != nil {
		return nil, fmt.Errorf("write configuration of the backend: %w", err)
	}
	group, err := process.Start(ctx, process.Spec{
		Name: "backend", Core: core, Path: "nginx", Args: []string{"-p", dir, "-c", path, "-e", "stderr"}, Dir: dir,
	})
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the program
	}
	n := &Nginx{group: group, status: netip.AddrPortFrom(Hosts()[0], statusPort).String()}
	if err := group.Listening(ctx, n.status); err != nil {
		group.Stop()
		return nil, err //nolint:wrapcheck // it names the program
	}
	return n, nil
}

// Close ends it.
func (n *Nginx) Close() { n.group.Stop() }

// Served is how many requests have reached it, those for this number included.
func (n *Nginx) Served(ctx context.Context) (int64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.status+"/", http.NoBody)
	if err != nil {
		return 0, fmt.Errorf("ask the backend: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("ask the backend: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err != nil {
		return 0, fmt.Errorf("ask the backend: %w", err)
	}
	return parseStatus(string(text))
}

// parseStatus reads what stub_status says: its third line has connections accepted and handled, and requests.
func parseStatus(text string) (int64, error) {
	lines := strings.Split(text, "\n")
	if len(lines) < 3 || len(strings.Fields(lines[2])) != 3 {
		return 0, fmt.Errorf("parse status of the backend: %q", text)
	}
	served, err := strconv.ParseInt(strings.Fields(lines[2])[2], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse status of the backend: %w", err)
	}
	return served, nil
}
