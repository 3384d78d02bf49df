package meshsync

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	gateway "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// attachments are the routes of the Gateway API that are in force for a service, in order of precedence. Each
// has one match, and the ports that it is for.
type attachments []attachment

type attachment struct {
	ir.Route
	weight [5]int
	from   metav1.ObjectMeta
	order  int // in the route that it is from
}

// attach says which routes are in force for a service, and what became of each.
func (t Traffic) attach(service ir.Service) (attachments, []Verdict) {
	parent := types.NamespacedName{Namespace: service.Namespace, Name: service.Name}
	var all attachments
	var verdicts []Verdict
	taken := map[uint16]string{} // ports with a GRPCRoute, which goes before HTTPRoutes
	for _, r := range t.routes() {
		refs := parentsOf(r, parent)
		if len(refs) == 0 {
			continue
		}
		ports, refused := portsOf(r, service, refs, taken)
		var rules ruled
		if len(ports) > 0 {
			rules = t.References.follow(r, service)
			if rules.problem == nil {
				all = append(all, rules.on(ports)...)
				if r.kind == KindGRPCRoute {
					for _, port := range ports {
						taken[port] = r.String()
					}
				}
			}
		}
		for i, ref := range refs {
			accepted := refused[i]
			if accepted == nil {
				accepted = rules.problem
			}
			verdicts = append(verdicts, routeVerdict(r, ref, accepted, rules.unresolved, rules.partly))
		}
	}
	slices.SortStableFunc(all, func(a, b attachment) int {
		for i := range a.weight {
			if a.weight[i] != b.weight[i] {
				return b.weight[i] - a.weight[i]
			}
		}
		return cmp.Or(byAge(a.from, b.from), a.order-b.order)
	})
	return all, verdicts
}

// byAge orders by creation, then by namespace and name.
func byAge(a, b metav1.ObjectMeta) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name))
}

// portsOf says which ports a route's references attach it to, sorted, and for each reference why it attaches
// it to none.
func portsOf(r route, service ir.Service, refs []gateway.ParentReference, taken map[uint16]string) ([]uint16, []*problem) {
	ports := map[uint16]bool{}
	refused := make([]*problem, len(refs))
	for i, ref := range refs {
		if r.namespace() != service.Namespace {
			refused[i] = problemf(gateway.RouteReasonUnsupportedValue, "routes of another namespace than the Service's (consumer routes) are not supported; create it in namespace %s", service.Namespace)
			continue
		}
		named, spoken, got, conflict := 0, 0, 0, ""
		for _, port := range service.Ports {
			if name := string(ptr.Deref(ref.SectionName, "")); name != "" && name != port.Name {
				continue
			}
			if number := ptr.Deref(ref.Port, 0); number != 0 && number != int32(port.Number) {
				continue
			}
			named++
			if !routable(r.kind, port.Protocol) {
				continue
			}
			spoken++
			if other := taken[port.Number]; other != "" && r.kind == KindHTTPRoute {
				conflict = other
				continue
			}
			got++
			ports[port.Number] = true
		}
		switch {
		case got > 0:
		case named == 0:
			refused[i] = problemf(gateway.RouteReasonNoMatchingParent, "Service %s has no such port", service.Key())
		case spoken == 0:
			refused[i] = problemf(gateway.RouteReasonNoMatchingParent, "no port of Service %s that is meant speaks what a %s is for; declare the protocol with appProtocol", service.Key(), r.kind)
		default:
			refused[i] = problemf(reasonConflicted, "%s is for the same port and goes before an %s", conflict, r.kind)
		}
	}
	return slices.Sorted(maps.Keys(ports)), refused
}

// reasonConflicted is of GEP-1294: a route of a more specific kind has the port.
const reasonConflicted gateway.RouteConditionReason = "Conflicted"

// ruled is what the rules of a route mean.
type ruled struct {
	list attachments
	// problem: no rule can be followed, so that the route is not in force.
	problem *problem
	// partly tells of the rules that cannot be followed, where others can.
	partly string
	// unresolved is a reference that leads nowhere.
	unresolved *problem
}

