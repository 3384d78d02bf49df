package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-mesh/sluice/analysis/stats"
	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/e2e/figure"
	"github.com/sluice-mesh/sluice/e2e/harness"
	"github.com/sluice-mesh/sluice/e2e/load/ledger"
)

// promote releases a good version of a Deployment of 4 through ten weights at 500 requests a second.
func (b *bench) promote(ctx context.Context, space *harness.Space) error {
	var steps []v1alpha1.Step
	for weight := int32(10); weight <= 100; weight += 10 {
		steps = append(steps, harness.Weight(weight))
	}
	const replicas = 4
	w, err := newWorld(ctx, space, setting{replicas: replicas, clients: 1, rate: 500, steps: steps, analysis: time.Second})
	if err != nil {
		return err
	}
	defer w.stop()
	load := w.loads[0]
	if _, err := load.Cut(ctx); err != nil {
		return err
	}
	if err := w.Release(ctx, shop, harness.Version{Name: "v2"}); err != nil {
		return err
	}
	o, err := w.ends(ctx, 1, v1alpha1.OutcomePromoted)
	if err != nil {
		return err
	}
	if err := w.pods.OnlyRevision(ctx, o.Status.Stable.Hash, replicas); err != nil {
		return err
	}
	if err := load.Flows(ctx, 1000); err != nil {
		return err
	}
	s, err := load.Stats(ctx, time.Time{})
	if err != nil {
		return err
	}
	if s.Skipped > 0 {
		return fmt.Errorf("the client could not keep its rate: %d requests were not sent", s.Skipped)
	}
	started := 0
	for _, names := range w.pods.Started() {
		started += len(names)
	}
	b.give("failed_requests_promote", "requests", float64(s.Window.Lost), "of %d; %v", s.Window.Done, s.Window.Reasons)
	b.give("pods_started_promote", "pods", float64(started-replicas), "%v; restarts: %v", w.pods.Started(), w.pods.Restarts())
	return nil
}

// failures is how many failing versions detect releases.
const failures = 3

// detect releases versions of which half of the answers are bad, at weight 10 and 200 requests a second.
func (b *bench) detect(ctx context.Context, space *harness.Space) error {
	w, err := newWorld(ctx, space, setting{
		replicas: 2, clients: 1, rate: 200, analysis: 30 * time.Second,
		steps: []v1alpha1.Step{harness.Weight(10)},
	})
	if err != nil {
		return err
	}
	defer w.stop()
	load := w.loads[0]
	var seconds, bad []float64
	for i := range failures {
		name := fmt.Sprintf("v%d", i+2)
		if _, err := load.Cut(ctx); err != nil {
			return err
		}
		if err := w.Release(ctx, shop, harness.Version{Name: name, ErrorRate: 0.5}); err != nil {
			return err
		}
		if _, err := w.ends(ctx, int64(i+1), v1alpha1.OutcomeRolledBack); err != nil {
			return err
		}
		if err := load.Flows(ctx, 200); err != nil {
			return err
		}
		s, err := load.Stats(ctx, time.Time{})
		if err != nil {
			return err
		}
		v := s.Window.Versions[name]
		if v.FirstBad == nil {
			return fmt.Errorf("no client saw a bad answer of %s", name)
		}
		seconds = append(seconds, v.LastBad.Sub(*v.FirstBad).Seconds())
		bad = append(bad, float64(v.Bad))
	}
	b.give("detect_to_zero_s", "s", figure.Percentile(seconds, 100), "%.2f", seconds)
	b.give("bad_responses", "responses", figure.Percentile(bad, 100), "%.0f", bad)
	return nil
}

// splitRequests is how many requests are counted at each weight.
const splitRequests = 10_000

