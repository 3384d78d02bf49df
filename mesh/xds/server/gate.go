package server

import (
	"slices"

	"github.com/sluice-mesh/sluice/mesh/xds"
)

// mustWait keeps the order in which a change is safe, on each stream by itself: a type with an
// unanswered answer has no open watch, so that the order of publishing alone is not the order of arrival.
//
//   - Up: a route waits until the stream has acknowledged the clusters and endpoints that it sends
//     requests to. That binds only clients that ask for all clusters: gRPC asks for a cluster only once a
//     route names it.
//   - Down: endpoints that run out wait while a route in force on the stream sends requests to them,
//     clusters and endpoints that go while it names them, and the client still has to answer for a newer
//     one. A route that it rejected is not waited for: keeping dead endpoints helps nobody.
//
// A listener that draws connections over clusters, without a route, counts as a route here.
//
// Parts need no order: each has all of a service.
func (t *stream) mustWait(sub *subscription, name string, want, have *resource) bool {
	switch sub.typeURL {
	case xds.RouteType, xds.ListenerType:
		return want != nil && len(want.needs) > 0 && !t.reaches(want.needs)
	case xds.ClusterType:
		return want == nil && t.outdated(name, func(route *resource) []string { return route.names })
	case xds.EndpointType:
		if want == nil {
			return t.outdated(name, func(route *resource) []string { return route.names })
		}
		runsOut := have != nil && have.reachable > 0 && want.reachable == 0
		return runsOut && t.outdated(name, func(route *resource) []string { return route.weighs })
	default:
		return false
	}
}

// reaches reports whether the stream has these clusters in force, with endpoints where there are any.
func (t *stream) reaches(clusters []string) bool {
	known, endpoints := t.subscriptions[xds.ClusterType], t.subscriptions[xds.EndpointType]
	if known == nil || !known.wildcard {
		return true
	}
	if endpoints == nil {
		return false
	}
	for _, name := range clusters {
		if !t.asks(known, name) {
			continue
		}
		assigned, published := endpoints.force[name], t.server.resources[xds.EndpointType][name]
		if known.force[name] == nil || assigned == nil {
			return false
		}
		if assigned.reachable == 0 && published != nil && published.reachable > 0 {
			return false
		}
	}
	return true
}

// asks reports whether a published name is part of what the subscription asks for. What is not, because it
// is out of the stream's scope, needs no acknowledgement.
func (t *stream) asks(sub *subscription, name string) bool {
	r := t.server.resources[sub.typeURL][name]
	return r != nil && t.covers(sub, r)
}

// outdated reports whether a route in force refers to the cluster, in the given sense, while the client has
// yet to answer for a newer one in its place. Routes of other services may refer to it, too.
func (t *stream) outdated(cluster string, refers func(route *resource) []string) bool {
	for _, typeURL := range []string{xds.RouteType, xds.ListenerType} {
		sub := t.subscriptions[typeURL]
		if sub == nil {
			continue
		}
		for name, route := range sub.force {
			if !slices.Contains(refers(route), cluster) {
				continue
			}
			newer := t.want(sub, name)
			_, refused := sub.rejected[name]
			if newer == nil || newer.version != route.version && !refused {
				return true
			}
		}
	}
	return false
}
