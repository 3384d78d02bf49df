package analysis

import (
	"math"
	"slices"
	"time"

	"github.com/sluice-mesh/sluice/analysis/stats"
)

// guardSlack is how much more of the canary's than of the control's requests may be bad, in absolute
// terms, for the guard against catastrophes.
const guardSlack = .25

// comparison is what the sequential tests say of a release.
type comparison struct {
	Comparison
	// harm is the test against "not worse than tolerated", pods' differences allowed for.
	harm stats.Test
	// guarded is ln E of the guard.
	guarded float64
	// metrics have evidence; logE is that of all of them together, 0 without any, and total the weight of
	// all that are wanted, with evidence or without.
	metrics []metric
	logE    float64
	total   float64
	// safe says that all metrics are known to be below the ceiling by what was seen at the present weight
	// alone: what was clean at lower weights says little about the load at this one.
	safe bool
}

// metric is one metric in comparison. Its E is the weighted mean of those of its reads.
type metric struct {
	name   string
	weight MetricWeight
	reads  []read
	// strata are those of each read, of the weights that split requests, and logs each read's ln E.
	strata [][]stats.Stratum
	logs   []float64
	logE   float64
	// shown is the read, by its index in reads, that speaks most against the canary, or the first that has
	// evidence if none does; boundary is its boundary, or 0. canary and control are its rates, ratio and limits those between them.
	shown            int
	boundary         time.Duration
	canary, control  Rate
	ratio, low, high float64
}

// compare runs all tests. The strata must be sorted by weight and in no doubt, the settings sensible.
func compare(release Release, settings Comparison, evidence Evidence) comparison {
	c := comparison{Comparison: settings}
	c.harm = stats.Test{
		Grid: stats.HarmGrid(), Slack: c.Slack, Dispersion: c.Dispersion,
		Ratio: stats.PodRatio(c.Tolerated, c.PodSpread, c.CanaryPods, c.ControlPods),
	}
	success := readsOfSuccess(evidence)
	c.guarded = c.guard(release, evidence, success)

	starts, present := startsOf(release, evidence), stratumOf(release, evidence)
	c.safe = present >= 0
	var logs, weights []float64
	for _, m := range []metric{
		{name: SuccessRate, weight: c.Success, reads: success},
		{name: Latency, weight: c.Latency, reads: readsOfLatency(evidence)},
	} {
		if m.weight.Weight <= 0 {
			continue
		}
		if m.count(release, evidence) {
			m.test(c, starts)
			m.estimate(release, c, evidence)
			c.safe = c.safe && m.safe(c, present)
			c.metrics = append(c.metrics, m)
		}
		// Without evidence its E is 1 and has its weight: were it left out, the other's would count double
		// until then, and the promise of Alpha with it.
		logs, weights = append(logs, m.logE), append(weights, m.weight.Weight)
		c.total += m.weight.Weight
	}
	if len(c.metrics) == 0 {
		c.safe = false
		return c
	}
	c.logE = stats.MeanLogE(logs, weights)
	return c
}

// weighed is the weight of all metrics that have evidence.
func (c comparison) weighed() float64 {
	total := 0.0
	for _, m := range c.metrics {
		total += m.weight.Weight
	}
	return total
}

// readsOfSuccess are both ways to read requests that hang. They may be bad or simply long, as with streams;
// the mean of both E holds either way, and costs nothing where none hangs.
func readsOfSuccess(evidence Evidence) []read {
	if slices.ContainsFunc(evidence.Strata, func(s Stratum) bool { return s.Seen.hangs() || s.Tested.hangs() }) {
		return []read{failed, failedOrHanging}
	}
	return []read{failed}
}

func readsOfLatency(evidence Evidence) []read {
	reads := make([]read, len(evidence.Boundaries))
	for i := range reads {
		reads[i] = read(i)
	}
	return reads
}

// startsOf are the strata from which on each step of the release after the first counts.
func startsOf(release Release, evidence Evidence) []int {
	var starts []int
	first := true
	for i, weight := range release.Planned {
		if !release.splits(weight) || i > 0 && weight == release.Planned[i-1] {
			continue
		}
		if first {
			first = false
			continue
		}
		starts = append(starts, below(release, weight, evidence))
	}
	return starts
}

// below is how many of the strata that split requests have a lower weight.
func below(release Release, weight uint32, evidence Evidence) int {
	count := 0
	for _, s := range evidence.Strata {
		if release.splits(s.Weight) && s.Weight < weight {
			count++
		}
	}
	return count
}

// stratumOf is the index of the present weight among the strata that split requests; negative if it is not there.
func stratumOf(release Release, evidence Evidence) int {
	if !release.splits(release.Weight) || !slices.ContainsFunc(evidence.Strata, func(s Stratum) bool { return s.Weight == release.Weight }) {
		return -1
	}
	return below(release, release.Weight, evidence)
}

// guard is ln E of the guard over all that was seen, warm-ups included; 0 while there is nothing to compare
// with.
func (c comparison) guard(release Release, evidence Evidence, reads []read) float64 {
	test := stats.Test{Grid: stats.GuardGrid(), Ratio: 1, Slack: guardSlack, Dispersion: c.Dispersion}
	logs, weights, answered := make([]float64, len(reads)), make([]float64, len(reads)), uint64(0)
	strata := make([]stats.Stratum, 0, len(evidence.Strata))
	for i, as := range reads {
		strata = strata[:0]
		for _, s := range evidence.Strata {
			if release.splits(s.Weight) {
				strata = append(strata, s.Seen.stratum(as, release.share(s)))
				answered += s.Seen.Control.rate(as).Of
			}
		}
		logs[i], weights[i] = test.LogE(strata), 1
	}
	if answered == 0 {
		return 0
	}
	return stats.MeanLogE(logs, weights)
}

