package analysis

import (
	"math"
	"strconv"
	"time"

	"github.com/sluice-mesh/sluice/analysis/stats"
)

// longest is the longest wait that is worth telling.
const longest = 7 * 24 * time.Hour

// detectable says what the comparison of errors is expected to see at the present weight and rate of requests,
// and how long that takes from the beginning of such a harm: a doubling, and if that takes more than an hour
// what is seen sooner. Empty where that cannot be told.
func (a *assessment) detectable() string {
	if !a.splits(a.Weight) || len(a.compared.metrics) == 0 || a.compared.metrics[0].name != SuccessRate {
		return ""
	}
	seen := a.present.Seen
	watched := a.evidence.Newest.Sub(a.WeightSince).Seconds()
	rate := float64(seen.Canary.Started+seen.Control.Started) / watched
	if !(watched >= 1 && rate > 0) {
		return ""
	}
	_, control := ratesOf(a.Release, a.evidence, failed)
	base := control.Share()
	shows := ""
	for _, harm := range harms(base) {
		wait := a.wait(stats.Traffic{Rate: rate, Share: a.share(a.present), Canary: harm.share, Control: base})
		if wait >= longest || shows != "" && wait > time.Hour {
			continue
		}
		if shows != "" {
			shows += ", " + harm.name + " in about " + about(wait)
			break
		}
		shows = harm.name + " shows in about " + about(wait)
		if wait <= time.Hour {
			break
		}
	}
	if shows == "" {
		shows = "nothing would show within a week"
	}
	return perTime(rate) + " " + shows
}

// harm is a canary's share of bad requests with its name.
type harm struct {
	name  string
	share float64
}

// harms are what one may want to see, the smallest first.
func harms(base float64) []harm {
	var harms []harm
	if base > 0 {
		harms = []harm{
			{"a doubling of " + share(base), 2 * base},
			{"five times as many", 5 * base},
			{"twenty times as many", 20 * base},
		}
	} else {
		harms = []harm{{"a rise from none to 1 %", .01}}
	}
	harms = append(harms, harm{"a rise to 50 %", .5})
	kept := harms[:0]
	for _, h := range harms {
		if h.share <= 1 && h.share > base {
			kept = append(kept, h)
		}
	}
	return kept
}

// wait is how long the test of errors is expected to take alone, beginning with the present step.
func (a *assessment) wait(traffic stats.Traffic) time.Duration {
	part := a.compared.metrics[0].weight.Weight / a.compared.total
	if starts := len(startsOf(a.Release, a.evidence)); starts > 0 {
		part /= 2 // the part of E that counts from the first step on
	}
	seconds := a.compared.harm.Wait(traffic, -math.Log(a.compared.Alpha*part))
	if !(seconds < longest.Seconds()) {
		return longest
	}
	return time.Duration(seconds * float64(time.Second))
}

// perTime writes a rate of requests.
func perTime(rate float64) string {
	switch {
	case rate >= 9.95:
		return "at " + strconv.FormatFloat(rate, 'f', 0, 64) + " requests a second"
	case rate >= .995:
		return "at " + strconv.FormatFloat(rate, 'g', 2, 64) + " requests a second"
	case rate*60 >= .995:
		return "at " + strconv.FormatFloat(rate*60, 'g', 2, 64) + " requests a minute"
	}
	return "at " + strconv.FormatFloat(rate*3600, 'g', 2, 64) + " requests an hour"
}

// about writes a duration that is an estimate.
func about(d time.Duration) string {
	round := func(unit time.Duration, name string) string {
		return strconv.FormatFloat(math.Round(float64(d)/float64(unit)), 'f', 0, 64) + " " + name
	}
	switch {
	case d < 90*time.Second:
		return round(time.Second, "s")
	case d < 90*time.Minute:
		return round(time.Minute, "min")
	case d < 48*time.Hour:
		return round(time.Hour, "h")
	}
	return round(24*time.Hour, "days")
}
