package meshsync

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/mesh/ir"
)

// CanarySuffix is what the canary's headless Service adds to the name of the Rollout's Service.
const CanarySuffix = "-canary"

// podByUID indexes pods, so that an endpoint's revision is one look-up.
const podByUID = "metadata.uid"

// Publisher takes a whole mesh. It must not keep the slice that it is given.
type Publisher interface {
	Publish(mesh ir.Mesh) error
}

// Syncer keeps a Publisher at the mesh that the API objects mean. It is a Runnable that needs no
// leader: every replica serves.
type Syncer struct {
	Cache     cache.Cache
	Publisher Publisher

	mu    sync.Mutex
	dirty map[types.NamespacedName]struct{}
	all   bool
	wake  chan struct{}

	services map[types.NamespacedName]ir.Service
	ready    chan struct{}
	once     sync.Once
}

// NewSyncer makes a Syncer that reads from a cache. It registers the index it needs.
func NewSyncer(ctx context.Context, c cache.Cache, publisher Publisher) (*Syncer, error) {
	s := &Syncer{
		Cache: c, Publisher: publisher,
		dirty:    map[types.NamespacedName]struct{}{},
		wake:     make(chan struct{}, 1),
		services: map[types.NamespacedName]ir.Service{},
		ready:    make(chan struct{}),
	}
	if err := c.IndexField(ctx, &corev1.Pod{}, podByUID, func(o client.Object) []string {
		return []string{string(o.GetUID())}
	}); err != nil {
		return nil, fmt.Errorf("index pods: %w", err)
	}
	return s, nil
}

// NeedLeaderElection is false: every replica publishes the mesh.
func (s *Syncer) NeedLeaderElection() bool { return false }

// Ready is closed once the first mesh, from synced informers, has been published. Nothing may be
// served before: a partial answer deletes what clients have.
func (s *Syncer) Ready() <-chan struct{} { return s.ready }

// Start watches and publishes until the context ends.
func (s *Syncer) Start(ctx context.Context) error {
	watched := []struct {
		object client.Object
		keys   func(client.Object) []types.NamespacedName
	}{
		{&corev1.Service{}, serviceKeys},
		{&discoveryv1.EndpointSlice{}, sliceKeys},
		{&v1alpha1.Rollout{}, rolloutKeys},
		{&corev1.Pod{}, func(o client.Object) []types.NamespacedName { return s.podKeys(ctx, o) }},
		{&corev1.Namespace{}, nil},
	}
	var synced []toolscache.InformerSynced
	for _, w := range watched {
		informer, err := s.Cache.GetInformer(ctx, w.object)
		if err != nil {
			return fmt.Errorf("watch %T: %w", w.object, err)
		}
		_, appearsOnly := w.object.(*corev1.Pod)
		registration, err := informer.AddEventHandler(handler(appearsOnly, func(o client.Object) {
			if w.keys == nil {
				s.markAll()
				return
			}
			s.mark(w.keys(o))
		}))
		if err != nil {
			return fmt.Errorf("watch %T: %w", w.object, err)
		}
		synced = append(synced, registration.HasSynced)
	}
	if !toolscache.WaitForCacheSync(ctx.Done(), synced...) {
		return ctx.Err()
	}
	s.markAll()
	return s.run(ctx)
}

// run translates what is marked and publishes, until the context ends.
func (s *Syncer) run(ctx context.Context) error {
	logger := log.FromContext(ctx).WithName("meshsync")
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
		keys, err := s.take(ctx)
		if err == nil {
			err = s.translateAll(ctx, keys)
		}
		if err != nil {
			logger.Error(err, "translate mesh; the last good one keeps serving")
			s.mark(keys)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(time.Second):
			}
			continue
		}
		if err := s.Publisher.Publish(s.mesh()); err != nil {
			// The services that it names keep what they had; the others are published.
			logger.Error(err, "publish mesh")
		}
		s.once.Do(func() { close(s.ready) })
	}
}

// translateAll translates some services anew.
func (s *Syncer) translateAll(ctx context.Context, keys []types.NamespacedName) error {
	for _, key := range keys {
		service, wanted, err := s.translate(ctx, key)
		if err != nil {
			return fmt.Errorf("translate service %s: %w", key, err)
		}
		if wanted {
			s.services[key] = service
		} else {
			delete(s.services, key)
		}
	}
	return nil
}

