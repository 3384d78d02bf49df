package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/e2e/cluster"
	"github.com/sluice-mesh/sluice/e2e/cluster/addon"
	"github.com/sluice-mesh/sluice/e2e/cluster/component"
	"github.com/sluice-mesh/sluice/e2e/cluster/host"
	"github.com/sluice-mesh/sluice/e2e/cluster/image"
	"github.com/sluice-mesh/sluice/e2e/cluster/supervisor"
)

// ask is the environment variable without which the test of real clusters is skipped. It needs root
// and the programs in build/bin: make test-cluster.
const ask = "SLUICE_CLUSTER_TEST"

const programs = "../../build/bin"

// TestMain lets this program be the supervisor of the clusters that it starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == cluster.SuperviseArgument {
		if err := supervisor.Run(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestTwoClustersSideBySide(t *testing.T) {
	if os.Getenv(ask) == "" {
		t.Skipf("set %s to start real clusters", ask)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	peer := buildPeer(t)

	parent := t.TempDir()
	var all []*running
	for _, name := range []string{"test-a", "test-b"} {
		target, err := cluster.At(name, filepath.Join(parent, name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, &running{Cluster: target, t: t})
		t.Cleanup(func() {
			if err := target.Down(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	var group sync.WaitGroup
	for _, c := range all {
		group.Go(func() { c.up(ctx) })
	}
	group.Wait()
	if t.Failed() {
		t.FailNow()
	}
	a, b := all[0], all[1]
	if a.state.Plan.Block.Overlaps(b.state.Plan.Block) {
		t.Fatalf("both clusters have %v", a.state.Plan.Block)
	}

	for _, c := range all {
		t.Run(c.Name, func(t *testing.T) {
			c := &running{Cluster: c.Cluster, t: t, state: c.state}
			if err := c.Load(ctx, image.Spec{Name: "sluice/peer:dev", Files: []image.File{peer}, User: "65532"}); err != nil {
				t.Fatal(err)
			}
			c.testPods(ctx)
			c.testOrders(ctx)
		})
	}

	t.Run("down leaves nothing", func(t *testing.T) {
		if err := a.Down(ctx); err != nil {
			t.Fatal(err)
		}
		a.requireNothingLeft(t)
		if err := a.Down(ctx); err != nil {
			t.Errorf("second down: %v", err)
		}
		if _, err := b.Running(); err != nil {
			t.Errorf("the other cluster: %v", err)
		}
	})

	t.Run("a killed supervisor leaves nothing that runs", func(t *testing.T) {
		if processes := b.processes(t); len(processes) < 10 {
			t.Fatalf("found only the processes %v of the cluster: the test looks in the wrong place", processes)
		}
		if err := b.state.Supervisor.Kill(ctx); err != nil {
			t.Fatal(err)
		}
		if processes := b.processes(t); len(processes) > 0 {
			t.Errorf("processes %v are left", processes)
		}
		if _, err := b.Running(); !errors.Is(err, cluster.ErrNotUp) {
			t.Errorf("got error %v, want %v", err, cluster.ErrNotUp)
		}
		if err := b.Down(ctx); err != nil {
			t.Fatal(err)
		}
		b.requireNothingLeft(t)
	})
}

func TestUpLeavesNothingWhenInterrupted(t *testing.T) {
	if os.Getenv(ask) == "" {
		t.Skipf("set %s to start real clusters", ask)
	}
	target, err := cluster.At("test-c", filepath.Join(t.TempDir(), "test-c"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- target.Up(ctx, options()) }()
	var state cluster.State
	err = host.Poll(t.Context(), func() bool {
		state, err = target.Running()
		return err == nil && state.Link != 0
	})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v", err)
	}
	(&running{Cluster: target, state: state}).requireNothingLeft(t)
}

// running is a cluster under test.
type running struct {
	cluster.Cluster
	state cluster.State
	t     *testing.T
}

func options() cluster.Options {
	return cluster.Options{
		Programs: programs, Addons: addon.Options{ScrapeInterval: time.Second},
		Timeout: 2 * time.Minute, Progress: cluster.NewProgress(os.Stderr),
	}
}

func (c *running) up(ctx context.Context) {
	if err := c.Up(ctx, options()); err != nil {
		c.t.Error(err)
		return
	}
	state, err := c.Running()
	if err != nil {
		c.t.Error(err)
	}
	c.state = state
}

const pods = `
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: server}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: peer
    image: sluice/peer:dev
    imagePullPolicy: Never
    args: [serve, ":8080"]
    ports: [{name: metrics, containerPort: 8080}]
    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: server}
spec:
  selector: {app: server}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  restartPolicy: Never
  containers:
  - name: peer
    image: sluice/peer:dev
    imagePullPolicy: IfNotPresent
    args: [get, "http://server.default.svc.cluster.local"]
---
apiVersion: v1
kind: Pod
metadata: {name: redirected}
spec:
  restartPolicy: Never
  containers:
  - name: peer
    image: sluice/peer:dev
    imagePullPolicy: Never
    args: [redirect-and-get, "http://server.default.svc.cluster.local"]
    securityContext: {runAsUser: 0, capabilities: {drop: [ALL], add: [NET_ADMIN]}}
`

func (c *running) testPods(ctx context.Context) {
	manifests := strings.Split(pods, "---")
	c.kubectl(ctx, manifests[0]+"---"+manifests[1], "apply", "--filename", "-")
	c.kubectl(ctx, "", "wait", "pod/server", "--for=condition=Ready", "--timeout=60s")
	c.kubectl(ctx, manifests[2]+"---"+manifests[3], "apply", "--filename", "-")
	for pod, want := range map[string]string{
		"client":     "hello from server",     // by name and Service
		"redirected": "hello from redirected", // the same request came back to itself
	} {
		c.kubectl(ctx, "", "wait", "pod/"+pod, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
		if got := c.kubectl(ctx, "", "logs", pod); strings.TrimSpace(got) != want {
			c.t.Errorf("pod %s got %q, want %q", pod, got, want)
		}
	}
	if out := c.kubectl(ctx, "", "exec", "server", "--", "/peer", "get", "http://127.0.0.1:8080"); !strings.Contains(out, "hello") {
		c.t.Errorf("exec in pod: %q", out)
	}
	// From the host, without anything of Kubernetes in between.
	for _, path := range []string{"{.status.podIP}:8080", "{.spec.clusterIP}"} {
		kind := "pod"
		if strings.Contains(path, "clusterIP") {
			kind = "service"
		}
		address := c.kubectl(ctx, "", "get", kind, "server", "--output", "jsonpath="+path)
		if got, err := fetch(ctx, "http://"+address); err != nil || got != "hello from server\n" {
			c.t.Errorf("%s from the host: %q, %v", address, got, err)
		}
	}
	c.awaitScrape(ctx)
}

// awaitScrape waits until Prometheus has seen the pod's metrics port.
func (c *running) awaitScrape(ctx context.Context) {
	query := fmt.Sprintf("http://%s:9090/api/v1/query?query=peer_info", c.state.Plan.Prometheus())
	var got string
	var err error
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if host.Poll(ctx, func() bool {
		got, err = fetch(ctx, query)
		return strings.Contains(got, `"pod":"server"`)
	}) != nil {
		c.t.Errorf("prometheus has no sample of the pod: %s, %v", got, err)
		return
	}
	for _, label := range []string{`"namespace":"default"`, `"container":"peer"`, `"node":"` + c.Name + `"`} {
		if !strings.Contains(got, label) {
			c.t.Errorf("the sample has no %s: %s", label, got)
		}
	}
}

func (c *running) testOrders(ctx context.Context) {
	api := fmt.Sprintf("https://%s:6443/readyz", c.state.Plan.Node)
	reachable := func() bool {
		_, err := fetch(ctx, api)
		return err == nil || strings.Contains(err.Error(), "x509")
	}
	if !reachable() {
		c.t.Fatal("the API server cannot be reached from the host")
	}
	if err := c.Control().Order(ctx, component.APIServer, supervisor.Stop, true); err != nil {
		c.t.Fatal(err)
	}
	if reachable() {
		c.t.Error("the API server answers after it was stopped")
	}
	if err := c.Control().Order(ctx, component.APIServer, supervisor.Start, false); err != nil {
		c.t.Fatal(err)
	}
	if !reachable() {
		c.t.Error("the API server does not answer after it was started")
	}
	if err := c.Control().Order(ctx, "nobody", supervisor.Start, false); err == nil {
		c.t.Error("an unknown component was started")
	}
}

func (c *running) kubectl(ctx context.Context, input string, args ...string) string {
	c.t.Helper()
	command := exec.CommandContext(ctx, filepath.Join(programs, "kube"), append([]string{"kubectl"}, args...)...)
	command.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(), "KUBECACHEDIR="+c.t.TempDir())
	command.Stdin = strings.NewReader(input)
	out, err := command.CombinedOutput()
	if err != nil {
		c.t.Fatalf("kubectl %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// processes returns those of the machine that are in the cluster's cgroup.
func (c *running) processes(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(content), string(c.state.Cgroup)+"/") {
			found = append(found, filepath.Base(filepath.Dir(file)))
		}
	}
	return found
}

func (c *running) requireNothingLeft(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(c.Folder); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is left: %v", err)
	}
	if c.state.Cgroup.Exists() {
		t.Errorf("the cgroup %s is left", c.state.Cgroup)
	}
	if host.LinkExists(c.state.Link) {
		t.Errorf("the interface %s is left", c.state.Plan.Interface())
	}
	if processes := c.processes(t); len(processes) > 0 {
		t.Errorf("processes %v are left", processes)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), c.Folder) {
		t.Errorf("mounts are left:\n%s", mounts)
	}
}

func buildPeer(t *testing.T) image.File {
	t.Helper()
	program := filepath.Join(t.TempDir(), "peer")
	command := exec.Command("go", "build", "-o", program, "./internal/peer")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return image.File{Source: program, Target: "/peer"}
}

func fetch(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return string(body), err
}
