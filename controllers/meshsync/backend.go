package meshsync

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
	gatewaybeta "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// References are what routes may refer to.
type References struct {
	// Service returns a Service; nil when there is none.
	Service func(types.NamespacedName) *corev1.Service
	// Grants are all ReferenceGrants.
	Grants []*gatewaybeta.ReferenceGrant
}

// problem is why something of a route cannot be done: a reason of the Gateway API, and a text for people.
type problem struct {
	reason  gateway.RouteConditionReason
	message string
}

func problemf(reason gateway.RouteConditionReason, format string, args ...any) *problem {
	return &problem{reason, fmt.Sprintf(format, args...)}
}

// backendKey is the Service that a reference names; false when it names something else.
func backendKey(namespace string, ref gateway.BackendObjectReference) (types.NamespacedName, bool) {
	key := types.NamespacedName{Namespace: string(ptr.Deref(ref.Namespace, gateway.Namespace(namespace))), Name: string(ref.Name)}
	return key, ptr.Deref(ref.Group, "") == "" && ptr.Deref(ref.Kind, "Service") == "Service"
}

// resolve finds the Service and the port that a route refers to.
func (r References) resolve(from route, ref gateway.BackendObjectReference) (types.NamespacedName, uint16, *problem) {
	key, isService := backendKey(from.namespace(), ref)
	if !isService {
		return key, 0, problemf(gateway.RouteReasonInvalidKind, "backend %s: only a Service can be one, not a %s", ref.Name, ptr.Deref(ref.Kind, ""))
	}
	if key.Namespace != from.namespace() && !r.granted(from, key) {
		return key, 0, problemf(gateway.RouteReasonRefNotPermitted, "backend %s: no ReferenceGrant in namespace %s lets a %s of namespace %s refer to it", key, key.Namespace, from.kind, from.namespace())
	}
	service := r.Service(key)
	if service == nil {
		return key, 0, problemf(gateway.RouteReasonBackendNotFound, "backend %s: there is no such Service", key)
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return key, 0, problemf(gateway.RouteReasonBackendNotFound, "backend %s: an external name has no endpoints; give the Service pods", key)
	}
	if ref.Port == nil {
		return key, 0, problemf(gateway.RouteReasonBackendNotFound, "backend %s: port is needed", key)
	}
	i := slices.IndexFunc(service.Spec.Ports, func(p corev1.ServicePort) bool {
		return p.Port == *ref.Port && (p.Protocol == "" || p.Protocol == corev1.ProtocolTCP)
	})
	if i < 0 {
		return key, 0, problemf(gateway.RouteReasonBackendNotFound, "backend %s: the Service has no port %d", key, *ref.Port)
	}
	if spoken := protocol(service.Spec.Ports[i]); !routable(from.kind, spoken) {
		return key, 0, problemf(gateway.RouteReasonUnsupportedProtocol, "backend %s: port %d is declared as %s, which no %s can lead to", key, *ref.Port, spoken, from.kind)
	}
	return key, uint16(*ref.Port), nil //nolint:gosec // a Service's port
}

// granted reports whether a ReferenceGrant lets a route refer to a Service of another namespace.
func (r References) granted(from route, to types.NamespacedName) bool {
	return slices.ContainsFunc(r.Grants, func(g *gatewaybeta.ReferenceGrant) bool {
		return g.Namespace == to.Namespace &&
			slices.ContainsFunc(g.Spec.From, func(f gatewaybeta.ReferenceGrantFrom) bool {
				return f.Group == gateway.GroupName && string(f.Kind) == from.kind && string(f.Namespace) == from.namespace()
			}) &&
			slices.ContainsFunc(g.Spec.To, func(t gatewaybeta.ReferenceGrantTo) bool {
				return t.Group == "" && t.Kind == "Service" && (t.Name == nil || string(*t.Name) == to.Name)
			})
	})
}

// routable tells whether routes of a kind are for ports with a protocol.
func routable(kind string, p ir.Protocol) bool {
	if p == ir.HTTP {
		return kind == KindHTTPRoute // gRPC needs HTTP/2
	}
	return p.SpeaksHTTP() || p == ir.Undeclared
}

// refersTo lists the Services that a route names as backends or mirrors.
func refersTo(r route) []types.NamespacedName {
	var keys []types.NamespacedName
	add := func(ref gateway.BackendObjectReference) {
		if key, is := backendKey(r.namespace(), ref); is {
			keys = append(keys, key)
		}
	}
	for _, rule := range r.rules {
		for _, f := range rule.filters {
			if f.RequestMirror != nil {
				add(f.RequestMirror.BackendRef)
			}
		}
		for _, b := range rule.backends {
			add(b.BackendObjectReference)
		}
	}
	return keys
}
