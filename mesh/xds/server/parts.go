package server

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/xds/part"
)

// parts are the resources of our own proxies: made on demand, for the names that some stream subscribes to,
// and kept no longer than that. All of it is guarded by the server's mu.
type parts struct {
	settings ir.Settings
	// virtual and pods say which services have an address as theirs, and as that of an endpoint.
	virtual, pods places
	// watched are the names that streams subscribe to.
	watched map[string]*watched
	// holders are the watched names by the key of each service that they hold or would hold.
	holders map[string]map[string]bool
	// contents are what the watched names lead to, by the keys of the services, so that all pods of a
	// service share one.
	contents map[string]*content
}

// watched is a name that streams subscribe to.
type watched struct {
	streams int
	// keys of the services that it holds, and of those that routes in it name and that do not exist.
	keys    []string
	content *content
}

// content is what one or more names lead to. Immutable, but for users.
type content struct {
	id       string
	services []*service
	body     *anypb.Any
	version  string
	// decisions that a client has in force once it has this content, by service.
	decisions map[string]decision
	users     int
}

func newParts() *parts {
	return &parts{watched: map[string]*watched{}, holders: map[string]map[string]bool{}, contents: map[string]*content{}}
}

// watch counts a stream in that subscribes to a name, and makes its resource if it is the first.
func (s *Server) watch(name string) {
	if found := s.parts.watched[name]; found != nil {
		found.streams++
		return
	}
	s.parts.watched[name] = &watched{streams: 1}
	s.materialise(name)
}

// unwatch counts a stream out, and forgets the resource if it was the last.
func (s *Server) unwatch(name string) {
	found := s.parts.watched[name]
	if found == nil {
		return
	}
	if found.streams--; found.streams > 0 {
		return
	}
	s.parts.hold(name, found, nil)
	s.parts.use(found, nil)
	delete(s.parts.watched, name)
	delete(s.resources[part.Type], name)
}

// materialise makes the resource of a watched name as the mesh is now, or removes it where the name leads
// nowhere. It returns what came, went or changed; nil when nothing did.
func (s *Server) materialise(name string) *resource {
	before, watched := s.resources[part.Type][name], s.parts.watched[name]
	services, keys := s.lead(name)
	s.parts.hold(name, watched, keys)
	if len(services) == 0 && name != part.Settings {
		s.parts.use(watched, nil)
		delete(s.resources[part.Type], name)
		return before
	}
	content := s.parts.contentOf(name, services)
	s.parts.use(watched, content)
	after := &resource{
		typeURL: part.Type, name: name, version: content.version, decisions: content.decisions,
		wire: &discoveryv3.Resource{Name: name, Version: content.version, Resource: content.body},
	}
	s.resources[part.Type][name] = after
	if before != nil && before.version == after.version {
		return nil
	}
	return after
}

// lead returns the services that a name leads to, those that are called first, and the keys of all services
// that would be among them if they existed.
func (s *Server) lead(name string) (services []*service, keys []string) {
	kind, address, _ := part.ParseName(name)
	switch kind {
	case part.At:
		services = slices.Collect(s.parts.pods.at(address))
	case part.To:
		services = s.called(address)
	default:
	}
	for _, service := range services {
		keys = append(keys, service.key)
	}
	if kind != part.To {
		return services, keys
	}
	// What their routes name, and no further: a route's backend is called as the service that it is, past
	// routes of its own.
	for _, service := range services[:len(services):len(services)] {
		for _, key := range service.meaning.Dependencies() {
			if slices.Contains(keys, key) {
				continue
			}
			keys = append(keys, key)
			if named := s.services[key]; named != nil {
				services = append(services, named)
			}
		}
	}
	return services, keys
}

// called returns the service with this virtual address, or else the headless ones with a pod there.
func (s *Server) called(address netip.Addr) []*service {
	for owner := range s.parts.virtual.at(address) {
		return []*service{owner} // a valid mesh has no second
	}
	var headless []*service
	for service := range s.parts.pods.at(address) {
		if len(service.meaning.Addresses) == 0 {
			headless = append(headless, service)
		}
	}
	return headless
}

