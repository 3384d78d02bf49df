package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/e2e/harness"
)

// collectorSpace is where TestTraces has its collector.
const collectorSpace = "e2e-collector"

// tracing are the chart's values for traces, for all tests: spans go to a collector that is there in
// TestTraces only, and no proxy begins a trace, so that there are none of requests of other tests.
var tracing = []string{"proxy.tracing.endpoint=http://" + shop + "." + collectorSpace + "/v1/traces", "proxy.tracing.share=0"}

// quiet is a world without a Rollout, and a client that sends nothing but what it is told.
func quiet(t *testing.T, version harness.Version) *world {
	t.Helper()
	ctx := needCluster(t, 0)
	w := &world{Space: newSpace(ctx, t), t: t, ctx: ctx}
	w.must(w.Deploy(ctx, harness.App{Name: shop, Version: version, Replicas: 1}))
	w.must(w.AwaitAvailable(ctx, shop))
	w.load = w.client(harness.Clients{Target: shop})
	return w
}

// pod returns the only one of an application.
func (w *world) pod(app string) corev1.Pod {
	w.t.Helper()
	pods, err := w.PodsOf(w.ctx, app)
	w.must(err)
	if len(pods) != 1 {
		w.t.Fatalf("%d pods of %s, want 1", len(pods), app)
	}
	return pods[0]
}

// Failed requests, and those alone, are in the access logs of both proxies on their way, with all that the
// documentation says of them.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	w := quiet(t, harness.Version{Name: "v1", ErrorRate: 0.5})
	w.must(w.Create(w.ctx, harness.App{Name: "nobody"}.Service()))
	w.must(w.Create(w.ctx, &v1alpha1.TrafficPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "nobody"},
		Spec: v1alpha1.TrafficPolicySpec{TargetRef: v1alpha1.TargetRef{Name: "nobody"}, Rules: []v1alpha1.TrafficRule{{
			Matches:  []v1alpha1.RequestMatch{{Path: &v1alpha1.PathMatch{Value: "/"}}},
			Timeouts: &v1alpha1.TimeoutPolicy{Request: &metav1.Duration{Duration: 5 * time.Second}},
		}}},
	}))
	client, server := w.pod("load"), w.pod(shop)

	statuses := map[string]int{} // by request ID
	for range 20 {
		id := fmt.Sprintf("request-%d", len(statuses))
		a, err := w.load.Fetch(w.ctx, "http://"+shop+"/cart?secret=1", map[string]string{"x-request-id": id, "user-agent": "e2e"})
		w.must(err)
		statuses[id] = a.Status
	}
	w.logf("statuses %v", statuses)
	// Without a rule in force, connections to a Service without pods go straight on, and the network refuses them.
	w.await("an answer for a Service without pods", func() (bool, error) {
		a, err := w.load.Fetch(w.ctx, "http://nobody/", map[string]string{"x-request-id": "to-nobody"})
		return a.Status == 503 && a.Header.Get("Server") == "sluice" && strings.Contains(a.Body, w.Name+"/nobody"), err
	})

	var outbound, inbound map[string]harness.AccessLogLine
	w.await("access logs", func() (bool, error) {
		var err, other error
		outbound, err = w.accessLog(client.Name)
		if err == nil {
			inbound, other = w.accessLog(server.Name)
			err = other
		}
		_, last := outbound["to-nobody"]
		return last && len(inbound) >= len(outbound)-1, err
	})
	revision := server.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
	for id, status := range statuses {
		out, logged := outbound[id]
		in, arrived := inbound[id]
		if logged != (status == 500) || arrived != (status == 500) {
			t.Errorf("%s with status %d: logged by the caller's proxy %v, by the other one %v", id, status, logged, arrived)
			continue
		}
		if !logged {
			continue
		}
		for direction, line := range map[string]harness.AccessLogLine{"outbound": out, "inbound": in} {
			if line.Direction != direction || line.Protocol != "HTTP/1.1" || line.Method != "GET" || line.Path != "/cart" ||
				line.Authority != shop || line.UserAgent != "e2e" || line.Service != w.Name+"/"+shop || line.Time.IsZero() ||
				line.Code == nil || *line.Code != 500 || line.Tries == nil || *line.Tries != 1 || line.GRPCStatus != nil ||
				line.RequestBytes == nil || *line.RequestBytes != 0 || line.ResponseBytes == nil || *line.ResponseBytes == 0 ||
				line.Duration <= 0 || line.Revision != revision || line.Reason != "" || line.TraceID != "" || line.Rule != "" {
				t.Errorf("%s: %+v", direction, line)
			}
		}
		if addressOf(out.Caller) != client.Status.PodIP || out.Endpoint != server.Status.PodIP+":8080" {
			t.Errorf("caller %s, endpoint %s; want %s and %s:8080", out.Caller, out.Endpoint, client.Status.PodIP, server.Status.PodIP)
		}
		if addressOf(in.Caller) != client.Status.PodIP || !strings.HasSuffix(in.Endpoint, ":8080") {
			t.Errorf("inbound: caller %s, endpoint %s", in.Caller, in.Endpoint)
		}
	}
	if last := outbound["to-nobody"]; last.Reason == "" || last.Endpoint != "" || last.Service != w.Name+"/nobody" ||
		last.Rule != "TrafficPolicy/"+w.Name+"/nobody/0" || last.Code == nil || *last.Code != 0 {
		t.Errorf("of a Service without pods: %+v", last)
	}
}

