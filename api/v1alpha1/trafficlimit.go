package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

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
