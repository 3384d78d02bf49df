package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BalancePolicy says how a pod is chosen.
//
// +kubebuilder:validation:XValidation:rule="(has(self.balancer) && self.balancer == 'RingHash') == has(self.hashOn)",message="spec.balance: hashOn and balancer RingHash go together; give both or neither"
type BalancePolicy struct {
	// Balancer is how a pod is chosen.
	// +kubebuilder:default=LeastRequest
	// +kubebuilder:validation:Enum=LeastRequest;RoundRobin;Random;RingHash
	// +optional
	Balancer Balancer `json:"balancer,omitempty"`
	// HashOn is what of a request is hashed. Requests without it are balanced at random.
	// +optional
	HashOn *HashOn `json:"hashOn,omitempty"`
	// SlowStart lets a new pod's share grow from a tenth to its whole for so long. Absent: at once.
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s') && duration(self) <= duration('1h')",message="spec.balance.slowStart: a duration such as 30s, above 0 and at most 1h; leave it out to start at once"
	// +optional
	SlowStart *metav1.Duration `json:"slowStart,omitempty"`
	// AnyZone spreads requests over all zones alike. Otherwise pods in the caller's zone are preferred while
	// enough of them are healthy, and what they cannot take spills over to other zones.
	// +optional
	AnyZone bool `json:"anyZone,omitempty"`
	// PanicPercent is the share of pods, in percent, that must not be ejected. With fewer, ejections are
	// ignored, because something else than single pods must be wrong.
	// +kubebuilder:default=50
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	PanicPercent *int32 `json:"panicPercent,omitempty"`
}

// Balancer is a way to choose a pod.
type Balancer string

// The balancers.
const (
	// BalancerLeastRequest takes of two pods at random the one with fewer requests in flight.
	BalancerLeastRequest Balancer = "LeastRequest"
	// BalancerRoundRobin takes one pod after the other.
	BalancerRoundRobin Balancer = "RoundRobin"
	// BalancerRandom takes any pod.
	BalancerRandom Balancer = "Random"
	// BalancerRingHash sends requests with an equal value of hashOn to the same pod while pods stay the
	// same, and moves few of them when pods change.
	BalancerRingHash Balancer = "RingHash"
)

// HashOn is what of a request is hashed: exactly one of its fields is set.
//
// +kubebuilder:validation:XValidation:rule="(has(self.header) ? 1 : 0) + (has(self.cookie) ? 1 : 0) + (has(self.source) && self.source ? 1 : 0) == 1",message="spec.balance: hashOn has exactly one of header, cookie, source"
type HashOn struct {
	// Header of the request.
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9!#$%&*+.^_|~-]+$')",message="spec.balance: hashOn.header is a header's name, such as x-user"
	// +optional
	Header string `json:"header,omitempty"`
	// Cookie of the request.
	// +optional
	Cookie *HashCookie `json:"cookie,omitempty"`
	// Source is the caller's address.
	// +optional
	Source bool `json:"source,omitempty"`
}

// HashCookie is a cookie that is hashed.
type HashCookie struct {
	// Name of the cookie.
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9!#$%&*+.^_|~-]+$')",message="spec.balance: hashOn.cookie.name is a cookie's name, such as session"
	Name string `json:"name"`
	// TTL lets the proxy make the cookie where it is missing, for so long. Absent: it is not made.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="spec.balance: hashOn.cookie.ttl is a duration such as 1h, at least 1s"
	// +optional
	TTL *metav1.Duration `json:"ttl,omitempty"`
}

// StickyPolicy keeps a client on the version of a release that it has seen, by a cookie that the proxy sets.
// A client that has seen the canary keeps it while the weight rises. Only a client's first request is judged.
type StickyPolicy struct {
	// Cookie is the cookie's name.
	// +kubebuilder:default=sluice-revision
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9!#$%&*+.^_|~-]+$')",message="spec.sticky.cookie: a cookie's name, such as sluice-revision"
	// +optional
	Cookie string `json:"cookie,omitempty"`
	// TTL of the cookie. Absent: until the browser is closed.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="spec.sticky.ttl: a duration such as 24h, at least 1s; leave it out to keep the cookie until the browser is closed"
	// +optional
	TTL *metav1.Duration `json:"ttl,omitempty"`
}
