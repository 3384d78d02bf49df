package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/xds/server"
)

// TestPod runs the program as a pod does, in a network namespace of its own: `redirect` as root, `run` as
// its own user, an application that knows of nothing, a control plane that comes and goes.
func TestPod(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: makes a network namespace and loads nftables rules")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs the ip program of iproute2 to lay out the test's network")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	out, err := enterWorld(ctx, "TestWorld")
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	if !strings.Contains(out, "--- PASS: TestWorld") {
		t.Fatalf("the world did not run:\n%s", out)
	}
}

// enterWorld runs one test in a network namespace of its own.
func enterWorld(ctx context.Context, test string, env ...string) (string, error) {
	world := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^"+test+"$", "-test.v")
	world.Env = append(append(os.Environ(), asWorld+"=1"), env...)
	world.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := world.CombinedOutput()
	return string(out), err
}

const (
	podAddress = "10.77.0.2"
	virtual    = "10.96.0.10"
	user       = 15099
)

// TestWorld is the inside of TestPod.
func TestWorld(t *testing.T) {
	if os.Getenv(asWorld) == "" {
		t.Skip("runs inside TestPod")
	}
	layOut(t)
	control, hangUp := controlPlane(t, shop(1, 100))
	defer hangUp()
	state := t.TempDir()
	openTo(t, state)
	if out, err := start(t, 0, state, "redirect").CombinedOutput(); err != nil {
		t.Fatalf("redirect: %v: %s", err, out)
	}
	run := start(t, user, state, "run")
	begin(t, run)
	waitFor(t, "/startup", func() bool { return status("/startup") == 200 })

	if who := ask(t); who != "v2" {
		t.Errorf("%q answered at weight 100, want v2", who)
	}
	if err := control.Publish(shop(2, 0)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "weight 0 to be live", func() bool {
		return control.Convergence(server.Query{Namespace: "demo", Service: "shop", Owner: "rollout", Epoch: 2}).Live()
	})
	if who := ask(t); who != "v1" {
		t.Errorf("%q answered although weight 0 was live, want v1", who)
	}

	hangUp()
	if who := ask(t); who != "v1" {
		t.Errorf("%q answered without a control plane, want v1", who)
	}
	waitFor(t, "the stored configuration", func() bool {
		_, err := os.Stat(filepath.Join(state, "configuration"))
		return err == nil
	})
	end(t, run)

	// A proxy that starts again without a control plane goes on with what it knew.
	again := start(t, user, state, "run")
	begin(t, again)
	waitFor(t, "/startup from the store", func() bool { return status("/startup") == 200 })
	if who := ask(t); who != "v1" {
		t.Errorf("%q answered from the stored configuration, want v1", who)
	}
	var dump struct {
		Services []struct{ Split struct{ Epoch int64 } }
	}
	response, err := http.Get("http://127.0.0.1:15020/config")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&dump); err != nil || len(dump.Services) != 1 || dump.Services[0].Split.Epoch != 2 {
		t.Errorf("/config = %+v, %v; want epoch 2", dump, err)
	}
	end(t, again)
}

// layOut makes the pod's network and its service's pods.
func layOut(t *testing.T) {
	t.Helper()
	for _, args := range []string{
		"link set lo up", "link add eth0 type veth peer name other", "link set eth0 up", "link set other up",
		"addr add " + podAddress + "/24 dev eth0", "addr add 10.77.0.21/24 dev eth0", "addr add 10.77.0.22/24 dev eth0",
		"route add default via 10.77.0.1",
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	application(t, "10.77.0.21:8080", "v1")
	application(t, "10.77.0.22:8080", "v2")
}

// shop is a mesh of one service in a release.
func shop(epoch int64, weight uint32) ir.Mesh {
	pod := func(revision, address string) ir.Subset {
		return ir.Subset{Name: revision, Endpoints: []ir.Endpoint{{
			Address: netip.MustParseAddr(address), Ports: map[string]uint16{"http": 8080},
		}}}
	}
	s := ir.Service{
		Namespace: "demo", Name: "shop", Addresses: []netip.Addr{netip.MustParseAddr(virtual)},
		Ports:   []ir.Port{{Name: "http", Number: 80, Protocol: ir.HTTP}},
		Subsets: []ir.Subset{pod("v1", "10.77.0.21"), pod("v2", "10.77.0.22")},
	}
	s.Split = ir.Split{Owner: "rollout", Epoch: epoch, Weight: weight, Stable: "v1", Canary: "v2"}.WithShares(s.Subsets)
	return ir.Mesh{Services: []ir.Service{s}}
}

// controlPlane serves a mesh; stop ends it.
func controlPlane(t *testing.T, mesh ir.Mesh) (control *server.Server, stop func()) {
	t.Helper()
	control = server.New(server.Options{Replica: "r1", Logger: slog.New(slog.DiscardHandler)})
	if err := control.Publish(mesh); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:15010")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- control.Serve(ctx, listener) }()
	return control, sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("control plane: %v", err)
		}
	})
}

// openTo lets other users into a test's directory.
func openTo(t *testing.T, dir string) {
	t.Helper()
	for ; dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
}

func application(t *testing.T, address, name string) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	app := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, name)
		io.Copy(w, r.Body)
	}))
	app.Listener.Close()
	app.Listener = listener
	app.Start()
	t.Cleanup(app.Close)
}

// start prepares the program as a user.
func start(t *testing.T, uid uint32, state string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), asProxy+"=1", "GORACE=atexit_sleep_ms=0",
		"SLUICE_XDS_ADDRESS=127.0.0.1:15010", "POD_NAME=front-1", "POD_NAMESPACE=web", "POD_IP="+podAddress,
		"HOST_IP=10.77.0.1", "SLUICE_SOURCE=front", "SLUICE_STATE="+state, "SLUICE_DRAIN=2s", "SLUICE_STARTUP_GRACE=30s")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	return cmd
}

func begin(t *testing.T, cmd *exec.Cmd) {
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
}

func end(t *testing.T, cmd *exec.Cmd) {
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

func status(path string) int {
	response, err := http.Get("http://127.0.0.1:15020" + path)
	if err != nil {
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

// ask calls the service as an application does.
func ask(t *testing.T) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	response, err := client.Get(fmt.Sprintf("http://%s/", virtual))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}
