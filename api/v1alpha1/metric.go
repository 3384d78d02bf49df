package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Metric is measured once or again and again, and each measurement is judged by conditions over its result.
// Texts of the provider and the conditions may have arguments as {{args.name}}.
//
// A condition is an expression in CEL that is true or false. It sees result: a number, a text, a list of
// numbers (a vector), or what a JSON response holds; series: a vector with its labels; and stable or baseline:
// the result of the version that is compared with.
//
// +kubebuilder:validation:XValidation:rule="has(self.interval) || !has(self.count) || self.count == 1",message="spec.metrics: interval is needed where count is not 1; say how long to wait between two measurements"
// +kubebuilder:validation:XValidation:rule="!has(self.failureLimit) || self.failureLimit < (has(self.count) ? self.count : has(self.interval) ? 0 : 1) || (has(self.count) ? self.count : has(self.interval) ? 0 : 1) == 0",message="spec.metrics: failureLimit is below count, or no measurement would have to succeed"
// +kubebuilder:validation:XValidation:rule="!has(self.inconclusiveLimit) || self.inconclusiveLimit < (has(self.count) ? self.count : has(self.interval) ? 0 : 1) || (has(self.count) ? self.count : has(self.interval) ? 0 : 1) == 0",message="spec.metrics: inconclusiveLimit is below count, or no measurement would have to succeed"
// +kubebuilder:validation:XValidation:rule="has(self.provider.job) || has(self.mannWhitney) || has(self.successCondition) || has(self.failureCondition)",message="spec.metrics: successCondition, failureCondition or mannWhitney is needed, or every result would pass"
// +kubebuilder:validation:XValidation:rule="!has(self.provider.job) || !(has(self.mannWhitney) || has(self.successCondition) || has(self.failureCondition) || has(self.compare))",message="spec.metrics: a job says by itself whether it succeeded; remove successCondition, failureCondition, compare and mannWhitney"
// +kubebuilder:validation:XValidation:rule="!has(self.mannWhitney) || !(has(self.successCondition) || has(self.failureCondition))",message="spec.metrics: mannWhitney takes the place of successCondition and failureCondition; remove them, or it"
// +kubebuilder:validation:XValidation:rule="has(self.mannWhitney) == (has(self.provider.prometheus) && has(self.provider.prometheus.range))",message="spec.metrics: mannWhitney and provider.prometheus.range go together; give both or neither"
// +kubebuilder:validation:XValidation:rule="!has(self.mannWhitney) || has(self.compare)",message="spec.metrics: mannWhitney compares two versions; set compare to Stable or Baseline"
type Metric struct {
	// Name of the metric, for people and status.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([A-Za-z0-9 ._-]*[A-Za-z0-9])?$')",message="spec.metrics: a name has letters, digits, spaces and . _ - inside, and begins and ends with a letter or digit"
	Name string `json:"name"`
	// Interval from the end of a measurement to the next. Absent: one measurement.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="spec.metrics: interval is a duration such as 30s or 5m, at least 1s"
	// +optional
	Interval *metav1.Duration `json:"interval,omitempty"`
	// InitialDelay before the first measurement.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s')",message="spec.metrics: initialDelay is a duration such as 30s or 5m, not negative"
	// +optional
	InitialDelay *metav1.Duration `json:"initialDelay,omitempty"`
	// Count is how many measurements are made, errors not counted. 0: until the analysis is ended from
	// outside. Absent: 0 where there is an interval, else 1.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	// +optional
	Count *int32 `json:"count,omitempty"`
	// SuccessCondition makes a measurement successful. Without a failureCondition, everything else fails;
	// with one, what is neither is inconclusive, and what is both fails.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2000
	// +optional
	SuccessCondition string `json:"successCondition,omitempty"`
	// FailureCondition makes a measurement fail. Without a successCondition, everything else succeeds.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2000
	// +optional
	FailureCondition string `json:"failureCondition,omitempty"`
	// FailureLimit is how many measurements may fail in all; one more fails the metric.
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=0
	// +optional
	FailureLimit *int32 `json:"failureLimit,omitempty"`
	// InconclusiveLimit is how many measurements may be inconclusive in all; one more makes the metric so.
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=0
	// +optional
	InconclusiveLimit *int32 `json:"inconclusiveLimit,omitempty"`
	// ConsecutiveErrorLimit is how many measurements in a row may end in an error; one more ends the
	// metric in error.
	// +kubebuilder:default=4
	// +kubebuilder:validation:Minimum=0
	// +optional
	ConsecutiveErrorLimit *int32 `json:"consecutiveErrorLimit,omitempty"`
	// DryRun measures and records, and has no say in the outcome.
	// +optional
	DryRun bool `json:"dryRun,omitempty"`
	// Weight in the score, against the other metrics' weights.
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	Weight *int32 `json:"weight,omitempty"`
	// Critical makes the whole score 0 when this metric fails.
	// +optional
	Critical bool `json:"critical,omitempty"`
	// Compare measures twice, side by side: the canary for result, and the version named here for stable
	// or baseline. The provider's texts tell the two by {{args.revision}}.
	// +kubebuilder:validation:Enum=Stable;Baseline
	// +optional
	Compare RevisionName `json:"compare,omitempty"`
	// MannWhitney compares the points of two series as Kayenta does, instead of conditions.
	// +optional
	MannWhitney *MannWhitney `json:"mannWhitney,omitempty"`
	// Provider is where the result comes from.
	Provider MetricProvider `json:"provider"`
}

