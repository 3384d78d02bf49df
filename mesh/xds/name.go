package xds

import (
	"strconv"
	"strings"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// The types of resources that we serve.
const (
	ListenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	RouteType    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	ClusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	EndpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
)

// Types lists them in the order in which additions are safe: what is referred to comes before what
// refers to it. Removals are safe in the opposite order.
var Types = []string{ClusterType, EndpointType, RouteType, ListenerType}

const (
	// everySubset stands in a cluster's name for all endpoints of a port.
	everySubset = "*"
	// namelessSubset stands for the subset named "".
	namelessSubset = "-"
)

// RouteName names what a service's port has one of: its RouteConfiguration and our proxy's Listener.
// "<namespace>/<name>:<port>".
func RouteName(service ir.Service, port ir.Port) string {
	return service.Key() + ":" + strconv.Itoa(int(port.Number))
}

// ClusterName names a subset of a port, both Cluster and ClusterLoadAssignment.
// "<namespace>/<name>:<port>/<subset>", with "-" for the subset named "".
func ClusterName(service ir.Service, port ir.Port, subset string) string {
	if subset == "" {
		subset = namelessSubset
	}
	return RouteName(service, port) + "/" + subset
}

// everyCluster names the cluster of all endpoints of a port.
func everyCluster(service ir.Service, port ir.Port) string {
	return RouteName(service, port) + "/" + everySubset
}

// dialNames are the names by which a proxyless gRPC client may dial a port ("xds:///<name>").
func dialNames(service ir.Service, port ir.Port) []string {
	number := ":" + strconv.Itoa(int(port.Number))
	host := service.Name + "." + service.Namespace
	return []string{host + number, host + ".svc" + number, host + ".svc.cluster.local" + number}
}

// name is a parsed resource name.
type name struct {
	namespace, service string
	port               uint16
	// subset as it stands in the name; empty in names of routes and listeners.
	subset string
}

// parseName understands names as RouteName and ClusterName make them.
func parseName(text string) (name, bool) {
	namespace, rest, found := strings.Cut(text, "/")
	if !found {
		return name{}, false
	}
	service, rest, found := strings.Cut(rest, ":")
	if !found {
		return name{}, false
	}
	number, subset, isCluster := strings.Cut(rest, "/")
	port, err := strconv.ParseUint(number, 10, 16)
	if err != nil || port == 0 || namespace == "" || service == "" || isCluster == (subset == "") {
		return name{}, false
	}
	return name{namespace, service, uint16(port), subset}, true
}

// subsetName undoes what ClusterName does to a subset's name.
func (n name) subsetName() string {
	if n.subset == namelessSubset {
		return ""
	}
	return n.subset
}

// ServiceOf tells from a resource's name which service ("<namespace>/<name>") it belongs to. Listeners
// for proxyless gRPC have other names: false.
func ServiceOf(resource string) (string, bool) {
	parsed, ok := parseName(resource)
	return parsed.namespace + "/" + parsed.service, ok
}

// ForEverySubset tells the cluster (or its endpoints) that has all endpoints of a port, by name.
func ForEverySubset(resource string) bool {
	parsed, ok := parseName(resource)
	return ok && parsed.subset == everySubset
}

// RouteOf names the route that sends requests to a cluster; false for what is no cluster's name.
func RouteOf(cluster string) (string, bool) {
	parsed, ok := parseName(cluster)
	if !ok || parsed.subset == "" {
		return "", false
	}
	return strings.TrimSuffix(cluster, "/"+parsed.subset), true
}
