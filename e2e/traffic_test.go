package e2e

import (
	"maps"
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/e2e/harness"
	"github.com/sluice-mesh/sluice/e2e/load/ledger"
)

// A policy takes effect on requests that flow, and its end too; what it aborts on purpose is held against no
// version.
func TestTrafficPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	policy := &v1alpha1.TrafficPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: shop},
		Spec: v1alpha1.TrafficPolicySpec{
			TargetRef: v1alpha1.TargetRef{Name: shop},
			Rules: []v1alpha1.TrafficRule{{
				Matches: []v1alpha1.RequestMatch{{Path: &v1alpha1.PathMatch{Value: "/"}}},
				Fault:   &v1alpha1.Fault{Abort: &v1alpha1.FaultAbort{Status: ptr.To[int32](418), Percent: "50"}},
			}},
		},
	}
	w.must(w.Create(w.ctx, policy))
	_, err := w.load.Poll(w.ctx, "aborted requests", func(s ledger.Snapshot) bool { return s.Total.Lost >= 20 })
	w.must(err)
	// A replica that does not lead has it in force without saying so.
	w.await("the policy is accepted", func() (bool, error) {
		err := w.Get(w.ctx, shop, policy)
		return meta.IsStatusConditionTrue(policy.Status.Conditions, v1alpha1.ConditionAccepted), err
	})
	// A release goes on under it.
	w.release(v2)
	w.ends(1, v1alpha1.OutcomePromoted)

	w.must(w.Client.Delete(w.ctx, policy))
	_, err = w.load.Poll(w.ctx, "an end of the aborts", func(ledger.Snapshot) bool {
		s, err := w.load.Cut(w.ctx)
		return err == nil && s.Window.Lost == 0 && s.Window.Answered() > 5
	})
	w.must(err)
	w.served("v2")
	if reasons := slices.Collect(maps.Keys(w.seen().Total.Reasons)); !slices.Equal(reasons, []string{"status 418"}) {
		t.Errorf("requests were lost for %v, want those alone that were aborted", reasons)
	}
}

// Pods that come and go, as in a native rolling update, lose no request: not over kept connections either.
func TestRollingUpdateLosesNothing(t *testing.T) {
	t.Parallel()
	ctx := needCluster(t, 0)
	w := &world{Space: newSpace(ctx, t), t: t, ctx: ctx}
	w.must(w.Deploy(ctx, harness.App{Name: shop, Version: v1, Replicas: 3, Protocols: true}))
	w.must(w.AwaitAvailable(ctx, shop))
	loads := map[string]*harness.Load{}
	for _, protocol := range []string{"http", "grpc", "ws"} {
		loads[protocol] = w.client(harness.Clients{Name: "load-" + protocol, Target: shop, Protocol: protocol, Rate: 40})
	}
	for _, version := range []harness.Version{v2, v3, v1} {
		w.must(w.Release(ctx, shop, version))
		w.must(w.AwaitAvailable(ctx, shop))
		for _, load := range loads {
			w.must(load.Flows(ctx, 40))
		}
	}
	pause(ctx, t, 5*time.Second) // the last pods end
	for protocol, load := range loads {
		if s := w.nothingLost(load); len(s.Total.Versions) != 3 || s.Total.Bad() != 0 {
			t.Errorf("%s: answers of %v, %d bad", protocol, s.Total.Names(), s.Total.Bad())
		}
	}
}

// A Job's pod ends when its own container has: the proxy goes last, and does not keep it.
func TestJobCompletes(t *testing.T) {
	t.Parallel()
	ctx := needCluster(t, 0)
	w := &world{Space: newSpace(ctx, t), t: t, ctx: ctx}
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "once"},
		Spec: batchv1.JobSpec{BackoffLimit: ptr.To[int32](0), Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever,
			Containers: []corev1.Container{{
				Name: "once", Image: "sluice.dev/proxy:dev", ImagePullPolicy: corev1.PullIfNotPresent, Args: []string{"version"},
			}},
		}}},
	}
	w.must(w.Create(ctx, job))
	jobs, err := harness.Follow[*batchv1.Job](ctx, w.Client, &batchv1.JobList{}, client.InNamespace(w.Name))
	w.must(err)
	defer jobs.Stop()
	w.must(jobs.Await(ctx, "the job to complete", func(all []*batchv1.Job) bool {
		return len(all) == 1 && all[0].Status.Succeeded == 1 && all[0].Status.CompletionTime != nil
	}))
	pods := &corev1.PodList{}
	w.must(w.Client.List(ctx, pods, client.InNamespace(w.Name)))
	if len(pods.Items) != 1 || len(pods.Items[0].Spec.InitContainers) != 2 {
		t.Errorf("pods %+v, want one with a proxy", pods.Items)
	}
}
