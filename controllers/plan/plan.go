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
	// Stable and Canary are the ReplicaSets that status names (by ReplicaSet name), as they are now;
	// Stable is found by the gatherer when status names none: of the owned ReplicaSets with pods the
	// one with most available pods. Pods counts a ReplicaSet's pods even when it is gone itself.
	// That the Canary does not exist must be read from the API server itself: a cache that does not show
	// it yet would have a rollback leave it behind.
	Stable ReplicaSet
	Canary ReplicaSet
	// Baseline is the ReplicaSet that status.baseline names. That it does not exist must be read from the API
	// server itself, too. It is never Stable, Native or Running.
	Baseline ReplicaSet
	// Native is the oldest ReplicaSet that the Deployment owns whose template equals the Deployment's
	// present one, other than Stable and other than a canary that was handed over (owned, with replicas
	// above zero, while a release is on): a version that was there before, or one that the Deployment
	// controller made while no hold was in force. It is what the Deployment controller takes as its new
	// one. An owned ReplicaSet at zero that status already names as the canary is Native still: it waits
	// to be taken over.
	Native ReplicaSet
	// Running is, of the ReplicaSets that the Deployment owns with spec.replicas above zero, other than
	// Stable and other than a canary that was handed over, the one with most available pods: what runs
	// when a Deployment was not held. Often the zero value, sometimes the same as Native.
	Running ReplicaSet
	// Mesh is what the proxies have in force.
	Mesh Mesh
	// CanaryYoungest is when the youngest of the ready pods of the canary and of its baseline became ready;
	// zero: there is none.
	CanaryYoungest time.Time
	// Verdict is the judge's newest word about the present weight; nil when there is none.
	Verdict *v1alpha1.Verdict
	// Analyses are the runs of analysis templates that the Rollout owns: all of the present release, and
	// of earlier ones those that have not ended.
	Analyses []Analysis
	// Command is a person's order that has not been acted on.
	Command *v1alpha1.Command
	// Leftovers: the canary's holder or the canary Service exists.
	Leftovers bool
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
	// Settled: the Deployment controller has observed the generation, and at most one owned ReplicaSet
	// is not at zero (spec.replicas and status.replicas; pods that are already terminating do not
	// count, or one stuck on a lost node would hold everything up).
	Settled bool
	// Prunable counts owned ReplicaSets at zero that are newer than Stable, other than Native.
	Prunable int32
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
	// CanaryServiceHash is the hash that our canary Service selects; empty when there is none.
	CanaryServiceHash string
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
	// Crashing: a pod's container has been started several times and keeps ending.
	Crashing bool
	// Trouble names why pods do not start (image cannot be pulled, crash loop), for people.
	Trouble string
}

// Mesh is what the proxies have in force.
type Mesh struct {
	// Live is true when every proxy expected to act has Epoch in force. A report about another epoch
	// than status.weight's says nothing.
	Live  bool
	Epoch int64
	// Pending names proxies that have not acknowledged; Rejected maps a proxy to its NACK text.
	Pending  []string
	Rejected map[string]string
	// StableEndpoints and CanaryEndpoints count ready endpoints that the mesh knows per revision. They
	// must come from synced informers: a zero that only means "not known yet" ends a release.
	StableEndpoints, CanaryEndpoints, BaselineEndpoints int32
}

// Analysis is one run of analysis templates as it is now.
type Analysis struct {
	// Run is its name; Release and Stage are what it was made for.
	Run, Release, Stage string
	// Phase is where it is, Message why it ended so.
	Phase   v1alpha1.RunPhase
	Message string
	// Measured: every metric that has a say has been measured.
	Measured bool
	// Terminated: it was told to end.
	Terminated bool
	// CompletedAt is when it ended; zero: it has not.
	CompletedAt time.Time
}

