package v1alpha1

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// JobProvider runs a Job for each measurement: one that completes is successful, one that fails has failed. A
// Job goes when its measurement is over; a metric's last failed one stays as long as the run, for its logs.
// Without activeDeadlineSeconds a Job may take an hour.
type JobProvider struct {
	// Metadata is put on the Job.
	// +optional
	Metadata *JobMetadata `json:"metadata,omitempty"`
	// Spec of the Job, as of batch/v1. Arguments may be anywhere in it; those from Secrets may not,
	// because a Job can be read: give the Secret to its containers instead.
	Spec JobSpec `json:"spec"`
}

// JobMetadata is put on a Job.
type JobMetadata struct {
	// Labels of the Job.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations of the Job.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}

// JobSpec is the spec of a batch/v1 Job. It is kept as it was written; the fields here are those that are
// checked when it is written.
//
// +kubebuilder:pruning:PreserveUnknownFields
// +kubebuilder:validation:XValidation:rule="!has(self.suspend) || !self.suspend",message="spec.metrics: provider.job.spec.suspend: a suspended Job never ends; remove it"
type JobSpec struct {
	// Raw is the whole spec as JSON.
	Raw []byte `json:"-"`
	// Suspend must not be true.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
	// Template of the Job's pods.
	Template JobPodTemplate `json:"template"`
}

// JobPodTemplate is the template of a Job's pods.
//
// +kubebuilder:pruning:PreserveUnknownFields
type JobPodTemplate struct {
	// Spec of the pods.
	Spec JobPodSpec `json:"spec"`
}

// JobPodSpec is the spec of a Job's pods.
//
// +kubebuilder:pruning:PreserveUnknownFields
type JobPodSpec struct {
	// RestartPolicy must be one that a Job can have.
	// +kubebuilder:validation:XValidation:rule="self in ['Never', 'OnFailure']",message="spec.metrics: provider.job.spec.template.spec.restartPolicy is Never or OnFailure"
	// +kubebuilder:validation:MaxLength=20
	RestartPolicy string `json:"restartPolicy"`
	// Containers of the pods.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=50
	// +listType=atomic
	Containers []JobContainer `json:"containers"`
}

// JobContainer is a container of a Job's pods.
//
// +kubebuilder:pruning:PreserveUnknownFields
type JobContainer struct {
	// Name of the container.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// Image of the container.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Image string `json:"image"`
}

// jobSpec has JobSpec's fields without its methods.
type jobSpec JobSpec

// UnmarshalJSON keeps the whole spec, and reads the fields that are checked.
func (s *JobSpec) UnmarshalJSON(raw []byte) error {
	var read jobSpec
	if err := json.Unmarshal(raw, &read); err != nil {
		return fmt.Errorf("read job spec: %w", err)
	}
	*s = JobSpec(read)
	s.Raw = bytes.Clone(raw)
	return nil
}

// MarshalJSON writes the whole spec, or without one the fields.
func (s JobSpec) MarshalJSON() ([]byte, error) {
	if len(s.Raw) > 0 {
		return s.Raw, nil
	}
	return json.Marshal(jobSpec(s)) //nolint:wrapcheck // text, truth values and lists only: cannot fail
}
