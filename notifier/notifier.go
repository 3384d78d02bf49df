// Package notifier tells people what a release does. It owns the event and the bounded asynchronous
// queue between the operator and the channels; it does not know Kubernetes, and a channel that is slow
// or away never holds up a release. Packages below it render and deliver, one a channel.
package notifier

import (
	"context"
	"time"
)

// Event is one thing that happened in a release. It carries the whole picture, so that a channel can
// update one message without remembering anything but where that message is.
type Event struct {
	// ID is unique: the release's ID, the kind and a counter. A channel may use it to tell a repeat.
	ID string `json:"id"`
	// Kind is what happened: Started, Weight, Verdict, ApprovalNeeded, Approved, Paused, Resumed,
	// Inconclusive, Lagging, Baking, Promoted, RollingBack, RolledBack, Stalled, Degraded.
	Kind string    `json:"kind"`
	At   time.Time `json:"at"`
	// Namespace and Rollout name the release's Rollout; Release is its ID.
	Namespace string `json:"namespace"`
	Rollout   string `json:"rollout"`
	Release   string `json:"release"`
	// Phase, Reason and Step (for people) as in the Rollout's status.
	Phase  string `json:"phase"`
	Reason string `json:"reason"`
	Step   string `json:"step,omitempty"`
	// StepIndex is the step's index, for approvals.
	StepIndex int32 `json:"stepIndex"`
	// Desired and Live weight of the canary, in percent.
	Desired int32 `json:"desired"`
	Live    int32 `json:"live"`
	// Images of the stable and the canary version.
	StableImages []string `json:"stableImages,omitempty"`
	CanaryImages []string `json:"canaryImages,omitempty"`
	// Verdict is the judge's last sentence.
	Verdict string `json:"verdict,omitempty"`
	// Final is true when the release has ended with this event.
	Final bool `json:"final"`
}

// The kinds of event.
const (
	KindStarted        = "Started"
	KindWeight         = "Weight"
	KindVerdict        = "Verdict"
	KindApprovalNeeded = "ApprovalNeeded"
	KindApproved       = "Approved"
	KindPaused         = "Paused"
	KindResumed        = "Resumed"
	KindInconclusive   = "Inconclusive"
	KindLagging        = "Lagging"
	KindBaking         = "Baking"
	KindPromoted       = "Promoted"
	KindRollingBack    = "RollingBack"
	KindRolledBack     = "RolledBack"
	KindStalled        = "Stalled"
	KindDegraded       = "Degraded"
)

// Notifier delivers events to one channel. An error means "try again later" unless it is Permanent.
type Notifier interface {
	Notify(ctx context.Context, event Event) error
}

// Decision is what a person pressed in a channel.
type Decision struct {
	Namespace, Rollout, Release string
	StepIndex                   int32
	Approve                     bool
	// By names the person in the channel ("slack:U0123 (jane)").
	By string
}