// mesh is all that is translated.
func (s *Syncer) mesh() ir.Mesh {
	mesh := ir.Mesh{Services: make([]ir.Service, 0, len(s.services))}
	for _, service := range s.services {
		mesh.Services = append(mesh.Services, service)
	}
	slices.SortFunc(mesh.Services, func(a, b ir.Service) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return mesh
}

// translate gathers what one Service depends on, from the cache.
func (s *Syncer) translate(ctx context.Context, key types.NamespacedName) (ir.Service, bool, error) {
	var in Input
	in.Service = &corev1.Service{}
	if err := s.Cache.Get(ctx, key, in.Service); err != nil {
		return ir.Service{}, false, client.IgnoreNotFound(err)
	}
	if in.Service.Labels[v1alpha1.LabelManagedBy] != "" {
		return ir.Service{}, false, nil // a canary's own Service only feeds the Rollout's
	}
	var rollouts v1alpha1.RolloutList
	if err := s.Cache.List(ctx, &rollouts, client.InNamespace(key.Namespace)); err != nil {
		return ir.Service{}, false, err
	}
	in.Rollout = owner(rollouts.Items, key.Name)
	if in.Rollout == nil {
		var namespace corev1.Namespace
		if err := s.Cache.Get(ctx, types.NamespacedName{Name: key.Namespace}, &namespace); err != nil {
			return ir.Service{}, false, client.IgnoreNotFound(err)
		}
		if namespace.Labels[v1alpha1.LabelInject] != "enabled" {
			return ir.Service{}, false, nil
		}
	}
	for _, name := range []string{key.Name, key.Name + CanarySuffix} {
		if name != key.Name {
			var canary corev1.Service
			err := s.Cache.Get(ctx, types.NamespacedName{Namespace: key.Namespace, Name: name}, &canary)
			if apierrors.IsNotFound(err) || err == nil && canary.Labels[v1alpha1.LabelManagedBy] == "" {
				continue
			}
			if err != nil {
				return ir.Service{}, false, err
			}
		}
		var list discoveryv1.EndpointSliceList
		if err := s.Cache.List(ctx, &list, client.InNamespace(key.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: name}); err != nil {
			return ir.Service{}, false, err
		}
		for i := range list.Items {
			in.Slices = append(in.Slices, &list.Items[i])
		}
	}
	in.Revision = func(uid types.UID) (string, bool) {
		var pods corev1.PodList
		if err := s.Cache.List(ctx, &pods, client.InNamespace(key.Namespace), client.MatchingFields{podByUID: string(uid)}); err != nil || len(pods.Items) == 0 {
			return "", false
		}
		return pods.Items[0].Labels[appsv1.DefaultDeploymentUniqueLabelKey], true
	}
	service, wanted := Translate(in)
	return service, wanted, nil
}

// owner of a Service among a namespace's Rollouts: the oldest that names it, as the reconciler has it.
func owner(rollouts []v1alpha1.Rollout, service string) *v1alpha1.Rollout {
	var oldest *v1alpha1.Rollout
	for i := range rollouts {
		r := &rollouts[i]
		if r.Spec.Service.Name == service && (oldest == nil || v1alpha1.Older(r, oldest)) {
			oldest = r
		}
	}
	return oldest
}

// mark says that services must be looked at again.
func (s *Syncer) mark(keys []types.NamespacedName) {
	if len(keys) == 0 {
		return
	}
	s.mu.Lock()
	for _, key := range keys {
		s.dirty[key] = struct{}{}
	}
	s.mu.Unlock()
	s.signal()
}

// markAll says that every service must be looked at again.
func (s *Syncer) markAll() {
	s.mu.Lock()
	s.all = true
	s.mu.Unlock()
	s.signal()
}

func (s *Syncer) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take empties the marks and says which services they are about.
func (s *Syncer) take(ctx context.Context) ([]types.NamespacedName, error) {
	s.mu.Lock()
	all, dirty := s.all, s.dirty
	s.all, s.dirty = false, map[types.NamespacedName]struct{}{}
	s.mu.Unlock()
	if all {
		for key := range s.services {
			dirty[key] = struct{}{}
		}
		var services corev1.ServiceList
		if err := s.Cache.List(ctx, &services); err != nil {
			s.markAll()
			return nil, fmt.Errorf("list services: %w", err)
		}
		for _, service := range services.Items {
			dirty[client.ObjectKeyFromObject(&service)] = struct{}{}
		}
	}
	keys := make([]types.NamespacedName, 0, len(dirty))
	for key := range dirty {
		keys = append(keys, key)
	}
	return keys, nil
}