// MannWhitney compares the canary's points with those of the version named in compare by their ranks, as
// Kayenta does: the Mann-Whitney U test.
type MannWhitney struct {
	// Direction of change that fails.
	// +kubebuilder:default=Increase
	// +kubebuilder:validation:Enum=Increase;Decrease;Either
	// +optional
	Direction Direction `json:"direction,omitempty"`
	// Tolerance is the shift that is borne, as a share of the median of the version that is compared with.
	// +kubebuilder:default="0.1"
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9]{1,3}([.][0-9]{1,4})?$')",message="spec.metrics: mannWhitney.tolerance is a number such as 0.1, not negative"
	// +optional
	Tolerance string `json:"tolerance,omitempty"`
	// Difference is the shift that is borne in the metric's own unit, where that is more. It is what
	// counts when the median is zero.
	// +kubebuilder:default="0"
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9]+([.][0-9]+)?$')",message="spec.metrics: mannWhitney.difference is a number such as 0.5, not negative"
	// +optional
	Difference string `json:"difference,omitempty"`
	// Alpha is the chance, over all measurements, of failing a canary that is within the tolerance.
	// +kubebuilder:default="0.01"
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="self.matches('^0[.][0-9]{1,6}$') && double(self) >= 0.0001 && double(self) <= 0.2",message="spec.metrics: mannWhitney.alpha is a chance such as 0.01, between 0.0001 and 0.2"
	// +optional
	Alpha string `json:"alpha,omitempty"`
	// MinPoints is how many points each version must have before the canary can pass.
	// +kubebuilder:default=50
	// +kubebuilder:validation:Minimum=5
	// +kubebuilder:validation:Maximum=10000
	// +optional
	MinPoints *int32 `json:"minPoints,omitempty"`
}

// Direction is a direction of change.
type Direction string

// Directions of change.
const (
	// DirectionIncrease fails where the canary has more.
	DirectionIncrease Direction = "Increase"
	// DirectionDecrease fails where the canary has less.
	DirectionDecrease Direction = "Decrease"
	// DirectionEither fails where the canary has more or less.
	DirectionEither Direction = "Either"
)

// MetricProvider is where a metric's result comes from: exactly one of its fields is set.
//
// +kubebuilder:validation:XValidation:rule="(has(self.prometheus) ? 1 : 0) + (has(self.web) ? 1 : 0) + (has(self.job) ? 1 : 0) == 1",message="spec.metrics: provider has exactly one of prometheus, web, job"
type MetricProvider struct {
	// Prometheus is asked a query.
	// +optional
	Prometheus *PrometheusProvider `json:"prometheus,omitempty"`
	// Web is an HTTP server that answers with JSON.
	// +optional
	Web *WebProvider `json:"web,omitempty"`
	// Job runs a Kubernetes Job: it succeeds or fails.
	// +optional
	Job *JobProvider `json:"job,omitempty"`
}

