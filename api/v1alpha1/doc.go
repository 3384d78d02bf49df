// Package v1alpha1 holds the Kubernetes types of Sluice, group sluice.dev.
//
// The package knows apimachinery and nothing else of Sluice: everything that reads or writes a
// Rollout (operator, command line, tests) shares these types, and the contract of each field is
// its comment here, from which the CRD and the reference in docs/ are generated.
//
// +kubebuilder:object:generate=true
// +groupName=sluice.dev
package v1alpha1
