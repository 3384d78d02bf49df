package analysis

import (
	"fmt"
	"time"

	"github.com/sluice-mesh/sluice/analysis/stats"
)

// Judge says what the counts of a subject say about its canary at the time now. It is a pure function and
// may be asked as often as one likes.
//
// Fail comes at once, whatever the time: when the exact binomial chance of so many bad requests, were the
// canary just at its threshold, is at most LookError. Two criteria are tested: failed requests against
// 1 - SuccessRate, and, where LatencyP99 is set, requests that failed, took longer than the boundary, or
// have been under way for longer than it, against 1 %. So failing fast does not look good, and hanging
// does not either. Without a latency criterion, requests that are overdue (see Patience) count as failed
// where stable's, of which there must be some, are not likewise: else requests may simply be long. Old evidence is good enough to fail, since
// harm that was seen has happened; doubtful evidence is not.
//
// Pass needs everything: the duration is over; the counts are in no doubt, come from every source and are
// no older than three scrapes; at least MinRequests are answered; the canary got about its share of the
// requests; requests that are unfinished or were given up are not what makes it look good; and each
// criterion is met by what was seen.
//
// At the end a canary that is worse than its threshold, by a chance of at most EndError, fails. One that
// is worse by less is inconclusive, and so is whatever lacks evidence: the judge goes on looking until it
// is clear or the caller's deadline ends it. Failing it for a bad request among the first fifty would
// roll back good canaries; passing it is never right.
func Judge(subject Subject, criteria Criteria, counts Counts, now time.Time) Verdict {
	verdict := Verdict{Requests: counts.Canary.Answered}
	say := func(outcome Outcome, format string, args ...any) Verdict {
		verdict.Outcome, verdict.Reason = outcome, fmt.Sprintf(format, args...)
		return verdict
	}
	if reason := refuse(subject, criteria, counts); reason != "" {
		return say(Inconclusive, "%s", reason)
	}
	trials := trialsOf(criteria, counts)
	for _, t := range trials {
		verdict.Bad = max(verdict.Bad, t.bad)
	}
	elapsed := now.Sub(subject.Since)
	for _, t := range trials {
		if p := t.chance(); p <= LookError {
			return say(Fail, "%s (%s after %s%s)", t.fails(), chance(p), seconds(elapsed), t.beside())
		}
	}
	if elapsed < criteria.Duration {
		return say(Inconclusive, "still looking: %s, %s of %s", trials[0].stands(), seconds(elapsed), seconds(criteria.Duration))
	}
	if reason := missing(criteria, counts, now); reason != "" {
		return say(Inconclusive, "%s", reason)
	}
	for _, t := range trials {
		if t.met() {
			continue
		}
		if p := t.chance(); p <= EndError {
			return say(Fail, "%s (%s after %s%s)", t.fails(), chance(p), seconds(elapsed), t.beside())
		}
	}
	for _, t := range trials {
		if !t.met() {
			return say(Inconclusive, "%s, which may be chance (%s after %s)", t.fails(), chance(t.chance()), seconds(elapsed))
		}
	}
	if reason := skewed(subject, counts); reason != "" {
		return say(Inconclusive, "%s", reason)
	}
	if reason := unanswered(criteria, counts); reason != "" {
		return say(Inconclusive, "%s", reason)
	}
	reason := trials[0].stands()
	for _, t := range trials[1:] {
		reason += " and " + t.stands()
	}
	return say(Pass, "%s after %s", reason, seconds(elapsed))
}

// refuse says why nothing at all can be said, not even that the canary fails.
func refuse(subject Subject, criteria Criteria, counts Counts) string {
	switch {
	case !(criteria.SuccessRate >= 0 && criteria.SuccessRate <= 1):
		return fmt.Sprintf("the success rate to meet, %v, is not between 0 and 1", criteria.SuccessRate)
	case subject.Weight == 0 || subject.Weight > 100:
		return fmt.Sprintf("the canary has a weight of %d %%, so there is nothing to judge", subject.Weight)
	case counts.Doubt != "":
		return "the counts cannot be trusted: " + counts.Doubt
	case counts.Boundary > 0 && counts.Boundary < criteria.LatencyP99:
		return fmt.Sprintf("slow requests were counted from %v, below the %v to meet", counts.Boundary, criteria.LatencyP99)
	case counts.Canary.Failed > counts.Canary.Answered || counts.Canary.Slow > counts.Canary.Answered-counts.Canary.Failed:
		return "the counts cannot be trusted: more requests were bad than were answered"
	}
	return ""
}

