package runs

import (
	"context"
	"errors"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sluice-mesh/sluice/analysis/check"
	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// Reconciler runs AnalysisRuns. A run's status is all that it remembers of it.
type Reconciler struct {
	// Client reads from the cache and writes to the API server.
	Client client.Client
	// Reader reads from the API server itself.
	Reader client.Reader
	// Events records Kubernetes events.
	Events events.EventRecorder
	// Prometheus is the installation's. Nil: there is none.
	Prometheus Querier
	// Jobs lets metrics run Jobs.
	Jobs bool
	// Loopback lets metrics ask servers on this machine, for tests.
	Loopback bool
	// Now is the clock.
	Now func() time.Time

	measurer *measurer
}

// SetupWithManager registers the reconciler and what it watches; both are the leader's.
func (r *Reconciler) SetupWithManager(manager ctrl.Manager) error {
	r.measurer = newMeasurer(r.Reader, r.Prometheus, r.Loopback, r.Now)
	if err := manager.Add(r.measurer); err != nil {
		return fmt.Errorf("add measurements to manager: %w", err)
	}
	b := ctrl.NewControllerManagedBy(manager).
		Named("analysisrun").
		For(&v1alpha1.AnalysisRun{}).
		WatchesRawSource(source.Channel(r.measurer.changed, &handler.TypedEnqueueRequestForObject[client.Object]{})).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: 4,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](50*time.Millisecond, 10*time.Second),
		})
	if r.Jobs {
		b = b.Owns(&batchv1.Job{})
	}
	return b.Complete(r)
}

// Reconcile takes what has arrived, records where the run is, and begins what is due.
func (r *Reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	// From the API server: what is due is decided by the last status that was written.
	run := &v1alpha1.AnalysisRun{}
	if err := r.Reader.Get(ctx, request.NamespacedName, run); err != nil {
		if apierrors.IsNotFound(err) {
			r.measurer.forgetName(request.NamespacedName)
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, fmt.Errorf("get analysis run: %w", err)
	}
	if run.DeletionTimestamp != nil {
		r.measurer.forget(run.UID)
		return reconcile.Result{}, nil
	}
	states, jobs, err := r.jobsOf(ctx, run)
	if err != nil {
		return reconcile.Result{}, err
	}
	if run.Status.Phase.Ended() {
		r.measurer.forget(run.UID)
		if err := r.deleteJobs(ctx, jobs, lastFailed(run)); err != nil {
			return reconcile.Result{}, err
		}
		return reconcile.Result{}, r.retain(ctx, run)
	}
	t, news, err := r.decide(ctx, run, states)
	if err != nil {
		return reconcile.Result{}, err
	}
	return r.carryOut(ctx, run, t, news, jobs)
}

// decide says what is to be done. A run that could never be measured is refused before it begins.
func (r *Reconciler) decide(ctx context.Context, run *v1alpha1.AnalysisRun, states map[string]jobState) (turn, arrived, error) {
	if run.Status.StartedAt == nil && !run.Spec.Terminate {
		problem, err := r.refuse(ctx, run)
		if err != nil {
			return turn{}, nil, err
		}
		if problem != nil {
			now := micro(r.Now())
			return turn{status: v1alpha1.AnalysisRunStatus{Phase: v1alpha1.RunError, Message: clip(problem.Error(), maxMessage), StartedAt: now, CompletedAt: now}}, nil, nil
		}
	}
	news := r.measurer.arrivals(run.UID)
	return next(run, news, states, r.Now()), news, nil
}

// refuse says why a run cannot be measured as it is.
func (r *Reconciler) refuse(ctx context.Context, run *v1alpha1.AnalysisRun) (*Problem, error) {
	secrets := newSecrets(r.Reader, run.Namespace)
	args, err := readArguments(ctx, secrets, run.Spec)
	if isMissing(err) {
		return &Problem{"spec.args", err.Error()}, nil
	}
	if err != nil {
		return nil, err
	}
	for i, metric := range run.Spec.Metrics {
		if metric.Provider.Job != nil && !r.Jobs {
			return &Problem{fmt.Sprintf("spec.metrics[%d].provider.job", i), "the operator may not run Jobs; set operator.runJobs to true in the chart's values"}, nil
		}
		err := examine(ctx, secrets, metric, args, run.Spec.Revisions)
		var problem *Problem
		switch {
		case errors.As(err, &problem):
			return &Problem{fmt.Sprintf("spec.metrics[%d].%s", i, problem.Field), problem.Message}, nil
		case err != nil:
			return nil, err
		}
	}
	return nil, nil
}

// carryOut writes the status, once, and then does what it says.
func (r *Reconciler) carryOut(ctx context.Context, run *v1alpha1.AnalysisRun, t turn, news arrived, jobs []batchv1.Job) (reconcile.Result, error) {
	before := run.Status.DeepCopy()
	run.Status = t.status
	if !equality.Semantic.DeepEqual(*before, t.status) {
		if err := r.Client.Status().Update(ctx, run); err != nil {
			if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
				return reconcile.Result{RequeueAfter: 20 * time.Millisecond}, nil
			}
			return reconcile.Result{}, fmt.Errorf("write status: %w", err)
		}
		r.tell(run, before)
	}
	r.measurer.recorded(run.UID, news)
	if t.status.Phase.Ended() {
		r.measurer.forget(run.UID)
		log.FromContext(ctx).Info("analysis ended", "phase", t.status.Phase, "message", t.status.Message)
		if err := r.deleteJobs(ctx, jobs, t.keep); err != nil {
			return reconcile.Result{}, err
		}
		return reconcile.Result{}, r.retain(ctx, run)
	}
	again, err := r.begin(ctx, run, t)
	if err != nil {
		return reconcile.Result{}, err
	}
	if again {
		t.requeue = 20 * time.Millisecond
	}
	return reconcile.Result{RequeueAfter: t.requeue}, r.deleteJobs(ctx, jobs, t.keep)
}

