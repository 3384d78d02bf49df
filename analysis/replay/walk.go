package replay

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sluice-mesh/sluice/analysis"
	"github.com/sluice-mesh/sluice/analysis/prometheus"
)

// Options say how a recording is judged.
type Options struct {
	// Settings are what the judge demands. PodSpread and the numbers of pods of a Comparison are taken
	// from the recording.
	Settings analysis.Settings
	// Durations are Settings.Duration at single weights.
	Durations map[uint32]time.Duration
	// WarmUp is how long a new pod of the canary has traffic before it counts.
	WarmUp time.Duration
	// Interval between two looks; zero: one second.
	Interval time.Duration
	// Planned are the weights of the plan, besides those that were seen.
	Planned []uint32
	// Want names revisions, where the recording does not say which release it is of.
	Want Want
	// Progress, when not nil, is called now and then with the time that was come to, and the end.
	Progress func(at, end time.Time)
}

// tape makes evidence of samples.
type tape interface {
	Add(matrix model.Matrix) error
	Evidence(now time.Time) analysis.Evidence
}

// Judge walks the judge through a recording.
func Judge(ctx context.Context, recording *Recording, o Options) (Result, error) {
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	h := recording.Header
	var (
		c    course
		err  error
		made tape
	)
	switch {
	case h.Foreign != nil:
		c, err = levelsOf(ctx, recording, o.Settings.LatencyP99)
	case h.Release != nil:
		c.release, err = *h.Release, o.Want.contradict(*h.Release)
	default:
		c.release, err = Find(ctx, recording, o.Want)
	}
	if err != nil {
		return Result{}, err
	}
	whole := c.release.whole(h.Namespace, h.Service, o)
	if h.Foreign != nil {
		made, err = newMeter(h.Foreign, c, whole, h.From)
	} else {
		made = prometheus.NewTape(whole)
	}
	if err != nil {
		return Result{}, err
	}
	w := &walk{options: o, release: c.release, whole: whole, foreign: h.Foreign != nil, tape: made}
	w.judges = judgesOf(o.Settings, c.release, h.Foreign != nil)
	if err := w.through(ctx, recording); err != nil {
		return Result{}, err
	}
	return w.result(h, c), nil
}

// contradict says when a recording is of another release than the one that was named.
func (w Want) contradict(r Release) error {
	if (w.Canary != "" && w.Canary != r.Canary) || (w.Stable != "" && w.Stable != r.Stable) || (w.Control != "" && w.Control != r.Control) {
		return errors.New("the recording is of another release: its canary is " + r.Canary + ", its stable " + r.Stable)
	}
	return nil
}

// Find finds the release in a recording of series of Sluice's proxies.
func Find(ctx context.Context, recording *Recording, want Want) (Release, error) {
	survey := NewSurvey(want, recording.Header.From)
	if err := recording.Each(ctx, survey.Add); err != nil {
		return Release{}, err
	}
	return survey.Find()
}

// judge is one set of settings and what came of it.
type judge struct {
	name     string
	settings analysis.Settings
	decision Decision
	// passed are the weights at which it passed the canary, with the time; words are those of that moment,
	// or its last ones at the weight.
	passed map[uint32]time.Time
	words  map[uint32]string
	last   analysis.Verdict
}

// judgesOf are the judge as it was asked for, and, where thresholds are a part of that, the two parts by
// themselves.
func judgesOf(settings analysis.Settings, release Release, foreign bool) []*judge {
	if settings.Compare != nil {
		compare := *settings.Compare
		if foreign && len(release.BoundarySeconds) == 0 && compare.Success.Weight > 0 {
			compare.Latency.Weight = 0 // it was not asked for
		}
		compare.PodSpread, compare.ControlPods = release.PodSpread, release.ControlPods
		settings.Compare = &compare
	}
	judges := []*judge{{name: JudgeAll, settings: settings}}
	thresholds := settings.SuccessRate > 0 || settings.LatencyP99 > 0
	if thresholds && settings.Compare != nil {
		comparison, alone := settings, settings
		comparison.SuccessRate, comparison.LatencyP99 = 0, 0
		alone.Compare = nil
		judges = append(judges, &judge{name: JudgeComparison, settings: comparison}, &judge{name: JudgeThresholds, settings: alone})
	}
	for _, j := range judges {
		j.passed, j.words = map[uint32]time.Time{}, map[uint32]string{}
	}
	return judges
}

// walk is the way through one recording.
type walk struct {
	options Options
	release Release
	whole   analysis.Release
	foreign bool
	tape    tape
	judges  []*judge
	lines   []Line
	// doubt is why the samples cannot be trusted any more.
	doubt string
	// due are the looks to come, rising.
	due  []time.Time
	seen analysis.Evidence
	told time.Time
}