func addressOf(addressAndPort string) string {
	a, err := netip.ParseAddrPort(addressAndPort)
	if err != nil {
		return ""
	}
	return a.Addr().Unmap().String()
}

// accessLog returns the lines of a pod's proxy by request ID.
func (w *world) accessLog(pod string) (map[string]harness.AccessLogLine, error) {
	lines, err := w.AccessLog(w.ctx, pod)
	by := map[string]harness.AccessLogLine{}
	for _, line := range lines {
		by[line.RequestID] = line
	}
	return by, err
}

// A trace that comes with a request goes on through both proxies, and the collector of the chart's values gets
// their spans, one below the other; a request without a trace, or whose trace is not recorded, has none.
func TestTraces(t *testing.T) {
	t.Parallel()
	ctx := needCluster(t, 0)
	collector, err := cluster.FixedSpace(ctx, collectorSpace, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := collector.Delete(ctx); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	if err := collector.Deploy(ctx, harness.App{Name: shop, Version: v1, Replicas: 1, Collector: true}); err != nil {
		t.Fatal(err)
	}
	w := quiet(t, v1)
	w.must(collector.AwaitAvailable(ctx, shop))
	at, err := collector.PodsOf(ctx, shop)
	w.must(err)

	const trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for _, header := range []map[string]string{
		nil,
		{"traceparent": "00-" + strings.Repeat("1", 32) + "-" + parent + "-00"},
		{"traceparent": "00-" + trace + "-" + parent + "-01"},
	} {
		a, err := w.load.Fetch(ctx, "http://"+shop+"/cart?secret=1", header)
		w.must(err)
		if a.Status != 200 {
			t.Errorf("status %d", a.Status)
		}
	}
	var spans []harness.Span
	w.await("two spans", func() (bool, error) {
		spans, err = collector.Spans(ctx, at[0].Name)
		return len(spans) >= 2, err
	})
	slices.SortFunc(spans, func(a, b harness.Span) int { return b.Kind - a.Kind })
	if len(spans) != 2 {
		t.Fatalf("spans: %+v", spans)
	}
	out, in := spans[0], spans[1]
	if out.Trace != trace || out.Parent != parent || out.Kind != 3 || in.Trace != trace || in.Parent != out.ID || in.Kind != 2 {
		t.Errorf("spans do not follow each other: %+v", spans)
	}
	for pod, span := range map[string]harness.Span{"load": out, shop: in} {
		want := map[string]string{"service.name": pod, "service.namespace": w.Name, "k8s.pod.name": w.pod(pod).Name}
		for key, value := range want {
			if span.From[key] != value {
				t.Errorf("%s: %s is %q, want %q", span.Name, key, span.From[key], value)
			}
		}
		want = map[string]string{
			"http.request.method": "GET", "http.response.status_code": "200", "url.path": "/cart", "server.address": shop,
			"sluice.service": w.Name + "/" + shop, "sluice.revision": w.pod(shop).Labels[appsv1.DefaultDeploymentUniqueLabelKey],
		}
		for key, value := range want {
			if span.Attributes[key] != value {
				t.Errorf("%s of %s: %s is %q, want %q", span.Name, pod, key, span.Attributes[key], value)
			}
		}
	}
}

// A proxy has what its pod calls and nothing else, of however many Services, and tells the release's split.
func TestConfigurationOnDemand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{steps: []v1alpha1.Step{harness.Weight(20), harness.Pause()}})
	for i := range 30 {
		w.must(w.Create(w.ctx, harness.App{Name: fmt.Sprintf("other-%d", i)}.Service()))
	}
	// One more that is called: from now on it is there too.
	w.must(w.Deploy(w.ctx, harness.App{Name: "called", Version: v3, Replicas: 1}))
	w.must(w.AwaitAvailable(w.ctx, "called"))
	w.must(w.AwaitListed(w.ctx, "called", 1))
	names := func(want ...string) {
		t.Helper()
		for i := range want {
			want[i] = w.Name + "/" + want[i]
		}
		config, err := w.ProxyConfig(w.ctx, w.load.Pod)
		w.must(err)
		if diff := cmp.Diff(want, config.Names()); diff != "" {
			t.Errorf("services that the client's proxy has: %s", diff)
		}
	}
	names(shop)
	a, err := w.load.Fetch(w.ctx, "http://called/", nil)
	w.must(err)
	if a.Status != 200 {
		t.Errorf("status %d: %s", a.Status, a.Body)
	}
	names("called", shop)

	w.release(v2)
	o := w.waits(1, 1)
	stable, canary := o.Status.Stable.Hash, o.Status.Canary.Hash
	config, err := w.ProxyConfig(w.ctx, w.load.Pod)
	w.must(err)
	split := config.Services[1].Split
	if split.Weight != 20 || split.Stable != stable || split.Canary != canary {
		t.Errorf("split %+v, want 20 %% of %s, else %s", split, canary, stable)
	}
	if diff := cmp.Diff(map[string]uint32{stable: 80, canary: 20}, split.Shares); diff != "" {
		t.Errorf("shares: %s", diff)
	}
	page, err := w.ProxyPage(w.ctx, w.load.Pod)
	w.must(err)
	for _, words := range []string{
		w.Name + "/" + shop, fmt.Sprintf("stable %s 80 %%", stable), fmt.Sprintf("canary %s 20 %%", canary), "control plane  connected to", "access log     errors",
	} {
		if !strings.Contains(page, words) {
			t.Errorf("the page does not say %q:\n%s", words, page)
		}
	}
	// Every pod behind the service knows it, and nothing else.
	pods, err := w.PodsOf(w.ctx, shop)
	w.must(err)
	for _, pod := range pods {
		config, err := w.ProxyConfig(w.ctx, pod.Name)
		w.must(err)
		if diff := cmp.Diff([]string{w.Name + "/" + shop}, config.Names()); diff != "" {
			t.Errorf("services that %s has: %s", pod.Name, diff)
		}
	}
	w.order(v1alpha1.VerbAbort)
	w.ends(1, v1alpha1.OutcomeRolledBack)
	w.nothingLost(w.load)
}
