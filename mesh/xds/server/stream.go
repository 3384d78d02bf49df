package server

import (
	"context"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-mesh/sluice/mesh/xds"
	"github.com/sluice-mesh/sluice/mesh/xds/part"
)

// maxTypes bounds the types that one stream may ask for.
const maxTypes = 32

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

// subscription is what a stream has to do with one type.
type subscription struct {
	typeURL  string
	wildcard bool
	names    map[string]bool

	// sent is what the client knows or is about to: an absent resource for a name that it was told does
	// not exist. force is what it has acknowledged.
	sent, force map[string]*resource
	// dirty names may need an answer. Those that must wait stay dirty.
	dirty map[string]bool
	// alone are parts that are sent one at a time, because the client refused an answer with several.
	alone map[string]bool
	// rejected is what the client refused, until it accepts or is sent something else of that name. It
	// may list what is in force too: a client refuses an answer whole.
	rejected map[string]rejection

	// open is the watch waiting for an answer; nil after it got one.
	open *watch
	// issued answers are on their way to the client; flights have a nonce and wait for its word.
	issued  map[any]*delivery
	flights map[string]*delivery
	// seen is set by the first request; initial until the first answer, or the finding that the client
	// has something from before.
	seen, initial bool
}

type rejection struct {
	version, text string
}

// watch is one question of go-control-plane's; exactly one pair is set.
type watch struct {
	sotw         *discoveryv3.DiscoveryRequest
	sotwAnswers  chan cache.Response
	delta        *discoveryv3.DeltaDiscoveryRequest
	deltaAnswers chan cache.DeltaResponse
}

// delivery is what one answer tells the client: what each name now is.
type delivery struct {
	content map[string]*resource
	at      time.Time
}

// absent stands for a name that does not exist.
var absent = &resource{}

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

// subscription of a type, made at its first request.
func (t *stream) subscription(typeURL string) (*subscription, error) {
	if found := t.subscriptions[typeURL]; found != nil {
		return found, nil
	}
	if len(t.subscriptions) >= maxTypes {
		return nil, status.Errorf(codes.InvalidArgument, "more than %d types on one stream", maxTypes)
	}
	if slices.Contains(xds.Types, typeURL) {
		t.server.serveEnvoy()
	}
	made := &subscription{
		typeURL:  typeURL,
		names:    map[string]bool{},
		sent:     map[string]*resource{},
		force:    map[string]*resource{},
		dirty:    map[string]bool{},
		alone:    map[string]bool{},
		rejected: map[string]rejection{},
		issued:   map[any]*delivery{},
		flights:  map[string]*delivery{},
		initial:  true,
	}
	t.subscriptions[typeURL] = made
	return made, nil
}

// sendAlone asks for a part to be sent again without others, so that one that the client cannot use does not
// keep the others from it.
func (sub *subscription) sendAlone(name string) {
	if sub.sent[name] != nil { // still asked for
		sub.alone[name] = true
		sub.resend(name)
	}
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

// subscribe brings the subscription to what the client asks for now.
func (t *stream) subscribe(sub *subscription, asked cache.Subscription) {
	wildcard, names := asked.IsWildcard(), asked.SubscribedResources()
	wasWildcard := sub.wildcard
	sub.wildcard = wildcard
	changed := wildcard != wasWildcard
	for name := range names {
		if !sub.names[name] {
			t.add(sub, name)
			changed = true
		}
	}
	for name := range sub.names {
		if _, kept := names[name]; !kept {
			t.drop(sub, name)
			changed = true
		}
	}
	if wildcard && !wasWildcard {
		for name, r := range t.server.resources[sub.typeURL] {
			if t.covers(sub, r) {
				sub.dirty[name] = true
			}
		}
		// What the client has from before and is no more.
		for name := range sub.sent {
			sub.dirty[name] = true
		}
	}
	if wasWildcard && !wildcard {
		for name := range sub.sent {
			sub.dropUnless(name, sub.names[name])
		}
	}
	if changed && sub.typeURL != part.Type {
		t.judgeAll()
	}
}

// add a name to what the client asks for.
func (t *stream) add(sub *subscription, name string) {
	sub.names[name], sub.dirty[name] = true, true
	if sub.typeURL == part.Type {
		t.server.watch(name)
		t.judgeHeld(name)
	}
}

// drop a name from what the client asks for by name.
func (t *stream) drop(sub *subscription, name string) {
	delete(sub.names, name)
	sub.dropUnless(name, sub.wildcard)
	if sub.typeURL == part.Type {
		t.judgeHeld(name)
		t.server.unwatch(name)
	}
}

func (sub *subscription) dropUnless(name string, keep bool) {
	if keep {
		return
	}
	delete(sub.sent, name)
	delete(sub.force, name)
	delete(sub.dirty, name)
	delete(sub.alone, name)
	delete(sub.rejected, name)
}

// resend forgets that the client was sent a name, because it asked for it anew.
func (sub *subscription) resend(name string) {
	delete(sub.sent, name)
	sub.dirty[name] = true
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
				sub.rejected[name] = rejection{r.version, refusal.GetMessage()}
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
			"resources", len(landed.content), "reason", refusal.GetMessage())
	}
	for key := range concerned {
		t.judge(key)
	}
}

// concern adds the services that a resource has to do with.
func (r *resource) concern(keys map[string]bool) {
	if r == nil {
		return
	}
	if r.service != "" {
		keys[r.service] = true
	}
	for key := range r.decisions {
		keys[key] = true
	}
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
