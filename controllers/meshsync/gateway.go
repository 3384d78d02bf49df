package meshsync

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
	gatewaybeta "sigs.k8s.io/gateway-api/apis/v1beta1"
)

// Discovery tells which kinds the API server has, as client-go's discovery client does.
type Discovery interface {
	ServerResourcesForGroupVersion(groupVersion string) (*metav1.APIResourceList, error)
}

// gatewayKind is a kind of the Gateway API that is watched where it is installed.
type gatewayKind struct {
	kind, version string
	object        client.Object
	list          client.ObjectList
}

var knownGatewayKinds = []gatewayKind{
	{KindHTTPRoute, gateway.GroupVersion.String(), &gateway.HTTPRoute{}, &gateway.HTTPRouteList{}},
	{KindGRPCRoute, gateway.GroupVersion.String(), &gateway.GRPCRoute{}, &gateway.GRPCRouteList{}},
	{"ReferenceGrant", gatewaybeta.GroupVersion.String(), &gatewaybeta.ReferenceGrant{}, &gatewaybeta.ReferenceGrantList{}},
}

// gatewayKinds are the kinds that are watched, by the Go type of their list.
type gatewayKinds struct {
	mu      sync.Mutex
	watched map[string]toolscache.ResourceEventHandlerRegistration
}

// list lists a kind, or nothing where it is not installed or not read yet.
func (g *gatewayKinds) list(ctx context.Context, reader client.Reader, list client.ObjectList) error {
	g.mu.Lock()
	registration := g.watched[fmt.Sprintf("%T", list)]
	g.mu.Unlock()
	if registration == nil || !registration.HasSynced() {
		return nil
	}
	if err := reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list %T: %w", list, err)
	}
	return nil
}

// watchGateway begins to watch kinds of the Gateway API that are installed, and ends it for those that are
// not any more. It returns what tells that those which are new are read.
func (s *Syncer) watchGateway(ctx context.Context) ([]toolscache.InformerSynced, error) {
	var synced []toolscache.InformerSynced
	for _, known := range knownGatewayKinds {
		installed, err := s.installed(known)
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("%T", known.list)
		s.gateway.mu.Lock()
		_, watched := s.gateway.watched[name]
		s.gateway.mu.Unlock()
		switch {
		case installed && !watched:
			registration, err := s.watchRoutes(ctx, known.object)
			if err != nil {
				return nil, fmt.Errorf("watch %s: %w", known.kind, err)
			}
			s.gateway.mu.Lock()
			if s.gateway.watched == nil {
				s.gateway.watched = map[string]toolscache.ResourceEventHandlerRegistration{}
			}
			s.gateway.watched[name] = registration
			s.gateway.mu.Unlock()
			synced = append(synced, registration.HasSynced)
			log.FromContext(ctx).WithName("meshsync").Info("kind of the Gateway API found", "kind", known.kind)
		case !installed && watched:
			s.gateway.mu.Lock()
			delete(s.gateway.watched, name)
			s.gateway.mu.Unlock()
			if err := s.Cache.RemoveInformer(ctx, known.object); err != nil {
				return nil, fmt.Errorf("end watch of %s: %w", known.kind, err)
			}
			s.marks.all()
			log.FromContext(ctx).WithName("meshsync").Info("kind of the Gateway API is gone", "kind", known.kind)
		}
	}
	return synced, nil
}

func (s *Syncer) installed(known gatewayKind) (bool, error) {
	resources, err := s.Discovery.ServerResourcesForGroupVersion(known.version)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("discover %s: %w", known.version, err)
	}
	for _, resource := range resources.APIResources {
		if resource.Kind == known.kind {
			return true, nil
		}
	}
	return false, nil
}

func (s *Syncer) watchRoutes(ctx context.Context, object client.Object) (toolscache.ResourceEventHandlerRegistration, error) {
	informer, err := s.Cache.GetInformer(ctx, object, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, err
	}
	return informer.AddEventHandler(handler(false, func(o client.Object) {
		if _, grant := o.(*gatewaybeta.ReferenceGrant); grant {
			s.marks.all() // rare, and any route may refer to its namespace
			return
		}
		s.marks.add(routeKeys(o))
	}))
}

// refresh looks again and again for what no watch tells.
func (s *Syncer) refresh(ctx context.Context) {
	logger := log.FromContext(ctx).WithName("meshsync")
	ticker := time.NewTicker(cmp.Or(s.Refresh, 30*time.Second))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		synced, err := s.watchGateway(ctx)
		if err != nil {
			logger.Error(err, "look for kinds of the Gateway API")
		}
		if len(synced) > 0 {
			if !toolscache.WaitForCacheSync(ctx.Done(), synced...) {
				return
			}
			s.marks.all()
		}
		if s.authorities.changed(ctx) {
			s.marks.all()
		}
	}
}
