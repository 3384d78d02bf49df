package analysis

import "github.com/sluice-mesh/sluice/analysis/stats"

// read is one way to tell bad requests from good ones: 0 and above by a boundary of that index.
type read int

const (
	// failed requests are bad.
	failed read = -1
	// failedOrHanging requests are.
	failedOrHanging read = -2
)

// rate is how many requests are bad in one reading of them, out of how many. Failing fast does not look
// good by a boundary, and hanging does not either.
func (r Requests) rate(as read) Rate {
	switch as {
	case failed:
		return Rate{r.Failed, r.Answered}
	case failedOrHanging:
		return Rate{r.Failed + r.Hanging, r.Answered + r.Hanging}
	default:
		overdue := at(r.Overdue, int(as))
		return Rate{r.Failed + at(r.Slow, int(as)) + overdue, r.Answered + overdue}
	}
}

// at is a count, 0 where there is none.
func at(counts []uint64, i int) uint64 {
	if i < len(counts) {
		return counts[i]
	}
	return 0
}

// BaselineShare is the share of all requests, in percent, that a baseline is asked to get while the canary has
// a weight: as much as the canary, so that both are equally busy, but at most half of what the canary leaves,
// so that stable keeps the other half. From a weight of 99 on it is 0.
func BaselineShare(weight uint32) uint32 {
	if weight >= 100 {
		return 0
	}
	return min(weight, (100-weight)/2)
}

// share of the requests to canary and control that is drawn for the canary: exactly its weight where stable,
// which has all the others, is the control; or as it was seen, of traffic that others split.
func (r Release) share(s Stratum) float64 {
	if s.Share > 0 {
		return s.Share
	}
	weight := s.Weight
	others := 100 - min(weight, 100)
	if r.besideBaseline() {
		others = BaselineShare(weight)
	}
	if weight == 0 {
		return 0
	}
	return float64(weight) / float64(weight+others)
}

// besideBaseline says whether the canary is compared with a baseline.
func (r Release) besideBaseline() bool { return r.Control != "" && r.Control != r.Stable }

// splits says whether a weight splits requests between the canary and its control, so that they can be
// compared.
func (r Release) splits(weight uint32) bool {
	return weight > 0 && weight < 100 && (!r.besideBaseline() || BaselineShare(weight) > 0)
}

// stratum is a pair as the tests want it.
func (p Pair) stratum(as read, share float64) stats.Stratum {
	canary, control := p.Canary.rate(as), p.Control.rate(as)
	return stats.Stratum{
		Bad: float64(canary.Bad), Total: float64(canary.Bad) + float64(control.Bad),
		Requests: float64(canary.Of), Share: share,
	}
}

// hangs says whether a request of either is known to hang.
func (p Pair) hangs() bool { return p.Canary.Hanging > 0 || p.Control.Hanging > 0 }
