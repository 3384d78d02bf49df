package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TrafficRule is for the requests that it matches.
//
// +kubebuilder:validation:XValidation:rule="has(self.revision) || has(self.fault) || has(self.rateLimit) || has(self.timeouts) || has(self.retry)",message="spec.rules: the rule does nothing; give at least one of revision, fault, rateLimit, timeouts, retry"
// +kubebuilder:validation:XValidation:rule="!has(self.timeouts) || !has(self.timeouts.connect)",message="spec.rules: timeouts.connect is for the whole Service; set it in spec.timeouts"
type TrafficRule struct {
	// Matches: one of them must match. Absent: every request does.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +listType=atomic
	// +optional
	Matches []RequestMatch `json:"matches,omitempty"`
	// Revision sends the requests to this version while a release is on and that version has a share of
	// the traffic; otherwise they are drawn as ever. Such requests are not judged.
	// +kubebuilder:validation:Enum=Stable;Canary
	// +optional
	Revision RevisionName `json:"revision,omitempty"`
	// Fault delays or aborts requests on purpose, before any pod sees them.
	// +optional
	Fault *Fault `json:"fault,omitempty"`
	// RateLimit bounds the requests that match, at each pod of the Service.
	// +optional
	RateLimit *RateLimit `json:"rateLimit,omitempty"`
	// Timeouts take the place of those of the policy, one by one.
	// +optional
	Timeouts *TimeoutPolicy `json:"timeouts,omitempty"`
	// Retry takes the place of that of the policy.
	// +optional
	Retry *RetryPolicy `json:"retry,omitempty"`
}

// RequestMatch matches a request when all that it asks for holds.
//
// +kubebuilder:validation:XValidation:rule="has(self.hosts) || has(self.path) || has(self.method) || has(self.headers) || has(self.query) || has(self.cookies)",message="spec.rules: a match is empty; give at least one of hosts, path, method, headers, query, cookies, or leave out matches to match every request"
type RequestMatch struct {
	// Hosts: one of them must be the host that the request is for, without its port. *.example.com matches
	// names below it.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	// +listType=set
	// +optional
	Hosts []string `json:"hosts,omitempty"`
	// Path of the request, without its query.
	// +optional
	Path *PathMatch `json:"path,omitempty"`
	// Method of the request, such as GET.
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Z]+$')",message="spec.rules: a match's method is in upper case, such as GET"
	// +optional
	Method string `json:"method,omitempty"`
	// Headers must all match. Names are in any case. For a gRPC call its metadata are headers.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	Headers []ValueMatch `json:"headers,omitempty"`
	// Query parameters must all match.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	Query []ValueMatch `json:"query,omitempty"`
	// Cookies must all match.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	Cookies []ValueMatch `json:"cookies,omitempty"`
}

// PathMatch matches a path. For a gRPC call the path is /package.Service/Method.
//
// +kubebuilder:validation:XValidation:rule="self.type == 'RegularExpression' || self.value.startsWith('/')",message="spec.rules: a path begins with /"
// +kubebuilder:validation:XValidation:rule="self.type == 'RegularExpression' || !self.value.contains('?')",message="spec.rules: a path has no query; match parameters with query"
// +kubebuilder:validation:XValidation:rule="self.type != 'RegularExpression' || 'a'.matches(self.value) in [true, false]",message="spec.rules: a path's value is no regular expression; see https://github.com/google/re2/wiki/Syntax"
type PathMatch struct {
	// Type says how the value is compared: Exact, PathPrefix for whole elements (/a matches /a and /a/b, not
	// /ab), RegularExpression (RE2) for the whole path.
	// +kubebuilder:default=PathPrefix
	// +kubebuilder:validation:Enum=Exact;PathPrefix;RegularExpression
	// +optional
	Type PathMatchType `json:"type,omitempty"`
	// Value that is compared with.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Value string `json:"value"`
}

// PathMatchType says how a path is compared.
type PathMatchType string

// How a path is compared.
const (
	PathExact             PathMatchType = "Exact"
	PathPrefix            PathMatchType = "PathPrefix"
	PathRegularExpression PathMatchType = "RegularExpression"
)

// ValueMatch matches a header, a query parameter or a cookie.
//
// +kubebuilder:validation:XValidation:rule="(self.type == 'Present') != has(self.value)",message="spec.rules: type Present goes without a value, every other type with one"
// +kubebuilder:validation:XValidation:rule="self.type != 'RegularExpression' || !has(self.value) || 'a'.matches(self.value) in [true, false]",message="spec.rules: a value is no regular expression; see https://github.com/google/re2/wiki/Syntax"
type ValueMatch struct {
	// Name of the header, parameter or cookie.
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9!#$%&*+.^_|~-]+$')",message="spec.rules: a name has letters, digits and - _ . only, without spaces"
	Name string `json:"name"`
	// Type says how the value is compared: Exact, Prefix, RegularExpression (RE2) for the whole value, or
	// Present for any value.
	// +kubebuilder:default=Exact
	// +kubebuilder:validation:Enum=Exact;Prefix;RegularExpression;Present
	// +optional
	Type ValueMatchType `json:"type,omitempty"`
	// Value that is compared with.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Value string `json:"value,omitempty"`
	// Not matches where the rest does not.
	// +optional
	Not bool `json:"not,omitempty"`
}

// ValueMatchType says how a value is compared.
type ValueMatchType string

// How a value is compared.
const (
	ValueExact             ValueMatchType = "Exact"
	ValuePrefix            ValueMatchType = "Prefix"
	ValueRegularExpression ValueMatchType = "RegularExpression"
	ValuePresent           ValueMatchType = "Present"
)

// Fault is a failure on purpose. Requests that it aborts count for no version.
//
// +kubebuilder:validation:XValidation:rule="has(self.delay) || has(self.abort)",message="spec.rules: fault has delay, abort or both"
type Fault struct {
	// Delay lets requests wait.
	// +optional
	Delay *FaultDelay `json:"delay,omitempty"`
	// Abort answers requests instead of a pod.
	// +optional
	Abort *FaultAbort `json:"abort,omitempty"`
}

// FaultDelay lets a share of the requests wait.
type FaultDelay struct {
	// Duration of the delay.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms') && duration(self) <= duration('10m')",message="spec.rules: fault.delay.duration is a duration such as 2s, between 1ms and 10m"
	Duration metav1.Duration `json:"duration"`
	// Percent of the requests, such as "10" or "0.5".
	// +kubebuilder:default="100"
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="self.matches('^(100|[0-9]{1,2}(\\\\.[0-9]{1,4})?)$')",message="spec.rules: fault.delay.percent is a percentage such as 10 or 0.5, without a percent sign"
	// +optional
	Percent string `json:"percent,omitempty"`
}

// FaultAbort answers a share of the requests.
type FaultAbort struct {
	// Status is the HTTP status of the answer.
	// +kubebuilder:default=503
	// +kubebuilder:validation:Minimum=200
	// +kubebuilder:validation:Maximum=599
	// +optional
	Status *int32 `json:"status,omitempty"`
	// GRPCStatus is the gRPC status, by number, that gRPC calls get. Absent: what stands for status.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=16
	// +optional
	GRPCStatus *int32 `json:"grpcStatus,omitempty"`
	// Percent of the requests, such as "10" or "0.5".
	// +kubebuilder:default="100"
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="self.matches('^(100|[0-9]{1,2}(\\\\.[0-9]{1,4})?)$')",message="spec.rules: fault.abort.percent is a percentage such as 10 or 0.5, without a percent sign"
	// +optional
	Percent string `json:"percent,omitempty"`
}