// refresh brings the parts in line with services that were exchanged (nil: came or went), and returns the
// resources that came, went or changed by it. It adds to concerned the services that other parts hold now.
func (s *Server) refresh(exchanged map[string][2]*service, concerned map[string]bool) []*resource {
	gone := map[*service]bool{}
	var virtual, pods places
	names := map[string]bool{}
	for key, pair := range exchanged {
		before, after := pair[0], pair[1]
		if before != nil {
			gone[before] = true
		}
		if after != nil {
			virtual, pods = append(virtual, after.virtual()...), append(pods, after.pods()...)
		}
		maps.Copy(names, s.parts.holders[key])
	}
	for _, place := range slices.Concat(virtual, pods) {
		for _, name := range []string{part.ToName(place.address), part.AtName(place.address)} {
			if s.parts.watched[name] != nil {
				names[name] = true
			}
		}
	}
	s.parts.virtual = s.parts.virtual.replace(gone, virtual)
	s.parts.pods = s.parts.pods.replace(gone, pods)
	var touched []*resource
	for name := range names {
		watched := s.parts.watched[name]
		before := watched.keys
		if changed := s.materialise(name); changed != nil {
			touched = append(touched, changed)
		}
		if !slices.Equal(before, watched.keys) {
			for _, key := range slices.Concat(before, watched.keys) {
				concerned[key] = true
			}
		}
	}
	return touched
}

// set exchanges the settings, and returns their resource if somebody has to be told.
func (s *Server) set(settings ir.Settings) []*resource {
	s.parts.settings = settings
	if s.parts.watched[part.Settings] == nil {
		return nil
	}
	if changed := s.materialise(part.Settings); changed != nil {
		return []*resource{changed}
	}
	return nil
}

// hold notes which services a watched name has to do with.
func (p *parts) hold(name string, watched *watched, keys []string) {
	for _, key := range watched.keys {
		delete(p.holders[key], name)
		if len(p.holders[key]) == 0 {
			delete(p.holders, key)
		}
	}
	for _, key := range keys {
		if p.holders[key] == nil {
			p.holders[key] = map[string]bool{}
		}
		p.holders[key][name] = true
	}
	watched.keys = keys
}

// use notes what a watched name leads to, and forgets the content that nothing leads to any more.
func (p *parts) use(watched *watched, after *content) {
	if after != nil {
		after.users++
	}
	before := watched.content
	watched.content = after
	if before == nil {
		return
	}
	if before.users--; before.users == 0 && p.contents[before.id] == before {
		delete(p.contents, before.id)
	}
}

// contentOf returns the content for these services, or for the settings, made anew if what is there is of
// services as they were before.
func (p *parts) contentOf(name string, services []*service) *content {
	if name == part.Settings {
		return newContent(name, part.Part{Settings: &p.settings}, nil)
	}
	services = slices.SortedFunc(slices.Values(services), func(a, b *service) int { return strings.Compare(a.key, b.key) })
	var id strings.Builder
	whole := part.Part{Services: make([]ir.Service, len(services))}
	for i, service := range services {
		id.WriteString(service.key + " ")
		whole.Services[i] = service.meaning
	}
	found := p.contents[id.String()]
	if found == nil || !slices.Equal(found.services, services) {
		found = newContent(id.String(), whole, services)
		p.contents[id.String()] = found
	}
	return found
}

func newContent(id string, whole part.Part, services []*service) *content {
	body, version := whole.Encode()
	made := &content{
		id: id, services: services, version: version, decisions: map[string]decision{},
		body: &anypb.Any{TypeUrl: part.Type, Value: body},
	}
	for _, service := range services {
		if split := service.meaning.Split; split.Owner != "" {
			made.decisions[service.key] = decision{Owner: split.Owner, Epoch: split.Epoch}
		}
	}
	return made
}

// holds reports whether the resource is a part that has this decision of a service, or a newer one of the
// same owner.
func (r *resource) holds(key string, asked ir.Split) bool {
	held, found := r.decisions[key]
	return found && held.Owner == asked.Owner && held.Epoch >= asked.Epoch
}
