package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/controllers/plan"
)

// RolloutReconciler carries Rollouts through their releases.
type RolloutReconciler struct {
	// Client reads from the cache and writes to the API server.
	Client client.Client
	// Reader reads from the API server itself.
	Reader client.Reader
	// Events records Kubernetes events.
	Events events.EventRecorder
	// Mesh, Looks and Teller are the mesh, the judge and the people.
	Mesh   Mesh
	Looks  *Looks
	Teller Teller
	// Meter counts what happens.
	Meter *Meter
	// Now is the clock.
	Now func() time.Time

	written written
}

// SetupWithManager registers the reconciler, its index and its watches.
func (r *RolloutReconciler) SetupWithManager(ctx context.Context, manager ctrl.Manager) error {
	if err := manager.GetFieldIndexer().IndexField(ctx, &corev1.Pod{}, injectedIndex, indexInjected); err != nil {
		return fmt.Errorf("index pods: %w", err)
	}
	raw := func(kind string) client.Object {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(deploymentKind.GroupVersion().WithKind(kind))
		return u
	}
	inNamespace := handler.EnqueueRequestsFromMapFunc(r.concerned)
	return ctrl.NewControllerManagedBy(manager).
		Named("rollout").
		For(&v1alpha1.Rollout{}).
		// What another Rollout claimed may be free now.
		Watches(&v1alpha1.Rollout{}, inNamespace, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(raw("Deployment"), inNamespace).
		Watches(raw("ReplicaSet"), inNamespace).
		Watches(&corev1.Service{}, inNamespace).
		Watches(&corev1.Pod{}, inNamespace).
		Watches(&discoveryv1.EndpointSlice{}, inNamespace).
		Watches(&v1alpha1.AnalysisTemplate{}, inNamespace).
		Watches(&v1alpha1.ClusterAnalysisTemplate{}, inNamespace). // without one: of all namespaces
		Owns(&v1alpha1.AnalysisRun{}).
		WatchesRawSource(source.Channel(r.Looks.changed, &handler.TypedEnqueueRequestForObject[client.Object]{})).
		WatchesRawSource(source.Func(r.watchMesh)).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: 8,
			// A rollback that met an error must not wait for minutes to be tried again.
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](20*time.Millisecond, 5*time.Second),
		}).
		Complete(r)
}

