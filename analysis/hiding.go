package analysis

import (
	"fmt"
	"math"

	"github.com/sluice-mesh/sluice/analysis/stats"
)

// collapse is the chance of as many bad requests at full weight, if the canary were worse by guardSlack than
// the control can have been at the weights before; the rate that was seen, and the share that this allows.
// The chance is 1 where the control was not seen.
func (a *assessment) collapse() (p float64, rate Rate, allowed float64) {
	reads := readsOfSuccess(a.evidence)
	p = 1
	for _, as := range reads {
		limit := a.once(as)
		if limit >= 1 {
			continue
		}
		seen := a.present.Seen.Canary.rate(as)
		if chance := stats.BinomialTail(seen.Bad, seen.Of, limit) * float64(len(reads)); chance < p {
			p, rate, allowed = chance, seen, limit
		}
	}
	return p, rate, allowed
}

// once is the share of the control's requests that may have been bad at the weights before, at its upper
// limit of 99.9 %, and guardSlack.
func (a *assessment) once(as read) float64 {
	var control Rate
	for _, s := range a.evidence.Strata {
		if a.splits(s.Weight) {
			r := s.Seen.Control.rate(as)
			control = Rate{control.Bad + r.Bad, control.Of + r.Of}
		}
	}
	_, high := stats.BinomialInterval(control.Bad, control.Of, 1-2*checkError)
	return min(high+guardSlack, 1)
}

// skewed says when the canary's share of the begun requests is not its weight: an absent or starved canary
// looks perfect. A share that is off by less than a twentieth of itself is never found, nor is one that is
// only known by what was seen.
func (a *assessment) skewed() string {
	if !a.splits(a.Weight) || a.present.Share > 0 {
		return ""
	}
	canary, begun := a.present.Seen.Canary.Started, a.present.Seen.Canary.Started+a.present.Seen.Control.Started
	weight := a.share(a.present)
	test := stats.Test{Grid: stats.SplitGrid(), Ratio: 1}
	logE := test.LogE([]stats.Stratum{{Bad: float64(canary), Total: float64(begun), Share: weight}})
	if !(logE >= -math.Log(checkError)) {
		return ""
	}
	return fmt.Sprintf("the canary got %s of %d requests where its share is %s, so the split is not as asked",
		percent(float64(canary)/float64(begun), weight), begun, share(weight))
}

// unanswered says when requests without an answer, unfinished or given up by the client, could hide that the
// canary is too bad: were they all bad it would not pass, and they are more than the control's.
func (a *assessment) unanswered() string {
	canary, control := a.present.Seen.Canary, a.present.Seen.Control
	open, others := canary.Unfinished+canary.Cancelled, control.Unfinished+control.Cancelled
	allowed := a.bearable(Rate{control.Failed + others, control.Answered + others})
	if of := canary.Answered + open; float64(canary.Failed+open) <= allowed*float64(of)*(1+1e-9) ||
		!exceeds(open, others, canary.Started, control.Started, checkError) {
		return ""
	}
	return fmt.Sprintf("%d requests to the canary are under way and %d were given up by their clients, out of %d (%s: %d and %d of %d)",
		canary.Unfinished, canary.Cancelled, canary.Started,
		a.other(), control.Unfinished, control.Cancelled, control.Started)
}

// bearable is the share of bad requests with which the canary would still pass, given the control's rate.
func (a *assessment) bearable(control Rate) float64 {
	allowed := 1.0
	if a.settings.SuccessRate > 0 {
		allowed = 1 - a.settings.SuccessRate
	}
	if a.settings.Compare == nil {
		return allowed
	}
	if !a.splits(a.Weight) {
		return min(allowed, a.once(failed))
	}
	return min(allowed, a.compared.harm.Ratio*float64(control.Bad)/math.Max(float64(control.Of), 1)+a.compared.SafeSlack)
}
