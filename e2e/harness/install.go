package harness

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The installation.
const (
	// SystemNamespace is where Sluice is installed.
	SystemNamespace = "sluice-system"
	// release is the name of the Helm release.
	release = "sluice"
	// OperatorDeployment is the operator's, and operatorComponent the label on its pods.
	OperatorDeployment = "sluice-operator"
	operatorComponent  = "operator"
	// ProxyContainer is the sidecar; XDSPort is where it gets its configuration.
	ProxyContainer = "sluice-proxy"
	XDSPort        = 15010
	// shopVersions are the tags that the shop's image gets: the program is the same, its behaviour comes
	// from the environment.
	shopVersions = 5
)

// Image is a static program to be packed.
type Image struct{ Name, Program string }

// Images returns what the cluster needs of this repository.
func Images() []Image {
	images := []Image{
		{"sluice.dev/operator:dev", "operator"},
		{"sluice.dev/proxy:dev", "proxy"},
		{"sluice.dev/load:dev", "load"},
		{"sluice.dev/slackfake:dev", "slackfake"},
	}
	for i := range shopVersions {
		images = append(images, Image{fmt.Sprintf("sluice.dev/shop:v%d", i+1), "shop"})
	}
	return images
}

// LoadImages packs the programs in build/bin and gives them to the cluster.
func (c *Cluster) LoadImages(ctx context.Context) error {
	return c.loadImages(ctx, func(Image) bool { return true })
}

func (c *Cluster) loadImages(ctx context.Context, wanted func(Image) bool) error {
	for _, image := range Images() {
		if !wanted(image) {
			continue
		}
		if _, err := run(ctx, c.Bin("cluster"), "load", "--name", c.Name(), "--image", image.Name, c.Bin(image.Program)+":/"+image.Program); err != nil {
			return fmt.Errorf("load image %s: %w", image.Name, err)
		}
	}
	return nil
}

// Install installs the chart with Helm, or upgrades it, and waits until the operator serves. Operators
// of another program than that in build/bin are replaced, though the image has the same name. Further values
// of the chart are given as name=value.
func (c *Cluster) Install(ctx context.Context, values ...string) error {
	program, err := digest(c.Bin("operator"))
	if err != nil {
		return fmt.Errorf("install chart: %w", err)
	}
	if err := c.ensureSlackSecret(ctx); err != nil {
		return err
	}
	args := append([]string{"upgrade", release, filepath.Join(c.Root, "charts", "sluice"),
		"--install", "--kubeconfig", c.Kubeconfig, "--namespace", SystemNamespace, "--create-namespace",
		"--set", "operator.image.tag=dev", "--set", "proxy.image.tag=dev",
		// The node has two cores and tests have tens of proxies.
		"--set", "proxy.resources.requests.cpu=5m", "--set", "proxy.resources.requests.memory=16Mi",
		"--set", "operator.resources.requests.cpu=20m",
		"--set-string", `operator.podAnnotations.sluice\.dev/program=` + program,
		"--wait", "--timeout", "3m"}, slackValues()...)
	for _, value := range values {
		args = append(args, "--set", value)
	}
	if _, err = run(ctx, c.Bin("helm"), args...); err != nil {
		return fmt.Errorf("install chart: %w", err)
	}
	return nil
}

// digest of a file's content, short.
func digest(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read program: %w", err)
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", fmt.Errorf("read program: %w", err)
	}
	return hex.EncodeToString(hash.Sum(nil))[:16], nil
}

// Uninstall removes the chart.
func (c *Cluster) Uninstall(ctx context.Context) error {
	_, err := run(ctx, c.Bin("helm"), "uninstall", release, "--kubeconfig", c.Kubeconfig, "--namespace", SystemNamespace, "--wait", "--timeout", "5m")
	if err != nil {
		return fmt.Errorf("uninstall chart: %w", err)
	}
	return nil
}

// KubeconfigOf returns the path of the kubeconfig of the cluster of that name.
func KubeconfigOf(cluster string) (string, error) {
	root, err := findRoot()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "build", "cluster", cluster, "kubeconfig")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find cluster %s: %w; start it with make up NAME=%s", cluster, err, cluster)
	}
	return path, nil
}

// ScaleSystem sets the replicas of a Deployment that is part of the installation or of the cluster's
// monitoring, and waits until it has as many.
func (c *Cluster) ScaleSystem(ctx context.Context, namespace, deployment string, replicas int32) error {
	s := &Space{Cluster: c, Name: namespace}
	deployments, err := Follow[*appsv1.Deployment](ctx, c.Client, &appsv1.DeploymentList{},
		client.InNamespace(namespace), client.MatchingFields{"metadata.name": deployment})
	if err != nil {
		return err
	}
	defer deployments.Stop()
	if err := s.Scale(ctx, deployment, replicas); err != nil {
		return err
	}
	return deployments.Await(ctx, fmt.Sprintf("%s to have %d replicas", deployment, replicas), func(all []*appsv1.Deployment) bool {
		return len(all) == 1 && ptr.Deref(all[0].Spec.Replicas, 1) == replicas &&
			all[0].Status.ObservedGeneration >= all[0].Generation &&
			all[0].Status.Replicas == replicas && all[0].Status.AvailableReplicas == replicas
	})
}
