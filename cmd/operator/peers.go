package main

import (
	"context"
	"fmt"
	"net"
	"sync"

	discoveryv1 "k8s.io/api/discovery/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// ackPath is where a replica streams what its proxies have acknowledged.
const ackPath = "/acknowledgements"

// peers lets the leader follow the acknowledgements of every other replica, as found behind the headless
// Service. It is a Runnable of the leader.
type peers struct {
	cache     cache.Cache
	namespace string
	service   string
	port      string
	self      string
	follow    func(ctx context.Context, replica, url string) error
}

// follower is one replica being followed.
type follower struct {
	url  string
	stop context.CancelFunc
	done chan struct{}
}

// Start follows until the context ends, and waits for its followers.
func (p *peers) Start(ctx context.Context) error {
	informer, err := p.cache.GetInformer(ctx, &discoveryv1.EndpointSlice{})
	if err != nil {
		return fmt.Errorf("watch replicas: %w", err)
	}
	wake := make(chan struct{}, 1)
	signal := func(any) {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: signal, DeleteFunc: signal, UpdateFunc: func(_, now any) { signal(now) },
	})
	if err != nil {
		return fmt.Errorf("watch replicas: %w", err)
	}
	defer func() { _ = informer.RemoveEventHandler(registration) }()

	var followers sync.WaitGroup
	defer followers.Wait()
	following := map[string]follower{}
	defer func() {
		for _, f := range following {
			f.stop()
		}
	}()
	for {
		found, err := p.find(ctx)
		if err != nil {
			log.FromContext(ctx).Error(err, "find replicas")
		}
		for replica, f := range following {
			if found[replica] != f.url && err == nil { // gone, or at another address
				f.stop()
				<-f.done
				delete(following, replica)
			}
		}
		for replica, url := range found {
			if _, is := following[replica]; is {
				continue
			}
			life, stop := context.WithCancel(ctx)
			f := follower{url, stop, make(chan struct{})}
			following[replica] = f
			followers.Go(func() {
				defer close(f.done)
				_ = p.follow(life, replica, url)
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		}
	}
}

// find lists the other replicas by pod name, with the URL of their acknowledgements.
func (p *peers) find(ctx context.Context) (map[string]string, error) {
	var slices discoveryv1.EndpointSliceList
	if err := p.cache.List(ctx, &slices, client.InNamespace(p.namespace), client.MatchingLabels{discoveryv1.LabelServiceName: p.service}); err != nil {
		return nil, fmt.Errorf("list replicas: %w", err)
	}
	found := map[string]string{}
	for _, slice := range slices.Items {
		for _, endpoint := range slice.Endpoints {
			if endpoint.TargetRef == nil || endpoint.TargetRef.Name == p.self || len(endpoint.Addresses) == 0 {
				continue
			}
			if c := endpoint.Conditions; c.Terminating != nil && *c.Terminating && (c.Serving == nil || !*c.Serving) {
				continue
			}
			found[endpoint.TargetRef.Name] = "http://" + net.JoinHostPort(endpoint.Addresses[0], p.port) + ackPath
		}
	}
	return found, nil
}
