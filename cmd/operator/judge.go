package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sluice-mesh/sluice/analysis"
	"github.com/sluice-mesh/sluice/analysis/prometheus"
)

// judge assesses releases by what a source saw of them. It is safe for concurrent use.
type judge struct {
	source analysis.EvidenceSource
	// spread says by how much the control's pods differed before a release, and from how many that is known.
	spread func(context.Context, analysis.Release) (float64, int, error)
	now    func() time.Time

	mu sync.Mutex
	// spreads remembers it: the hour before a release does not change.
	spreads map[subject]*podSpread
}

// subject is one release.
type subject struct {
	namespace, service, stable, canary string
	since                              time.Time
}

// podSpread is what spread said about a release that was last looked at then.
type podSpread struct {
	tau    float64
	pods   int
	lookAt time.Time
}

// newJudge makes the judge that asks the Prometheus of the flags.
func newJudge(o options) (*judge, error) {
	asked, err := o.prometheus.options()
	if err != nil {
		return nil, err
	}
	sampler, err := prometheus.New(asked)
	if err != nil {
		return nil, fmt.Errorf("--prometheus-address: %w", err)
	}
	return &judge{source: sampler, spread: sampler.PodSpread, now: time.Now, spreads: map[subject]*podSpread{}}, nil
}

// Look judges a release by what is known now.
func (j *judge) Look(ctx context.Context, release analysis.Release, settings analysis.Settings) (analysis.Verdict, error) {
	evidence, err := j.source.Evidence(ctx, release)
	if err != nil {
		return analysis.Verdict{}, fmt.Errorf("ask what became of requests to %s/%s: %w", release.Namespace, release.Service, err)
	}
	if settings.Compare != nil {
		compare := *settings.Compare
		if tau, pods, known := j.podSpread(ctx, release); known && pods > 1 {
			compare.PodSpread, compare.ControlPods = tau, pods
		}
		settings.Compare = &compare
	}
	return analysis.Assess(release, settings, evidence, j.now()), nil
}

// podSpread asks once for each release. What cannot be found out is asked again at the next look.
func (j *judge) podSpread(ctx context.Context, release analysis.Release) (tau float64, pods int, known bool) {
	key := subject{release.Namespace, release.Service, release.Stable, release.Canary, release.Since}
	now := j.now()
	j.mu.Lock()
	found := j.spreads[key]
	if found != nil {
		found.lookAt = now
	}
	for other, spread := range j.spreads {
		if now.Sub(spread.lookAt) > time.Hour {
			delete(j.spreads, other) // that release is over
		}
	}
	j.mu.Unlock()
	if found != nil {
		return found.tau, found.pods, true
	}
	tau, pods, err := j.spread(ctx, release)
	if err != nil {
		return 0, 0, false
	}
	j.mu.Lock()
	j.spreads[key] = &podSpread{tau, pods, now}
	j.mu.Unlock()
	return tau, pods, true
}
