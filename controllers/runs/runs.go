// Package runs makes and runs AnalysisRuns: it turns what a Rollout asks for into a run (Resolve, New),
// measures what a run says until it is over (Reconciler), and keeps the newest ones for people to read.
//
// It owns everything about a run and nothing of a release: when a run is made or terminated, and what its
// outcome means, is the Rollout's reconciler to say. Conditions, limits and outcomes of measurements are
// decided in analysis/check, which knows no Kubernetes.
package runs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// Problem is why an analysis cannot be run as it is asked for: a person must act.
type Problem struct {
	// Field to mend, as a path in the Rollout or in the template that Message names.
	Field string
	// Message says what is wrong and what to do.
	Message string
}

func (p *Problem) Error() string { return p.Field + ": " + p.Message }

// longest is the most characters that a name can have that is also a label's value or a Job's.
const longest = 63

// Name is the name of the run of a Rollout's present release at a stage. It differs between releases, and
// is the same however often it is asked for.
func Name(rollout *v1alpha1.Rollout, stage string) string {
	attempt := int64(0)
	if rollout.Status.Release != nil {
		attempt = rollout.Status.Release.Attempt
	}
	return fit(rollout.Name, fmt.Sprintf("-%d-%s", attempt, stage))
}

// fit joins a name and its ending within longest characters; a name that is cut ends in a hash of itself.
func fit(name, ending string) string {
	if len(name)+len(ending) <= longest {
		return name + ending
	}
	sum := sha256.Sum256([]byte(name))
	short := hex.EncodeToString(sum[:4])
	keep := max(longest-len(ending)-len(short)-1, 0)
	return strings.TrimRight(name[:min(keep, len(name))], "-.") + "-" + short + ending
}

// New is the run of a Rollout's present release at a stage, as it is to be created. The Rollout owns it.
func New(rollout *v1alpha1.Rollout, stage string, spec v1alpha1.AnalysisRunSpec) *v1alpha1.AnalysisRun {
	spec.Stage = stage
	return &v1alpha1.AnalysisRun{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: rollout.Namespace, Name: Name(rollout, stage),
			Labels:          map[string]string{v1alpha1.LabelManagedBy: rollout.Name},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(rollout, v1alpha1.GroupVersion.WithKind("Rollout"))},
		},
		Spec: spec,
	}
}

// Endless names the first metric that keeps a run from ending by itself; empty: there is none. What waits for
// the end of a run must have none.
func Endless(spec v1alpha1.AnalysisRunSpec) string {
	decides := slices.ContainsFunc(spec.Metrics, func(m v1alpha1.Metric) bool { return !m.DryRun })
	for _, metric := range spec.Metrics {
		if rule(metric).Endless() && (!metric.DryRun || !decides) {
			return metric.Name
		}
	}
	return ""
}