func (r ruled) on(ports []uint16) attachments {
	for i := range r.list {
		r.list[i].Ports = ports
	}
	return r.list
}

// follow translates a route's rules. Requests for a rule that the mesh cannot follow get an error rather
// than an answer that the rule did not mean; one whose very matches are not valid is dropped.
func (refs References) follow(r route, service ir.Service) ruled {
	var out ruled
	var failed []string
	for _, rule := range r.rules {
		to, unsupported, unresolved := refs.ruleRoute(r, rule)
		if unresolved != nil {
			out.unresolved = unresolved
		}
		if unsupported == nil {
			if err := check(ir.Service{Namespace: service.Namespace, Name: service.Name, Ports: service.Ports}, withMatches(to, rule)); err != nil {
				unsupported = problemf(gateway.RouteReasonUnsupportedValue, "rule %s: %v", rule.name, err)
			}
		}
		if unsupported != nil {
			failed = append(failed, unsupported.message)
			out.problem = unsupported
			to = ir.Route{Name: to.Name, Fault: failing(ir.Million, unsupported.message)}
			if check(ir.Service{Namespace: service.Namespace, Name: service.Name, Ports: service.Ports}, withMatches(to, rule)) != nil {
				continue
			}
		}
		for _, match := range rule.matches {
			one := to
			one.Matches = []ir.Match{match.Match}
			out.list = append(out.list, attachment{Route: one, weight: match.weight, from: r.meta, order: len(out.list)})
		}
	}
	if len(failed) < len(r.rules) || len(r.rules) == 0 {
		out.problem = nil
		if len(failed) > 0 {
			out.partly = fmt.Sprintf("Dropped Rule: requests for it get an error: %s", strings.Join(failed, "; "))
		}
	}
	return out
}

func withMatches(r ir.Route, rule routeRule) ir.Route {
	for _, match := range rule.matches {
		r.Matches = append(r.Matches, match.Match)
	}
	return r
}

// routes are the attachments as the service's routes. Requests that none of them matches are refused, since a
// route takes the place of what would happen without it.
func (a attachments) routes(service ir.Service) []ir.Route {
	routes, _ := a.routesWith(service, nil)
	return routes
}

// routesWith are the attachments and the rules of a policy: a rule adds to where a route leads, and stands for
// itself on ports without routes. Notes tell of rules and routes that cannot be combined.
func (a attachments) routesWith(service ir.Service, rules []ir.Route) (routes []ir.Route, notes []string) {
	var all, routed []uint16
	for _, port := range service.Ports {
		if routable(KindHTTPRoute, port.Protocol) {
			all = append(all, port.Number)
		}
	}
	for _, one := range a {
		routed = append(routed, one.Ports...)
	}
	slices.Sort(routed)
	routed = slices.Compact(routed)
	free := slices.DeleteFunc(slices.Clone(all), func(port uint16) bool { return slices.Contains(routed, port) })
	add := func(r ir.Route, ports []uint16) {
		if len(ports) == len(all) {
			ports = nil // all that there are
		}
		r.Ports = ports
		routes = append(routes, r)
	}
	if len(rules) > 0 && len(all) == 0 {
		notes = append(notes, "no port of the Service speaks HTTP, so rules are for nothing; declare the protocol with appProtocol")
	}
	for _, rule := range rules {
		for _, one := range a {
			both, unknown := combined(rule, one.Route)
			if unknown {
				notes = append(notes, fmt.Sprintf("%s does not hold for requests of %s, since a regular expression for the path cannot be combined with another path; use Exact or PathPrefix", rule.Name, one.Name))
			}
			for _, r := range both {
				add(r, one.Ports)
			}
		}
		if len(free) > 0 || len(routed) == 0 {
			add(rule, free)
		}
	}
	for _, one := range a {
		add(one.Route, one.Ports)
	}
	if len(routed) > 0 {
		const unimplemented = 12
		add(ir.Route{Name: "unmatched", Fault: &ir.Fault{AbortStatus: 404, AbortGRPC: unimplemented, AbortShare: ir.Million, Reason: "no route of the service matches"}}, routed)
	}
	return routes, slices.Compact(notes)
}
