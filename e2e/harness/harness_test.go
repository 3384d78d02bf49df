package harness

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-mesh/sluice/e2e/load/ledger"
)

// The harness by itself, without Sluice: what a native rolling update looks like to a client is what
// the other tests' numbers are measured against.
func TestWithoutMesh(t *testing.T) {
	kubeconfig := os.Getenv(EnvKubeconfig)
	if kubeconfig == "" {
		t.Skipf("needs a cluster: set %s, or use make e2e", EnvKubeconfig)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	c, err := Connect(kubeconfig)
	must(err)
	must(c.loadImages(ctx, func(i Image) bool { return i.Program == "shop" || i.Program == "load" }))
	space, err := c.NewSpace(ctx, t.Name(), false)
	must(err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if t.Failed() {
			if err := space.Dump(ctx, c.Root+"/build/e2e/"+t.Name()); err != nil {
				t.Log(err)
			}
		}
		if err := space.Delete(ctx); err != nil {
			t.Error(err)
		}
	})
	must(space.Deploy(ctx,
		App{Name: "frontend", Version: Version{Name: "v1"}, Replicas: 1, Upstreams: []string{"catalog", "checkout"}},
		App{Name: "catalog", Version: Version{Name: "v1"}, Replicas: 2},
		App{Name: "checkout", Version: Version{Name: "v1"}, Replicas: 1}))
	must(space.AwaitAvailable(ctx, "frontend", "catalog", "checkout"))
	pods, err := space.FollowPods(ctx, "catalog")
	must(err)
	defer pods.Stop()
	loads, err := space.StartLoad(ctx, Clients{Target: "frontend", Counted: "catalog", Rate: 50})
	must(err)
	load := loads[0]
	must(load.Flows(ctx, 100))
	before, err := load.Cut(ctx)
	must(err)
	if diff := cmp.Diff([]string{"v1"}, before.Total.Names()); diff != "" {
		t.Error(diff)
	}

	must(space.Release(ctx, "catalog", Version{Name: "v2", ErrorRate: 0.5}))
	must(space.AwaitAvailable(ctx, "catalog"))
	must(load.Rate(ctx, 100))
	_, err = load.Cut(ctx)
	must(err)
	must(load.Flows(ctx, 200))
	s, err := load.Poll(ctx, "only v2", func(s ledger.Snapshot) bool { return s.Window.Versions["v2"].Requests >= 100 })
	must(err)
	if got := s.Window.Versions["v2"]; got.Bad == 0 || got.Bad > got.Requests*3/4 {
		t.Errorf("v2 answers half of the requests badly; the client saw %+v", got)
	}
	started := 0
	for _, names := range pods.Started() {
		started += len(names)
	}
	if started != 4 {
		t.Errorf("pods started: %v, want 2 a version", pods.Started())
	}

	clients, err := c.Pods(ctx, space.Name, "load")
	must(err)
	if mb, err := ResidentMB(&clients[0], loadContainer); err != nil || mb < 1 || mb > 200 {
		t.Errorf("memory of the client: %v MB, %v", mb, err)
	}
	heal, err := CutOff(ctx, &clients[0], loadContainer, ServicePort)
	must(err)
	before, err = load.Stats(ctx, time.Time{})
	must(err)
	must(heal(ctx))
	must(load.Flows(ctx, 50))
	must(Kill(&clients[0], loadContainer))
	_, err = load.Poll(ctx, "the client to start again", func(s ledger.Snapshot) bool { return s.Started.After(before.Started) })
	must(err)
	body, err := space.Ask(ctx, http.MethodGet, load.Pod, statsPort, "healthz", nil)
	must(err)
	if strings.TrimSpace(string(body)) != "ok" {
		t.Errorf("health: %q", body)
	}
	must(space.Dump(ctx, c.Root+"/build/e2e/"+t.Name()))
}
