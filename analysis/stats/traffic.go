package stats

import "math"

// Traffic is requests as they are expected to come.
type Traffic struct {
	// Rate is how many requests come to canary and control together, per second.
	Rate float64
	// Share of them goes to the canary; inside (0, 1).
	Share float64
	// Canary and Control are the shares of each that are bad.
	Canary, Control float64
}

// After is what is expected to have been counted after some seconds.
func (t Traffic) After(seconds float64) Stratum {
	requests := t.Rate * seconds
	bad := requests * t.Share * t.Canary
	return Stratum{
		Bad: bad, Total: bad + requests*(1-t.Share)*t.Control,
		Requests: requests * t.Share, Share: t.Share,
	}
}

// Growth is how fast ln E is expected to grow with such traffic, per second, once there is much of it: by
// the alternative that grows fastest. Where there is no slack and the grid has the true ratio it is the
// rate of errors times the divergence between the shares of them that fall on the canary.
func (t Test) Growth(traffic Traffic) float64 {
	if !t.valid() {
		return math.NaN()
	}
	second, growth := []Stratum{traffic.After(1)}, math.Inf(-1)
	alone := t
	for i := range t.Grid {
		alone.Grid = t.Grid[i : i+1]
		growth = max(growth, alone.LogE(second)) // NaN if anything is
	}
	return growth
}

// Wait is after how many seconds of such traffic ln E is expected to reach a limit above 0: about the median
// time until it does. +Inf: never, since ln E does not grow. NaN if the test, the traffic or the limit is
// nonsense.
func (t Test) Wait(traffic Traffic, limit float64) float64 {
	growth := t.Growth(traffic)
	switch {
	case math.IsNaN(growth) || !(limit > 0):
		return math.NaN()
	case growth <= 0:
		return math.Inf(1)
	}
	// The mean over the grid is between its largest member and that divided by the size of the grid, and
	// from 0 on it first reaches the limit once, being convex.
	early, late := limit/growth, (limit+math.Log(float64(len(t.Grid))))/growth
	for late-early > 1e-6*late {
		middle := early + (late-early)/2
		if t.LogE([]Stratum{traffic.After(middle)}) >= limit {
			late = middle
		} else {
			early = middle
		}
	}
	return late
}
