// Package controllers turns Rollouts into releases: for each one it gathers what the world says, asks
// plan.Next what to do, persists the answer in the Rollout's status and carries out the writes.
//
// It owns every write to the cluster and nothing of the decision. The mesh, the judge and the people to
// tell are interfaces declared here; cmd/operator supplies them.
package controllers

import (
	"context"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-mesh/sluice/analysis"
	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/controllers/plan"
)

// Mesh tells which proxies have a decision in force. It must be safe for concurrent use.
type Mesh interface {
	// InForce says how far one service's split (owner and epoch) has come, over all replicas.
	InForce(service types.NamespacedName, owner string, epoch int64) InForce
	// Changed returns a channel that is closed at the next change that may change an answer of InForce.
	// Take the channel first, then ask, then wait.
	Changed() <-chan struct{}
}

// InForce says how far a decision has come.
type InForce struct {
	// Published: every serving replica publishes this epoch.
	Published bool
	// Lagging names replicas that do not publish it yet.
	Lagging []string
	// Connected are the proxies with an open stream, by node id (<pod>.<namespace>); the value is true
	// where the decision is in force (or where the proxy has not asked for the service).
	Connected map[string]bool
	// Rejected maps a proxy to the text of its NACK.
	Rejected map[string]string
}

// Judge looks at a release once, at its present weight. It must be safe for concurrent use; an error means
// that there is no evidence.
type Judge interface {
	Look(ctx context.Context, release analysis.Release, settings analysis.Settings) (analysis.Verdict, error)
}

// Teller tells people. It must not block.
type Teller interface {
	Tell(rollout *v1alpha1.Rollout, notice plan.Notice)
}
