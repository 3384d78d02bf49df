// Package apiserver starts a real API server for tests: etcd and kube-apiserver, no nodes. It knows the
// CRDs that `make build/crds` renders.
package apiserver

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// patience is for a machine that builds and tests other packages at the same time.
const patience = 2 * time.Minute

// Start starts an API server that lives as long as the test. Without one on this machine the test is
// skipped, and the message says how to get it.
func Start(t *testing.T) *rest.Config {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Skip("KUBEBUILDER_ASSETS names no API server; run make api-test")
	}
	_, here, _, _ := runtime.Caller(0)
	environment := &envtest.Environment{
		CRDInstallOptions: envtest.CRDInstallOptions{
			Paths:              []string{filepath.Join(filepath.Dir(here), "..", "..", "build", "crds")},
			ErrorIfPathMissing: true, MaxTime: patience,
		},
		ControlPlaneStartTimeout: patience, ControlPlaneStopTimeout: patience,
	}
	config, err := environment.Start()
	if err != nil {
		t.Fatalf("start API server: %v", err)
	}
	t.Cleanup(func() {
		if err := environment.Stop(); err != nil {
			t.Errorf("stop API server: %v", err)
		}
	})
	return config
}
