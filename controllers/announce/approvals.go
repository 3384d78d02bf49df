package announce

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/notifier"
)

// Approvals turns what people press in chat into commands on the Rollout: the same annotation that the
// command line writes, so that there is one way in, and it survives a restart.
type Approvals struct {
	Client client.Client
	Reader client.Reader
	// Installation lists the users that may approve every release.
	Installation []string
}

// Approvers lists who may decide: the Rollout's approvers and the installation's.
func (a *Approvals) Approvers(ctx context.Context, decision notifier.Decision) ([]string, error) {
	rollout, err := a.rollout(ctx, decision)
	if err != nil {
		return nil, err
	}
	approvers := slices.Clone(a.Installation)
	if n := rollout.Spec.Notifications; n != nil && n.Slack != nil {
		approvers = append(approvers, n.Slack.Approvers...)
	}
	return approvers, nil
}

// Decide orders what was pressed, for the release and the step that the button was for.
func (a *Approvals) Decide(ctx context.Context, decision notifier.Decision) error {
	rollout, err := a.rollout(ctx, decision)
	if err != nil {
		return err
	}
	status := rollout.Status
	switch {
	case status.Release == nil || status.Release.ID != decision.Release || status.Release.Outcome != "":
		return notifier.Refuse("This release is over.")
	case status.Step == nil || status.Step.Index != decision.StepIndex || status.Step.ApprovedBy != "":
		return notifier.Refuse("This step has been decided already.")
	case pending(rollout):
		return notifier.Refuse("Somebody was faster; that decision is being carried out.")
	}
	command := v1alpha1.Command{
		ID: rand.Text(), Verb: v1alpha1.VerbReject, Release: decision.Release, Step: &decision.StepIndex, By: decision.By,
	}
	if decision.Approve {
		command.Verb = v1alpha1.VerbApprove
	}
	// Fenced, so that an order which came in between is not overwritten.
	before := rollout.DeepCopy()
	if rollout.Annotations == nil {
		rollout.Annotations = map[string]string{}
	}
	rollout.Annotations[v1alpha1.AnnotationCommand] = command.String()
	err = a.Client.Patch(ctx, rollout, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if apierrors.IsConflict(err) {
		return notifier.Refuse("The release moved on at this very moment; look again.")
	}
	if err != nil {
		return fmt.Errorf("order %s: %w", command.Verb, err)
	}
	return nil
}

// pending tells whether an order waits that has not been acted on.
func pending(rollout *v1alpha1.Rollout) bool {
	command, err := v1alpha1.ParseCommand(rollout.Annotations[v1alpha1.AnnotationCommand])
	if err != nil {
		return false
	}
	last := rollout.Status.LastCommand
	return last == nil || last.ID != command.ID
}

func (a *Approvals) rollout(ctx context.Context, decision notifier.Decision) (*v1alpha1.Rollout, error) {
	var rollout v1alpha1.Rollout
	err := a.Reader.Get(ctx, client.ObjectKey{Namespace: decision.Namespace, Name: decision.Rollout}, &rollout)
	if apierrors.IsNotFound(err) {
		return nil, notifier.Refuse("This Rollout no longer exists.")
	}
	if err != nil {
		return nil, fmt.Errorf("get rollout: %w", err)
	}
	return &rollout, nil
}
