package meshsync

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	gateway "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/mesh/ir"
)

// Traffic is what people say about one service's traffic.
type Traffic struct {
	// Policies that name the service, in any order.
	Policies []*v1alpha1.TrafficPolicy
	// HTTPRoutes and GRPCRoutes that name it as a parent, of any namespace and in any order.
	HTTPRoutes []*gateway.HTTPRoute
	GRPCRoutes []*gateway.GRPCRoute
	// References that routes may make.
	References References
	// Authority returns a key of a ConfigMap; the error says for people why there is none.
	Authority func(key types.NamespacedName, field string) (string, error)
}

// maxRoutes bounds what the rules of a policy and the routes of a service may multiply to.
const maxRoutes = 2000

// Apply adds the traffic to a service, and says what became of each object. What cannot be done is left out,
// so that the service goes on without it.
func (t Traffic) Apply(service ir.Service) (ir.Service, []Verdict) {
	parent := types.NamespacedName{Namespace: service.Namespace, Name: service.Name}
	attached, verdicts := t.attach(service)
	if len(t.Policies) > 0 {
		mine, others := t.oldest()
		with, verdict := t.applyPolicy(service, mine, attached)
		verdicts = append(verdicts, verdict)
		for _, p := range others {
			verdicts = append(verdicts, policyVerdict(p, v1alpha1.ReasonConflicted,
				fmt.Sprintf("TrafficPolicy %s is older and names Service %s too; put both into one", mine.Name, parent.Name)))
		}
		return with, verdicts
	}
	service.Routes = attached.routes(service)
	return service, verdicts
}

// oldest is the policy that counts, by creation and then by name, and the others.
func (t Traffic) oldest() (mine *v1alpha1.TrafficPolicy, others []*v1alpha1.TrafficPolicy) {
	sorted := slices.Clone(t.Policies)
	slices.SortFunc(sorted, func(a, b *v1alpha1.TrafficPolicy) int { return byAge(a.ObjectMeta, b.ObjectMeta) })
	return sorted[0], sorted[1:]
}

// applyPolicy adds a policy and the routes. Where the policy is not valid, only the routes are added.
func (t Traffic) applyPolicy(service ir.Service, p *v1alpha1.TrafficPolicy, attached attachments) (ir.Service, Verdict) {
	without := service
	without.Routes = attached.routes(service)
	authority := ""
	if p.Spec.TLS != nil && p.Spec.TLS.CAConfigMap != nil {
		ref := p.Spec.TLS.CAConfigMap
		var err error
		if authority, err = t.Authority(types.NamespacedName{Namespace: p.Namespace, Name: ref.Name}, ref.Key); err != nil {
			return without, policyVerdict(p, v1alpha1.ReasonInvalid, "spec.tls.caConfigMap: "+err.Error())
		}
	}
	service.Policy = policyOf(p.Spec, authority)
	rules := rulesOf(p)
	if err := check(service, rules...); err != nil {
		return without, policyVerdict(p, v1alpha1.ReasonInvalid, err.Error())
	}
	routes, notes := attached.routesWith(service, rules)
	if len(routes) > maxRoutes {
		return without, policyVerdict(p, v1alpha1.ReasonInvalid,
			fmt.Sprintf("spec.rules: with the matches of the Service's routes they make %d, at most %d are possible; use fewer rules or matches", len(routes), maxRoutes))
	}
	if err := check(service, routes...); err != nil { // or the whole service would be refused, endpoints and all
		return without, policyVerdict(p, v1alpha1.ReasonInvalid, err.Error())
	}
	service.Routes = routes
	message := "in force"
	for _, note := range notes {
		message += "; " + note
	}
	return service, policyVerdict(p, v1alpha1.ReasonAccepted, message)
}

// check validates what is said about a service, without its endpoints and its split.
func check(service ir.Service, routes ...ir.Route) error {
	return ir.Service{
		Namespace: service.Namespace, Name: service.Name, Ports: service.Ports, Policy: service.Policy, Routes: routes,
	}.Validate()
}

// Missing says what becomes of objects that name a service which is not there, or not in the mesh (exists).
// In the latter case routes may be another implementation's, so nothing is said of them.
func (t Traffic) Missing(service types.NamespacedName, exists bool) []Verdict {
	text := fmt.Sprintf("there is no Service %s", service)
	if exists {
		text = fmt.Sprintf("Service %s is not in the mesh: label its namespace %s=enabled, or release it by a Rollout", service, v1alpha1.LabelInject)
	}
	var verdicts []Verdict
	for _, p := range t.Policies {
		verdicts = append(verdicts, policyVerdict(p, v1alpha1.ReasonTargetNotFound, text))
	}
	if exists {
		return verdicts
	}
	for _, r := range t.routes() {
		for _, ref := range parentsOf(r, service) {
			verdicts = append(verdicts, routeVerdict(r, ref, problemf(gateway.RouteReasonNoMatchingParent, "%s", text), nil, ""))
		}
	}
	return verdicts
}

// routes are the HTTPRoutes and the GRPCRoutes in one form.
func (t Traffic) routes() []route {
	routes := make([]route, 0, len(t.HTTPRoutes)+len(t.GRPCRoutes))
	for _, r := range t.GRPCRoutes {
		routes = append(routes, grpcRoute(r))
	}
	for _, r := range t.HTTPRoutes {
		routes = append(routes, httpRoute(r))
	}
	return routes
}

// parentsOf lists the references of a route to a Service.
func parentsOf(r route, service types.NamespacedName) []gateway.ParentReference {
	var refs []gateway.ParentReference
	for _, ref := range r.parents {
		if key, is := parentKey(r.namespace(), ref); is && key == service {
			refs = append(refs, ref)
		}
	}
	return refs
}

// parentKey is the Service that a parent reference names; false when it names something else, such as a Gateway.
func parentKey(namespace string, ref gateway.ParentReference) (types.NamespacedName, bool) {
	key := types.NamespacedName{Namespace: string(ptr.Deref(ref.Namespace, gateway.Namespace(namespace))), Name: string(ref.Name)}
	return key, ptr.Deref(ref.Group, gateway.GroupName) == corev1.GroupName && ptr.Deref(ref.Kind, "Gateway") == "Service"
}
