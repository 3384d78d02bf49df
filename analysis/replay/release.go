// Package replay walks the judge through what is past: a time range of a Prometheus, or a recording of
// one. At each scrape it asks what the judge would have said, and from that it tells what would have been
// decided and when.
//
// It owns the format of recordings, how a release is found in the series of Sluice's proxies, and how
// series of other meshes become evidence. How series of Sluice's proxies do is analysis/prometheus'
// business, and what evidence means is analysis'. It asks Prometheus only through an interface of its own,
// and knows no Rollout: settings and times come from the caller.
package replay

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/sluice-mesh/sluice/analysis"
)

// Release is the course that a release took.
type Release struct {
	// Stable and Canary are the revisions; Control is the one that the canary is compared with, empty:
	// Stable.
	Stable  string `json:"stable"`
	Canary  string `json:"canary"`
	Control string `json:"control,omitempty"`
	// Weights of the canary, rising, each with the time since when it was in force: within one scrape.
	Weights []Weight `json:"weights"`
	// Until is when the canary lost its weight, or when the data end.
	Until time.Time `json:"until"`
	// Pods are when each pod of the canary got its first request, in order; empty: not known.
	Pods []time.Time `json:"pods,omitempty"`
	// BoundarySeconds are the bucket bounds, rising, from which requests count as slow. Empty: latency is
	// not known.
	BoundarySeconds []float64 `json:"boundarySeconds,omitempty"`
	// PodSpread is the standard deviation of the logarithms of the error rates of ControlPods pods before
	// the release, beyond chance; 0: none or not known.
	PodSpread   float64 `json:"podSpread,omitempty"`
	ControlPods int     `json:"controlPods,omitempty"`
}

// Weight is the canary's share in percent, since a time.
type Weight struct {
	Percent uint32    `json:"percent"`
	At      time.Time `json:"at"`
}

// refuse says what a release that was read lacks.
func (r Release) refuse() error {
	switch {
	case r.Stable == "" || r.Canary == "" || r.Stable == r.Canary || r.Control == r.Canary:
		return errors.New("the release's stable and canary are not two revisions")
	case len(r.Weights) == 0:
		return errors.New("the release has no weights")
	case r.Until.Before(r.Weights[0].At):
		return errors.New("the release ends before it begins")
	case !(r.PodSpread >= 0 && r.PodSpread <= 10) || r.ControlPods < 0:
		return errors.New("the release's podSpread or controlPods cannot be")
	}
	for i, w := range r.Weights {
		if w.Percent < 1 || w.Percent > 100 || w.At.IsZero() {
			return fmt.Errorf("the release's weight %d is not from 1 to 100 %% with a time", w.Percent)
		}
		if i > 0 && (w.Percent <= r.Weights[i-1].Percent || w.At.Before(r.Weights[i-1].At)) {
			return errors.New("the release's weights do not rise")
		}
	}
	for i, b := range r.BoundarySeconds {
		if !(b > 0 && b <= 1e6) || (i > 0 && b <= r.BoundarySeconds[i-1]) {
			return errors.New("the release's boundarySeconds do not rise")
		}
	}
	return nil
}

// boundaries in time.
func (r Release) boundaries() []time.Duration {
	all := make([]time.Duration, len(r.BoundarySeconds))
	for i, b := range r.BoundarySeconds {
		all[i] = time.Duration(math.Round(b * 1e9))
	}
	return all
}

// seconds of durations.
func seconds(all []time.Duration) []float64 {
	list := make([]float64, len(all))
	for i, d := range all {
		list[i] = d.Seconds()
	}
	return list
}

// planned are the weights that were seen and those that were planned, rising.
func (r Release) planned(plan []uint32) []uint32 {
	all := slices.Clone(plan)
	for _, w := range r.Weights {
		all = append(all, w.Percent)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// warmUps are the times in which pods of the canary were new: from each one's first request on, or, where
// the pods are not known, from the first weight on. They do not overlap.
func (r Release) warmUps(length time.Duration) []analysis.Window {
	if length <= 0 {
		return nil
	}
	begins := []time.Time{r.Weights[0].At}
	for _, at := range r.Pods {
		if at.After(r.Weights[0].At) && at.Before(r.Until) {
			begins = append(begins, at)
		}
	}
	slices.SortFunc(begins, time.Time.Compare)
	var windows []analysis.Window
	for _, at := range begins {
		if last := len(windows) - 1; last >= 0 && !at.After(windows[last].Until) {
			windows[last].Until = at.Add(length)
			continue
		}
		windows = append(windows, analysis.Window{From: at, Until: at.Add(length)})
	}
	return windows
}

// podsAt is how many pods of the canary had got a request by then; 0: not known.
func (r Release) podsAt(now time.Time) int {
	n := 0
	for _, at := range r.Pods {
		if !at.After(now) {
			n++
		}
	}
	return n
}

// at is how the release stood at a time, which must not be before the first weight.
func (r Release) at(whole analysis.Release, now time.Time) analysis.Release {
	for _, w := range r.Weights {
		if !w.At.After(now) {
			whole.Weight, whole.WeightSince = w.Percent, w.At
		}
	}
	until := 0
	for until < len(whole.WarmUps) && !whole.WarmUps[until].From.After(now) {
		until++
	}
	whole.WarmUps = whole.WarmUps[:until]
	return whole
}

// whole is the release as the judge knows it, but for the present weight.
func (r Release) whole(namespace, service string, o Options) analysis.Release {
	return analysis.Release{
		Namespace: namespace, Service: service, Stable: r.Stable, Canary: r.Canary, Control: r.Control,
		Since: r.Weights[0].At, Weight: r.Weights[0].Percent, WeightSince: r.Weights[0].At,
		Planned: r.planned(o.Planned), WarmUps: r.warmUps(o.WarmUp),
		Boundaries: r.boundaries(), Threshold: o.Settings.LatencyP99,
	}
}
