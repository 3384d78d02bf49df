package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TrafficPolicy says how one Service is called through the mesh: what no type of the Gateway API says.
// Where several name one Service, the oldest counts and the others say in their status that they do not.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=tp,categories=sluice
// +kubebuilder:printcolumn:name="Service",type=string,JSONPath=`.spec.targetRef.name`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].reason`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Accepted")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type TrafficPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says how the Service is called.
	Spec TrafficPolicySpec `json:"spec"`
	// Status says whether the policy is in force. It is written by the operator only.
	// +optional
	Status TrafficPolicyStatus `json:"status,omitempty"`
}

// TrafficPolicyList is a list of TrafficPolicies.
//
// +kubebuilder:object:root=true
type TrafficPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TrafficPolicy `json:"items"`
}

// TrafficPolicySpec says how a Service is called. What is left out is as if there were no policy.
//
// +kubebuilder:validation:XValidation:rule="has(self.balance) || has(self.sticky) || has(self.timeouts) || has(self.retry) || has(self.limits) || has(self.outlier) || has(self.rateLimit) || has(self.tls) || has(self.rules)",message="spec: the policy says nothing; give at least one of balance, sticky, timeouts, retry, limits, outlier, rateLimit, tls, rules"
type TrafficPolicySpec struct {
	// TargetRef names the Service, in the policy's namespace.
	TargetRef TargetRef `json:"targetRef"`
	// Balance says how a pod is chosen among those of the version that was drawn.
	// +optional
	Balance *BalancePolicy `json:"balance,omitempty"`
	// Sticky keeps a client on the version of a release that it has seen. Absent: every request is drawn.
	// +optional
	Sticky *StickyPolicy `json:"sticky,omitempty"`
	// Timeouts bound requests and connections.
	// +optional
	Timeouts *TimeoutPolicy `json:"timeouts,omitempty"`
	// Retry repeats requests that failed. Absent: only those that certainly no pod has begun to process.
	// +optional
	Retry *RetryPolicy `json:"retry,omitempty"`
	// Limits refuse what is beyond them at once instead of letting it queue.
	// +optional
	Limits *LimitPolicy `json:"limits,omitempty"`
	// Outlier takes pods out of the balance that fail in a row; {} takes the defaults. Absent: none is.
	// +optional
	Outlier *OutlierPolicy `json:"outlier,omitempty"`
	// RateLimit bounds the requests that each pod of the Service takes.
	// +optional
	RateLimit *RateLimit `json:"rateLimit,omitempty"`
	// TLS lets proxies speak TLS to the pods, for callers that speak plaintext. Absent: what the caller
	// speaks is passed on.
	// +optional
	TLS *UpstreamTLS `json:"tls,omitempty"`
	// Rules are for some requests only. The first that matches a request counts, and wins over what the
	// policy says for all. Where HTTPRoutes or GRPCRoutes lead the request on, a rule adds to them.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	Rules []TrafficRule `json:"rules,omitempty"`
}

// TargetRef names a Service in the policy's namespace.
type TargetRef struct {
	// Name of the Service.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
}

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

// TimeoutPolicy bounds requests and connections. What is left out has no limit, but for connect.
//
// +kubebuilder:validation:XValidation:rule="!has(self.request) || !has(self.perTry) || duration(self.perTry) <= duration(self.request)",message="timeouts: perTry is at most as long as request, which includes all tries"
type TimeoutPolicy struct {
	// Request bounds a request from its head to the end of its response, with all repetitions.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms')",message="timeouts.request: a duration such as 5s, at least 1ms; leave it out for no limit"
	// +optional
	Request *metav1.Duration `json:"request,omitempty"`
	// PerTry bounds each try up to the head of its response.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms')",message="timeouts.perTry: a duration such as 1s, at least 1ms; leave it out for no limit"
	// +optional
	PerTry *metav1.Duration `json:"perTry,omitempty"`
	// Idle ends a request, an upgraded connection or a TCP connection on which nothing moves in either
	// direction for so long.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms')",message="timeouts.idle: a duration such as 5m, at least 1ms; leave it out for no limit"
	// +optional
	Idle *metav1.Duration `json:"idle,omitempty"`
	// Connect bounds the establishing of a connection to a pod. Absent: 3s. It is for the whole Service, so
	// rules have none.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms') && duration(self) <= duration('1m')",message="timeouts.connect: a duration such as 500ms, between 1ms and 1m"
	// +optional
	Connect *metav1.Duration `json:"connect,omitempty"`
}