// split counts who answers at five weights, and measures memory after a minute of 1,000 requests a
// second.
func (b *bench) split(ctx context.Context, space *harness.Space) error {
	weights := []int32{1, 10, 25, 50, 90}
	var steps []v1alpha1.Step
	for _, weight := range weights {
		steps = append(steps, harness.Weight(weight), harness.Pause())
	}
	w, err := newWorld(ctx, space, setting{replicas: 2, clients: 1, rate: 600, steps: steps, analysis: time.Second})
	if err != nil {
		return err
	}
	defer w.stop()
	if err := w.Release(ctx, shop, harness.Version{Name: "v2"}); err != nil {
		return err
	}
	ok, notes := 1.0, ""
	for i, weight := range weights {
		n, x, err := w.countAt(ctx, int32(2*i+1), weight)
		if err != nil {
			return err
		}
		share := float64(weight) / 100
		// Two sides of 0.05 % each.
		if stats.BinomialTail(x, n, share) < 0.0005 || stats.BinomialHead(x, n, share) < 0.0005 {
			ok = 0
		}
		notes += fmt.Sprintf("%d %%: %d of %d; ", weight, x, n)
		if err := w.Command(ctx, shop, v1alpha1.VerbResume); err != nil {
			return err
		}
	}
	if _, err := w.ends(ctx, 1, v1alpha1.OutcomePromoted); err != nil {
		return err
	}
	b.give("split_error_ok", "bool", ok, "%s", notes)
	return b.proxyMemory(ctx, w)
}

// countAt waits until the release waits at the step, and counts requests that begin then.
func (w *world) countAt(ctx context.Context, index, weight int32) (n, x uint64, err error) {
	_, err = w.rollout.Until(ctx, fmt.Sprintf("release to wait at weight %d", weight), func(o *v1alpha1.Rollout) bool {
		return harness.Attempt(o) == 1 && o.Status.Step != nil && o.Status.Step.Index == index && o.Status.Weight.Live == weight
	})
	if err != nil {
		return 0, 0, err
	}
	load := w.loads[0]
	if _, err := load.Cut(ctx); err != nil {
		return 0, 0, err
	}
	s, err := load.Poll(ctx, fmt.Sprintf("%d answers", splitRequests), func(s ledger.Snapshot) bool { return s.Window.Done >= splitRequests })
	if err != nil {
		return 0, 0, err
	}
	if s.Window.Lost > 0 {
		return 0, 0, fmt.Errorf("%d requests were lost at weight %d: %v", s.Window.Lost, weight, s.Window.Reasons)
	}
	return s.Window.Done, s.Window.Versions["v2"].Requests, nil
}

// proxyMemory measures all sidecars after a minute of 1,000 requests a second from one client.
func (b *bench) proxyMemory(ctx context.Context, w *world) error {
	load := w.loads[0]
	if err := load.Rate(ctx, 1000); err != nil {
		return err
	}
	before, err := load.Cut(ctx)
	if err != nil {
		return err
	}
	s, err := load.Poll(ctx, "a minute to pass", func(s ledger.Snapshot) bool { return s.At.Sub(before.At) >= time.Minute })
	if err != nil {
		return err
	}
	if achieved := float64(s.Window.Done) / s.At.Sub(before.At).Seconds(); achieved < 950 {
		return fmt.Errorf("the client could send only %.0f requests a second", achieved)
	}
	var largest float64
	notes := ""
	for _, app := range []string{"load", shop} {
		pods, err := w.Pods(ctx, w.Name, app)
		if err != nil {
			return err
		}
		for i := range pods {
			mb, err := residentMB(&pods[i], harness.ProxyContainer)
			if err != nil {
				return err
			}
			notes += fmt.Sprintf("%s: %.1f; ", app, mb)
			largest = max(largest, mb)
		}
	}
	b.give("proxy_rss_mb", "MB", largest, "%s%d requests, %d lost, p99 %.1f ms", notes, s.Window.Done, s.Window.Lost, s.Window.Versions["v2"].Latency.P99)
	return nil
}

// residentMB in units of 10^6 bytes.
func residentMB(pod *corev1.Pod, container string) (float64, error) {
	mib, err := harness.ResidentMB(pod, container)
	return mib * (1 << 20) / 1e6, err
}
