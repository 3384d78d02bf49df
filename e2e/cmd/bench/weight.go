package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/e2e/figure"
	"github.com/sluice-mesh/sluice/e2e/harness"
)

const (
	// proxies is how many clients' proxies have to have a weight in force.
	proxies = 20
	// leastWeights is how many weights have to have been measured at least.
	leastWeights = 40
	// connectTime is enough for most clients to have had a request at the first weight: the first to a pod also
	// opens its connection, which takes longer than all that the pod does.
	connectTime = 20 * time.Second
)

// weightLive takes a release through fifty weights and asks every client's proxy since when each was in
// force; proxies and operator share the machine's clock.
func (b *bench) weightLive(ctx context.Context, space *harness.Space) error {
	var steps []v1alpha1.Step
	for weight := int32(2); weight <= 100; weight += 2 {
		steps = append(steps, harness.Weight(weight))
	}
	w, err := newWorld(ctx, space, setting{
		replicas: 1, clients: proxies, rate: 10, steps: steps, analysis: time.Second, warmUp: connectTime,
	})
	if err != nil {
		return err
	}
	defer w.stop()
	spread, err := b.spread(ctx)
	if err != nil {
		return err
	}
	if err := w.Release(ctx, shop, harness.Version{Name: "v2"}); err != nil {
		return err
	}
	var took, told []float64
	var missed int
	var epoch int64
	for {
		o, err := w.rollout.Until(ctx, "the next weight to be live", func(o *v1alpha1.Rollout) bool {
			weight := o.Status.Weight
			live := weight.LiveAt != nil && weight.Desired > 0 && weight.Live == weight.Desired && weight.Epoch > epoch
			return harness.Attempt(o) == 1 && (live || o.Status.Release.EndedAt != nil)
		})
		if err != nil {
			return err
		}
		if o.Status.Release.EndedAt != nil {
			break
		}
		epoch = o.Status.Weight.Epoch
		last, all, err := w.inForce(ctx, epoch)
		if err != nil {
			return err
		}
		if !all { // the next weight came before every proxy was asked
			missed++
			continue
		}
		took = append(took, last.Sub(o.Status.Weight.DecidedAt.Time).Seconds()*1000)
		told = append(told, o.Status.Weight.LiveAt.Sub(o.Status.Weight.DecidedAt.Time).Seconds()*1000)
	}
	if _, err := w.ends(ctx, 1, v1alpha1.OutcomePromoted); err != nil {
		return err
	}
	if len(took) < leastWeights {
		return fmt.Errorf("only %d weights could be measured, %d were missed; want %d", len(took), missed, leastWeights)
	}
	b.give("weight_live_p99_ms", "ms", figure.Percentile(took, 99),
		"%d weights, %d missed, median %.1f ms; as told in status: median %.1f ms, p99 %.1f ms; proxies by operator: %v",
		len(took), missed, figure.Percentile(took, 50), figure.Percentile(told, 50), figure.Percentile(told, 99), spread)
	return nil
}

// inForce asks every client's proxy for the epoch's split and returns when the last of them had it in
// force; all is false when one is already beyond it.
func (w *world) inForce(ctx context.Context, epoch int64) (last time.Time, all bool, err error) {
	since := make([]time.Time, len(w.loads))
	group, ctx := errgroup.WithContext(ctx)
	for i, load := range w.loads {
		group.Go(func() error {
			body, err := w.Ask(ctx, http.MethodGet, load.Pod, harness.ProxyAdminPort, "config", nil)
			if err != nil {
				return err
			}
			split, err := splitOf(body, w.Name, shop)
			if err != nil {
				return fmt.Errorf("read configuration of %s: %w", load.Pod, err)
			}
			if split.Epoch == epoch {
				since[i] = split.Since
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return last, false, err
	}
	for _, at := range since {
		if at.IsZero() {
			return last, false, nil
		}
		if at.After(last) {
			last = at
		}
	}
	return last, true, nil
}

// split is what a proxy says about a service's split.
type split struct {
	Epoch  int64     `json:"epoch"`
	Weight uint32    `json:"weight"`
	Since  time.Time `json:"since"`
}

func splitOf(config []byte, namespace, name string) (split, error) {
	var dump struct {
		Services []struct {
			Namespace string `json:"namespace"`
			Name      string `json:"name"`
			Split     split  `json:"split"`
		} `json:"services"`
	}
	if err := json.Unmarshal(config, &dump); err != nil {
		return split{}, fmt.Errorf("parse: %w", err)
	}
	for _, s := range dump.Services {
		if s.Namespace == namespace && s.Name == name {
			return s.Split, nil
		}
	}
	return split{}, fmt.Errorf("it does not have service %s/%s", namespace, name)
}

// spread counts the open connections of proxies by operator. Every operator has to have some, or the
// measurement is not about two of them.
func (b *bench) spread(ctx context.Context) (map[string]int, error) {
	operators, err := b.cluster.Operators(ctx)
	if err != nil {
		return nil, err
	}
	if len(operators) < 2 {
		return nil, fmt.Errorf("%d operators, want 2", len(operators))
	}
	counts := map[string]int{}
	for i := range operators {
		n, err := harness.Connections(&operators[i], operators[i].Spec.Containers[0].Name, harness.XDSPort)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, fmt.Errorf("no proxy is connected to %s", operators[i].Name)
		}
		counts[operators[i].Name] = n
	}
	return counts, nil
}