// RetryPolicy repeats requests that failed, on another pod of the same version. The judge counts the first
// try only, so that repetitions never hide a canary's failures.
//
// +kubebuilder:validation:XValidation:rule="has(self.failures) || has(self.statuses) || has(self.grpcStatuses)",message="retry: it is not said what is repeated; give at least one of failures, statuses, grpcStatuses"
// +kubebuilder:validation:XValidation:rule="!has(self.backOff) || !has(self.maxBackOff) || duration(self.backOff) <= duration(self.maxBackOff)",message="retry: backOff is at most maxBackOff"
type RetryPolicy struct {
	// Attempts is how often a request is repeated at most.
	// +kubebuilder:default=2
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10
	// +optional
	Attempts *int32 `json:"attempts,omitempty"`
	// Failures that are repeated, besides statuses and grpcStatuses.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:items:Enum=ConnectFailure;Reset;Timeout;ServerError;GatewayError
	// +listType=set
	// +optional
	Failures []Failure `json:"failures,omitempty"`
	// Statuses are HTTP statuses that are repeated.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:Minimum=400
	// +kubebuilder:validation:items:Maximum=599
	// +listType=set
	// +optional
	Statuses []int32 `json:"statuses,omitempty"`
	// GRPCStatuses are gRPC statuses, by number, that are repeated where the response has no message.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=16
	// +listType=set
	// +optional
	GRPCStatuses []int32 `json:"grpcStatuses,omitempty"`
	// BackOff is the pause before the first repetition. It doubles with each, and is drawn at random from
	// zero to that. Absent: 25ms.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms') && duration(self) <= duration('1m')",message="retry.backOff: a duration such as 25ms, between 1ms and 1m"
	// +optional
	BackOff *metav1.Duration `json:"backOff,omitempty"`
	// MaxBackOff is the longest pause. Absent: ten times backOff.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms') && duration(self) <= duration('10m')",message="retry.maxBackOff: a duration such as 250ms, between 1ms and 10m"
	// +optional
	MaxBackOff *metav1.Duration `json:"maxBackOff,omitempty"`
	// BudgetPercent is the share of the Service's requests in flight, in percent, that may be repetitions:
	// what keeps retries from making an overload worse.
	// +kubebuilder:default=20
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	BudgetPercent *int32 `json:"budgetPercent,omitempty"`
	// BudgetMin is how many repetitions may be in flight in any case.
	// +kubebuilder:default=3
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	// +optional
	BudgetMin *int32 `json:"budgetMin,omitempty"`
	// NonIdempotent lets POST, PATCH and the like be repeated after a pod may have seen them. Turn it on
	// only where that does no harm.
	// +optional
	NonIdempotent bool `json:"nonIdempotent,omitempty"`
}

// Failure is a way in which a request fails.
type Failure string

// Ways in which a request fails.
const (
	// FailureConnect: no connection to the pod.
	FailureConnect Failure = "ConnectFailure"
	// FailureReset: the pod closed or reset the connection without a response.
	FailureReset Failure = "Reset"
	// FailureTimeout: timeouts.perTry has passed.
	FailureTimeout Failure = "Timeout"
	// FailureServerError: any status of 500 or above.
	FailureServerError Failure = "ServerError"
	// FailureGatewayError: status 502, 503 or 504.
	FailureGatewayError Failure = "GatewayError"
)

// LimitPolicy refuses with status 503 what is beyond it. The limits hold for one calling pod and one version of
// the Service. What is left out has no limit, but for maxConnections.
type LimitPolicy struct {
	// MaxConnections to one pod.
	// +kubebuilder:default=1024
	// +kubebuilder:validation:Minimum=1
	// +optional
	MaxConnections *int32 `json:"maxConnections,omitempty"`
	// MaxPending is how many requests may wait for a connection.
	// +kubebuilder:validation:Minimum=1
	// +optional
	MaxPending *int32 `json:"maxPending,omitempty"`
	// MaxRequests is how many requests may be in flight.
	// +kubebuilder:validation:Minimum=1
	// +optional
	MaxRequests *int32 `json:"maxRequests,omitempty"`
}

