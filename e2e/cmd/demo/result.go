package main

import (
	"fmt"
	"time"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/e2e/harness"
	"github.com/sluice-mesh/sluice/e2e/load/ledger"
)

// result is what became of one release, as the client saw it.
type result struct {
	Version  string  `json:"version"`
	What     string  `json:"what"`
	Want     string  `json:"want"`
	Outcome  string  `json:"outcome"`
	Reason   string  `json:"reason,omitempty"`
	Duration float64 `json:"duration_s"`
	// Served counts the requests that an application answered, Failed those that none did: the mesh's
	// failures. Bad counts bad answers of the version released: errors and slow ones.
	Served uint64 `json:"served"`
	Failed uint64 `json:"failed"`
	Bad    uint64 `json:"bad"`
	// ToZero is the time from the first bad answer until weight 0 was live, in seconds; negative: none.
	ToZero float64 `json:"to_zero_s"`
	// Failures are what happened to failed requests.
	Failures map[string]uint64 `json:"failures,omitempty"`
}

func newResult(a act, o *v1alpha1.Rollout, began, zeroLive time.Time, seen ledger.Tally) result {
	r := result{
		Version: a.version.Name, What: a.what, Want: a.outcome, Outcome: harness.Outcome(o),
		Duration: time.Since(began).Seconds(), Served: seen.Answered(), Failed: seen.Lost,
		Bad: seen.Versions[a.version.Name].Bad, ToZero: -1, Failures: seen.Reasons,
	}
	if release := o.Status.Release; release != nil {
		r.Reason = release.Reason
		if release.EndedAt != nil {
			r.Duration = release.EndedAt.Sub(began).Seconds()
		}
	}
	if first := seen.Versions[a.version.Name].FirstBad; first != nil && !zeroLive.IsZero() {
		r.ToZero = zeroLive.Sub(*first).Seconds()
	}
	return r
}

// judge returns what is not as it should be.
func judge(results []result) []string {
	var problems []string
	for _, r := range results {
		if r.Outcome != r.Want {
			problems = append(problems, fmt.Sprintf("%s ended as %q, want %q", r.Version, r.Outcome, r.Want))
		}
		if r.Failed > 0 {
			problems = append(problems, fmt.Sprintf("%d requests failed because of the mesh while %s was released: %v", r.Failed, r.Version, r.Failures))
		}
		if r.Want == v1alpha1.OutcomeRolledBack && r.Bad == 0 {
			problems = append(problems, fmt.Sprintf("%s was to answer badly and no client saw it", r.Version))
		}
	}
	if len(results) != len(acts) {
		problems = append(problems, fmt.Sprintf("%d releases, want %d", len(results), len(acts)))
	}
	return problems
}
