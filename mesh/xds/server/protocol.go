package server

import (
	"context"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
)

// The callbacks and watches of state of the world.

// OnStreamOpen implements sotw.Callbacks.
func (t *stream) OnStreamOpen(context.Context, int64, string) error { return nil }

// OnStreamClosed implements sotw.Callbacks.
func (t *stream) OnStreamClosed(int64, *corev3.Node) {}

// OnStreamRequest implements sotw.Callbacks. It is also called for requests that the protocol then
// skips because a newer answer is on its way; what they unsubscribe from counts all the same.
func (t *stream) OnStreamRequest(_ int64, request *discoveryv3.DiscoveryRequest) error {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	t.introduce(request.GetNode())
	sub, err := t.subscription(request.GetTypeUrl())
	if err != nil {
		return err
	}
	asked := make(map[string]bool, len(request.GetResourceNames()))
	for _, name := range request.GetResourceNames() {
		asked[name] = true
	}
	for name := range sub.names {
		if !asked[name] {
			t.drop(sub, name)
		}
	}
	t.settle(sub, request.GetResponseNonce(), request.GetErrorDetail())
	t.answerOthers(sub)
	return nil
}

// OnStreamResponse implements sotw.Callbacks: only now is an answer sure to be sent.
func (t *stream) OnStreamResponse(_ context.Context, _ int64, request *discoveryv3.DiscoveryRequest, response *discoveryv3.DiscoveryResponse) {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	sub := t.subscriptions[request.GetTypeUrl()]
	if issued := sub.issued[response]; issued != nil {
		delete(sub.issued, response)
		t.commit(sub, issued)
		sub.flights[response.GetNonce()] = issued
		issued.at = t.server.options.Now()
		t.server.metrics.pushes.WithLabelValues(shortType(sub.typeURL)).Inc()
	}
}

// CreateWatch implements cache.ConfigWatcher.
func (t *stream) CreateWatch(request *discoveryv3.DiscoveryRequest, asked cache.Subscription, answers chan cache.Response) (func(), error) {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	sub := t.subscriptions[request.GetTypeUrl()]
	// An answer to the watch that this one replaces will not be sent any more.
	clear(sub.issued)
	t.subscribe(sub, asked)
	t.present()
	opened := &watch{sotw: request, sotwAnswers: answers}
	sub.open = opened
	t.answerOne(sub)
	return func() { t.closeWatch(sub, opened) }, nil
}

// The callbacks and watches of delta.

// OnDeltaStreamOpen implements delta.Callbacks.
func (t *stream) OnDeltaStreamOpen(context.Context, int64, string) error { return nil }

// OnDeltaStreamClosed implements delta.Callbacks.
func (t *stream) OnDeltaStreamClosed(int64, *corev3.Node) {}

// OnStreamDeltaRequest implements delta.Callbacks.
func (t *stream) OnStreamDeltaRequest(_ int64, request *discoveryv3.DeltaDiscoveryRequest) error {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	t.introduce(request.GetNode())
	sub, err := t.subscription(request.GetTypeUrl())
	if err != nil {
		return err
	}
	t.settle(sub, request.GetResponseNonce(), request.GetErrorDetail())
	t.answerOthers(sub)
	return nil
}

// OnStreamDeltaResponse implements delta.Callbacks.
func (t *stream) OnStreamDeltaResponse(_ int64, request *discoveryv3.DeltaDiscoveryRequest, response *discoveryv3.DeltaDiscoveryResponse) {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	sub := t.subscriptions[request.GetTypeUrl()]
	if issued := sub.issued[response]; issued != nil {
		delete(sub.issued, response)
		sub.flights[response.GetNonce()] = issued
		issued.at = t.server.options.Now()
		t.server.metrics.pushes.WithLabelValues(shortType(sub.typeURL)).Inc()
	}
}

// CreateDeltaWatch implements cache.ConfigWatcher.
func (t *stream) CreateDeltaWatch(request *discoveryv3.DeltaDiscoveryRequest, asked cache.Subscription, answers chan cache.DeltaResponse) (func(), error) {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	sub := t.subscriptions[request.GetTypeUrl()]
	if sub.seen {
		for _, name := range request.GetResourceNamesSubscribe() {
			if sub.names[name] {
				sub.resend(name)
			}
		}
	}
	t.subscribe(sub, asked)
	if !sub.seen {
		sub.seen = true
		t.remember(sub, request.GetInitialResourceVersions())
	}
	t.present()
	for _, name := range request.GetResourceNamesUnsubscribe() {
		// Under a wildcard the name stays subscribed, and the protocol wants it said again what it is.
		if sub.wildcard && name != "*" {
			sub.resend(name)
		}
	}
	opened := &watch{delta: request, deltaAnswers: answers}
	sub.open = opened
	t.answerOne(sub)
	return func() { t.closeWatch(sub, opened) }, nil
}

// remember takes a client's word for what it has from an earlier stream.
func (t *stream) remember(sub *subscription, versions map[string]string) {
	concerned := map[string]bool{}
	for name, version := range versions {
		if !sub.names[name] && !sub.wildcard {
			continue
		}
		known := t.server.resources[sub.typeURL][name]
		if known == nil || known.version != version {
			known = &resource{typeURL: sub.typeURL, name: name, version: version}
		}
		sub.sent[name], sub.force[name], sub.dirty[name] = known, known, true
		sub.initial = false
		known.concern(concerned)
	}
	t.judgeConcerned(concerned)
}

func (t *stream) closeWatch(sub *subscription, closed *watch) {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	if sub.open == closed {
		sub.open = nil
	}
}
