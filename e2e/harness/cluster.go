// Package harness is what the end-to-end tests, the demo and the release benchmark stand on: it
// installs the chart on a real cluster, puts a shop and its clients there, releases versions, watches
// what becomes of them, and reads what clients saw. It judges nothing: its callers do. It takes
// Sluice as a user does, from the chart and the API, and imports nothing of Sluice but the API types.
//
// The cluster's node is the machine that this runs on (see e2e/cluster): SIGKILL, memory and network
// namespaces of pods are reached through /proc, which needs root.
package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gateway "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// EnvKubeconfig names the environment variable with the path of the cluster's kubeconfig. Tests that
// need a cluster are skipped without it.
const EnvKubeconfig = "KUBECONFIG_E2E"

// Cluster is a running cluster. It is safe for concurrent use.
type Cluster struct {
	// Kubeconfig is the path of its kubeconfig; Root is the repository's.
	Kubeconfig, Root string
	Config           *rest.Config
	Client           client.WithWatch
	Kube             kubernetes.Interface
}

// Connect makes a Cluster of a kubeconfig. It does not talk to it yet.
func Connect(kubeconfig string) (*Cluster, error) {
	if kubeconfig == "" {
		return nil, fmt.Errorf("connect to cluster: no kubeconfig; start a cluster with make up and name its kubeconfig in %s", EnvKubeconfig)
	}
	root, err := findRoot()
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	config.QPS, config.Burst = 200, 400
	config.WarningHandlerWithContext = rest.NoWarnings{} // what the API server warns of is seen in what comes of it
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme), gateway.Install(scheme)); err != nil {
		return nil, fmt.Errorf("register types: %w", err)
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	return &Cluster{Kubeconfig: kubeconfig, Root: root, Config: config, Client: c, Kube: kube}, nil
}

// findRoot returns the folder of the repository, looking upwards from the working folder.
func findRoot() (string, error) {
	folder, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find repository: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(folder, "charts")); err == nil {
			return folder, nil
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			return "", errors.New("find repository: no folder above has the charts; run it inside of the repository")
		}
		folder = parent
	}
}

// Bin returns the path of a program that make builds.
func (c *Cluster) Bin(name string) string { return filepath.Join(c.Root, "build", "bin", name) }

// Name returns the cluster's, by which e2e/cluster knows it: that of the folder of its kubeconfig.
func (c *Cluster) Name() string { return filepath.Base(filepath.Dir(c.Kubeconfig)) }

// run runs a program and returns what it printed; an error has the end of it.
func run(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("run %s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, tail(string(out), 2000))
	}
	return string(out), nil
}

func tail(s string, n int) string {
	s = strings.TrimSpace(s)
	if len(s) > n {
		return "..." + s[len(s)-n:]
	}
	return s
}
