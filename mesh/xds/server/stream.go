package server

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"

	"github.com/sluice-mesh/sluice/mesh/xds/part"
)

// stream is one client's stream: what it asked for, what it was sent, what it has acknowledged. It is
// both the watcher and the callbacks of go-control-plane's protocol, which calls from one goroutine.
// Everything but stuck is guarded by the server's mu.
type stream struct {
	server *Server
	id     int64
	delta  bool
	cancel context.CancelFunc
	stuck  atomic.Bool

	// Known from the first request on.
	node     string
	instance int64
	scope    scope

	subscriptions map[string]*subscription
	waves         []*wave
}

func (s *Server) open(delta bool, cancel context.CancelFunc) *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streamID++
	opened := &stream{server: s, id: s.streamID, delta: delta, cancel: cancel, subscriptions: map[string]*subscription{}}
	s.streams[opened.id] = opened
	s.metrics.clients.WithLabelValues(opened.protocol()).Inc()
	return opened
}

func (s *Server) close(closed *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, closed.id)
	s.convergence.forget(closed.id)
	closed.leaveWaves()
	if parts := closed.subscriptions[part.Type]; parts != nil {
		for name := range parts.names {
			s.unwatch(name)
		}
	}
	s.metrics.clients.WithLabelValues(closed.protocol()).Dec()
	s.log.Debug("stream closed", "node", closed.node, "stream", closed.id)
}

func (t *stream) protocol() string {
	if t.delta {
		return "delta"
	}
	return "sotw"
}

// introduce learns from the first request who is calling.
func (t *stream) introduce(node *corev3.Node) {
	if t.node != "" || node == nil {
		return
	}
	t.node = node.GetId()
	if t.node == "" {
		t.node = "stream-" + strconv.FormatInt(t.id, 10)
	}
	fields := node.GetMetadata().GetFields()
	t.scope = newScope(fields[scopeField])
	t.instance, _ = strconv.ParseInt(fields["instance"].GetStringValue(), 10, 64)
	t.server.log.Debug("stream opened", "node", t.node, "stream", t.id, "protocol", t.protocol())
}

// covers reports whether the subscription asks for a resource.
func (t *stream) covers(sub *subscription, r *resource) bool {
	return sub.names[r.name] || sub.wildcard && r.wildcard && t.scope.has(r.service)
}

// want is what a name should be for this stream now: nil when it does not exist for it.
func (t *stream) want(sub *subscription, name string) *resource {
	if r := t.server.resources[sub.typeURL][name]; r != nil && t.covers(sub, r) {
		return r
	}
	return nil
}

// mark notes which of the touched resources concern the stream, and reports whether any does.
func (t *stream) mark(touched []*resource) bool {
	any := false
	for _, r := range touched {
		if sub := t.subscriptions[r.typeURL]; sub != nil && t.covers(sub, r) {
			sub.dirty[r.name] = true
			any = true
		}
	}
	return any
}

// settle takes the client's word about the answer with this nonce.
func (t *stream) settle(sub *subscription, nonce string, refusal *statuspb.Status) {
	landed := sub.flights[nonce]
	if landed == nil {
		return
	}
	delete(sub.flights, nonce)
	delete(t.server.closedOnce, t.node)
	apart := refusal != nil && sub.typeURL == part.Type && len(landed.content) > 1
	reason := clip(refusal.GetMessage())
	concerned := map[string]bool{}
	for name, r := range landed.content {
		if !sub.names[name] && !sub.wildcard {
			continue // dropped meanwhile
		}
		r.concern(concerned)
		sub.force[name].concern(concerned)
		delete(sub.alone, name)
		switch {
		case apart:
			sub.sendAlone(name)
		case refusal != nil:
			if r != absent {
				sub.rejected[name] = rejection{r.version, reason}
			}
		case r == absent:
			delete(sub.force, name)
			delete(sub.rejected, name)
		default:
			sub.force[name] = r
			delete(sub.rejected, name)
		}
	}
	if refusal != nil {
		t.failWaves()
		t.server.metrics.nacks.WithLabelValues(shortType(sub.typeURL)).Inc()
		t.server.log.Warn("client rejected an answer", "node", t.node, "type", shortType(sub.typeURL),
			"resources", len(landed.content), "reason", reason)
	}
	t.judgeConcerned(concerned)
}

// maxReason bounds what is kept of a client's word for a rejection, which is told to people and to other
// replicas.
const maxReason = 4 << 10

func clip(text string) string {
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "")
	}
	return text
}

func (t *stream) unansweredSince(then time.Time) bool {
	for _, sub := range t.subscriptions {
		for _, flight := range sub.flights {
			if flight.at.Before(then) {
				return true
			}
		}
	}
	return false
}

// settled reports whether nothing is on its way and nothing is left to send.
func (t *stream) settled() bool {
	for _, sub := range t.subscriptions {
		if len(sub.dirty) > 0 || len(sub.flights) > 0 || len(sub.issued) > 0 {
			return false
		}
	}
	return true
}
