package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/e2e/harness"
	"github.com/sluice-mesh/sluice/e2e/load/ledger"
)

const (
	namespace = "shop"
	// released is the service whose versions are released; the client asks the frontend before it.
	released = "catalog"
	frontend = "frontend"
	checkout = "checkout"
	// slow is the time beyond which an answer counts as a bad one for the client. The judge is not told:
	// he compares with stable.
	slow = 250 * time.Millisecond
)

// act is one release of the show.
type act struct {
	version harness.Version
	what    string
	outcome string
}

var acts = []act{
	{harness.Version{Name: "v2"}, "is good", v1alpha1.OutcomePromoted},
	{harness.Version{Name: "v3", ErrorRate: 0.5}, "returns errors", v1alpha1.OutcomeRolledBack},
	{harness.Version{Name: "v4", Latency: 500 * time.Millisecond, Jitter: 100 * time.Millisecond}, "is slow", v1alpha1.OutcomeRolledBack},
}

// show is the whole demonstration.
type show struct {
	cluster *harness.Cluster
	screen  *screen
	rate    float64

	space   *harness.Space
	rollout *harness.RolloutRecord
	load    *harness.Load
}

// play sets the stage and plays all acts.
func (s *show) play(ctx context.Context) ([]result, error) {
	if err := s.stage(ctx); err != nil {
		return nil, err
	}
	defer s.rollout.Stop()
	var results []result
	for i, a := range acts {
		r, err := s.playAct(ctx, int64(i+1), a)
		if err != nil {
			return results, err
		}
		results = append(results, r)
	}
	return results, nil
}

// stage installs Sluice and deploys the shop and its client.
func (s *show) stage(ctx context.Context) error {
	s.screen.say("setup", "giving the cluster the images")
	if err := s.cluster.LoadImages(ctx); err != nil {
		return err
	}
	s.screen.say("setup", "installing the chart")
	if err := s.cluster.Install(ctx); err != nil {
		return err
	}
	s.screen.say("setup", "deploying the shop: %s asks %s and %s", frontend, released, checkout)
	var err error
	if s.space, err = s.cluster.FixedSpace(ctx, namespace, true); err != nil {
		return err
	}
	first := harness.Version{Name: "v1"}
	if err := s.space.Deploy(ctx,
		harness.App{Name: frontend, Version: first, Replicas: 1, Upstreams: []string{released, checkout}},
		harness.App{Name: released, Version: first, Replicas: 2, Rollout: released},
		harness.App{Name: checkout, Version: first, Replicas: 1},
	); err != nil {
		return err
	}
	if err := s.space.AwaitAvailable(ctx, frontend, released, checkout); err != nil {
		return err
	}
	if err := s.space.Create(ctx, rollout()); err != nil {
		return err
	}
	if s.rollout, err = s.space.FollowRollout(ctx, released); err != nil {
		return err
	}
	if _, err := s.rollout.Healthy(ctx); err != nil {
		return err
	}
	s.screen.say("setup", "sending %.0f requests a second to %s", s.rate, frontend)
	loads, err := s.space.StartLoad(ctx, harness.Clients{Target: frontend, Counted: released, Rate: s.rate, Slow: slow})
	if err != nil {
		return err
	}
	s.load = loads[0]
	return s.load.Flows(ctx, 50)
}

func rollout() *v1alpha1.Rollout {
	r := harness.NewRollout(released, harness.Weight(10), harness.Weight(25), harness.Weight(50))
	harness.CompareOnly(r)
	r.Spec.Analysis.Duration = &metav1.Duration{Duration: 4 * time.Second}
	r.Spec.Analysis.MinRequests = ptr.To[int32](20)
	r.Spec.BakeTime = &metav1.Duration{Duration: 4 * time.Second}
	return r
}

// playAct releases one version and tells what happens until the release has ended.
func (s *show) playAct(ctx context.Context, attempt int64, a act) (result, error) {
	s.screen.title("%s: a version that %s", a.version.Name, a.what)
	if _, err := s.load.Cut(ctx); err != nil {
		return result{}, err
	}
	told := max(len(s.rollout.History())-1, 0) // the state before it is told from
	began := time.Now()
	if err := s.space.Release(ctx, released, a.version); err != nil {
		return result{}, err
	}
	traffic := time.NewTicker(time.Second)
	defer traffic.Stop()
	n := &narrator{attempt: attempt, version: a.version.Name}
	var before ledger.Snapshot
	for {
		changed := s.rollout.Changed()
		history := s.rollout.History()
		for ; told < len(history); told++ {
			for _, event := range n.tell(history[told]) {
				s.screen.event(event)
			}
		}
		if n.ended {
			break
		}
		select {
		case <-changed:
		case <-traffic.C:
			now, err := s.load.Stats(ctx, time.Time{})
			if err != nil {
				s.screen.say("traffic", "not known: %v", err)
				continue
			}
			s.screen.traffic(rates(before, now), harness.Describe(s.rollout.Latest()))
			before = now
		case <-ctx.Done():
			return result{}, fmt.Errorf("release %s: %w; the rollout is %s", a.version.Name, context.Cause(ctx), harness.Describe(s.rollout.Latest()))
		}
	}
	// What is still on the way belongs to this release.
	if err := s.load.Flows(ctx, uint64(s.rate)); err != nil {
		return result{}, err
	}
	seen, err := s.load.Stats(ctx, time.Time{})
	if err != nil {
		return result{}, err
	}
	return newResult(a, s.rollout.Latest(), began, n.zeroLive, seen.Window), nil
}

// dump writes the cluster's state for whoever wants to know why it went wrong, though time may be up.
func (s *show) dump(ctx context.Context) {
	if s.space == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	folder := filepath.Join(s.cluster.Root, "build", "e2e", "demo")
	err := s.space.Dump(ctx, folder)
	s.screen.say("dump", "the cluster's state is in %s", folder)
	if err != nil && !errors.Is(err, context.Canceled) {
		s.screen.say("dump", "it is not complete: %v", err)
	}
}

// rates are answers a second between two snapshots of one window, by version.
func rates(before, now ledger.Snapshot) map[string]float64 {
	seconds := now.At.Sub(before.At).Seconds()
	if before.At.IsZero() || before.Window.ID != now.Window.ID || seconds <= 0 {
		return nil
	}
	all := map[string]float64{}
	for name, v := range now.Window.Versions {
		all[name] = float64(v.Requests-before.Window.Versions[name].Requests) / seconds
	}
	return all
}
