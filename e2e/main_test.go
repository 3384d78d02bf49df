// Package e2e tests Sluice on a real cluster with real pods, from the chart on. Each test has a
// namespace of its own with a shop and clients, and judges by what the clients saw. The tests are
// skipped unless KUBECONFIG_E2E names the kubeconfig of a cluster made by e2e/cluster; make e2e does.
package e2e

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/e2e/harness"
)

// cluster is where all tests run; nil: skip them.
var cluster *harness.Cluster

func TestMain(m *testing.M) {
	if kubeconfig := os.Getenv(harness.EnvKubeconfig); kubeconfig != "" {
		if err := prepare(kubeconfig); err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func prepare(kubeconfig string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c, err := harness.Connect(kubeconfig)
	if err != nil {
		return err
	}
	if err := c.LoadImages(ctx); err != nil {
		return err
	}
	if err := c.Install(ctx, tracing...); err != nil {
		return err
	}
	cluster = c
	return nil
}
