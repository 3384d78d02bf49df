// Package traffic writes the status of TrafficPolicies and of the Gateway API's routes: what became of them in
// the mesh. It decides nothing: the verdicts are those of the translation that is in force.
package traffic

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
	gateway "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/controllers/meshsync"
)

// Judge knows what became of objects; a meshsync.Syncer is one.
type Judge interface {
	// Follow calls back with every subject that there is a verdict on, now and whenever its verdicts change.
	Follow(func(meshsync.Subject))
	// Verdicts returns what became of an object at each service that it names.
	Verdicts(meshsync.Subject) []meshsync.Verdict
}

// Reconciler writes verdicts into statuses.
type Reconciler struct {
	Client client.Client
	// Reader reads from the API server itself: a status is written over the one that is there.
	Reader client.Reader
	Judge  Judge
}

// SetupWithManager registers the reconciler, which is the leader's.
func (r *Reconciler) SetupWithManager(manager ctrl.Manager) error {
	return builder.TypedControllerManagedBy[meshsync.Subject](manager).
		Named("traffic").
		WatchesRawSource(source.TypedFunc[meshsync.Subject](func(_ context.Context, queue workqueue.TypedRateLimitingInterface[meshsync.Subject]) error {
			r.Judge.Follow(queue.Add)
			return nil
		})).
		WithOptions(controller.TypedOptions[meshsync.Subject]{
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[meshsync.Subject](50*time.Millisecond, 10*time.Second),
		}).
		Complete(r)
}

// Reconcile brings one object's status up to date. Where another writer was faster, it is tried again.
func (r *Reconciler) Reconcile(ctx context.Context, subject meshsync.Subject) (reconcile.Result, error) {
	verdicts := r.Judge.Verdicts(subject)
	var object client.Object
	var change func() bool
	now := metav1.Now()
	switch subject.Kind {
	case meshsync.KindTrafficPolicy:
		policy := &v1alpha1.TrafficPolicy{}
		object, change = policy, func() bool { return setPolicy(&policy.Status, about(policy, verdicts), now) }
	case meshsync.KindHTTPRoute:
		route := &gateway.HTTPRoute{}
		object, change = route, func() bool { return setRoute(&route.Status.RouteStatus, about(route, verdicts), now) }
	case meshsync.KindGRPCRoute:
		route := &gateway.GRPCRoute{}
		object, change = route, func() bool { return setRoute(&route.Status.RouteStatus, about(route, verdicts), now) }
	default:
		return reconcile.Result{}, reconcile.TerminalError(fmt.Errorf("write status: unknown kind %s", subject.Kind))
	}
	if err := r.Reader.Get(ctx, subject.NamespacedName, object); err != nil {
		if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, fmt.Errorf("get %s %s: %w", subject.Kind, subject.NamespacedName, err)
	}
	if !change() {
		return reconcile.Result{}, nil
	}
	if err := r.Client.Status().Update(ctx, object); err != nil && !apierrors.IsNotFound(err) {
		return reconcile.Result{}, fmt.Errorf("write status of %s %s: %w", subject.Kind, subject.NamespacedName, err)
	}
	return reconcile.Result{}, nil
}

// about keeps the verdicts on this object, and not on one of the same name before it.
func about(object client.Object, verdicts []meshsync.Verdict) []meshsync.Verdict {
	return slices.DeleteFunc(verdicts, func(v meshsync.Verdict) bool { return v.UID != object.GetUID() })
}

// setPolicy reports whether the verdict made a difference. A policy that there is no verdict on keeps its status.
func setPolicy(status *v1alpha1.TrafficPolicyStatus, verdicts []meshsync.Verdict, now metav1.Time) bool {
	if len(verdicts) == 0 {
		return false
	}
	return setConditions(&status.Conditions, verdicts[0].Conditions, now)
}

// setRoute brings our own part of a route's status up to date, and leaves those of other controllers alone.
func setRoute(status *gateway.RouteStatus, verdicts []meshsync.Verdict, now metav1.Time) bool {
	ours := func(p gateway.RouteParentStatus) bool { return p.ControllerName == meshsync.ControllerName }
	named := func(ref gateway.ParentReference) func(gateway.RouteParentStatus) bool {
		return func(p gateway.RouteParentStatus) bool { return ours(p) && reflect.DeepEqual(p.ParentRef, ref) }
	}
	before := len(status.Parents)
	status.Parents = slices.DeleteFunc(status.Parents, func(p gateway.RouteParentStatus) bool {
		return ours(p) && !slices.ContainsFunc(verdicts, func(v meshsync.Verdict) bool { return reflect.DeepEqual(v.Parent, p.ParentRef) })
	})
	changed := len(status.Parents) != before
	for _, v := range verdicts {
		i := slices.IndexFunc(status.Parents, named(v.Parent))
		if i < 0 {
			i = len(status.Parents)
			status.Parents = append(status.Parents, gateway.RouteParentStatus{ParentRef: v.Parent, ControllerName: meshsync.ControllerName})
		}
		changed = setConditions(&status.Parents[i].Conditions, v.Conditions, now) || changed
	}
	return changed
}

// setConditions replaces conditions, keeping the time of those whose status stays, and reports whether that
// made a difference.
func setConditions(conditions *[]metav1.Condition, wanted []metav1.Condition, now metav1.Time) bool {
	before := len(*conditions)
	*conditions = slices.DeleteFunc(*conditions, func(c metav1.Condition) bool {
		return !slices.ContainsFunc(wanted, func(w metav1.Condition) bool { return w.Type == c.Type })
	})
	changed := len(*conditions) != before
	for _, condition := range wanted {
		condition.LastTransitionTime = now
		if old := meta.FindStatusCondition(*conditions, condition.Type); old != nil && old.Status == condition.Status {
			condition.LastTransitionTime = old.LastTransitionTime
		}
		changed = meta.SetStatusCondition(conditions, condition) || changed
	}
	return changed
}
