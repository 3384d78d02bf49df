package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/controllers/plan"
	"github.com/sluice-mesh/sluice/controllers/runs"
)

// wanted is an analysis that a Rollout asks for.
type wanted struct {
	stage string
	ref   v1alpha1.AnalysisRef
	// field of the Rollout that asks for it.
	field string
}

// analysesOf lists the analyses that a spec asks for.
func analysesOf(spec v1alpha1.RolloutSpec) []wanted {
	var all []wanted
	if background := spec.Analysis.Background; background != nil {
		all = append(all, wanted{v1alpha1.StageBackground, background.AnalysisRef, "spec.analysis.background"})
	}
	for i, step := range spec.Canary.Steps {
		if step.Analysis != nil && len(step.Analysis.Templates) > 0 {
			all = append(all, wanted{v1alpha1.StageOfStep(int32(i)), step.Analysis.AnalysisRef, fmt.Sprintf("spec.canary.steps[%d].analysis", i)}) //nolint:gosec // at most 50
		}
	}
	if before := spec.Analysis.BeforePromotion; before != nil {
		all = append(all, wanted{v1alpha1.StageBeforePromotion, *before, "spec.analysis.beforePromotion"})
	}
	if after := spec.Analysis.AfterPromotion; after != nil {
		all = append(all, wanted{v1alpha1.StageAfterPromotion, *after, "spec.analysis.afterPromotion"})
	}
	return all
}

// gatherAnalyses finds the Rollout's runs, and what a person must mend before one can begin.
func (r *RolloutReconciler) gatherAnalyses(ctx context.Context, w *world) error {
	var list v1alpha1.AnalysisRunList
	if err := r.Client.List(ctx, &list, client.InNamespace(w.rollout.Namespace), client.MatchingLabels{v1alpha1.LabelManagedBy: w.rollout.Name}); err != nil {
		return fmt.Errorf("list analysis runs: %w", err)
	}
	release := w.rollout.Status.Release
	for i := range list.Items {
		run := &list.Items[i]
		current := release != nil && run.Spec.Release == release.ID
		if !metav1.IsControlledBy(run, w.rollout) || !current && run.Status.Phase.Ended() {
			continue
		}
		if run.DeletionTimestamp != nil {
			continue // it will be gone, and another made, if it is still wanted
		}
		w.runs = append(w.runs, run)
		w.observed.Analyses = append(w.observed.Analyses, seeRun(run))
	}
	slices.SortFunc(w.observed.Analyses, func(a, b plan.Analysis) int { return strings.Compare(a.Run, b.Run) })
	return r.checkAnalyses(ctx, w)
}

// seeRun is a run as the plan sees it.
func seeRun(run *v1alpha1.AnalysisRun) plan.Analysis {
	seen := plan.Analysis{
		Run: run.Name, Release: run.Spec.Release, Stage: run.Spec.Stage,
		Phase: run.Status.Phase, Message: run.Status.Message, Terminated: run.Spec.Terminate,
		Measured: len(run.Status.Metrics) > 0,
	}
	if run.Status.CompletedAt != nil {
		seen.CompletedAt = run.Status.CompletedAt.Time
	}
	measured := map[string]bool{}
	for _, metric := range run.Status.Metrics {
		measured[metric.Name] = metric.Count > 0 || metric.DryRun
	}
	for _, metric := range run.Spec.Metrics {
		seen.Measured = seen.Measured && measured[metric.Name]
	}
	return seen
}

