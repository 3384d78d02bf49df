package runs

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// Resolve makes the spec of a run from the templates and arguments that a Rollout names at a field (such as
// spec.analysis.background). Everything that can be refused before the run begins is refused with a
// *Problem: a template, argument, Secret or key that is missing or unknown, names that are there twice,
// conditions and queries that do not parse. Any other error is the API server's, and worth another try.
//
// The caller may set Stage, or leave it to New.
func Resolve(ctx context.Context, reader client.Reader, rollout *v1alpha1.Rollout, ref v1alpha1.AnalysisRef, field string) (v1alpha1.AnalysisRunSpec, error) {
	return v1alpha1.AnalysisRunSpec{}, &Problem{field, "not implemented"}
}
