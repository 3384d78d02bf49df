package runs

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// kept is how many runs of a Rollout stay when they have ended, besides those of its present release.
const kept = 10

// retain deletes the oldest runs of a Rollout that have ended. Runs that people made stay.
func (r *Reconciler) retain(ctx context.Context, run *v1alpha1.AnalysisRun) error {
	owner := metav1.GetControllerOf(run)
	if owner == nil || owner.Kind != "Rollout" {
		return nil
	}
	rollout := &v1alpha1.Rollout{}
	if err := r.Reader.Get(ctx, types.NamespacedName{Namespace: run.Namespace, Name: owner.Name}, rollout); err != nil {
		return client.IgnoreNotFound(err) // they go with it
	}
	var list v1alpha1.AnalysisRunList
	if err := r.Client.List(ctx, &list, client.InNamespace(run.Namespace), client.MatchingLabels{v1alpha1.LabelManagedBy: rollout.Name}); err != nil {
		return fmt.Errorf("list analysis runs: %w", err)
	}
	for _, old := range outdated(rollout, list.Items) {
		err := r.Client.Delete(ctx, &old, client.Preconditions{UID: &old.UID}, client.PropagationPolicy(metav1.DeletePropagationBackground))
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete analysis run %s: %w", old.Name, err)
		}
	}
	return nil
}

// outdated are the runs of a Rollout that need not stay: of those that have ended, and are not of its present
// release, all but the newest.
func outdated(rollout *v1alpha1.Rollout, runs []v1alpha1.AnalysisRun) []v1alpha1.AnalysisRun {
	present := ""
	if rollout.Status.Release != nil {
		present = rollout.Status.Release.ID
	}
	over := slices.DeleteFunc(slices.Clone(runs), func(run v1alpha1.AnalysisRun) bool {
		return !metav1.IsControlledBy(&run, rollout) || !run.Status.Phase.Ended() || run.Status.CompletedAt == nil ||
			run.DeletionTimestamp != nil || run.Spec.Release == present
	})
	slices.SortFunc(over, func(a, b v1alpha1.AnalysisRun) int {
		return cmp.Or(b.Status.CompletedAt.Compare(a.Status.CompletedAt.Time), cmp.Compare(b.Name, a.Name))
	})
	return over[min(kept, len(over)):]
}
