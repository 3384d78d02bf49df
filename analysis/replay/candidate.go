package replay

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// candidate is a release as it shows.
type candidate struct {
	release Release
	// revisions that requests went to at its weights, the busiest first.
	revisions []string
	// problem, when not empty, is why canary and stable cannot be told.
	problem string
}

func (c candidate) fits(want Want) bool {
	if c.problem != "" {
		return (want.Canary == "" || slices.Contains(c.revisions, want.Canary)) && (want.Stable == "" || slices.Contains(c.revisions, want.Stable))
	}
	return (want.Canary == "" || want.Canary == c.release.Canary) && (want.Stable == "" || want.Stable == c.release.Stable)
}

// list describes candidates, one a line.
func list(candidates []candidate) string {
	lines := make([]string, len(candidates))
	for i, c := range candidates {
		who := "canary " + c.release.Canary + ", stable " + c.release.Stable
		if c.problem != "" {
			who = "revisions " + strings.Join(c.revisions, ", ")
		}
		weights := make([]string, len(c.release.Weights))
		for j, w := range c.release.Weights {
			weights[j] = fmt.Sprintf("%d %%", w.Percent)
		}
		lines[i] = fmt.Sprintf("  %s to %s: %s; %s", c.release.Weights[0].At.Format(time.RFC3339), c.release.Until.Format(time.RFC3339), who, strings.Join(weights, ", "))
	}
	return strings.Join(lines, "\n")
}

// certain is the likelihood ratio, as a logarithm, from which it is clear who the canary is.
const certain = 7

// tell finds out which revision is the canary: the one whose share goes with the weight. Where there is no
// telling it says why.
func (c *candidate) tell(requests map[drawn]float64, want Want) {
	totals := map[string]float64{}
	for what, n := range requests {
		if what.weight > 0 && (want.Control == "" || what.revision != want.Control) {
			totals[what.revision] += n
		}
	}
	c.revisions = slices.Sorted(maps.Keys(totals))
	slices.SortStableFunc(c.revisions, func(a, b string) int { return cmp.Compare(totals[b], totals[a]) })
	if want.Canary != "" && want.Stable != "" {
		c.release.Canary, c.release.Stable = want.Canary, want.Stable
		return
	}
	switch len(c.revisions) {
	case 1:
		c.problem = "only one revision got requests, so there is nothing to compare"
		return
	case 2:
	default:
		c.problem = fmt.Sprintf("%d revisions got requests at a weight, so which of them is the canary cannot be told", len(c.revisions))
		return
	}
	a, b := c.revisions[0], c.revisions[1]
	forA := likelihood(requests, a, b) - likelihood(requests, b, a)
	switch {
	case forA >= certain:
		c.release.Canary, c.release.Stable = a, b
	case forA <= -certain:
		c.release.Canary, c.release.Stable = b, a
	case want.Canary != "":
		c.release.Canary, c.release.Stable = want.Canary, other(a, b, want.Canary)
	case want.Stable != "":
		c.release.Canary, c.release.Stable = other(a, b, want.Stable), want.Stable
	default:
		c.problem = "which of two revisions is the canary cannot be told from their shares"
	}
}

func other(a, b, not string) string {
	if a == not {
		return b
	}
	return a
}

// likelihood is the logarithm of the chance of these draws if one revision is the canary.
func likelihood(requests map[drawn]float64, canary, stable string) float64 {
	sum := 0.0
	for what, n := range requests {
		share := min(max(float64(what.weight)/100, 1e-3), 1-1e-3) // some sources lag behind
		switch what.revision {
		case canary:
			sum += n * math.Log(share)
		case stable:
			sum += n * math.Log(1-share)
		}
	}
	return sum
}
