package ir

import (
	"cmp"
	"slices"
)

// Ready reports whether the subset has an endpoint that takes new requests.
func (s Subset) Ready() bool {
	return slices.ContainsFunc(s.Endpoints, func(e Endpoint) bool { return !e.Draining })
}

// ReadyOn reports whether the subset has an endpoint that takes new requests on the named port.
func (s Subset) ReadyOn(port string) bool {
	return slices.ContainsFunc(s.Endpoints, func(e Endpoint) bool {
		return !e.Draining && e.Ports[port] != 0
	})
}

// Revisions are the subsets that a split names; none without a canary.
func (s Split) Revisions() []string {
	switch {
	case s.Canary == "":
		return nil
	case s.Baseline == "":
		return []string{s.Stable, s.Canary}
	default:
		return []string{s.Stable, s.Canary, s.Baseline}
	}
}

// WithShares returns the split with Shares computed from what it asks for, for these subsets. The canary
// has one side, stable and its baseline the other. A side without a ready endpoint gets nothing and the
// other side gets all; when neither has one, all stays with stable, so that a split is never all zero. On
// their side stable and the baseline stand in for each other. Only shares above zero are listed, sorted
// by subset; they sum to 100. Without a canary there are none. A Weight above 100 counts as 100.
func (s Split) WithShares(subsets []Subset) Split {
	s.Shares = s.shares(func(name string) bool {
		return slices.ContainsFunc(subsets, func(sub Subset) bool { return sub.Name == name && sub.Ready() })
	})
	return s
}

// Clamped reports whether Shares differ from what Weight asks for, because a side has no ready
// endpoint. Such a split must not count as the asked weight being in force. A baseline without one does not
// matter to that: stable has its share, and the canary its own.
func (s Split) Clamped() bool {
	baseline := slices.ContainsFunc(s.Shares, func(share Share) bool { return share.Subset == s.Baseline })
	return !slices.Equal(s.Shares, s.shares(func(name string) bool { return baseline || name != s.Baseline || name == s.Stable }))
}

func (s Split) shares(ready func(subset string) bool) []Share {
	if s.Canary == "" {
		return nil
	}
	canary := min(s.Weight, 100)
	stableReady, baselineReady := ready(s.Stable), s.Baseline != "" && ready(s.Baseline)
	switch {
	case !ready(s.Canary):
		canary = 0
	case !stableReady && !baselineReady:
		canary = 100
	}
	baseline := uint32(0)
	switch {
	case baselineReady && !stableReady:
		baseline = 100 - canary
	case baselineReady:
		baseline = min(s.BaselineWeight, 100-canary)
	}
	var shares []Share
	for _, share := range []Share{{s.Stable, 100 - canary - baseline}, {s.Canary, canary}, {s.Baseline, baseline}} {
		if share.Weight > 0 {
			shares = append(shares, share)
		}
	}
	slices.SortFunc(shares, func(a, b Share) int { return cmp.Compare(a.Subset, b.Subset) })
	return shares
}

// SharesOn returns the shares to draw with on the named port: those of the split without subsets that
// have no ready endpoint on this very port (a version that adds or drops a port), scaled in proportion
// to sum to 100 again. When none of them has one, they are returned as they are. Nil: draw over all
// endpoints of all subsets alike.
func (s Service) SharesOn(port string) []Share {
	return narrowed(s.Split.Shares, func(share Share) bool {
		i, found := s.subset(share.Subset)
		return found && s.Subsets[i].ReadyOn(port)
	})
}

// SharesFor returns the shares of SharesOn for requests that are narrowed to one side of the split: those of
// that side, scaled to sum to 100. The canary is one side, stable and its baseline the other. Where that side
// has no share, or no release is on, they are those of SharesOn.
func (s Service) SharesFor(port string, side Revision) []Share {
	shares := s.SharesOn(port)
	if side == AnyRevision || s.Split.Canary == "" {
		return shares
	}
	return narrowed(shares, func(share Share) bool { return (share.Subset == s.Split.Canary) == (side == CanaryRevision) })
}

// narrowed keeps some of the shares and scales them in proportion to sum to 100 again; all of them where none
// is kept.
func narrowed(shares []Share, keep func(Share) bool) []Share {
	var kept []Share
	var sum uint32
	for _, share := range shares {
		if keep(share) {
			kept = append(kept, share)
			sum += share.Weight
		}
	}
	if sum == 0 || len(kept) == len(shares) {
		return shares
	}
	rest := uint32(100)
	for i := range kept {
		kept[i].Weight = kept[i].Weight * 100 / sum
		rest -= kept[i].Weight
	}
	kept[0].Weight += rest
	return kept
}

// subset finds a subset by name; the list need not be sorted.
func (s Service) subset(name string) (int, bool) {
	i := slices.IndexFunc(s.Subsets, func(sub Subset) bool { return sub.Name == name })
	return i, i >= 0
}

// Subset returns the named subset; false when no endpoint belongs to it.
func (s Service) Subset(name string) (Subset, bool) {
	if i, found := s.subset(name); found {
		return s.Subsets[i], true
	}
	return Subset{}, false
}