// PrometheusProvider asks a Prometheus, or anything that speaks its API.
//
// +kubebuilder:validation:XValidation:rule="has(self.address) || !(has(self.connection) || has(self.headers))",message="spec.metrics: connection and headers go with an address of their own; the installation's Prometheus is asked as the installation says"
type PrometheusProvider struct {
	// Address is the server's URL. Absent: the installation's Prometheus, with the installation's
	// connection. With an address, nothing of the installation's connection is used.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.startsWith('http://') || self.startsWith('https://') || self.startsWith('{{')",message="spec.metrics: provider.prometheus.address is a URL that begins with http:// or https://"
	// +optional
	Address string `json:"address,omitempty"`
	// Query in PromQL.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=8192
	Query string `json:"query"`
	// Range asks for a series of points instead of one result, for mannWhitney.
	// +optional
	Range *QueryRange `json:"range,omitempty"`
	// Headers are sent with each request.
	// +kubebuilder:validation:MaxItems=20
	// +listType=map
	// +listMapKey=key
	// +optional
	Headers []Header `json:"headers,omitempty"`
	// Timeout of one request.
	// +kubebuilder:default="10s"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('100ms') && duration(self) <= duration('1m')",message="spec.metrics: timeout is between 100ms and 1m"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// Connection says how the server is reached.
	// +optional
	Connection *Connection `json:"connection,omitempty"`
}

// QueryRange is the time that a range query is about; it ends when the measurement begins.
//
// +kubebuilder:validation:XValidation:rule="duration(self.step) <= duration(self.window)",message="spec.metrics: provider.prometheus.range.step is at most as long as window"
type QueryRange struct {
	// Window is how far back the points go, at most to spec.since of the run.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('10s') && duration(self) <= duration('24h')",message="spec.metrics: provider.prometheus.range.window is between 10s and 24h"
	Window metav1.Duration `json:"window"`
	// Step between two points.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="spec.metrics: provider.prometheus.range.step is at least 1s"
	Step metav1.Duration `json:"step"`
}

// WebProvider asks an HTTP server. The response is JSON, at most 1 MiB.
//
// +kubebuilder:validation:XValidation:rule="!has(self.body) || (has(self.method) && self.method != 'GET')",message="spec.metrics: provider.web.body is sent with method POST or PUT only"
type WebProvider struct {
	// URL that is asked.
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.startsWith('http://') || self.startsWith('https://') || self.startsWith('{{')",message="spec.metrics: provider.web.url begins with http:// or https://"
	URL string `json:"url"`
	// Method of the request.
	// +kubebuilder:default=GET
	// +kubebuilder:validation:Enum=GET;POST;PUT
	// +optional
	Method string `json:"method,omitempty"`
	// Headers are sent with the request.
	// +kubebuilder:validation:MaxItems=20
	// +listType=map
	// +listMapKey=key
	// +optional
	Headers []Header `json:"headers,omitempty"`
	// Body of a POST or PUT.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16384
	// +optional
	Body string `json:"body,omitempty"`
	// Timeout of the request.
	// +kubebuilder:default="10s"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('100ms') && duration(self) <= duration('1m')",message="spec.metrics: timeout is between 100ms and 1m"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// Connection says how the server is reached.
	// +optional
	Connection *Connection `json:"connection,omitempty"`
}

// Header of an HTTP request.
type Header struct {
	// Key is the header's name.
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9-]+$')",message="spec.metrics: a header's key has letters, digits and - only"
	Key string `json:"key"`
	// Value of the header. A secret one comes from an argument.
	// +kubebuilder:validation:MaxLength=4096
	Value string `json:"value"`
}

// Connection says how a server is reached. All Secrets are those of the Rollout's namespace.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.bearerTokenSecret) && has(self.basicAuthSecret))",message="spec.metrics: connection has bearerTokenSecret or basicAuthSecret, not both"
type Connection struct {
	// CASecret is a certificate authority in PEM that the server's certificate must be from.
	// +optional
	CASecret *SecretKeyRef `json:"caSecret,omitempty"`
	// ClientCertificateSecret names a Secret with the keys tls.crt and tls.key.
	// +optional
	ClientCertificateSecret *LocalSecretRef `json:"clientCertificateSecret,omitempty"`
	// ServerName that the server's certificate must have, where it is not the address's.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	ServerName string `json:"serverName,omitempty"`
	// InsecureSkipVerify takes any certificate.
	// +optional
	InsecureSkipVerify bool `json:"insecureSkipVerify,omitempty"`
	// BearerTokenSecret is a token that is sent.
	// +optional
	BearerTokenSecret *SecretKeyRef `json:"bearerTokenSecret,omitempty"`
	// BasicAuthSecret names a Secret with the keys username and password.
	// +optional
	BasicAuthSecret *LocalSecretRef `json:"basicAuthSecret,omitempty"`
}