// count makes the strata of each read, and says whether both canary and control have requests in any.
func (m *metric) count(release Release, evidence Evidence) bool {
	m.strata, m.logs = make([][]stats.Stratum, len(m.reads)), make([]float64, len(m.reads))
	room, some := make([]stats.Stratum, 0, len(m.reads)*len(evidence.Strata)), false
	for i, as := range m.reads {
		begin := len(room)
		for _, s := range evidence.Strata {
			if release.splits(s.Weight) {
				room = append(room, s.Tested.stratum(as, release.share(s)))
			}
		}
		m.strata[i] = room[begin:len(room):len(room)]
		if canary, control := ratesOf(release, evidence, as); !some && canary.Of > 0 && control.Of > 0 {
			m.shown, some = i, true
		}
	}
	return some
}

// ratesOf adds up what was tested.
func ratesOf(release Release, evidence Evidence, as read) (canary, control Rate) {
	for _, s := range evidence.Strata {
		if release.splits(s.Weight) {
			a, b := s.Tested.Canary.rate(as), s.Tested.Control.rate(as)
			canary, control = Rate{canary.Bad + a.Bad, canary.Of + a.Of}, Rate{control.Bad + b.Bad, control.Of + b.Of}
		}
	}
	return canary, control
}

// test runs harm's test on each read.
func (m *metric) test(c comparison, starts []int) {
	against := 0.0
	for i, strata := range m.strata {
		m.logs[i] = c.harm.LogEFrom(strata, starts)
		if m.logs[i] > against {
			m.shown, against = i, m.logs[i]
		}
	}
	m.logE = mean(m.logs)
}

// betweenEnds is the weight of the boundaries between the lowest and the highest, together. A canary that is
// slower throughout shows best at the lowest, and stalls, timeouts and errors show best at the highest; those
// between are for what is neither.
const betweenEnds = .1

// mean is the logarithm of the weighted mean of some E, given their logarithms: one for each boundary, rising,
// or for each way to read errors, of which there are no more than two.
func mean(logs []float64) float64 {
	n := len(logs)
	if n == 1 {
		return logs[0]
	}
	var room [8]float64
	weights := room[:0]
	for i := range logs {
		if n > 2 && 0 < i && i < n-1 {
			weights = append(weights, betweenEnds/float64(n-2))
			continue
		}
		weights = append(weights, (1-betweenEnds)/2)
	}
	return stats.MeanLogE(logs, weights)
}

// safe says whether every read's E against "at the ceiling or above" is large enough in one stratum: to be
// safe in all, no correction for their number is needed.
func (m *metric) safe(c comparison, stratum int) bool {
	test := stats.Test{Grid: stats.SafeGrid(), Ratio: c.Ceiling, Slack: c.SafeSlack, Dispersion: c.Dispersion}
	for _, strata := range m.strata {
		if !(test.LogE(strata[stratum:stratum+1]) >= -math.Log(c.Beta)) {
			return false
		}
	}
	return true
}

// estimate sets the rates that are shown, their ratio and its confidence sequence: from below it inverts the
// test of all reads, from above that of the one shown, with its share of the error. A ratio that is not the
// same at all weights is beyond both tests; then the limits are widened to hold the estimate.
func (m *metric) estimate(release Release, c comparison, evidence Evidence) {
	shown := m.reads[m.shown]
	if shown >= 0 {
		m.boundary = evidence.Boundaries[shown]
	}
	m.canary, m.control = ratesOf(release, evidence, shown)
	m.ratio = ratioOf(release, evidence, shown)
	harm, safe := c.harm, stats.Test{Grid: stats.SafeGrid(), Dispersion: c.Dispersion}
	harm.Slack = 0
	logs, several := make([]float64, len(m.reads)), math.Log(float64(len(m.reads)))
	m.low, m.high = stats.RatioInterval(c.Alpha,
		func(ratio float64) float64 {
			harm.Ratio = ratio
			for i, strata := range m.strata {
				logs[i] = harm.LogE(strata)
			}
			return mean(logs)
		},
		func(ratio float64) float64 {
			safe.Ratio = ratio
			return safe.LogE(m.strata[m.shown]) - several
		})
	if !math.IsNaN(m.ratio) {
		m.low, m.high = min(m.low, m.ratio), max(m.high, m.ratio)
	}
	m.low = min(m.low, m.high)
}

// ratioOf is Mantel and Haenszel's estimate of the ratio of bad requests (J. Natl Cancer Inst. 22, 1959): the
// weights are compared one by one, since the error rate of both may have been another at each of them. +Inf
// if only the canary has bad requests, NaN if neither has.
func ratioOf(release Release, evidence Evidence, as read) float64 {
	var above, below float64
	for _, s := range evidence.Strata {
		canary, control := s.Tested.Canary.rate(as), s.Tested.Control.rate(as)
		if all := float64(canary.Of) + float64(control.Of); release.splits(s.Weight) && all > 0 {
			above += float64(canary.Bad) * float64(control.Of) / all
			below += float64(control.Bad) * float64(canary.Of) / all
		}
	}
	return above / below
}
