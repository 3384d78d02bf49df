package analysis

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Assess says what the evidence about a release says about its canary at the time now. It is a pure
// function and may be asked as often as one likes.
//
// Fail comes at once, whatever the time, by the first of these:
//
//   - the guard against catastrophes: the canary's requests, warm-ups included, are worse than the control's
//     by more than a quarter of all requests; at weight 100, where nothing is left to compare with, by more
//     than a quarter than the control's ever were at the weights before;
//   - a threshold that is set: the exact binomial chance of so many bad requests at the present weight, were
//     the canary just at its threshold, is at most LookError;
//   - the comparison: E of success rate and latency together, over all weights and without warm-ups, reaches
//     1/Alpha. See Comparison and package stats.
//
// Old evidence is good enough to fail, since harm that was seen has happened; doubtful evidence is not.
//
// Pass needs everything: the duration is over, counted from the end of the last warm-up; the evidence is in no
// doubt, from every source and no older than three scrapes; the canary got its share of the requests, and
// requests without an answer are not what makes it look good; each threshold is met (one missed by more than
// chance, at EndError, fails); and the canary is known to be safe, or has answered MinRequests at its weight.
//
// All else is inconclusive: the judge goes on looking until it is clear or the caller's deadline ends it.
func Assess(release Release, settings Settings, evidence Evidence, now time.Time) Verdict {
	a := assessment{Release: release, settings: settings, evidence: evidence, now: now}
	a.gather()
	if reason := nonsense(release, settings); reason != "" {
		return a.say(Inconclusive, reason)
	}
	if reason := doubtful(a.evidence); reason != "" {
		return a.say(Inconclusive, reason)
	}
	a.trials = trialsAt(settings, evidence, a.present.Seen)
	if settings.Compare != nil {
		a.compared = compare(release, *settings.Compare, a.evidence)
	}
	if reason := a.harmful(); reason != "" {
		return a.say(Fail, reason)
	}
	if looked := now.Sub(a.from); looked < settings.Duration {
		return a.say(Inconclusive, a.looking(looked))
	}
	for _, lacks := range []string{lacking(release, settings, evidence, now), a.skewed(), a.unanswered()} {
		if lacks != "" {
			return a.say(Inconclusive, lacks)
		}
	}
	if outcome, reason := a.missed(); reason != "" {
		return a.say(outcome, reason)
	}
	if reason := a.few(); reason != "" {
		a.lowTraffic = true
		return a.say(Inconclusive, reason)
	}
	return a.say(Pass, a.stands()+" after "+seconds(now.Sub(a.from)))
}

// assessment is one question to the judge with what was worked out about it so far.
type assessment struct {
	Release
	settings Settings
	evidence Evidence // strata sorted by weight
	now      time.Time
	// present is what was seen at the present weight, and from is when the judge began to look at it.
	present Stratum
	from    time.Time
	// trials are the thresholds, compared the comparison; both empty where none is asked for.
	trials     []trial
	compared   comparison
	lowTraffic bool
}

func (a *assessment) gather() {
	byWeight := func(x, y Stratum) int { return int(x.Weight) - int(y.Weight) }
	if !slices.IsSortedFunc(a.evidence.Strata, byWeight) {
		a.evidence.Strata = slices.SortedStableFunc(slices.Values(a.evidence.Strata), byWeight)
	}
	a.present.Weight = a.Weight
	for _, s := range a.evidence.Strata {
		if s.Weight == a.Weight {
			a.present = s
		}
	}
	a.from = a.WeightSince
	for _, warmUp := range a.WarmUps {
		if warmUp.Until.After(a.from) {
			a.from = warmUp.Until
		}
	}
}

// say makes the verdict.
func (a *assessment) say(outcome Outcome, reason string) Verdict {
	verdict := Verdict{
		Outcome: outcome, Reason: reason,
		Requests: a.present.Seen.Canary.Answered, Bad: a.present.Seen.Canary.Failed,
		Metrics: a.metrics(), SafeReached: a.compared.safe, LowTraffic: a.lowTraffic,
	}
	for _, t := range a.trials {
		verdict.Bad = max(verdict.Bad, t.bad)
	}
	verdict.Score = scoreOf(verdict, a.settings.Compare != nil)
	if outcome == Inconclusive {
		verdict.Detectable = a.detectable()
		if a.lowTraffic && verdict.Detectable != "" {
			verdict.Reason += "; " + verdict.Detectable
		}
	}
	return verdict
}

// metrics tells what the comparison found, for others to read.
func (a *assessment) metrics() []MetricVerdict {
	if len(a.compared.metrics) == 0 {
		return nil
	}
	total := a.compared.weighed()
	verdicts := make([]MetricVerdict, len(a.compared.metrics))
	for i, m := range a.compared.metrics {
		verdicts[i] = MetricVerdict{
			Name: m.name, Canary: m.canary, Control: m.control, Ratio: m.ratio, Low: m.low, High: m.high,
			P: min(1, math.Exp(-m.logE)), LogE: m.logE,
			Score:  100 * (1 - min(max(m.logE/-math.Log(a.compared.Alpha), 0), 1)),
			Weight: m.weight.Weight / total, Critical: m.weight.Critical, Reason: "canary " + a.clause(m),
		}
	}
	return verdicts
}

