package server

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluice-mesh/sluice/mesh/xds"
	"github.com/sluice-mesh/sluice/mesh/xds/part"
)

// answer answers every open watch that there is something to say to.
func (t *stream) answer() { t.answerOthers(nil) }

// answerOthers does so for every type but one. What may follow what is in the order of types.
func (t *stream) answerOthers(but *subscription) {
	for _, typeURL := range types {
		if sub := t.subscriptions[typeURL]; sub != nil && sub != but {
			t.answerOne(sub)
		}
	}
	if t.settled() {
		t.landWaves()
	}
}

func (t *stream) answerOne(sub *subscription) {
	if sub.open == nil {
		return
	}
	content, held := t.news(sub)
	// Who asks for everything is told everything at first, so that it can tell a mesh from a part of one,
	// even that there is nothing.
	if sub.initial && sub.wildcard && held {
		return
	}
	greet := sub.initial && (sub.wildcard || !t.delta && fullState(sub.typeURL))
	if len(content) == 0 && !greet {
		return
	}
	opened := sub.open
	sub.open, sub.initial = nil, false
	issued := &delivery{content: content}
	if t.delta {
		response := deltaResponse(sub.typeURL, content)
		sub.issued[response] = issued
		// Nothing issued over delta is ever dropped, so it counts as sent.
		t.commit(sub, issued)
		opened.deltaAnswers <- &cache.DeltaPassthroughResponse{
			DeltaRequest:           opened.delta,
			DeltaDiscoveryResponse: response,
			NextVersionMap:         map[string]string{},
		}
		return
	}
	response := sotwResponse(sub.typeURL, content)
	sub.issued[response] = issued
	opened.sotwAnswers <- &cache.PassthroughResponse{
		Request:           opened.sotw,
		DiscoveryResponse: response,
		ReturnedResources: map[string]string{},
	}
}

// news is what the client has to be told, and whether something has to wait. It forgets about dirty
// names that turn out to be clean.
func (t *stream) news(sub *subscription) (content map[string]*resource, held bool) {
	content = map[string]*resource{}
	for name := range sub.dirty {
		want, have := t.want(sub, name), sub.sent[name]
		switch {
		case same(want, have), want == nil && have == nil && !sub.names[name]:
			delete(sub.dirty, name)
		case t.mustWait(sub, name, want, have):
			held = true
		case want == nil:
			content[name] = absent
		default:
			content[name] = want
		}
	}
	switch {
	case len(content) == 0:
	case sub.typeURL == part.Type:
		sub.limit(content)
	case t.delta:
	case fullState(sub.typeURL):
		// State of the world: what is left out is gone.
		for name, r := range sub.sent {
			if _, changed := content[name]; !changed && r != absent {
				content[name] = r
			}
		}
	default:
		// These types have no way to say that something is gone.
		for name, r := range content {
			if r == absent {
				sub.sent[name] = absent
				delete(sub.force, name)
				delete(sub.dirty, name)
				delete(content, name)
			}
		}
	}
	return content, held
}

// maxAnswer is the size of parts beyond which the next answer has the others, so that neither side has to
// hold many in two forms at once.
const maxAnswer = 1 << 20

// limit leaves in an answer what fits, or the first part that has to be sent alone. What it takes out stays
// dirty. Parts at the pod's own address and the settings come first: a proxy begins once it has those.
func (sub *subscription) limit(content map[string]*resource) {
	size := 0
	for i, name := range slices.SortedFunc(maps.Keys(content), orderParts) {
		size += len(content[name].wire.GetResource().GetValue())
		if i > 0 && (size > maxAnswer || len(sub.alone) > 0) {
			delete(content, name)
		}
	}
}

func orderParts(a, b string) int {
	toA, toB := strings.HasPrefix(a, "to/"), strings.HasPrefix(b, "to/")
	switch {
	case toA == toB:
		return strings.Compare(a, b)
	case toA:
		return 1
	default:
		return -1
	}
}

// same reports whether what the client has is what it should have.
func same(want, have *resource) bool {
	if want == nil {
		return have == absent
	}
	return have != nil && have.version == want.version
}

// commit notes that the content has been sent.
func (t *stream) commit(sub *subscription, sent *delivery) {
	for name, r := range sent.content {
		if sub.sent[name] = r; same(t.want(sub, name), r) {
			delete(sub.dirty, name)
		}
		if refused, found := sub.rejected[name]; found && refused.version != r.version {
			delete(sub.rejected, name)
		}
	}
}

// fullState types are those of which a state-of-the-world answer lists all there is.
func fullState(typeURL string) bool {
	return typeURL == xds.ListenerType || typeURL == xds.ClusterType
}

func deltaResponse(typeURL string, content map[string]*resource) *discoveryv3.DeltaDiscoveryResponse {
	response := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeURL}
	for _, name := range slices.Sorted(maps.Keys(content)) {
		if r := content[name]; r == absent {
			response.RemovedResources = append(response.RemovedResources, name)
		} else {
			response.Resources = append(response.Resources, r.wire)
		}
	}
	return response
}

func sotwResponse(typeURL string, content map[string]*resource) *discoveryv3.DiscoveryResponse {
	response := &discoveryv3.DiscoveryResponse{TypeUrl: typeURL, Resources: []*anypb.Any{}}
	version := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(content)) {
		if r := content[name]; r != absent {
			response.Resources = append(response.Resources, r.wire.Resource)
			version.Write([]byte(name + "\x00" + r.version + "\x00"))
		}
	}
	response.VersionInfo = hex.EncodeToString(version.Sum(nil)[:12])
	return response
}
