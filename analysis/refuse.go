package analysis

import (
	"fmt"
	"slices"
	"time"
)

// tooMany is above all counts that can be right, and below those whose sums would wrap or lose digits.
const tooMany = 1 << 50

// nonsense says why the question itself makes no sense, so that nothing can be said.
func nonsense(release Release, settings Settings) string {
	switch {
	case !(settings.SuccessRate >= 0 && settings.SuccessRate <= 1):
		return fmt.Sprintf("the success rate to meet, %v, is not between 0 and 1", settings.SuccessRate)
	case release.Weight == 0 || release.Weight > 100:
		return fmt.Sprintf("the canary has a weight of %d %%, so there is nothing to judge", release.Weight)
	case settings.Compare == nil:
		return ""
	}
	return settings.Compare.nonsense()
}

func (c Comparison) nonsense() string {
	const infinite = 1e9 // anything that large is a mistake
	for _, is := range []struct {
		what                string
		value, above, below float64
	}{
		{"alpha", c.Alpha, 0, 1}, {"beta", c.Beta, 0, 1}, {"guard's alpha", c.GuardAlpha, 0, 1},
		{"tolerated ratio", c.Tolerated, 0, infinite}, {"ceiling", c.Ceiling, 0, infinite},
	} {
		if !(is.value > is.above && is.value < is.below) {
			return fmt.Sprintf("the comparison's %s, %v, is not above %v and below %v", is.what, is.value, is.above, is.below)
		}
	}
	for _, is := range []struct {
		what               string
		value, least, most float64
	}{
		{"slack", c.Slack, 0, 1}, {"slack for safety", c.SafeSlack, 0, 1},
		{"over-dispersion", c.Dispersion, 1, infinite}, {"spread of pods", c.PodSpread, 0, 10},
		{"weight of the success rate", c.Success.Weight, 0, infinite}, {"weight of latency", c.Latency.Weight, 0, infinite},
	} {
		if !(is.value >= is.least && is.value <= is.most) {
			return fmt.Sprintf("the comparison's %s, %v, is not from %v to %v", is.what, is.value, is.least, is.most)
		}
	}
	if c.Success.Weight+c.Latency.Weight == 0 {
		return "nothing is compared: the weights of success rate and latency are both 0"
	}
	return ""
}

// doubtful says why the evidence, its strata sorted, cannot be trusted.
func doubtful(evidence Evidence) string {
	const cannot = "the counts cannot be trusted: "
	switch {
	case evidence.Doubt != "":
		return cannot + evidence.Doubt
	case !slices.IsSorted(evidence.Boundaries):
		return cannot + "the boundaries are out of order"
	}
	for i, s := range evidence.Strata {
		if i > 0 && s.Weight == evidence.Strata[i-1].Weight {
			return cannot + fmt.Sprintf("the weight of %d %% is there twice", s.Weight)
		}
		if !(s.Share >= 0 && s.Share < 1) {
			return cannot + "a share of the requests is beyond belief"
		}
		for _, r := range []Requests{s.Seen.Canary, s.Seen.Control, s.Tested.Canary, s.Tested.Control} {
			if problem := r.doubtful(evidence.Boundaries); problem != "" {
				return cannot + problem
			}
		}
	}
	return ""
}

func (r Requests) doubtful(boundaries []time.Duration) string {
	if max(r.Started, r.Answered, r.Cancelled, r.Unfinished, r.Hanging) >= tooMany {
		return "a count of requests is beyond belief"
	}
	if r.Failed > r.Answered {
		return "more requests were bad than were answered"
	}
	if r.Answered > 0 && len(r.Slow) != len(boundaries) {
		return "slow requests are not counted for each boundary"
	}
	for i, slow := range r.Slow {
		if slow > r.Answered-r.Failed {
			return "more requests were bad than were answered"
		}
		if at(r.Overdue, i) >= tooMany {
			return "a count of requests is beyond belief"
		}
	}
	return ""
}

// lacking says which evidence a pass lacks, apart from requests.
func lacking(release Release, settings Settings, evidence Evidence, now time.Time) string {
	age := now.Sub(evidence.Newest)
	_, found := boundaryOf(settings, evidence)
	switch {
	case evidence.Newest.IsZero():
		return "no source reports requests of the service"
	case evidence.Interval <= 0:
		return "only one scrape has been made, so it cannot be told whether the counts are fresh"
	case age > 3*evidence.Interval:
		return fmt.Sprintf("the newest counts are %s old, more than three scrapes of %s", seconds(age), seconds(evidence.Interval))
	case age < -3*evidence.Interval:
		return fmt.Sprintf("the newest counts are %s ahead of the clock here", seconds(-age))
	case evidence.Unscraped > 0:
		return fmt.Sprintf("%d of %d sources of requests cannot be scraped", evidence.Unscraped, evidence.Sources)
	case settings.LatencyP99 > 0 && !found:
		return fmt.Sprintf("durations are not counted in a histogram with a bound at or above %v, so latency cannot be judged", settings.LatencyP99)
	case settings.Compare != nil && release.splits(release.Weight) && settings.Compare.Latency.Weight > 0 && len(evidence.Boundaries) == 0:
		return "durations are not counted in a histogram, so latency cannot be compared"
	}
	return ""
}
