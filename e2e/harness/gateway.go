package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

// InstallGatewayAPI installs those kinds of the Gateway API that Sluice knows, as they are in the module that
// it is built with, and returns when they can be used. They stay: installing them again changes nothing.
func (c *Cluster) InstallGatewayAPI(ctx context.Context) error {
	list := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api")
	list.Dir = c.Root
	module, err := list.Output()
	if err != nil {
		return fmt.Errorf("find module of the Gateway API: %w", err)
	}
	for _, kinds := range []string{"httproutes", "grpcroutes", "referencegrants"} {
		path := filepath.Join(strings.TrimSpace(string(module)), "config", "crd", "standard", "gateway.networking.k8s.io_"+kinds+".yaml")
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read definition: %w", err)
		}
		crd := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, crd); err != nil {
			return fmt.Errorf("read definition of %s: %w", kinds, err)
		}
		if err := c.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(crd), client.FieldOwner("e2e"), client.ForceOwnership); err != nil {
			return fmt.Errorf("install %s: %w", kinds, err)
		}
	}
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := c.Client.List(ctx, &gateway.HTTPRouteList{}, client.Limit(1))
		if err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for the Gateway API to be served: %w", errors.Join(context.Cause(ctx), err))
		}
	}
}
