// Package sluice holds the Helm chart and its tests; there is no Go in what it ships.
package sluice

//go:generate go run ../../internal/chartcrd ../../build/bin/controller-gen templates/crd-rollouts.yaml