// Reconcile takes one decision and carries it out.
func (r *RolloutReconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	// From the cache, which may be behind: what is decided from an old status is refused when that status
	// is persisted, before anything else is written.
	rollout := &v1alpha1.Rollout{}
	if err := r.Client.Get(ctx, request.NamespacedName, rollout); err != nil {
		if client.IgnoreNotFound(err) == nil {
			r.Meter.forget(request.NamespacedName)
			r.Looks.forget(request.NamespacedName)
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if r.written.behind(rollout, r.Now()) {
		return reconcile.Result{RequeueAfter: 2 * time.Millisecond}, nil
	}
	w, err := r.gather(ctx, rollout)
	if err != nil {
		return reconcile.Result{}, err
	}
	decision := plan.Next(w.observed, r.Now())
	if err := r.carryOut(ctx, w, decision); err != nil {
		if errors.Is(err, errOutdated) {
			log.FromContext(ctx).V(1).Info("looking again", "why", err.Error())
			return reconcile.Result{RequeueAfter: 20 * time.Millisecond}, nil
		}
		return reconcile.Result{}, err
	}
	requeue := decision.Requeue
	if w.remediable && (requeue == 0 || requeue > remedyPatience) {
		requeue = remedyPatience
	}
	return reconcile.Result{RequeueAfter: requeue}, nil
}

// carryOut persists the decision, then does the writes in order, then tells people.
func (r *RolloutReconciler) carryOut(ctx context.Context, w *world, decision plan.Decision) error {
	rollout := w.rollout
	before := rollout.Status.DeepCopy()
	if decision.Finished {
		r.Looks.stop(rollout.UID)
		if controllerutil.RemoveFinalizer(rollout, v1alpha1.Finalizer) {
			return outdated(r.Client.Update(ctx, rollout), "remove finalizer")
		}
		return nil
	}
	if rollout.DeletionTimestamp.IsZero() && decision.KeepFinalizer && controllerutil.AddFinalizer(rollout, v1alpha1.Finalizer) {
		if err := r.Client.Update(ctx, rollout); err != nil {
			return outdated(err, "add finalizer")
		}
		r.written.note(rollout, r.Now())
	}
	rollout.Status = decision.Status
	// Writes are fenced by the status even when it stays as it is, so that a leader that is behind writes
	// nothing.
	if len(decision.Ops) > 0 || !equality.Semantic.DeepEqual(*before, decision.Status) {
		if err := r.Client.Status().Update(ctx, rollout); err != nil {
			return outdated(err, "persist status")
		}
		r.written.note(rollout, r.Now())
		if before.Phase != decision.Status.Phase || before.Weight.Desired != decision.Status.Weight.Desired {
			log.FromContext(ctx).Info("decided", "phase", decision.Status.Phase, "weight", decision.Status.Weight.Desired, "reason", decision.Reason)
		}
	}
	r.Meter.observe(rollout, before)
	for _, notice := range decision.Notices {
		r.tell(rollout, notice)
	}
	r.Looks.keep(rollout, decision.Judge)
	for _, op := range decision.Ops {
		if err := r.apply(ctx, w, op); err != nil {
			return err
		}
		log.FromContext(ctx).V(1).Info("wrote", "op", op.Kind, "size", op.Size, "hash", op.Hash)
	}
	if rollout.DeletionTimestamp.IsZero() && !decision.KeepFinalizer && controllerutil.RemoveFinalizer(rollout, v1alpha1.Finalizer) {
		return outdated(r.Client.Update(ctx, rollout), "remove finalizer")
	}
	return nil
}

// tell records a Kubernetes event and tells people.
func (r *RolloutReconciler) tell(rollout *v1alpha1.Rollout, notice plan.Notice) {
	kind := corev1.EventTypeNormal
	switch notice.Kind {
	case plan.NoticeRollingBack, plan.NoticeRolledBack, plan.NoticeStalled, plan.NoticeDegraded, plan.NoticeInconclusive, plan.NoticeLagging:
		kind = corev1.EventTypeWarning
	}
	r.Events.Eventf(rollout, nil, kind, string(notice.Kind), "Release", "%s", notice.Reason)
	r.Teller.Tell(rollout, notice)
}

// concerned maps any namespaced object to the Rollouts of its namespace that it may concern.
func (r *RolloutReconciler) concerned(ctx context.Context, o client.Object) []reconcile.Request {
	var rollouts v1alpha1.RolloutList
	if err := r.Client.List(ctx, &rollouts, client.InNamespace(o.GetNamespace())); err != nil {
		log.FromContext(ctx).Error(err, "list rollouts")
		return nil
	}
	var requests []reconcile.Request
	for i := range rollouts.Items {
		if concerns(&rollouts.Items[i], o) {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&rollouts.Items[i])})
		}
	}
	return requests
}

// concerns tells whether an object may matter to a Rollout of its namespace. Pods and ReplicaSets are told
// by their names, which begin with the Deployment's; a Deployment or a Rollout may be in the way of any.
func concerns(rollout *v1alpha1.Rollout, o client.Object) bool {
	service := rollout.Spec.Service.Name
	named := func(name string) bool { return name == service || name == canaryServiceName(rollout) }
	switch o := o.(type) {
	case *corev1.Pod:
		return strings.HasPrefix(o.Name, rollout.Spec.WorkloadRef.Name+"-")
	case *corev1.Service:
		return named(o.Name)
	case *discoveryv1.EndpointSlice:
		return named(o.Labels[discoveryv1.LabelServiceName])
	case *v1alpha1.AnalysisTemplate:
		return names(rollout, v1alpha1.TemplateRef{Name: o.Name})
	case *v1alpha1.ClusterAnalysisTemplate:
		return names(rollout, v1alpha1.TemplateRef{Name: o.Name, ClusterScope: true})
	}
	if o.GetObjectKind().GroupVersionKind().Kind == replicaSetKind.Kind {
		return strings.HasPrefix(o.GetName(), rollout.Spec.WorkloadRef.Name+"-")
	}
	return true
}

// names tells whether a Rollout asks for an analysis with a template.
func names(rollout *v1alpha1.Rollout, template v1alpha1.TemplateRef) bool {
	return slices.ContainsFunc(analysesOf(rollout.Spec), func(a wanted) bool { return slices.Contains(a.ref.Templates, template) })
}

// wakeReleases enqueues every Rollout whose weight is decided and not live: the mesh's word may concern
// any of them.
func (r *RolloutReconciler) wakeReleases(ctx context.Context, enqueue func(types.NamespacedName)) {
	var rollouts v1alpha1.RolloutList
	if err := r.Client.List(ctx, &rollouts); err != nil {
		log.FromContext(ctx).Error(err, "list rollouts")
		return
	}
	for i := range rollouts.Items {
		if weight := rollouts.Items[i].Status.Weight; weight.DecidedAt != nil && weight.LiveAt == nil {
			enqueue(client.ObjectKeyFromObject(&rollouts.Items[i]))
		}
	}
}
