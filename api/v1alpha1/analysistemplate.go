package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AnalysisTemplate is a set of metrics by which releases of its namespace are judged, besides the judge's
// own comparison. Rollouts name it, with arguments; each use is recorded as an AnalysisRun.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=at,categories=sluice
// +kubebuilder:printcolumn:name="Metrics",type=string,JSONPath=`.spec.metrics[*].name`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AnalysisTemplate struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what is measured.
	Spec AnalysisTemplateSpec `json:"spec"`
}

// AnalysisTemplateList is a list of AnalysisTemplates.
//
// +kubebuilder:object:root=true
type AnalysisTemplateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AnalysisTemplate `json:"items"`
}

// ClusterAnalysisTemplate is an AnalysisTemplate for Rollouts of every namespace. Secrets that it names
// are those of the Rollout's namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,shortName=cat,categories=sluice
// +kubebuilder:printcolumn:name="Metrics",type=string,JSONPath=`.spec.metrics[*].name`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ClusterAnalysisTemplate struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what is measured.
	Spec AnalysisTemplateSpec `json:"spec"`
}

// ClusterAnalysisTemplateList is a list of ClusterAnalysisTemplates.
//
// +kubebuilder:object:root=true
type ClusterAnalysisTemplateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ClusterAnalysisTemplate `json:"items"`
}

// AnalysisTemplateSpec is what an analysis measures, and what it must be told for that.
type AnalysisTemplateSpec struct {
	// Args are the arguments that metrics use as {{args.name}}. One without a value must be given by who
	// uses the template.
	// +kubebuilder:validation:MaxItems=30
	// +listType=map
	// +listMapKey=name
	// +optional
	Args []Argument `json:"args,omitempty"`
	// Metrics are measured side by side. The analysis succeeds when all of them do.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=20
	// +listType=map
	// +listMapKey=name
	Metrics []Metric `json:"metrics"`
}

// AnalysisRef names templates and what they must be told.
type AnalysisRef struct {
	// Templates are run together, as if their metrics were in one. Metrics' names must differ over all.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	// +listType=atomic
	// +optional
	Templates []TemplateRef `json:"templates,omitempty"`
	// Args are values for the templates' arguments; they win over the templates' own.
	// +kubebuilder:validation:MaxItems=30
	// +listType=map
	// +listMapKey=name
	// +optional
	Args []Argument `json:"args,omitempty"`
}

// TemplateRef names an AnalysisTemplate of the Rollout's namespace, or a ClusterAnalysisTemplate.
type TemplateRef struct {
	// Name of the template.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// ClusterScope takes the ClusterAnalysisTemplate of that name.
	// +optional
	ClusterScope bool `json:"clusterScope,omitempty"`
}

// Argument is a value that metrics use as {{args.name}}.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.value) && has(self.valueFrom))",message="args: an argument has value or valueFrom, not both; remove one"
type Argument struct {
	// Name of the argument. The name revision is Sluice's own: in a metric with compare it is the
	// pod-template-hash of the version that is measured.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z][A-Za-z0-9_-]*$')",message="args: a name begins with a letter and has letters, digits, - and _ only"
	// +kubebuilder:validation:XValidation:rule="self != 'revision'",message="args: the name revision is Sluice's own, the version that is measured; choose another"
	Name string `json:"name"`
	// Value, as it is.
	// +kubebuilder:validation:MaxLength=4096
	// +optional
	Value *string `json:"value,omitempty"`
	// ValueFrom says where the value is found when the analysis begins.
	// +optional
	ValueFrom *ArgumentSource `json:"valueFrom,omitempty"`
}

// ArgumentSource is where an argument's value is found: exactly one of its fields is set.
//
// +kubebuilder:validation:XValidation:rule="(has(self.secretKeyRef) ? 1 : 0) + (has(self.fieldRef) ? 1 : 0) + (has(self.podTemplateHash) ? 1 : 0) == 1",message="args: valueFrom has exactly one of secretKeyRef, fieldRef, podTemplateHash"
type ArgumentSource struct {
	// SecretKeyRef is a key of a Secret in the Rollout's namespace. It may be used in a provider's
	// address, query, URL, headers and body only, so that it is never shown; it is read anew for each
	// measurement.
	// +optional
	SecretKeyRef *SecretKeyRef `json:"secretKeyRef,omitempty"`
	// FieldRef is a field of the Rollout.
	// +optional
	FieldRef *FieldRef `json:"fieldRef,omitempty"`
	// PodTemplateHash is the pod-template-hash of a version.
	// +kubebuilder:validation:Enum=Stable;Canary;Baseline
	// +optional
	PodTemplateHash RevisionName `json:"podTemplateHash,omitempty"`
}

// SecretKeyRef names a key of a Secret in the Rollout's namespace.
type SecretKeyRef struct {
	// Name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Key in the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`
}

// FieldRef names a field of the Rollout.
type FieldRef struct {
	// FieldPath is the way to the field, such as metadata.name, metadata.labels['team'] or
	// spec.service.name. It must end at a text, a number or a truth value.
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^(metadata|spec|status)[.]')",message="args: fieldPath begins with metadata., spec. or status., such as metadata.labels['team']"
	FieldPath string `json:"fieldPath"`
}

// RevisionName is one of the versions of a release.
type RevisionName string

// The versions of a release.
const (
	// RevisionStable is the version that has the traffic when no release is on.
	RevisionStable RevisionName = "Stable"
	// RevisionCanary is the version being released.
	RevisionCanary RevisionName = "Canary"
	// RevisionBaseline is stable's version, started together with the canary and of its size.
	RevisionBaseline RevisionName = "Baseline"
)