// through reads the recording and looks at each scrape.
func (w *walk) through(ctx context.Context, recording *Recording) error {
	w.due = w.moments()
	err := recording.Each(ctx, func(matrix model.Matrix) error {
		first, newest, _ := extent(matrix)
		w.look(ctx, time.UnixMilli(first-1))
		w.plan(matrix)
		if w.doubt == "" {
			if err := w.tape.Add(matrix); err != nil {
				w.doubt = err.Error()
			}
		}
		w.look(ctx, time.UnixMilli(newest))
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	w.look(ctx, w.release.Until.Add(w.options.Interval))
	if w.doubt == "" {
		w.seen = w.tape.Evidence(w.release.Until.Add(w.options.Interval))
	}
	return ctx.Err()
}

// moments are the looks at which the verdict may change though nothing new was scraped: when the release
// begins, and when a weight has been looked at for long enough.
func (w *walk) moments() []time.Time {
	all := []time.Time{w.whole.Since}
	for _, weight := range w.release.Weights {
		from := weight.At
		for _, warm := range w.whole.WarmUps {
			if warm.Until.After(from) {
				from = warm.Until
			}
		}
		for _, begin := range []time.Time{weight.At, from} {
			all = append(all, w.next(begin.Add(w.options.duration(weight.Percent))))
		}
	}
	return w.within(all)
}

// duration is how long the judge must look at a weight.
func (o Options) duration(weight uint32) time.Duration {
	if d, is := o.Durations[weight]; is {
		return d
	}
	return o.Settings.Duration
}

// next is the first look at or after a time.
func (w *walk) next(at time.Time) time.Time {
	since := w.whole.Since
	looks := (at.Sub(since) + w.options.Interval - 1) / w.options.Interval
	return since.Add(looks * w.options.Interval)
}

// within sorts looks and leaves out those before the release and after it.
func (w *walk) within(looks []time.Time) []time.Time {
	looks = slices.DeleteFunc(looks, func(at time.Time) bool {
		return at.Before(w.whole.Since) || at.After(w.release.Until.Add(w.options.Interval))
	})
	slices.SortFunc(looks, time.Time.Compare)
	return slices.CompactFunc(looks, time.Time.Equal)
}

// plan adds a look for each scrape of a matrix.
func (w *walk) plan(matrix model.Matrix) {
	known := map[time.Time]bool{}
	see := func(at model.Time) {
		if look := w.next(at.Time()); !known[look] {
			known[look] = true
			w.due = append(w.due, look)
		}
	}
	for _, stream := range matrix {
		if stream.Metric["reporter"] == "destination" && !w.foreign {
			continue // a called pod: it tells when it began, and nothing that is judged
		}
		for _, sample := range stream.Values {
			see(sample.Timestamp)
		}
		for _, sample := range stream.Histograms {
			see(sample.Timestamp)
		}
	}
	w.due = w.within(w.due)
}

// look makes the looks that are due up to a time.
func (w *walk) look(ctx context.Context, until time.Time) {
	made := 0
	for _, at := range w.due {
		if at.After(until) || ctx.Err() != nil {
			break
		}
		made++
		w.assess(at)
		if w.options.Progress != nil && at.Sub(w.told) >= time.Minute {
			w.told = at
			w.options.Progress(at, w.release.Until)
		}
	}
	w.due = slices.Delete(w.due, 0, made)
}

// assess asks the judges at one time.
func (w *walk) assess(at time.Time) {
	if !slices.ContainsFunc(w.judges, func(j *judge) bool { return j.decision.Outcome == "" }) {
		return
	}
	evidence := analysis.Evidence{Doubt: w.doubt}
	if w.doubt == "" {
		evidence = w.tape.Evidence(at)
	}
	w.seen = evidence
	release := w.release.at(w.whole, at)
	for i, j := range w.judges {
		if j.decision.Outcome != "" {
			continue
		}
		j.settings.Duration = w.options.duration(release.Weight)
		if j.settings.Compare != nil {
			j.settings.Compare.CanaryPods = w.release.podsAt(at)
		}
		j.see(release, evidence, at)
		if i == 0 {
			w.note(at, release, evidence, j.last)
		}
	}
}

// see takes one look; a failure decides.
func (j *judge) see(release analysis.Release, evidence analysis.Evidence, at time.Time) {
	j.last = analysis.Assess(release, j.settings, evidence, at)
	_, passed := j.passed[release.Weight]
	if !passed {
		j.words[release.Weight] = j.last.Reason
	}
	switch j.last.Outcome {
	case analysis.Fail:
		j.decision = decisionOf(j, RollBack, release, evidence, at)
	case analysis.Pass:
		if !passed {
			j.passed[release.Weight] = at
		}
	case analysis.Inconclusive:
	}
}
