package plan

import (
	"slices"
	"time"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// This file is the runs of analysis templates in the simulation: they succeed, fail, do neither, hang, and
// vanish, as their nature is, and some are ended.

// simRun is a run with its fate, which is drawn when it is made.
type simRun struct {
	name, release, stage string
	phase                v1alpha1.RunPhase
	measured, terminated bool
	fate                 v1alpha1.RunPhase // how it ends; empty: it does not
	measuredAt, endsAt   time.Time
}

// fateOf draws how a run ends: most succeed.
func (w *world) fateOf() v1alpha1.RunPhase {
	fates := []v1alpha1.RunPhase{v1alpha1.RunFailed, v1alpha1.RunInconclusive, v1alpha1.RunError, ""}
	if i := w.rand.IntN(20); i < len(fates) {
		return fates[i]
	}
	return v1alpha1.RunSuccessful
}

// analyse makes a run, as an API server would: a name is there once.
func (w *world) analyse(stage string) {
	s := &w.rollout.status
	name := s.Release.ID + "-" + stage
	if slices.ContainsFunc(w.runs, func(r simRun) bool { return r.name == name }) {
		return
	}
	run := simRun{name: name, release: s.Release.ID, stage: stage, fate: w.fateOf()}
	run.measuredAt = w.now.Add(time.Duration(w.rand.IntN(3000)) * time.Millisecond)
	if stage == v1alpha1.StageBackground && w.rand.IntN(3) == 0 {
		run.measuredAt = w.now.Add(time.Duration(w.rand.IntN(60)) * time.Second) // it has a delay of its own
	}
	run.endsAt = run.measuredAt.Add(time.Duration(w.rand.IntN(4000)) * time.Millisecond)
	if stage == v1alpha1.StageBackground && run.fate == v1alpha1.RunSuccessful && w.rand.IntN(3) > 0 {
		run.fate = "" // it runs until it is ended
	}
	w.runs = append(w.runs, run)
	w.next()
}

func (w *world) stopAnalysis(name string) {
	for i := range w.runs {
		if r := &w.runs[i]; r.name == name && !r.terminated {
			w.watcher.stopping(w, r)
			r.terminated = true
			w.next()
		}
	}
}

// runController lets runs go on.
func (w *world) runController() {
	for i := range w.runs {
		r := &w.runs[i]
		before := *r
		switch {
		case r.phase.Ended():
		case r.terminated:
			r.phase = v1alpha1.RunInconclusive
		case r.fate != "" && !w.now.Before(r.endsAt):
			r.phase, r.measured = r.fate, true
		case !w.now.Before(r.measuredAt):
			r.phase, r.measured = v1alpha1.RunRunning, true
		default:
			r.phase = v1alpha1.RunPending
		}
		if *r == before {
			continue
		}
		w.next()
		w.say("analysis %s is %s", r.name, r.phase)
		if r.phase == v1alpha1.RunSuccessful {
			w.watcher.succeeded[r.name] = true
		}
		if r.measured {
			w.watcher.measured[r.name] = true
		}
	}
}

// vanish deletes a run, as a person or a clean-up may.
func (w *world) vanish() {
	if len(w.runs) == 0 {
		return
	}
	i := w.rand.IntN(len(w.runs))
	w.say("somebody deletes analysis %s, which is %s", w.runs[i].name, w.runs[i].phase)
	w.runs = slices.Delete(w.runs, i, i+1)
	w.next()
}

// gatherRuns is what the operator sees of them.
func (w *world) gatherRuns(o *Observed) {
	for _, r := range w.cache.runs {
		if o.Status.Release != nil && r.release == o.Status.Release.ID || !r.phase.Ended() {
			a := Analysis{Run: r.name, Release: r.release, Stage: r.stage, Phase: r.phase, Measured: r.measured, Terminated: r.terminated}
			if a.Phase.Ended() {
				a.Message, a.CompletedAt = "as seen", r.endsAt
			}
			o.Analyses = append(o.Analyses, a)
		}
	}
}

// analysing is a spec's analyses, drawn.
func (w *world) analysing(spec *v1alpha1.AnalysisSpec) {
	ref := func() *v1alpha1.AnalysisRef {
		if w.rand.IntN(3) > 0 {
			return nil
		}
		return &v1alpha1.AnalysisRef{Templates: []v1alpha1.TemplateRef{{Name: "t"}}}
	}
	if r := ref(); r != nil {
		spec.Background = &v1alpha1.BackgroundAnalysis{AnalysisRef: *r, StartingStep: w.rand.Int32N(2)}
	}
	spec.BeforePromotion, spec.AfterPromotion = ref(), ref()
	spec.Compare.WarmUp = []*durationType{seconds(0), seconds(1), seconds(4)}[w.rand.IntN(3)]
	spec.LowTraffic = []v1alpha1.LowTrafficPolicy{v1alpha1.LowTrafficHold, v1alpha1.LowTrafficFail, v1alpha1.LowTrafficPass}[w.rand.IntN(3)]
}
