package v1alpha1

import (
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Labels and annotations with a meaning to Sluice.
const (
	// LabelRollout is on a Deployment: the name of its Rollout. The hold needs it.
	LabelRollout = "sluice.dev/rollout"
	// LabelInject on a Namespace, with the value "enabled", lets pods get a proxy. On a pod, with the
	// value "disabled", it keeps that pod out.
	LabelInject = "sluice.dev/inject"
	// LabelManagedBy is on what the operator creates, with the Rollout's name as value.
	LabelManagedBy = "sluice.dev/managed-by-rollout"
	// LabelAnalysisRun is on the Jobs of an AnalysisRun, with the run's name as value.
	LabelAnalysisRun = "sluice.dev/analysis-run"
	// AnnotationHeld is on a Deployment whose new template the hold policy has paused.
	AnnotationHeld = "sluice.dev/held"
	// AnnotationCommand is on a Rollout: a Command as JSON, from the command line or from chat.
	AnnotationCommand = "sluice.dev/command"
	// AnnotationThread is on a Rollout: where the chat message of its release is.
	AnnotationThread = "sluice.dev/thread"
	// Finalizer keeps a Rollout until its Service and Deployment are as they were.
	Finalizer = "sluice.dev/restore"
)

// Verb is what a person orders.
type Verb string

// What a person can order.
const (
	// VerbPromote skips the remaining steps and verdicts: weight to 100, then the bake.
	VerbPromote Verb = "promote"
	// VerbAbort rolls the release back.
	VerbAbort Verb = "abort"
	// VerbApprove lets an approval step pass.
	VerbApprove Verb = "approve"
	// VerbReject rolls back a release that waits for approval.
	VerbReject Verb = "reject"
	// VerbRetry releases a rejected template again, from the first step.
	VerbRetry Verb = "retry"
	// VerbPause stops the steps' progress; a failing canary is still rolled back.
	VerbPause Verb = "pause"
	// VerbResume ends a person's pause, or a pause step without duration.
	VerbResume Verb = "resume"
)

// Command is an order from a person. It names the release and, for verbs about a step, the step it
// was given for, so that a late one cannot hit another.
type Command struct {
	// ID tells commands apart; a command is acted on once.
	ID string `json:"id"`
	// Verb is what is ordered.
	Verb Verb `json:"verb"`
	// Release is status.release.id when the order was given.
	Release string `json:"release,omitempty"`
	// Step is status.step.index when the order was given, for approve, reject and resume.
	Step *int32 `json:"step,omitempty"`
	// By is the person, as known where the order was given.
	By string `json:"by,omitempty"`
}

// CommandStatus is what came of a command.
type CommandStatus struct {
	// ID of the command.
	ID string `json:"id"`
	// Verb of the command.
	Verb Verb `json:"verb"`
	// By is the person.
	// +optional
	By string `json:"by,omitempty"`
	// Accepted is false when the command did not apply; Message says why.
	Accepted bool `json:"accepted"`
	// Message says what came of it.
	// +optional
	Message string `json:"message,omitempty"`
	// At is when.
	At metav1.MicroTime `json:"at"`
}

// ParseCommand reads a Command from the value of AnnotationCommand.
func ParseCommand(value string) (*Command, error) {
	if len(value) > 4096 {
		return nil, fmt.Errorf("parse command: %d bytes, at most 4096", len(value))
	}
	var c Command
	if err := json.Unmarshal([]byte(value), &c); err != nil {
		return nil, fmt.Errorf("parse command: %w", err)
	}
	if c.ID == "" || c.Verb == "" {
		return nil, fmt.Errorf("parse command: id and verb are required")
	}
	return &c, nil
}

// String renders the command as the value of AnnotationCommand.
func (c Command) String() string {
	b, err := json.Marshal(c)
	if err != nil { // strings and integers only: cannot fail
		return ""
	}
	return string(b)
}

// Older tells which of two Rollouts came first, by creation and then by name: where two claim the same
// workload or Service, the older one has it.
func Older(a, b *Rollout) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.Namespace+"/"+a.Name < b.Namespace+"/"+b.Name
}
