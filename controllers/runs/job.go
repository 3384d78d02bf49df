package runs

import (
	"context"
	"errors"
	"fmt"
	"maps"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/analysis/check"
	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// patience is how long a Job may take whose spec sets no activeDeadlineSeconds: every run ends.
const patience = int64(60 * 60)

// newJob is the Job of a measurement, as it is to be created.
func newJob(run *v1alpha1.AnalysisRun, metric v1alpha1.Metric, name string, args arguments) (*unstructured.Unstructured, error) {
	provider := metric.Provider.Job
	spec, err := jobSpec(provider, args)
	if err != nil {
		return nil, err
	}
	delete(spec, "ttlSecondsAfterFinished") // it is seen to here, once its end is on record
	if _, set := spec["activeDeadlineSeconds"]; !set {
		spec["activeDeadlineSeconds"] = patience
	}
	labels, annotations := map[string]string{}, map[string]string{}
	if provider.Metadata != nil {
		maps.Copy(labels, provider.Metadata.Labels)
		maps.Copy(annotations, provider.Metadata.Annotations)
	}
	for _, texts := range []map[string]string{labels, annotations} {
		for key, text := range texts {
			if texts[key], err = args.expandShown(text); err != nil {
				return nil, &Problem{"provider.job.metadata", err.Error()}
			}
		}
	}
	labels[v1alpha1.LabelAnalysisRun] = run.Name
	job := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	job.SetGroupVersionKind(batchv1.SchemeGroupVersion.WithKind("Job"))
	job.SetNamespace(run.Namespace)
	job.SetName(name)
	job.SetLabels(labels)
	job.SetAnnotations(annotations)
	job.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(run, v1alpha1.GroupVersion.WithKind("AnalysisRun"))})
	return job, nil
}

// createJob creates the Job of a measurement, once. What a person must mend is a *Problem.
func (r *Reconciler) createJob(ctx context.Context, run *v1alpha1.AnalysisRun, metric v1alpha1.Metric, name string) error {
	args, err := readArguments(ctx, newSecrets(r.Reader, run.Namespace), run.Spec)
	if err != nil {
		return err
	}
	job, err := newJob(run, metric, name, args)
	if err != nil {
		return err
	}
	err = r.Client.Create(ctx, job, client.FieldValidation(metav1.FieldValidationStrict))
	switch {
	case apierrors.IsAlreadyExists(err):
		present := &batchv1.Job{}
		if err := r.Reader.Get(ctx, client.ObjectKeyFromObject(job), present); err != nil {
			return fmt.Errorf("get job %s: %w", name, err)
		}
		if !metav1.IsControlledBy(present, run) {
			return &Problem{"provider.job", fmt.Sprintf("there is a Job %s that is not this run's; delete it", name)}
		}
		return nil
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsForbidden(err):
		return &Problem{"provider.job.spec", fmt.Sprintf("the API server refuses the Job: %v", err)}
	case err != nil:
		return fmt.Errorf("create job %s: %w", name, err)
	}
	return nil
}

// jobsOf are a run's Jobs and what became of them.
func (r *Reconciler) jobsOf(ctx context.Context, run *v1alpha1.AnalysisRun) (map[string]jobState, []batchv1.Job, error) {
	states := map[string]jobState{}
	if !r.Jobs || !usesJobs(run) {
		return states, nil, nil
	}
	var list batchv1.JobList
	if err := r.Client.List(ctx, &list, client.InNamespace(run.Namespace), client.MatchingLabels{v1alpha1.LabelAnalysisRun: run.Name}); err != nil {
		return nil, nil, fmt.Errorf("list jobs: %w", err)
	}
	var own []batchv1.Job
	for _, job := range list.Items {
		if metav1.IsControlledBy(&job, run) {
			states[job.Name] = stateOf(&job)
			own = append(own, job)
		}
	}
	// The cache may not have heard of one yet that is on record.
	for _, metric := range run.Status.Metrics {
		for _, m := range metric.Measurements {
			if _, known := states[m.Job]; known || m.Job == "" || m.Phase != v1alpha1.RunRunning {
				continue
			}
			job := &batchv1.Job{}
			err := r.Reader.Get(ctx, client.ObjectKey{Namespace: run.Namespace, Name: m.Job}, job)
			if client.IgnoreNotFound(err) != nil {
				return nil, nil, fmt.Errorf("get job %s: %w", m.Job, err)
			}
			if err == nil && metav1.IsControlledBy(job, run) {
				states[m.Job] = stateOf(job)
				own = append(own, *job)
			}
		}
	}
	return states, own, nil
}

func usesJobs(run *v1alpha1.AnalysisRun) bool {
	for _, metric := range run.Spec.Metrics {
		if metric.Provider.Job != nil {
			return true
		}
	}
	return false
}

// stateOf is what became of a Job.
func stateOf(job *batchv1.Job) jobState {
	for _, c := range job.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete:
			return jobState{phase: check.Successful, message: "the Job completed"}
		case batchv1.JobFailed:
			return jobState{phase: check.Failed, message: fmt.Sprintf("the Job failed: %s: %s", c.Reason, c.Message)}
		}
	}
	return jobState{phase: check.Running}
}

// deleteJobs deletes a run's Jobs and their pods, but for those that are to stay.
func (r *Reconciler) deleteJobs(ctx context.Context, jobs []batchv1.Job, keep map[string]bool) error {
	var problems []error
	for i := range jobs {
		job := &jobs[i]
		if keep[job.Name] || job.DeletionTimestamp != nil {
			continue
		}
		err := r.Client.Delete(ctx, job, client.Preconditions{UID: &job.UID}, client.PropagationPolicy(metav1.DeletePropagationBackground))
		if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
			problems = append(problems, fmt.Errorf("delete job %s: %w", job.Name, err))
		}
	}
	return errors.Join(problems...)
}
