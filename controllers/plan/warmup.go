package plan

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// This file is about warm-ups: times in which canary pods are too new to be compared. They are decided by
// the clock alone, never by how requests end, and kept in status, so that whoever judges later leaves out
// the same requests.

// warmUp notes new warm-ups: pods have traffic from when the first weight is live, or from when they were
// added.
func (t *turn) warmUp() {
	r, w := t.status.Release, t.status.Weight
	if r == nil || len(r.Weights) == 0 || !t.judging() {
		return
	}
	if len(r.Weights) == 1 && w.LiveAt != nil {
		t.addWarmUp(w.LiveAt.Time)
	}
	if youngest := t.o.CanaryYoungest; youngest.After(r.Weights[0].DecidedAt.Time) {
		t.addWarmUp(youngest)
	}
}

// maxWarmUps is how many warm-ups status keeps. Beyond it the oldest two become one, with what lies
// between.
const maxWarmUps = 50

// addWarmUp notes a warm-up from a time on. Those that overlap become one.
func (t *turn) addWarmUp(from time.Time) {
	length, r := t.warmUpTime(), t.status.Release
	if length <= 0 {
		return
	}
	from = from.Truncate(time.Microsecond)
	windows := append(slices.Clone(r.WarmUps), v1alpha1.WarmUp{From: metav1.NewMicroTime(from), Until: metav1.NewMicroTime(from.Add(length))})
	slices.SortStableFunc(windows, func(a, b v1alpha1.WarmUp) int { return a.From.Compare(b.From.Time) })
	merged := windows[:1]
	for _, next := range windows[1:] {
		last := &merged[len(merged)-1]
		switch {
		case next.From.After(last.Until.Time):
			merged = append(merged, next)
		case next.Until.After(last.Until.Time):
			last.Until = next.Until
		}
	}
	if len(merged) > maxWarmUps {
		merged[1].From = merged[0].From
		merged = merged[1:]
	}
	r.WarmUps = merged
}

// warmUpTime is how long a warm-up takes; without a comparison there is none.
func (t *turn) warmUpTime() time.Duration {
	compare := t.o.Spec.Analysis.Compare
	if compare.Enabled != nil && !*compare.Enabled {
		return 0
	}
	return or(compare.WarmUp, defaultWarmUp)
}

// warmed is from when a look that was taken at a time counts: from the given time, or the end of the last
// warm-up that had begun by then.
func (t *turn) warmed(from, at time.Time) time.Time {
	if t.status.Release == nil {
		return from
	}
	for _, w := range t.status.Release.WarmUps {
		if !w.From.After(at) && w.Until.After(from) {
			from = w.Until.Time
		}
	}
	return from
}
