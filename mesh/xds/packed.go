package xds

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Packed is one resource as it travels.
type Packed struct {
	// Name of the resource; its type is Body.TypeUrl.
	Name string
	// Version identifies the content: equal content has an equal version, in every process.
	Version string
	Body    *anypb.Any
	// Message is what Body holds. It must not be modified.
	Message proto.Message
}

// Pack returns all resources as they travel, those of a type together, in the order of Types.
func (r Resources) Pack() []Packed {
	packed := make([]Packed, 0, len(r.Clusters)+len(r.Endpoints)+len(r.Routes)+len(r.Listeners))
	add := func(name string, message proto.Message) {
		body := pack(message)
		packed = append(packed, Packed{Name: name, Version: version(body), Body: body, Message: message})
	}
	for _, cluster := range r.Clusters {
		add(cluster.GetName(), cluster)
	}
	for _, endpoints := range r.Endpoints {
		add(endpoints.GetClusterName(), endpoints)
	}
	for _, route := range r.Routes {
		add(route.GetName(), route)
	}
	for _, listener := range r.Listeners {
		add(listener.GetName(), listener)
	}
	return packed
}

// version is a content hash: a restart, or another replica, has the same for the same content.
func version(body *anypb.Any) string {
	sum := sha256.Sum256(body.GetValue())
	return hex.EncodeToString(sum[:12])
}

// Unpack reads one resource of a type that we serve.
func Unpack(body *anypb.Any) (Packed, error) {
	message, err := empty(body.GetTypeUrl())
	if err != nil {
		return Packed{}, err
	}
	if err := proto.Unmarshal(body.GetValue(), message); err != nil {
		return Packed{}, fmt.Errorf("unpack %s: %w", body.GetTypeUrl(), err)
	}
	unpacked := Packed{Version: version(body), Body: body, Message: message}
	switch message := message.(type) {
	case *endpointv3.ClusterLoadAssignment:
		unpacked.Name = message.GetClusterName()
	case interface{ GetName() string }:
		unpacked.Name = message.GetName()
	}
	if unpacked.Name == "" {
		return Packed{}, fmt.Errorf("unpack %s: it has no name", body.GetTypeUrl())
	}
	return unpacked, nil
}

func empty(typeURL string) (proto.Message, error) {
	switch typeURL {
	case ListenerType:
		return &listenerv3.Listener{}, nil
	case RouteType:
		return &routev3.RouteConfiguration{}, nil
	case ClusterType:
		return &clusterv3.Cluster{}, nil
	case EndpointType:
		return &endpointv3.ClusterLoadAssignment{}, nil
	default:
		return nil, fmt.Errorf("unpack %q: unknown type", typeURL)
	}
}
