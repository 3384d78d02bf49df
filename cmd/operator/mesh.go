package main

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-mesh/sluice/controllers"
	"github.com/sluice-mesh/sluice/mesh/xds/server"
)

// mesh gives the reconciler the server's word in the reconciler's own terms.
type mesh struct{ *server.Server }

func (m mesh) InForce(service types.NamespacedName, owner string, epoch int64) controllers.InForce {
	state := m.Convergence(server.Query{Namespace: service.Namespace, Service: service.Name, Owner: owner, Epoch: epoch})
	answer := controllers.InForce{
		Published: len(state.Clamped) == 0,
		Lagging:   state.Lagging,
		Connected: map[string]bool{},
		Rejected:  state.Rejected,
	}
	for _, node := range state.Converged {
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
