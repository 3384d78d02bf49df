package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/e2e/harness"
)

// event is one thing that happened in a release.
type event struct {
	At      time.Time `json:"at"`
	Kind    string    `json:"kind"`
	Version string    `json:"version,omitempty"`
	Text    string    `json:"text"`
	// tone colours the line: good, bad or neither.
	tone tone
}

type tone int

const (
	plain tone = iota
	good
	bad
)

// narrator turns the states of a Rollout, in the order in which they were seen, into events. States of
// another release than its own are passed over.
type narrator struct {
	attempt int64
	version string
	last    v1alpha1.RolloutStatus
	// raised: the release has had weight. zeroLive is when weight 0 was live on every proxy after that.
	raised   bool
	zeroLive time.Time
	ended    bool
	verdict  v1alpha1.Verdict
}

func (n *narrator) tell(o *v1alpha1.Rollout) []event {
	if harness.Attempt(o) != n.attempt {
		n.last.Weight = o.Status.Weight // how it was before
		return nil
	}
	var events []event
	say := func(tone tone, kind, format string, args ...any) {
		events = append(events, event{At: time.Now(), Kind: kind, Version: n.version, Text: fmt.Sprintf(format, args...), tone: tone})
	}
	s := o.Status
	n.judged(s, say)
	if s.Phase != n.last.Phase {
		say(plain, "phase", "%s", n.withReason(string(s.Phase), s.Message))
	}
	if s.Step != nil && (n.last.Step == nil || s.Step.Display != n.last.Step.Display) && s.Step.Display != "" {
		say(plain, "step", "%s", s.Step.Display)
	}
	n.weight(s, say)
	if done := s.Release.EndedAt != nil && (s.Phase == v1alpha1.PhaseHealthy || s.Phase == v1alpha1.PhaseRolledBack); done && !n.ended {
		n.ended = true
		if s.Release.Outcome == v1alpha1.OutcomePromoted {
			say(good, "outcome", "promoted")
		} else {
			say(bad, "outcome", "%s", n.withReason("rolled back", s.Release.Reason))
		}
	}
	n.last = *s.DeepCopy()
	return events
}

// withReason adds a reason, unless the judge has just said it.
func (n *narrator) withReason(what, reason string) string {
	if reason == "" || n.verdict.Outcome == v1alpha1.VerdictFail && strings.Contains(reason, n.verdict.Reason) {
		return what
	}
	return what + ": " + reason
}

// weight tells what is asked for and what is live, from the first weight above 0 until the release has
// ended: at other times nobody waits for it.
func (n *narrator) weight(s v1alpha1.RolloutStatus, say func(tone, string, string, ...any)) {
	w, last := s.Weight, n.last.Weight
	if n.raised = n.raised || w.Desired > 0; !n.raised || s.Release.Outcome == v1alpha1.OutcomePromoted {
		return
	}
	if w.Epoch != last.Epoch && w.Desired != last.Desired {
		say(plain, "weight", "asked for %d %%", w.Desired)
	}
	if w.LiveAt == nil || w.Live != w.Desired || last.LiveAt != nil && last.LiveAt.Equal(w.LiveAt) && last.Epoch == w.Epoch {
		return
	}
	took := ""
	if w.DecidedAt != nil {
		took = fmt.Sprintf(" after %d ms", w.LiveAt.Sub(w.DecidedAt.Time).Milliseconds())
	}
	if len(w.Lagging) > 0 {
		say(bad, "weight", "%d %% is live%s, but not on %s", w.Live, took, strings.Join(w.Lagging, ", "))
	} else {
		say(plain, "weight", "%d %% is live on every proxy%s", w.Live, took)
	}
	if w.Live == 0 && n.zeroLive.IsZero() {
		n.zeroLive = w.LiveAt.Time
	}
}

// patience is for how long the judge may look before it is told that it cannot decide.
const patience = 6 * time.Second

// judged tells a verdict when it differs from the one before: the judge looks every second.
func (n *narrator) judged(s v1alpha1.RolloutStatus, say func(tone, string, string, ...any)) {
	if len(s.Verdicts) == 0 {
		return
	}
	newest := s.Verdicts[0]
	if newest.Outcome == n.verdict.Outcome && newest.Epoch == n.verdict.Epoch {
		return
	}
	if newest.Outcome == v1alpha1.VerdictInconclusive && (s.Weight.LiveAt == nil || newest.At.Sub(s.Weight.LiveAt.Time) < patience) {
		return
	}
	n.verdict = newest
	tone := map[v1alpha1.VerdictOutcome]tone{v1alpha1.VerdictPass: good, v1alpha1.VerdictFail: bad}[newest.Outcome]
	say(tone, "judge", "%s at %d %%: %s", strings.ToLower(string(newest.Outcome)), newest.Weight, newest.Reason)
}