// checkAnalyses looks for what would keep a run from beginning: at rest for all that the spec asks for, so
// that it is known before there is a release, and in a release for those that are to begin now.
func (r *RolloutReconciler) checkAnalyses(ctx context.Context, w *world) error {
	status := w.rollout.Status
	atRest := slices.Contains([]v1alpha1.Phase{"", v1alpha1.PhasePending, v1alpha1.PhaseHealthy, v1alpha1.PhaseRolledBack}, status.Phase)
	for _, analysis := range analysesOf(w.rollout.Spec) {
		begins := slices.ContainsFunc(status.Analyses, func(a v1alpha1.AnalysisStatus) bool {
			return status.Release != nil && a.Stage == analysis.stage && !a.Phase.Ended()
		}) && !slices.ContainsFunc(w.observed.Analyses, func(run plan.Analysis) bool {
			return run.Stage == analysis.stage && run.Release == status.Release.ID
		})
		if !atRest && !begins {
			continue
		}
		_, err := r.resolve(ctx, w.rollout, analysis)
		if problem := (*runs.Problem)(nil); errors.As(err, &problem) {
			w.remediable = true
			if w.observed.Invalid == "" {
				w.observed.Invalid, w.observed.InvalidReason = problem.Error(), v1alpha1.ReasonInvalid
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// resolve makes the spec of a run. A run that a release waits for must end by itself.
func (r *RolloutReconciler) resolve(ctx context.Context, rollout *v1alpha1.Rollout, analysis wanted) (v1alpha1.AnalysisRunSpec, error) {
	spec, err := runs.Resolve(ctx, r.Client, rollout, analysis.ref, analysis.field)
	if err != nil {
		return spec, fmt.Errorf("resolve %s: %w", analysis.field, err)
	}
	if metric := runs.Endless(spec); metric != "" && analysis.stage != v1alpha1.StageBackground {
		return spec, &runs.Problem{Field: analysis.field, Message: fmt.Sprintf("metric %s has an interval and no count, so its run would never end; give the metric a count, or move it to spec.analysis.background", metric)}
	}
	return spec, nil
}

// remedyPatience is how often it is looked whether a person has mended what keeps an analysis from
// beginning: Secrets are not watched.
const remedyPatience = 15 * time.Second

// analyse creates the run of a stage, unless it is there.
func (r *RolloutReconciler) analyse(ctx context.Context, w *world, stage string) error {
	all := analysesOf(w.rollout.Spec)
	i := slices.IndexFunc(all, func(a wanted) bool { return a.stage == stage })
	if i < 0 {
		return nil // the spec has changed since it was asked for
	}
	spec, err := r.resolve(ctx, w.rollout, all[i])
	if problem := (*runs.Problem)(nil); errors.As(err, &problem) {
		return fmt.Errorf("%w: %w", errOutdated, problem) // the next look at the world tells people
	}
	if err != nil {
		return err
	}
	run := runs.New(w.rollout, stage, spec)
	err = r.Client.Create(ctx, run)
	if client.IgnoreAlreadyExists(err) == nil {
		return nil // created, or the cache has not shown it yet
	}
	return fmt.Errorf("create analysis run %s: %w", run.Name, err)
}

// stopAnalysis tells a run to end. That it can only be told once makes the write safe without a fence.
func (r *RolloutReconciler) stopAnalysis(ctx context.Context, w *world, name string) error {
	i := slices.IndexFunc(w.runs, func(run *v1alpha1.AnalysisRun) bool { return run.Name == name })
	if i < 0 || w.runs[i].Spec.Terminate {
		return nil
	}
	stopped := w.runs[i].DeepCopy()
	stopped.Spec.Terminate = true
	err := r.Client.Patch(ctx, stopped, client.MergeFrom(w.runs[i]))
	return wrap(client.IgnoreNotFound(err), "stop analysis run "+name)
}

// youngest is when the youngest of a revision's ready pods became ready.
func youngest(pods []corev1.Pod, hash string) time.Time {
	var latest time.Time
	for i := range pods {
		if pods[i].Labels[hashLabel] != hash || pods[i].DeletionTimestamp != nil {
			continue
		}
		for _, c := range pods[i].Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && c.LastTransitionTime.After(latest) {
				latest = c.LastTransitionTime.Time
			}
		}
	}
	return latest
}
