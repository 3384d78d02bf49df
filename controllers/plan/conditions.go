package plan

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// setConditions says for machines what the turn decided. At most one of Reconciling and Stalled is True.
func (t *turn) setConditions() {
	for _, c := range []metav1.Condition{t.ready(), t.reconciling(), t.stalled()} {
		c.ObservedGeneration = t.o.Generation
		c.LastTransitionTime = metav1.NewTime(t.now.Truncate(1e9))
		if len(c.Message) > maxMessage {
			c.Message = c.Message[:maxMessage]
		}
		meta.SetStatusCondition(&t.status.Conditions, c)
	}
}

// maxMessage is what the API takes as a condition's message.
const maxMessage = 32768

// ready is True when no release is on and the newest template is what runs.
func (t *turn) ready() metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Message: t.reason}
	switch {
	case t.degraded != "":
		c.Reason, c.Message = v1alpha1.ReasonDegraded, t.degraded
	case t.stalledFor != "":
		c.Reason, c.Message = t.stalledFor, t.stalledBy
	case releasing(t.status.Phase):
		c.Reason = v1alpha1.ReasonReleasing
	case t.status.Phase == v1alpha1.PhaseRolledBack:
		c.Reason = v1alpha1.ReasonRolledBack
	case t.status.Phase == v1alpha1.PhaseHealthy && len(t.ops) == 0 && t.o.Workload.TemplateHash == t.status.Stable.TemplateHash:
		c.Status, c.Reason = metav1.ConditionTrue, v1alpha1.ReasonHealthy
	default:
		c.Reason = v1alpha1.ReasonWaiting
	}
	return c
}

// reconciling is True while a release is on, or the Deployment rolls out by itself.
func (t *turn) reconciling() metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionReconciling, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonHealthy, Message: t.reason}
	switch {
	case t.stalledFor != "":
		c.Reason = t.stalledFor
	case releasing(t.status.Phase):
		c.Status, c.Reason = metav1.ConditionTrue, v1alpha1.ReasonReleasing
	case t.following, len(t.ops) > 0, t.finished:
		c.Status, c.Reason = metav1.ConditionTrue, v1alpha1.ReasonWaiting
	case t.status.Phase == v1alpha1.PhaseRolledBack:
		c.Reason = v1alpha1.ReasonRolledBack
	}
	return c
}

// stalled is True when a person must act.
func (t *turn) stalled() metav1.Condition {
	if t.stalledFor != "" {
		return metav1.Condition{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Reason: t.stalledFor, Message: t.stalledBy}
	}
	c := metav1.Condition{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonHealthy}
	if releasing(t.status.Phase) {
		c.Reason = v1alpha1.ReasonReleasing
	}
	return c
}
