package harness

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// PodsOf returns the pods of an application that are not about to end.
func (s *Space) PodsOf(ctx context.Context, app string) ([]corev1.Pod, error) {
	list := &corev1.PodList{}
	if err := s.Client.List(ctx, list, client.InNamespace(s.Name), client.MatchingLabels{LabelApp: app}); err != nil {
		return nil, fmt.Errorf("list pods of %s: %w", app, err)
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil }), nil
}

// PodRecord is every pod that an application had since the recording began.
type PodRecord struct{ *Record[*corev1.Pod] }

// FollowPods records the pods of an application.
func (s *Space) FollowPods(ctx context.Context, app string) (*PodRecord, error) {
	r, err := Follow[*corev1.Pod](ctx, s.Client, &corev1.PodList{}, client.InNamespace(s.Name), client.MatchingLabels{LabelApp: app})
	if err != nil {
		return nil, err
	}
	return &PodRecord{r}, nil
}

// Started returns the names of all pods that were there since the recording began, by revision (their
// pod-template-hash), in the order in which they were created. A pod that was replaced counts beside
// its successor.
func (r *PodRecord) Started() map[string][]string {
	type pod struct {
		name    string
		created time.Time
	}
	seen := map[string]map[types.UID]pod{}
	for _, p := range r.History() {
		hash := p.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
		if seen[hash] == nil {
			seen[hash] = map[types.UID]pod{}
		}
		seen[hash][p.UID] = pod{p.Name, p.CreationTimestamp.Time}
	}
	started := map[string][]string{}
	for hash, pods := range seen {
		sorted := slices.SortedFunc(maps.Values(pods), func(a, b pod) int {
			if c := a.created.Compare(b.created); c != 0 {
				return c
			}
			return strings.Compare(a.name, b.name)
		})
		for _, p := range sorted {
			started[hash] = append(started[hash], p.name)
		}
	}
	return started
}

// Restarts counts restarts of containers of all pods, with their names.
func (r *PodRecord) Restarts() []string {
	most := map[string]int32{}
	for _, p := range r.History() {
		for _, status := range append(append([]corev1.ContainerStatus{}, p.Status.InitContainerStatuses...), p.Status.ContainerStatuses...) {
			if status.RestartCount > 0 {
				most[p.Name+"/"+status.Name] = max(most[p.Name+"/"+status.Name], status.RestartCount)
			}
		}
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(most)) {
		all = append(all, fmt.Sprintf("%s %d times", name, most[name]))
	}
	return all
}

// OnlyRevision waits until all pods that exist belong to the revision, and there are as many.
func (r *PodRecord) OnlyRevision(ctx context.Context, hash string, count int) error {
	return r.Await(ctx, fmt.Sprintf("%d pods of %s only", count, hash), func(pods []*corev1.Pod) bool {
		for _, p := range pods {
			if p.Labels[appsv1.DefaultDeploymentUniqueLabelKey] != hash {
				return false
			}
		}
		return len(pods) == count
	})
}
