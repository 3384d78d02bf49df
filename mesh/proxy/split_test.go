package proxy_test

import (
	"context"
	"io"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// Every request of one kept connection is drawn anew. The bound is 6.2 standard deviations: for an
// unseeded source the false-alarm rate would be below 1e-9 a case (and the source is seeded).
func TestSplitIsDrawnPerRequest(t *testing.T) {
	v1, v2 := says(t, "v1"), says(t, "v2")
	b := newBench(t, nil, nil, nil)
	client := b.client(shopAddress)
	for i, weight := range []uint32{0, 1, 20, 50, 100} {
		b.apply(service("shop", shopAddress, ir.HTTP, release(int64(i), weight), revisions{"v1": {v1}, "v2": {v2}}))
		const n = 600
		canary := 0
		for range n {
			if _, who := get(t, client, "/"); who == "v2" {
				canary++
			}
		}
		share := float64(weight) / 100
		if bound := 6.2 * math.Sqrt(n*share*(1-share)); math.Abs(float64(canary)-n*share) > bound {
			t.Errorf("weight %d: %d of %d requests went to the canary, more than %.0f away", weight, canary, n, bound)
		}
		label := "weight=" + strconv.Itoa(int(weight))
		counted := b.total("reporter=source", "source=front", "source_namespace=web", "service=shop",
			"namespace=demo", "revision=v2", label, "protocol=http", "code=200", "grpc_status=")
		if counted != float64(canary) {
			t.Errorf("weight %d: metrics count %v requests of the canary, it got %d", weight, counted, canary)
		}
		if started := b.metric("sluice_requests_started_total", label); started != n {
			t.Errorf("weight %d: %v requests started, want %d", weight, started, n)
		}
		if seen := b.metric("sluice_request_duration_seconds", label, "code=2xx"); seen != n {
			t.Errorf("weight %d: %v durations, want %d", weight, seen, n)
		}
	}
}

// Without a release requests go to all endpoints alike, and the revision is that of the endpoint.
func TestNoSplitDrawsOverAllEndpoints(t *testing.T) {
	a, b1, c := says(t, "a"), says(t, "b"), says(t, "c")
	b := newBench(t, nil, nil, nil)
	b.apply(service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v1": {a, b1}, "v2": {c}}))
	client := b.client(shopAddress)
	seen := map[string]int{}
	const n = 900
	for range n {
		_, who := get(t, client, "/")
		seen[who]++
	}
	for _, who := range []string{"a", "b", "c"} { // 6.2 standard deviations of a binomial of 1/3
		if math.Abs(float64(seen[who])-n/3) > 6.2*math.Sqrt(n*2.0/9) {
			t.Errorf("endpoint %s got %d of %d requests", who, seen[who], n)
		}
	}
	if got := b.total("revision=v2", "weight="); got != float64(seen["c"]) {
		t.Errorf("metrics count %v of v2, want %d", got, seen["c"])
	}
}

func TestBothRevisionsExistAtZero(t *testing.T) {
	b := newBench(t, nil, nil, nil)
	b.apply(service("shop", shopAddress, ir.HTTP, release(1, 0), revisions{"v1": {says(t, "v1")}}))
	for _, revision := range []string{"revision=v1", "revision=v2"} {
		if got := b.total(revision, "weight=0", "code=200"); got != 0 {
			t.Errorf("requests of %s = %v, want the series at 0", revision, got)
		}
		if got := b.metric("sluice_requests_started_total", revision, "weight=0"); got != 0 {
			t.Errorf("started of %s = %v, want the series at 0", revision, got)
		}
	}
}

// A canary that has lost its endpoints gets nothing, and the requests do not count as those of the asked
// weight, which is not in force.
func TestClampedWeightIsNotTheLabel(t *testing.T) {
	b := newBench(t, nil, nil, nil)
	b.apply(service("shop", shopAddress, ir.HTTP, release(1, 30), revisions{"v1": {says(t, "v1")}}))
	get(t, b.client(shopAddress), "/")
	if got := b.total("revision=v1", "weight=0", "code=200"); got != 1 {
		t.Errorf("counted %v requests at weight 0, want 1:\n%s", got, b.exposition())
	}
	if got := b.metric("sluice_requests_started_total", "weight=30"); got != -1 {
		t.Errorf("series of weight 30 exist while the canary has no endpoint")
	}
}

// Configurations change under load: weights, endpoints that come, drain and go. Nothing is lost.
func TestSwapUnderLoadLosesNothing(t *testing.T) {
	v1, v1b, v2, v2b := says(t, "v1"), says(t, "v1"), says(t, "v2"), says(t, "v2")
	b := newBench(t, nil, nil, nil)
	drained := func(s ir.Service, subset, endpoint int) ir.Service {
		s.Subsets[subset].Endpoints[endpoint].Draining = true
		s.Split = s.Split.WithShares(s.Subsets)
		return s
	}
	mesh := func(epoch int64) ir.Service {
		switch epoch % 5 {
		case 0:
			return service("shop", shopAddress, ir.HTTP, release(epoch, 50), revisions{"v1": {v1, v1b}, "v2": {v2, v2b}})
		case 1:
			return service("shop", shopAddress, ir.HTTP, release(epoch, 0), revisions{"v1": {v1}, "v2": {v2}})
		case 2:
			return service("shop", shopAddress, ir.HTTP, release(epoch, 100), revisions{"v1": {v1b}, "v2": {v2b}})
		case 3:
			return drained(service("shop", shopAddress, ir.HTTP, release(epoch, 30), revisions{"v1": {v1, v1b}, "v2": {v2}}), 0, 0)
		default:
			return service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v1": {v1}})
		}
	}
	b.apply(mesh(0))
	ctx, cancel := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	var served, failed atomic.Int64
	for range 4 {
		client := b.client(shopAddress)
		clients.Go(func() {
			for ctx.Err() == nil {
				response, err := client.Post("http://shop.demo/", "text/plain", strings.NewReader("+body"))
				if err != nil {
					t.Error(err)
					failed.Add(1)
					return
				}
				body, err := io.ReadAll(response.Body)
				response.Body.Close()
				if err != nil || response.StatusCode != http.StatusOK || !strings.HasSuffix(string(body), "+body") {
					t.Errorf("status %d, body %q, %v", response.StatusCode, body, err)
					failed.Add(1)
				}
				served.Add(1)
			}
		})
	}
	for epoch := int64(1); epoch <= 120; epoch++ {
		before := served.Load()
		b.apply(mesh(epoch))
		eventually(t, "requests under the new configuration", func() bool { return served.Load() > before+4 || failed.Load() > 0 })
	}
	cancel()
	clients.Wait()
	if started, ended := b.metric("sluice_requests_started_total"), b.total(); started != ended || ended != float64(served.Load()) {
		t.Errorf("started %v, ended %v, served %d: must be equal", started, ended, served.Load())
	}
	if bad := b.total() - b.total("code=200"); bad != 0 {
		t.Errorf("%v requests counted as other than 200", bad)
	}
}

func TestOlderEpochIsRefused(t *testing.T) {
	v1, v2 := says(t, "v1"), says(t, "v2")
	b := newBench(t, nil, nil, nil)
	b.apply(service("shop", shopAddress, ir.HTTP, release(5, 100), revisions{"v1": {v1}, "v2": {v2}}))
	b.apply(service("shop", shopAddress, ir.HTTP, release(4, 0), revisions{"v1": {v1}, "v2": {v2}}))
	if _, who := get(t, b.client(shopAddress), "/"); who != "v2" {
		t.Errorf("%s answered: an older epoch of the same owner came into force", who)
	}
	// The older one's endpoints count: the canary is gone, so its share goes to stable.
	b.apply(service("shop", shopAddress, ir.HTTP, release(4, 0), revisions{"v1": {v1}}))
	if _, who := get(t, b.client(shopAddress), "/"); who != "v1" {
		t.Errorf("%s answered, want v1", who)
	}
	other := release(1, 100)
	other.Owner = "another"
	b.apply(service("shop", shopAddress, ir.HTTP, other, revisions{"v1": {v1}, "v2": {v2}}))
	if _, who := get(t, b.client(shopAddress), "/"); who != "v2" {
		t.Errorf("%s answered: another owner's epochs are its own", who)
	}
}

// A configuration that is not valid changes nothing, and without a control plane the last one serves.
func TestLastGoodConfigurationServes(t *testing.T) {
	b := newBench(t, nil, nil, nil)
	good := service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v1": {says(t, "v1")}})
	b.apply(good)
	bad := good
	bad.Name = "Not A Name"
	if err := b.Apply(ir.Mesh{Services: []ir.Service{bad}}); err == nil || !strings.Contains(err.Error(), "Not A Name") {
		t.Errorf("Apply of an invalid mesh: %v, want an error that names the service", err)
	}
	if code, who := get(t, b.client(shopAddress), "/"); code != 200 || who != "v1" {
		t.Errorf("after a rejected configuration: %d %s", code, who)
	}
	if got := b.metric("sluice_proxy_configurations_rejected_total"); got != 1 {
		t.Errorf("rejected configurations = %v, want 1", got)
	}
}

// Calls to a pod's own address join the split of the one headless service that claims it while a release
// is on, and go where they were sent otherwise.
func TestHeadless(t *testing.T) {
	v1, v2 := says(t, "v1"), says(t, "v2")
	b := newBench(t, nil, []netip.AddrPort{v1}, nil)
	headless := netip.AddrPortFrom(netip.Addr{}, 80)
	client := b.client(v1)
	answers := func() string { _, who := get(t, client, "/"); return who }
	b.apply(service("shop", headless, ir.HTTP, release(1, 100), revisions{"v1": {v1}, "v2": {v2}}))
	if who := answers(); who != "v2" {
		t.Errorf("in a release %s answered, want the split's v2", who)
	}
	b.apply(service("shop", headless, ir.HTTP, ir.Split{}, revisions{"v1": {v1}, "v2": {v2}}))
	client.CloseIdleConnections()
	if who := answers(); who != "v1" {
		t.Errorf("without a release %s answered, want v1, which was called", who)
	}
	b.apply(service("shop", headless, ir.HTTP, release(2, 100), revisions{"v1": {v1}, "v2": {v2}}),
		service("shop-too", headless, ir.HTTP, ir.Split{}, revisions{"v1": {v1}}))
	client.CloseIdleConnections()
	if who := answers(); who != "v1" {
		t.Errorf("claimed by two services, %s answered, want v1, which was called", who)
	}
}
