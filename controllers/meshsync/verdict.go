package meshsync

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gateway "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// ControllerName is who we are in the status of routes.
const ControllerName gateway.GatewayController = "sluice.dev/mesh"

// Kinds that verdicts are about.
const (
	KindTrafficPolicy = "TrafficPolicy"
	KindHTTPRoute     = "HTTPRoute"
	KindGRPCRoute     = "GRPCRoute"
)

// Subject is an object that a verdict is about.
type Subject struct {
	Kind string
	types.NamespacedName
}

// Verdict says what became of an object at one service.
type Verdict struct {
	Subject Subject
	// UID of that object: one of the same name may follow it.
	UID types.UID
	// Parent is a route's reference to the service.
	Parent gateway.ParentReference
	// Conditions without times, each with the generation that it is about.
	Conditions []metav1.Condition
}

func policyVerdict(p *v1alpha1.TrafficPolicy, reason, message string) Verdict {
	return Verdict{
		Subject: Subject{KindTrafficPolicy, types.NamespacedName{Namespace: p.Namespace, Name: p.Name}},
		UID:     p.UID,
		Conditions: []metav1.Condition{
			condition(v1alpha1.ConditionAccepted, reason == v1alpha1.ReasonAccepted, reason, message, p.Generation),
		},
	}
}

// routeVerdict is about one reference of a route: why it is not in force, which reference leads nowhere, and
// which rules cannot be followed.
func routeVerdict(r route, ref gateway.ParentReference, refused, unresolved *problem, partly string) Verdict {
	v := Verdict{
		Subject: Subject{r.kind, types.NamespacedName{Namespace: r.meta.Namespace, Name: r.meta.Name}},
		UID:     r.meta.UID, Parent: ref,
	}
	set := func(kind gateway.RouteConditionType, problem *problem, reason gateway.RouteConditionReason, message string) {
		if problem != nil {
			reason, message = problem.reason, problem.message
		}
		v.Conditions = append(v.Conditions, condition(string(kind), problem == nil, string(reason), message, r.meta.Generation))
	}
	set(gateway.RouteConditionAccepted, refused, gateway.RouteReasonAccepted, "in force")
	set(gateway.RouteConditionResolvedRefs, unresolved, gateway.RouteReasonResolvedRefs, "every reference leads to a Service")
	if refused == nil && partly != "" {
		v.Conditions = append(v.Conditions, condition(string(gateway.RouteConditionPartiallyInvalid), true,
			string(gateway.RouteReasonUnsupportedValue), partly, r.meta.Generation))
	}
	return v
}

func condition(kind string, holds bool, reason, message string, generation int64) metav1.Condition {
	status := metav1.ConditionFalse
	if holds {
		status = metav1.ConditionTrue
	}
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: clip(message), ObservedGeneration: generation}
}

// clip shortens a message to what a condition may have.
func clip(message string) string {
	const most = 2000
	if len(message) > most {
		return strings.ToValidUTF8(message[:most], "") + "..."
	}
	return message
}
