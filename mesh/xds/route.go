package xds

import (
	"slices"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// warmRoute names the route that keeps clusters warm.
const warmRoute = "keep-warm"

// everyDomain is the virtual host's that all hosts without one of their own belong to.
const everyDomain = "*"

// entry is one match of one route of ours, as Envoy's routes.
type entry struct {
	match  ir.Match
	routes []*routev3.Route
}

// configuration is the one RouteConfiguration of a port, shared by all clients. Its virtual hosts are those
// that matches name, each with every route that may match there, and one for all other hosts; in each the
// routes are in order of precedence, and behind them stands one that takes every request, by the split.
//
// Behind that one stands another that is never reached. It names the clusters that may get requests later:
// gRPC in Go puts a new route in force a moment before it has a picker for the clusters that the route brings
// in, and fails the calls that it sends there meanwhile ("unknown cluster selected for RPC"). A cluster that
// some route has named before is not new.
func (s scope) configuration() *routev3.RouteConfiguration {
	routes := s.routes()
	var entries []entry
	for _, route := range routes {
		entries = append(entries, s.entries(route)...)
	}
	last := []*routev3.Route{s.everyRequest()}
	if warm := s.warmClusters(routes); len(warm) > 1 {
		last = append(last, &routev3.Route{
			Name:   warmRoute,
			Match:  forms(ir.PathMatch{})[0].match,
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: clusters(warm)}},
		})
	}
	name := RouteName(s.service, s.port)
	made := &routev3.RouteConfiguration{Name: name, Metadata: splitMetadata(s.service.Split)}
	for _, group := range hostGroups(entries) {
		var matching []*routev3.Route
		for _, i := range group.entries {
			matching = append(matching, entries[i].routes...)
		}
		host := &routev3.VirtualHost{
			Name:                 name,
			Domains:              group.domains(s.port),
			Routes:               slices.Concat(matching, last),
			RetryPolicy:          retryPolicy(s.service.Policy.Retry, s.service.Policy.Timeouts.PerTry),
			TypedPerFilterConfig: filterConfig(nil, s.service.Policy.RateLimit, s.port),
		}
		if group.hosts != nil {
			host.Name += " " + group.hosts[0]
			made.IgnorePortInHostMatching = true
		}
		made.VirtualHosts = append(made.VirtualHosts, host)
	}
	return made
}

// routes of the port, in order of precedence. Who dials a port without HTTP by gRPC gets none.
func (s scope) routes() []ir.Route {
	if !s.port.Protocol.SpeaksHTTP() {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(s.service.Routes), func(route ir.Route) bool {
		return len(route.Ports) > 0 && !slices.Contains(route.Ports, s.port.Number)
	})
}

func (s scope) entries(route ir.Route) []entry {
	matches := route.Matches
	if len(matches) == 0 {
		matches = []ir.Match{{}}
	}
	var made []entry
	for _, match := range matches {
		one := entry{match: match}
		for _, form := range forms(match.Path) {
			one.routes = append(one.routes, s.route(route, form, match))
		}
		made = append(made, one)
	}
	return made
}

// hostGroup is a list of hosts for which the same entries count; nil hosts are all that have no group.
type hostGroup struct {
	hosts   []string
	entries []int
}

// hostGroups sorts hosts that matches name into groups, the last of which is for all others. Envoy and gRPC
// look for the virtual host whose domain fits best and only at its routes, so that each has all routes that
// any of its hosts may match.
func hostGroups(entries []entry) []hostGroup {
	var hosts []string
	for _, entry := range entries {
		hosts = append(hosts, entry.match.Hosts...)
	}
	slices.Sort(hosts)
	var groups []hostGroup
	for _, host := range slices.Compact(hosts) {
		var counting []int
		for i, entry := range entries {
			if covers(entry.match, host) {
				counting = append(counting, i)
			}
		}
		same := slices.IndexFunc(groups, func(group hostGroup) bool { return slices.Equal(group.entries, counting) })
		if same < 0 {
			same = len(groups)
			groups = append(groups, hostGroup{entries: counting})
		}
		groups[same].hosts = append(groups[same].hosts, host)
	}
	var others []int
	for i, entry := range entries {
		if len(entry.match.Hosts) == 0 {
			others = append(others, i)
		}
	}
	return append(groups, hostGroup{entries: others})
}

// domains of a group. Envoy is told to pass over a request's port; gRPC compares what was dialled, with the
// port.
func (g hostGroup) domains(port ir.Port) []string {
	if g.hosts == nil {
		return []string{everyDomain}
	}
	var domains []string
	for _, host := range g.hosts {
		domains = append(domains, host, host+":"+strconv.Itoa(int(port.Number)))
	}
	return domains
}

// everyRequest is the route for requests that no other matches.
func (s scope) everyRequest() *routev3.Route {
	return s.route(ir.Route{}, forms(ir.PathMatch{})[0], ir.Match{})
}

// clusters draws over what is given by weight. Weights of zero are left out, as gRPC does with them; they
// never are all zero.
func clusters(to []weighted) *routev3.RouteAction_WeightedClusters {
	made := &routev3.WeightedCluster{}
	for _, destination := range to {
		made.Clusters = append(made.Clusters, &routev3.WeightedCluster_ClusterWeight{
			Name:   destination.cluster,
			Weight: wrapperspb.UInt32(destination.weight),
		})
	}
	return &routev3.RouteAction_WeightedClusters{WeightedClusters: made}
}

// WeightedClusters lists the clusters that a route sends new requests to, NamedClusters also those that
// it only keeps warm. Sorted, each once; copies of requests do not count.
func WeightedClusters(route *routev3.RouteConfiguration) []string {
	return clustersOf(route, func(r *routev3.Route) bool { return r.GetName() != warmRoute })
}

// NamedClusters lists all clusters that a route refers to.
func NamedClusters(route *routev3.RouteConfiguration) []string {
	return clustersOf(route, func(*routev3.Route) bool { return true })
}

func clustersOf(configuration *routev3.RouteConfiguration, counts func(*routev3.Route) bool) []string {
	var names []string
	for _, host := range configuration.GetVirtualHosts() {
		for _, route := range host.GetRoutes() {
			if !counts(route) {
				continue
			}
			for _, weighted := range route.GetRoute().GetWeightedClusters().GetClusters() {
				if weighted.GetWeight().GetValue() > 0 {
					names = append(names, weighted.GetName())
				}
			}
		}
	}
	slices.SortFunc(names, strings.Compare)
	return slices.Compact(names)
}