// begin begins what is due. It says whether the run is to be looked at again at once.
func (r *Reconciler) begin(ctx context.Context, run *v1alpha1.AnalysisRun, t turn) (again bool, err error) {
	for _, i := range t.measure {
		again = !r.measurer.begin(run, run.Spec.Metrics[i]) || again
	}
	for i, name := range t.create {
		metric, now := run.Spec.Metrics[i], r.Now()
		err := r.createJob(ctx, run, metric, name)
		var problem *Problem
		switch {
		case errors.As(err, &problem) || isMissing(err):
			r.measurer.keep(run, metric.Name, check.Measurement{Phase: check.Error, Message: err.Error(), StartedAt: now, FinishedAt: now})
			again = true
		case err != nil:
			return false, err
		}
	}
	return again, nil
}

// lastFailed are the Jobs that stay with a run that has ended.
func lastFailed(run *v1alpha1.AnalysisRun) map[string]bool {
	keep := map[string]bool{}
	for _, metric := range run.Status.Metrics {
		if last := len(metric.Measurements) - 1; last >= 0 && metric.Measurements[last].Phase == v1alpha1.RunFailed {
			keep[metric.Measurements[last].Job] = true
		}
	}
	return keep
}

// tell records events about what has changed.
func (r *Reconciler) tell(run *v1alpha1.AnalysisRun, before *v1alpha1.AnalysisRunStatus) {
	if before.StartedAt == nil {
		r.Events.Eventf(run, nil, corev1.EventTypeNormal, "Started", "Analyse", "measuring %d metrics", len(run.Spec.Metrics))
	}
	ended := map[string]bool{}
	for _, metric := range before.Metrics {
		ended[metric.Name] = metric.Phase.Ended()
	}
	for _, metric := range run.Status.Metrics {
		if metric.Phase.Ended() && metric.Phase != v1alpha1.RunSuccessful && !ended[metric.Name] && !run.Spec.Terminate {
			r.Events.Eventf(run, nil, corev1.EventTypeWarning, "Metric"+string(metric.Phase), "Analyse", "metric %s: %s", metric.Name, metric.Message)
		}
	}
	if run.Status.Phase.Ended() {
		kind := corev1.EventTypeWarning
		if run.Status.Phase == v1alpha1.RunSuccessful || run.Spec.Terminate {
			kind = corev1.EventTypeNormal
		}
		r.Events.Eventf(run, nil, kind, string(run.Status.Phase), "Analyse", "%s", run.Status.Message)
	}
}
