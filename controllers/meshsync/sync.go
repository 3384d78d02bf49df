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
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

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

// Options say what a Syncer works with; all are needed but Settings and Refresh.
type Options struct {
	// Cache is read and watched.
	Cache cache.Cache
	// Reader reads ConfigMaps with certificate authorities, which are not watched.
	Reader client.Reader
	// Discovery tells which kinds of the Gateway API are installed.
	Discovery Discovery
	// Publisher gets the mesh.
	Publisher Publisher
	// Settings are the same for all proxies.
	Settings ir.Settings
	// Refresh is how often is looked for what no watch tells: kinds of the Gateway API that were installed or
	// removed, and changed certificate authorities. 0: every 30 seconds.
	Refresh time.Duration
}

// Syncer keeps a Publisher at the mesh that the API objects mean. It is a Runnable that needs no
// leader: every replica serves.
type Syncer struct {
	Options

	marks       marks
	gateway     gatewayKinds
	authorities authorities
	verdicts    verdicts

	services map[types.NamespacedName]ir.Service
	ready    chan struct{}
	once     sync.Once
}

// NewSyncer makes a Syncer. It registers the index it needs.
func NewSyncer(ctx context.Context, o Options) (*Syncer, error) {
	s := &Syncer{
		Options:     o,
		marks:       newMarks(),
		authorities: authorities{reader: o.Reader},
		services:    map[types.NamespacedName]ir.Service{},
		ready:       make(chan struct{}),
	}
	if err := o.Cache.IndexField(ctx, &corev1.Pod{}, podByUID, func(o client.Object) []string {
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
		{&v1alpha1.TrafficPolicy{}, policyKeys},
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
				s.marks.all()
				return
			}
			s.marks.add(w.keys(o))
		}))
		if err != nil {
			return fmt.Errorf("watch %T: %w", w.object, err)
		}
		synced = append(synced, registration.HasSynced)
	}
	// Routes belong to the first mesh, or proxies would be told for a moment that there are none.
	routes, err := s.watchGateway(ctx)
	if err != nil {
		return err
	}
	if !toolscache.WaitForCacheSync(ctx.Done(), append(synced, routes...)...) {
		return ctx.Err()
	}
	s.marks.all()
	var refreshing sync.WaitGroup
	defer refreshing.Wait()
	refreshing.Go(func() { s.refresh(ctx) })
	return s.run(ctx)
}

// run translates what is marked and publishes, until the context ends.
func (s *Syncer) run(ctx context.Context) error {
	logger := log.FromContext(ctx).WithName("meshsync")
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.marks.wake:
		}
		dirty, all := s.marks.take()
		if err := s.translateAll(ctx, dirty, all); err != nil {
			logger.Error(err, "translate mesh; the last good one keeps serving")
			s.marks.add(dirty)
			if all {
				s.marks.all()
			}
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

// translateAll translates some services anew, or all, and those whose routes name one of them as a backend.
func (s *Syncer) translateAll(ctx context.Context, dirty []types.NamespacedName, all bool) error {
	w, err := s.gather(ctx)
	if err != nil {
		return err
	}
	keys := map[types.NamespacedName]struct{}{}
	for _, key := range dirty {
		keys[key] = struct{}{}
		for _, user := range w.referring[key] {
			keys[user] = struct{}{}
		}
	}
	if all {
		for key := range s.services {
			keys[key] = struct{}{}
		}
		if err := s.every(ctx, w, keys); err != nil {
			return err
		}
	}
	for key := range keys {
		service, wanted, verdicts, err := s.translate(ctx, w, key)
		if err != nil {
			return fmt.Errorf("translate service %s: %w", key, err)
		}
		if wanted {
			s.services[key] = service
		} else {
			delete(s.services, key)
		}
		s.verdicts.set(key, verdicts)
	}
	return nil
}

// mesh is all that is translated.
func (s *Syncer) mesh() ir.Mesh {
	mesh := ir.Mesh{Services: make([]ir.Service, 0, len(s.services)), Settings: s.Settings}
	for _, service := range s.services {
		mesh.Services = append(mesh.Services, service)
	}
	slices.SortFunc(mesh.Services, func(a, b ir.Service) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return mesh
}
