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
