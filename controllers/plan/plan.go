// Package plan is the pure state machine of a release. Next takes everything the world says as values
// and returns everything to do as values, with one reason that condition, event, log and notification
// reuse word for word. It has no clients, no clock, no context and no goroutines; it knows the API
// types and nothing of Kubernetes' machinery or of the mesh.
package plan

import (
	"time"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// Observed is what the world says, gathered in one pass.
type Observed struct {
	// Spec and Generation of the Rollout; Deleting when it has a deletion timestamp.
	Spec       v1alpha1.RolloutSpec
	Generation int64
	Deleting   bool
	// Status is what the last decision persisted: the memory.
	Status v1alpha1.RolloutStatus
	// Invalid, when not empty, says why the spec cannot be acted on (field and remedy), with the
	// condition reason for it: two Rollouts for one Deployment, overlapping selectors, and so on.
	Invalid       string
	InvalidReason string
	// Workload is the Deployment.
	Workload Workload
	// Service is the Rollout's Service.
	Service Service
	// Stable and Canary are the ReplicaSets that status names, as they are now; Stable is found by
	// the gatherer when status names none: of the owned ReplicaSets the one with most available pods.
	Stable ReplicaSet
	Canary ReplicaSet
	// Native is the newest ReplicaSet that the Deployment owns whose template equals the Deployment's
	// present one, other than Stable: a version that was there before, or one that the Deployment
	// controller made while no hold was in force.
	Native ReplicaSet
	// Mesh is what the proxies have in force.
	Mesh Mesh
	// Verdict is the judge's newest word about the present weight; nil when there is none.
	Verdict *v1alpha1.Verdict
	// Command is a person's order that has not been acted on.
	Command *v1alpha1.Command
}

// Workload is the Deployment as it is now.
type Workload struct {
	Exists      bool
	UID         string
	Terminating bool
	// Labelled: it carries sluice.dev/rollout with this Rollout's name.
	Labelled bool
	// Replicas is spec.replicas.
	Replicas int32
	// TemplateHash is Sluice's hash of spec.template, by which templates are compared.
	TemplateHash string
	// Images of spec.template, for people.
	Images []string
	// Paused is spec.paused; Held tells our hold from a person's pause.
	Paused, Held bool
	// Settled: the Deployment controller has observed the generation, and every owned ReplicaSet but
	// one (Stable, or Native) is at zero.
	Settled bool
}

// Service is the Rollout's Service as it is now.
type Service struct {
	Exists bool
	UID    string
	// Selects: its own selector (without narrowing) matches the Deployment's pod labels.
	Selects bool
	// Narrowed is the hash in its selector; empty when it is not narrowed.
	Narrowed string
	// OnlyStable: all pods it selects belong to the stable ReplicaSet.
	OnlyStable bool
	// CanaryReady is how many of the canary's pods are ready endpoints in the Service's own slices.
	CanaryReady int32
}

// ReplicaSet as it is now. The zero value is one that does not exist.
type ReplicaSet struct {
	Exists bool
	Name   string
	UID    string
	// Hash is its label pod-template-hash; TemplateHash is Sluice's hash of the template without it.
	Hash, TemplateHash string
	Images             []string
	// Replicas is spec.replicas; Pods counts the pods that exist, terminating ones included.
	Replicas, Pods int32
	Ready          int32
	// Available counts pods ready for the Deployment's minReadySeconds.
	Available int32
	// Owned: its controller is the Deployment. Ours: its controller is Sluice's holder object.
	Owned, Ours bool
	Terminating bool
	// Trouble names why pods do not start (image cannot be pulled, crash loop), for people.
	Trouble string
}

// Mesh is what the proxies have in force.
type Mesh struct {
	// Live is true when every proxy expected to act has Epoch (that of status.weight) in force.
	Live  bool
	Epoch int64
	// Pending names proxies that have not acknowledged; Rejected maps a proxy to its NACK text.
	Pending  []string
	Rejected map[string]string
	// StableEndpoints and CanaryEndpoints count ready endpoints that the mesh knows per revision.
	StableEndpoints, CanaryEndpoints int32
}

// Decision is what to do. The reconciler first persists Status (fenced by resourceVersion), then
// carries out Ops in order and stops at the first error; then it comes back. Ops are idempotent: after
// a crash between any two writes Next, asked again, gives what is left to do.
type Decision struct {
	// Reason is one sentence for people; also in Status.Message.
	Reason string
	// Status to persist.
	Status v1alpha1.RolloutStatus
	// Ops to carry out, in order.
	Ops []Op
	// Requeue is when to look again though nothing changes; zero: only on a change.
	Requeue time.Duration
	// Notices are what to tell people.
	Notices []Notice
	// Judge, when set, asks for a verdict about the present weight.
	Judge bool
	// Release the finalizer: nothing of ours is left.
	Finished bool
}

// OpKind is a write to the cluster.
type OpKind string

// The writes. Each is idempotent and fenced by the resourceVersion of what was gathered.
const (
	// OpCreateCanary creates the canary's ReplicaSet from the Deployment's template with Op.Size pods,
	// owned by the holder, and the holder itself.
	OpCreateCanary OpKind = "CreateCanary"
	// OpTakeOver makes Observed.Native (at zero replicas) the canary: controller reference to the
	// holder, then scaled to Op.Size.
	OpTakeOver OpKind = "TakeOver"
	// OpScaleCanary sets the canary's size.
	OpScaleCanary OpKind = "ScaleCanary"
	// OpDeleteCanary deletes the canary's ReplicaSet (only while Ours) and its pods.
	OpDeleteCanary OpKind = "DeleteCanary"
	// OpNarrow adds Op.Hash to the Service's selector; OpRestore takes it out.
	OpNarrow  OpKind = "Narrow"
	OpRestore OpKind = "Restore"
	// OpHandOver makes the Deployment the canary's controller, with its annotations, in one update.
	OpHandOver OpKind = "HandOver"
	// OpUnpause ends the hold, provided that the template still has Op.Hash as template hash.
	OpUnpause OpKind = "Unpause"
	// OpHold pauses the Deployment with the held marker.
	OpHold OpKind = "Hold"
	// OpRevert writes stable's template back and unpauses, in one write.
	OpRevert OpKind = "Revert"
	// OpPrune deletes owned ReplicaSets at zero that are newer than stable (and not Native).
	OpPrune OpKind = "Prune"
	// OpCleanUp deletes the holder and the canary Service.
	OpCleanUp OpKind = "CleanUp"
	// OpCanaryService creates the headless Service that selects Op.Hash.
	OpCanaryService OpKind = "CanaryService"
)

// Op is one write.
type Op struct {
	Kind OpKind
	Size int32
	Hash string
}

// NoticeKind is what happened, for notifications and events.
type NoticeKind string

// What can happen.
const (
	NoticeStarted      NoticeKind = "Started"
	NoticeWeight       NoticeKind = "Weight"
	NoticeVerdict      NoticeKind = "Verdict"
	NoticeApproval     NoticeKind = "ApprovalNeeded"
	NoticeApproved     NoticeKind = "Approved"
	NoticePaused       NoticeKind = "Paused"
	NoticeResumed      NoticeKind = "Resumed"
	NoticeInconclusive NoticeKind = "Inconclusive"
	NoticeLagging      NoticeKind = "Lagging"
	NoticeBaking       NoticeKind = "Baking"
	NoticePromoted     NoticeKind = "Promoted"
	NoticeRollingBack  NoticeKind = "RollingBack"
	NoticeRolledBack   NoticeKind = "RolledBack"
	NoticeStalled      NoticeKind = "Stalled"
	NoticeDegraded     NoticeKind = "Degraded"
)

// Notice tells people that something happened, once.
type Notice struct {
	Kind   NoticeKind
	Reason string
}
