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
	// noSubset stands for nobody: for a route's backend that the mesh does not have.
	noSubset = "!"
)

// RouteName names what a service's port has one of: its RouteConfiguration and Envoy's Listener.
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

// nowhere names a port's cluster without endpoints.
func nowhere(service ir.Service, port ir.Port) string {
	return RouteName(service, port) + "/" + noSubset
}

// dialNames are the names by which a proxyless gRPC client may dial a port ("xds:///<name>").
func dialNames(service ir.Service, port ir.Port) []string {
	number := ":" + strconv.Itoa(int(port.Number))
	host := service.Name + "." + service.Namespace
	return []string{host + number, host + ".svc" + number, host + ".svc.cluster.local" + number}
}

// ServiceOf tells from a resource's name, as RouteName and ClusterName make them, which service
// ("<namespace>/<name>") it belongs to. Listeners for proxyless gRPC have other names: false.
func ServiceOf(resource string) (string, bool) {
	key, rest, found := strings.Cut(resource, ":")
	namespace, service, parts := strings.Cut(key, "/")
	number, subset, isCluster := strings.Cut(rest, "/")
	port, err := strconv.ParseUint(number, 10, 16)
	if !found || !parts || namespace == "" || service == "" || err != nil || port == 0 || isCluster == (subset == "") {
		return "", false
	}
	return key, true
}
