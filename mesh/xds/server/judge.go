package server

import (
	"maps"

	"github.com/sluice-mesh/sluice/mesh/xds"
	"github.com/sluice-mesh/sluice/mesh/xds/part"
)

// judgeAll brings all rows of the stream up to date.
func (t *stream) judgeAll() {
	for _, key := range t.server.convergence.decided() {
		t.judge(key)
	}
}

// judgeHeld does so for the services that a part holds, and those that the client had in it; had may be nil.
func (t *stream) judgeHeld(name string, had *resource) {
	keys := map[string]bool{}
	had.concern(keys)
	for _, key := range t.server.parts.watched[name].keys {
		keys[key] = true
	}
	for key := range keys {
		t.judge(key)
	}
}

// present notes that the stream is open, once it is known what the client asks for.
func (t *stream) present() {
	t.server.convergence.put(connected, t.id, &row{Node: t.node, Instance: t.instance})
}

// judge brings the stream's row of one service up to date.
func (t *stream) judge(key string) {
	published := t.server.services[key]
	if published == nil || published.meaning.Split.Owner == "" {
		t.server.convergence.put(key, t.id, nil)
		return
	}
	found := verdict{whole: true}
	t.judgeParts(published, &found)
	t.judgeRoutes(published, &found)
	if !found.subscribed {
		t.server.convergence.put(key, t.id, nil)
		return
	}
	judged := t.server.convergence.row(key, t.id)
	judged.Node, judged.Instance, judged.Rejected = t.node, t.instance, found.refusal
	if found.whole {
		judged.Owner, judged.Epoch = published.meaning.Split.Owner, published.meaning.Split.Epoch
	}
	t.server.convergence.put(key, t.id, &judged)
}

// verdict gathers what a stream has in force of a service: whether it asks for it, whether it has all that
// it asks for, and else the first reason it gave for refusing a part of it.
type verdict struct {
	subscribed, whole bool
	refusal           string
}

func (v *verdict) require(inForce bool, refusal string) {
	v.whole = v.whole && inForce
	if v.refusal == "" {
		v.refusal = refusal
	}
}

// judgeParts is for our own proxies: every part that holds the service and that the stream subscribes to
// must be in force with the decision. What else has changed in it since does not matter. A part that held the
// service and is to hold it no more counts as long as the client has not given that up.
func (t *stream) judgeParts(published *service, found *verdict) {
	sub := t.subscriptions[part.Type]
	if sub == nil {
		return
	}
	holders := t.server.parts.holders[published.key]
	for name := range sub.outstanding() {
		held := sub.force[name]
		if held == nil || held.decisions[published.key] == (decision{}) || holders[name] {
			continue
		}
		found.subscribed = true
		_, refusal := t.has(part.Type, name)
		found.require(held.holds(published.key, published.meaning.Split), refusal)
	}
	// Of a large service there are as many parts as it has pods, and a proxy asks for few of them.
	fewer, other := sub.names, holders
	if len(other) < len(fewer) {
		fewer, other = other, fewer
	}
	for name := range fewer {
		if !other[name] {
			continue
		}
		found.subscribed = true
		inForce, refusal := t.has(part.Type, name)
		held := sub.force[name]
		found.require(inForce || held != nil && held.holds(published.key, published.meaning.Split), refusal)
	}
}

// judgeRoutes is for clients of Envoy's types: what draws by the decision, which are the service's own routes
// and listeners and the routes of services that send requests to it, and the clusters and endpoints that those
// draw over, as far as they are in the stream's scope.
func (t *stream) judgeRoutes(published *service, found *verdict) {
	t.judgeRoutesOf(published, found)
	for key := range t.server.dependents[published.key] {
		t.judgeRoutesOf(t.server.services[key], found)
	}
}

func (t *stream) judgeRoutesOf(owner *service, found *verdict) {
	for _, r := range owner.resources {
		sub := t.subscriptions[r.typeURL]
		if !r.draws || sub == nil || !t.covers(sub, r) {
			continue
		}
		found.subscribed = true
		found.require(t.has(r.typeURL, r.name))
		for _, cluster := range r.weighs {
			if key, _ := xds.ServiceOf(cluster); t.scope.has(key) {
				found.require(t.has(xds.ClusterType, cluster))
				found.require(t.has(xds.EndpointType, cluster))
			}
		}
	}
}

// concern adds the services whose decisions a resource has to do with.
func (r *resource) concern(keys map[string]bool) {
	if r == nil {
		return
	}
	if r.service != "" {
		keys[r.service] = true
	}
	for _, cluster := range r.names {
		if key, ok := xds.ServiceOf(cluster); ok {
			keys[key] = true
		}
	}
	for key := range r.decisions {
		keys[key] = true
	}
}

// judgeConcerned brings the rows of services up to date, and of those that send requests to them.
func (t *stream) judgeConcerned(keys map[string]bool) {
	for key := range maps.Clone(keys) {
		maps.Copy(keys, t.server.dependents[key])
	}
	for key := range keys {
		t.judge(key)
	}
}

// has reports whether the stream has a resource in force as it is published, and else why the client
// refused that.
func (t *stream) has(typeURL, name string) (bool, string) {
	sub, published := t.subscriptions[typeURL], t.server.resources[typeURL][name]
	if sub == nil || published == nil {
		return false, ""
	}
	if inForce := sub.force[name]; inForce != nil && inForce.version == published.version {
		return true, ""
	}
	if refused, found := sub.rejected[name]; found && refused.version == published.version {
		return false, refused.text
	}
	return false, ""
}