// Decision is what to do. The reconciler first persists Status (fenced by the resourceVersion that was
// read, so that a decision from an old memory is never carried out), then carries out Ops in order and
// stops at the first error; then it comes back. Ops are idempotent: after a crash between any two writes
// Next, asked again, gives what is left to do.
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
	// Judge, when set, asks for verdicts about the release at its present weight; LookFor says how long the
	// judge must have looked at it before it may pass.
	Judge bool
	// KeepFinalizer: a release is on, a template is held or a Service is narrowed, so the Rollout must
	// not vanish without us.
	KeepFinalizer bool
	// Finished: the Rollout is being deleted and nothing of ours is left; release the finalizer.
	Finished bool
}

// OpKind is a write to the cluster.
type OpKind string

// The writes. Each is idempotent and fenced by the resourceVersion of what was gathered.
const (
	// OpCreateCanary creates the canary's ReplicaSet, named status.canary.replicaSet, from the
	// Deployment's template (only while that has status.canary.templateHash) with Op.Size pods and
	// Op.Hash as pod-template-hash, owned by the holder, and the holder itself.
	OpCreateCanary OpKind = "CreateCanary"
	// OpTakeOver makes Observed.Native (at zero replicas) the canary: controller reference to the
	// holder and scaled to Op.Size, in one write.
	OpTakeOver OpKind = "TakeOver"
	// OpScaleCanary sets the size of the canary (only while Ours).
	OpScaleCanary OpKind = "ScaleCanary"
	// OpDeleteCanary deletes the canary's ReplicaSet (only while Ours) and its pods.
	OpDeleteCanary OpKind = "DeleteCanary"
	// OpCreateBaseline creates the baseline's ReplicaSet, named status.baseline.replicaSet, from the template of
	// stable's, with Op.Size pods and Op.Hash as pod-template-hash, owned by the holder, and the holder itself.
	OpCreateBaseline OpKind = "CreateBaseline"
	// OpScaleBaseline sets the size of the baseline, OpDeleteBaseline deletes its ReplicaSet and its pods (both
	// only while Ours).
	OpScaleBaseline  OpKind = "ScaleBaseline"
	OpDeleteBaseline OpKind = "DeleteBaseline"
	// OpNarrow adds Op.Hash to the Service's selector; OpRestore takes it out.
	OpNarrow  OpKind = "Narrow"
	OpRestore OpKind = "Restore"
	// OpHandOver makes the Deployment the canary's controller, with its annotations, in one update,
	// provided that the Deployment's template and size are still those that were gathered.
	OpHandOver OpKind = "HandOver"
	// OpUnpause ends the hold, provided that the template still has Op.Hash as template hash.
	OpUnpause OpKind = "Unpause"
	// OpHold pauses the Deployment with the held marker.
	OpHold OpKind = "Hold"
	// OpRevert writes stable's template back and unpauses, in one write.
	OpRevert OpKind = "Revert"
	// OpPrune deletes the owned ReplicaSets that Workload.Prunable counts.
	OpPrune OpKind = "Prune"
	// OpDropNative deletes Observed.Native, which is at zero replicas: the Deployment controller would
	// take it for its new ReplicaSet instead of the canary, or scale it up from zero.
	OpDropNative OpKind = "DropNative"
	// OpSettle scales every ReplicaSet that the Deployment owns to zero, except the one with Op.Hash as
	// pod-template-hash: what is left when a hold caught the Deployment in the middle of a native
	// rollout. The Deployment is paused; its controller then brings the one left to full size.
	OpSettle OpKind = "Settle"
	// OpCleanUp deletes the holder and the canary Service.
	OpCleanUp OpKind = "CleanUp"
	// OpAnalyse creates the release's run for Op.Stage, unless it exists.
	OpAnalyse OpKind = "Analyse"
	// OpStopAnalysis tells the run named Op.Run to end.
	OpStopAnalysis OpKind = "StopAnalysis"
	// OpCanaryService creates the headless Service that selects Op.Hash, or points it there.
	OpCanaryService OpKind = "CanaryService"
)

// Op is one write.
type Op struct {
	Kind OpKind
	// Size is the number of pods, for the writes that size the canary or the baseline.
	Size int32
	// Hash is a pod-template-hash, except for OpUnpause: there it is Sluice's template hash.
	Hash string
	// Stage and Run say which analysis.
	Stage, Run string
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
