package main

import (
	"slices"
	"strings"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-mesh/sluice/controllers"
	"github.com/sluice-mesh/sluice/internal/meshstatus"
	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/xds/server"
)

// mesh gives the rest of the operator the server in its own terms: the reconciler asks what is in force,
// the translation publishes, and the command line reads a status.
type mesh struct {
	*server.Server
	replica   string
	published atomic.Pointer[ir.Mesh]
}

// Publish hands a mesh to the server and remembers it for Status.
func (m *mesh) Publish(published ir.Mesh) error {
	m.published.Store(&published)
	return m.Server.Publish(published)
}

// InForce says how far a decision has come.
func (m *mesh) InForce(service types.NamespacedName, owner string, epoch int64) controllers.InForce {
	state := m.Convergence(server.Query{Namespace: service.Namespace, Service: service.Name, Owner: owner, Epoch: epoch})
	answer := controllers.InForce{
		Published: len(state.Clamped) == 0,
		Lagging:   state.Lagging,
		Connected: map[string]bool{},
		Rejected:  state.Rejected,
	}
	for _, node := range slices.Concat(state.Converged, state.Unconcerned) {
		answer.Connected[node] = true
	}
	for _, node := range state.Waiting {
		answer.Connected[node] = false
	}
	for node := range state.Rejected {
		answer.Connected[node] = false
	}
	return answer
}

// Status says which proxies have what in force, as far as this replica knows: the leader knows all.
func (m *mesh) Status() meshstatus.Status {
	status := meshstatus.Status{Replica: m.replica}
	published := m.published.Load()
	if published == nil {
		return status
	}
	for _, service := range published.Services {
		split := service.Split
		state := m.Convergence(server.Query{Namespace: service.Namespace, Service: service.Name, Owner: split.Owner, Epoch: split.Epoch})
		s := meshstatus.Service{
			Namespace: service.Namespace, Name: service.Name,
			Owner: split.Owner, Epoch: split.Epoch, Weight: int32(split.Weight), //nolint:gosec // 0 to 100
		}
		for _, node := range state.Converged {
			s.Proxies = append(s.Proxies, meshstatus.Proxy{Node: node, Acknowledged: true})
		}
		for _, node := range state.Waiting {
			s.Proxies = append(s.Proxies, meshstatus.Proxy{Node: node})
		}
		for node, text := range state.Rejected {
			s.Proxies = append(s.Proxies, meshstatus.Proxy{Node: node, Rejected: text})
		}
		slices.SortFunc(s.Proxies, func(a, b meshstatus.Proxy) int { return strings.Compare(a.Node, b.Node) })
		status.Services = append(status.Services, s)
	}
	return status
}
