package ir

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
)

// Equal reports whether two services are the same value; both should be in normal form.
func Equal(a, b Service) bool {
	return a.Namespace == b.Namespace && a.Name == b.Name &&
		slices.Equal(a.Addresses, b.Addresses) &&
		slices.Equal(a.Ports, b.Ports) &&
		slices.EqualFunc(a.Subsets, b.Subsets, equalSubsets) &&
		equalSplits(a.Split, b.Split) &&
		reflect.DeepEqual(a.Routes, b.Routes) &&
		reflect.DeepEqual(a.Policy, b.Policy)
}

func equalSubsets(a, b Subset) bool {
	return a.Name == b.Name && slices.EqualFunc(a.Endpoints, b.Endpoints, func(a, b Endpoint) bool {
		return a.Address == b.Address && a.Zone == b.Zone && a.Draining == b.Draining && maps.Equal(a.Ports, b.Ports)
	})
}

func equalSplits(a, b Split) bool {
	return a.Owner == b.Owner && a.Epoch == b.Epoch && a.Weight == b.Weight &&
		a.Stable == b.Stable && a.Canary == b.Canary && a.Baseline == b.Baseline && a.BaselineWeight == b.BaselineWeight &&
		slices.Equal(a.Shares, b.Shares)
}

// EqualMeshes reports whether two meshes are the same value; both should be in normal form.
func EqualMeshes(a, b Mesh) bool {
	return a.Settings == b.Settings && slices.EqualFunc(a.Services, b.Services, Equal)
}

// Hash identifies the meaning of a service: meshes that mean the same have the same hash, in every
// process and build. 32 hexadecimal digits (the first half of a SHA-256 of the normal form).
func (s Service) Hash() string { return digest(s.Normalise()) }

// Hash identifies the meaning of a mesh as Service.Hash does for a service.
func (m Mesh) Hash() string { return digest(Normalise(m)) }

// digest relies on encoding/json: fields in order of declaration, map keys sorted.
func digest(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		// Plain values of the types above always marshal; an invalid netip.Addr does too, as "".
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}
