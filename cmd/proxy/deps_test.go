package main

import (
	"os/exec"
	"strings"
	"testing"
)

// The data plane runs beside every application: no Kubernetes client in it, for its size and for what it
// could reach, and nothing of the control plane.
func TestDependencies(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, out)
	}
	banned := map[string]string{
		"k8s.io/":                           "the proxy knows no Kubernetes",
		"sigs.k8s.io/":                      "the proxy knows no Kubernetes",
		"github.com/sluice-mesh/sluice/api": "types of Kubernetes objects are the operator's",
		"github.com/sluice-mesh/sluice/controllers":     "decisions are the operator's",
		"github.com/sluice-mesh/sluice/analysis":        "judgement is the operator's",
		"github.com/sluice-mesh/sluice/notifier":        "people are told by the operator",
		"github.com/sluice-mesh/sluice/mesh/xds/server": "the proxy is a client",
		"google.golang.org/grpc":                        "several megabytes in every pod",
		"github.com/envoyproxy/":                        "several megabytes in every pod",
		"go.opentelemetry.io/":                          "its exporters bring gRPC",
	}
	for _, dep := range strings.Fields(string(out)) {
		for prefix, why := range banned {
			if strings.HasPrefix(dep, prefix) {
				t.Errorf("cmd/proxy depends on %s: %s", dep, why)
			}
		}
	}
}