// scoreOf is the weighted mean of the metrics' scores; 0 when the canary fails or a critical metric is at 0;
// nil without evidence, since no evidence is not a good mark.
func scoreOf(verdict Verdict, compared bool) *float64 {
	score := 0.0
	switch {
	case !compared || len(verdict.Metrics) == 0 && verdict.Outcome != Fail:
		return nil
	case verdict.Outcome == Fail:
		return &score
	}
	for _, m := range verdict.Metrics {
		if m.Critical && m.Score == 0 {
			zero := 0.0
			return &zero
		}
		score += m.Weight * (100 - m.Score) // what is lost, so that nothing lost is exactly 100
	}
	score = 100 - score
	return &score
}

// harmful says why the canary fails at once; empty: it does not.
func (a *assessment) harmful() string {
	if a.settings.Compare != nil {
		if reason := a.catastrophe(); reason != "" {
			return reason
		}
	}
	for _, t := range a.trials {
		if p := t.chance(); p <= LookError {
			return fmt.Sprintf("%s (%s after %s%s)", t.fails(), chance(p), seconds(a.now.Sub(a.WeightSince)), t.beside())
		}
	}
	if a.settings.Compare == nil || !(a.compared.logE >= -math.Log(a.compared.Alpha)) {
		return ""
	}
	return a.worse() + a.onePod()
}

// catastrophe says when the guard fires.
func (a *assessment) catastrophe() string {
	after := seconds(a.now.Sub(a.Since))
	if !a.splits(a.Weight) {
		if p, rate, allowed := a.collapse(); p <= a.compared.GuardAlpha {
			return fmt.Sprintf("canary errors %s of %d requests at full weight, where %s had at most %s before: a catastrophe, %s after %s",
				share(rate.Share()), rate.Of, a.other(), share(allowed-guardSlack), pValue(p), after)
		}
	}
	if !(a.compared.guarded >= -math.Log(a.compared.GuardAlpha)) {
		return ""
	}
	var canary, control Rate
	for _, s := range a.evidence.Strata {
		if a.splits(s.Weight) {
			x, y := s.Seen.Canary.rate(failedOrHanging), s.Seen.Control.rate(failedOrHanging)
			canary, control = Rate{canary.Bad + x.Bad, canary.Of + x.Of}, Rate{control.Bad + y.Bad, control.Of + y.Of}
		}
	}
	return fmt.Sprintf("canary errors %s of %d requests against %s: a catastrophe, %s after %s",
		share(canary.Share()), canary.Of, share(control.Share()), pValue(math.Exp(-a.compared.guarded)), after)
}

// missed says what an unmet threshold comes to at the end.
func (a *assessment) missed() (Outcome, string) {
	after := seconds(a.now.Sub(a.WeightSince))
	for _, t := range a.trials {
		if p := t.chance(); !t.met() && p <= EndError {
			return Fail, fmt.Sprintf("%s (%s after %s%s)", t.fails(), chance(p), after, t.beside())
		}
	}
	for _, t := range a.trials {
		if !t.met() {
			return Inconclusive, fmt.Sprintf("%s, which may be chance (%s after %s)", t.fails(), chance(t.chance()), after)
		}
	}
	return Pass, ""
}

// few says which requests a pass lacks. At full weight nothing is compared, so safety is not known either.
func (a *assessment) few() string {
	canary, control := a.present.Seen.Canary, a.present.Seen.Control
	comparing := a.settings.Compare != nil && a.splits(a.Weight)
	if comparing {
		canary, control = a.present.Tested.Canary, a.present.Tested.Control
	}
	need := uint64(max(a.settings.MinRequests, 1)) //nolint:gosec // at least 1
	if a.compared.safe && a.splits(a.Weight) {
		need = 1
	}
	switch {
	case canary.Answered < need:
		return fmt.Sprintf("the canary answered %d requests of the %d that a pass needs (%d begun, %d under way)",
			canary.Answered, need, canary.Started, canary.Unfinished)
	case comparing && control.Answered == 0:
		return fmt.Sprintf("%s answered no requests, so there is nothing to compare the canary with", a.other())
	}
	return ""
}

// stands is how the canary does, for people.
func (a *assessment) stands() string {
	var clauses []string
	if !a.splits(a.Weight) {
		seen := a.present.Seen.Canary
		clauses = append(clauses, fmt.Sprintf("errors %s of %d requests at full weight", share(seen.rate(failed).Share()), seen.Answered))
	} else {
		for _, m := range a.compared.metrics {
			clauses = append(clauses, a.clause(m))
		}
	}
	for _, t := range a.trials {
		clauses = append(clauses, strings.TrimPrefix(t.stands(), "canary "))
	}
	switch {
	case len(clauses) > 0:
	case a.settings.Compare == nil:
		return fmt.Sprintf("%d requests answered by the canary", a.present.Seen.Canary.Answered)
	default:
		return "no request to the canary has been answered that counts"
	}
	return "canary " + strings.Join(clauses, " and ")
}
