package server

import (
	"iter"
	"maps"
	"slices"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-mesh/sluice/mesh/xds"
	"github.com/sluice-mesh/sluice/mesh/xds/part"
)

// maxTypes bounds the types that one stream may ask for.
const maxTypes = 32

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
		t.judgeHeld(name, nil)
	}
}

// drop a name from what the client asks for by name.
func (t *stream) drop(sub *subscription, name string) {
	had := sub.force[name]
	delete(sub.names, name)
	sub.dropUnless(name, sub.wildcard)
	if sub.typeURL == part.Type {
		t.judgeHeld(name, had)
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

// outstanding yields the names of which the client may have something else in force than what is published,
// some of them more than once.
func (sub *subscription) outstanding() iter.Seq[string] {
	return func(yield func(string) bool) {
		for name := range sub.dirty {
			if !yield(name) {
				return
			}
		}
		for name := range sub.rejected {
			if !yield(name) {
				return
			}
		}
		for _, under := range []iter.Seq[*delivery]{maps.Values(sub.issued), maps.Values(sub.flights)} {
			for way := range under {
				for name := range way.content {
					if !yield(name) {
						return
					}
				}
			}
		}
	}
}

// resend forgets that the client was sent a name, because it asked for it anew.
func (sub *subscription) resend(name string) {
	delete(sub.sent, name)
	sub.dirty[name] = true
}

// sendAlone asks for a part to be sent again without others, so that one that the client cannot use does not
// keep the others from it.
func (sub *subscription) sendAlone(name string) {
	if sub.sent[name] != nil { // still asked for
		sub.alone[name] = true
		sub.resend(name)
	}
}
