// Package ir says what the mesh means: services, the ports they listen on, the revisions behind them
// and how requests are split over those. Its values are plain Go, immutable once published, and know
// neither Kubernetes nor Envoy. Package meshsync makes them, package xds turns them into Envoy's
// resources and back, package proxy acts on them.
package ir

import (
	"net/netip"
)

// Protocol is what is spoken on a port.
type Protocol string

// The protocols. An empty Protocol means TCP.
const (
	// HTTP is HTTP/1.1 (and upgrades from it); requests are split one by one.
	HTTP Protocol = "http"
	// TCP is anything else; connections are split one by one.
	TCP Protocol = "tcp"
	// HTTP2 is HTTP/2, over cleartext where the client begins with its preface; requests are split one by one.
	HTTP2 Protocol = "http2"
	// GRPC is HTTP/2 with gRPC on it; requests are split one by one and judged by their gRPC status too.
	GRPC Protocol = "grpc"
	// TLS is passed through; connections are split one by one, and known by the name that the client asks for.
	TLS Protocol = "tls"
	// Undeclared is a port of which nobody said what it speaks: HTTP where the client's first bytes prove it,
	// else TCP. A server that speaks first is not kept waiting.
	Undeclared Protocol = "undeclared"
)

// Mesh is all that a proxy can know: the services, sorted by namespace and name, and what is the same for
// all of them.
type Mesh struct {
	Services []Service
	Settings Settings `json:",omitzero"`
}

// Service is one Kubernetes Service as the mesh sees it.
type Service struct {
	Namespace, Name string
	// Addresses are its virtual addresses (ClusterIPs). Empty for a headless Service.
	Addresses []netip.Addr
	// Ports, sorted by number.
	Ports []Port
	// Subsets are the revisions behind it, sorted by name. Every endpoint is in exactly one.
	Subsets []Subset
	// Split says how new requests are drawn over subsets. The zero Split draws over all endpoints of
	// all subsets alike.
	Split Split
	// Routes of the ports that speak HTTP, in order of precedence.
	Routes []Route `json:",omitempty"`
	// Policy says how the service is called.
	Policy Policy `json:",omitzero"`
}

// Port is one port of a Service.
type Port struct {
	// Name of the Service's port; may be empty where there is only one.
	Name string
	// Number that clients dial.
	Number uint16
	// Protocol spoken.
	Protocol Protocol
}

// Subset is one revision of a service: the pods that share a pod-template-hash.
type Subset struct {
	// Name is the pod-template-hash, or "" for endpoints without one.
	Name string
	// Endpoints, sorted by address.
	Endpoints []Endpoint
}

// Endpoint is one pod.
type Endpoint struct {
	Address netip.Addr
	// Ports maps the Service's port name to the pod's port number.
	Ports map[string]uint16
	// Zone that the pod runs in; "" when unknown.
	Zone string `json:",omitempty"`
	// Draining endpoints finish what they have and get nothing new.
	Draining bool
}

// Split says which share of new requests each subset gets.
type Split struct {
	// Owner identifies who decided (a Rollout's UID). Empty: no release is or was on.
	Owner string
	// Epoch counts the decisions of one owner; a proxy refuses an older one of the same owner.
	Epoch int64
	// Weight is the canary's asked share in percent, as the judge labels it ("weight" of the metrics).
	Weight uint32
	// Stable and Canary name the subsets. Canary is empty when no release is on.
	Stable, Canary string
	// Baseline names a subset of stable's version that is as young as the canary, for comparison, and
	// BaselineWeight is its asked share in percent, taken from stable's. Empty: there is none.
	Baseline       string `json:",omitempty"`
	BaselineWeight uint32 `json:",omitempty"`
	// Shares, sorted by subset; they sum to 100 and none is for a subset without a ready endpoint
	// (see Clamp). Empty: draw over all endpoints alike.
	Shares []Share
}

// Share is one subset's share of new requests in percent.
type Share struct {
	Subset string
	Weight uint32
}