// OutlierPolicy takes pods out of the balance that fail in a row.
type OutlierPolicy struct {
	// Consecutive failures after which a pod is taken out: statuses of 500 and above, resets, timeouts,
	// refused connections.
	// +kubebuilder:default=5
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	// +optional
	Consecutive *int32 `json:"consecutive,omitempty"`
	// Ejection is for how long the first time; each further time is longer by the same, up to ten times.
	// +kubebuilder:default="30s"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('100ms') && duration(self) <= duration('1h')",message="spec.outlier.ejection: a duration such as 30s, between 100ms and 1h"
	// +optional
	Ejection *metav1.Duration `json:"ejection,omitempty"`
	// MaxPercent is the share of a version's pods, in percent, that may be out at a time. One of two or
	// more may always be.
	// +kubebuilder:default=50
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	MaxPercent *int32 `json:"maxPercent,omitempty"`
}

// RateLimit bounds the requests that each pod takes: it lets requests through in the given time on
// average, and burst of them at once. Others get status 429 (gRPC: RESOURCE_EXHAUSTED).
type RateLimit struct {
	// Requests in the time given by per.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000000
	Requests int32 `json:"requests"`
	// Per is that time.
	// +kubebuilder:default="1s"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('10ms') && duration(self) <= duration('24h')",message="rateLimit.per: a duration such as 1s or 1m, between 10ms and 24h"
	// +optional
	Per *metav1.Duration `json:"per,omitempty"`
	// Burst is how many requests may come at once. Absent: as many as requests.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000000
	// +optional
	Burst *int32 `json:"burst,omitempty"`
}

// UpstreamTLS lets proxies speak TLS to the pods.
//
// +kubebuilder:validation:XValidation:rule="has(self.serverName) || (has(self.insecureSkipVerify) && self.insecureSkipVerify)",message="spec.tls: serverName is needed to verify the pods' certificate; give the name that it is for"
// +kubebuilder:validation:XValidation:rule="!has(self.caConfigMap) || !has(self.insecureSkipVerify) || !self.insecureSkipVerify",message="spec.tls: with insecureSkipVerify no authority is asked; remove caConfigMap or insecureSkipVerify"
type UpstreamTLS struct {
	// ServerName is the name that the proxy asks for (SNI) and that the certificate must be for.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?$')",message="spec.tls.serverName: a DNS name such as cart.shop.svc"
	// +optional
	ServerName string `json:"serverName,omitempty"`
	// CAConfigMap is a bundle of certificates in PEM that the pods' certificate must be from. Absent: those
	// of the proxy's image.
	// +optional
	CAConfigMap *ConfigMapKeyRef `json:"caConfigMap,omitempty"`
	// InsecureSkipVerify takes any certificate.
	// +optional
	InsecureSkipVerify bool `json:"insecureSkipVerify,omitempty"`
}

// ConfigMapKeyRef names a key of a ConfigMap in the policy's namespace.
type ConfigMapKeyRef struct {
	// Name of the ConfigMap.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Key in the ConfigMap.
	// +kubebuilder:default="ca.crt"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Key string `json:"key,omitempty"`
}

// TrafficPolicyStatus says whether a policy is in force.
type TrafficPolicyStatus struct {
	// Conditions: Accepted.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Condition type of a TrafficPolicy.
const (
	// ConditionAccepted is True when a TrafficPolicy is in force, and False with a reason and a remedy when
	// the Service goes on without it.
	ConditionAccepted = "Accepted"
)

// Reasons of a TrafficPolicy's condition Accepted, besides ReasonInvalid.
const (
	// ReasonAccepted: the policy is in force.
	ReasonAccepted = "Accepted"
	// ReasonTargetNotFound: there is no such Service, or it is not in the mesh.
	ReasonTargetNotFound = "TargetNotFound"
	// ReasonConflicted: an older policy names the same Service.
	ReasonConflicted = "Conflicted"
)