// missing says which evidence a pass lacks.
func missing(criteria Criteria, counts Counts, now time.Time) string {
	age, need := now.Sub(counts.Newest), uint64(max(criteria.MinRequests, 1)) //nolint:gosec // at least 1
	switch {
	case counts.Newest.IsZero():
		return "no source reports requests of the service at this weight"
	case counts.Interval <= 0:
		return "only one scrape has been made, so it cannot be told whether the counts are fresh"
	case age > 3*counts.Interval:
		return fmt.Sprintf("the newest counts are %s old, more than three scrapes of %s", seconds(age), seconds(counts.Interval))
	case age < -3*counts.Interval:
		return fmt.Sprintf("the newest counts are %s ahead of the clock here", seconds(-age))
	case counts.Unscraped > 0:
		return fmt.Sprintf("%d of %d sources of requests cannot be scraped", counts.Unscraped, counts.Sources)
	case counts.Canary.Answered < need:
		return fmt.Sprintf("the canary answered %d requests of the %d that a pass needs (%d begun, %d under way)",
			counts.Canary.Answered, need, counts.Canary.Started, counts.Canary.Unfinished)
	case criteria.LatencyP99 > 0 && counts.Boundary == 0:
		return fmt.Sprintf("durations are not counted in a histogram with a bound at or above %v, so latency cannot be judged", criteria.LatencyP99)
	}
	return ""
}

// skewed says when the canary's share of the requests is grossly off its weight, below half of it or
// above twice: an absent or starved canary looks perfect.
func skewed(subject Subject, counts Counts) string {
	begun := counts.Canary.Started + counts.Stable.Started
	weight := float64(subject.Weight) / 100
	share := float64(counts.Canary.Started) / float64(max(begun, 1))
	starved := share < weight/2 && stats.BinomialHead(counts.Canary.Started, begun, weight) <= checkError
	flooded := share > min(2*weight, (1+weight)/2) && stats.BinomialTail(counts.Canary.Started, begun, weight) <= checkError
	if !starved && !flooded {
		return ""
	}
	return fmt.Sprintf("the canary got %s of %d requests where its weight is %d %%, so the split is not as asked",
		percent(share, weight), begun, subject.Weight)
}

// unanswered says when requests without an answer, unfinished or given up by the client, could hide that
// the canary is too bad: were they all bad it would not pass, and they are more than stable's.
func unanswered(criteria Criteria, counts Counts) string {
	canary := counts.Canary.Unfinished + counts.Canary.Cancelled
	worst := trial{bad: counts.Canary.Failed + canary, of: counts.Canary.Answered + canary, allowed: 1 - criteria.SuccessRate}
	if worst.met() || !exceeds(canary, counts.Stable.Unfinished+counts.Stable.Cancelled, counts.Canary.Started, counts.Stable.Started, checkError) {
		return ""
	}
	return fmt.Sprintf("%d requests to the canary are under way and %d were given up by their clients, out of %d (stable: %d and %d of %d)",
		counts.Canary.Unfinished, counts.Canary.Cancelled, counts.Canary.Started,
		counts.Stable.Unfinished, counts.Stable.Cancelled, counts.Stable.Started)
}

// trialsOf makes the trials: the success rate first.
func trialsOf(criteria Criteria, counts Counts) []trial {
	canary, stable := counts.Canary, counts.Stable
	success := trial{
		bad: canary.Failed, of: canary.Answered, allowed: 1 - criteria.SuccessRate,
		stableBad: stable.Failed, stableOf: stable.Answered,
	}
	if criteria.LatencyP99 <= 0 || counts.Boundary <= 0 {
		if stable.Started > 0 && exceeds(canary.Overdue, stable.Overdue, canary.Started, stable.Started, LookError) {
			success.overdue, success.boundary = canary.Overdue, counts.Patience
			success.bad += canary.Overdue
			success.of += canary.Overdue
		}
		return []trial{success}
	}
	return []trial{success, {
		bad: canary.Failed + canary.Slow + canary.Overdue, of: canary.Answered + canary.Overdue, allowed: slowShare,
		stableBad: stable.Failed + stable.Slow + stable.Overdue, stableOf: stable.Answered + stable.Overdue,
		latency: criteria.LatencyP99, boundary: counts.Boundary,
		failed: canary.Failed, slow: canary.Slow, overdue: canary.Overdue,
	}}
}
