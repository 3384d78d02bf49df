package analysis

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// other names what the canary is compared with.
func (a *assessment) other() string {
	if a.besideBaseline() {
		return "the baseline"
	}
	return "stable"
}

// clause says how a metric stands, to follow the word canary. The control's share is the one with which the
// ratio is right, which is its own unless the error rate changed along with the weight.
func (a *assessment) clause(m metric) string {
	what := "errors"
	switch {
	case m.boundary > 0:
		what = fmt.Sprintf("requests failed or slower than %v", m.boundary)
	case m.reads[m.shown] == failedOrHanging:
		what = fmt.Sprintf("errors and requests without an answer for %v", a.evidence.Patience)
	}
	canary, control := share(m.canary.Share()), share(m.control.Share())
	if m.canary.Bad == 0 {
		canary += fmt.Sprintf(" (of %d)", m.canary.Of)
	}
	if m.control.Bad == 0 {
		control += fmt.Sprintf(" (of %d)", m.control.Of)
	}
	if !(m.ratio > 0) || math.IsInf(m.ratio, 1) {
		return fmt.Sprintf("%s %s against %s", what, canary, control)
	}
	return fmt.Sprintf("%s %s against %s: %s times as many", what, canary, share(m.canary.Share()/m.ratio), times(m.ratio))
}

// worse says why the comparison fails the canary: by the metrics that are significant by themselves, with
// their share of the weight, or by all of them combined. Where what is slow has mostly failed, errors say it.
func (a *assessment) worse() string {
	var alone, all []string
	for _, m := range a.compared.metrics {
		clause := a.clause(m)
		if len(all) > 0 && a.failing(m) {
			clause = all[0]
		}
		if !slices.Contains(all, clause) {
			all = append(all, clause)
		}
		significant := m.logE+math.Log(m.weight.Weight/a.compared.total) >= -math.Log(a.compared.Alpha)
		if significant && !slices.Contains(alone, clause) {
			alone = append(alone, clause)
		}
	}
	p, after := pValue(math.Exp(-a.compared.logE)), seconds(a.now.Sub(a.Since))
	switch {
	case len(all) == 1:
		alone = all
	case len(alone) == 0:
		return fmt.Sprintf("canary %s; combined %s after %s", strings.Join(all, " and "), p, after)
	}
	return fmt.Sprintf("canary %s, %s after %s", strings.Join(alone, " and "), p, after)
}

// failing says whether what is bad by a boundary are mostly failures.
func (a *assessment) failing(m metric) bool {
	canary, _ := ratesOf(a.Release, a.evidence, failed)
	return 2*canary.Bad > m.canary.Bad
}

// onePod warns that a single pod may be an odd one.
func (a *assessment) onePod() string {
	if a.compared.CanaryPods != 1 {
		return ""
	}
	return "; with one canary pod, pod effects cannot be told apart"
}

// looking says how things stand before the end.
func (a *assessment) looking(looked time.Duration) string {
	if looked < 0 {
		return fmt.Sprintf("warming up for another %s: %s", seconds(-looked), a.stands())
	}
	return fmt.Sprintf("still looking: %s, %s of %s", a.stands(), seconds(looked), seconds(a.settings.Duration))
}

// share writes a share of requests in percent: one decimal, or two digits where that says too little.
func share(of float64) string {
	percent := of * 100
	switch {
	case math.IsNaN(percent):
		return "none"
	case percent > 99 && percent < 100:
		return strconv.FormatFloat(percent, 'f', 2, 64) + " %"
	case percent >= 1 || percent == 0:
		return strings.TrimSuffix(strconv.FormatFloat(percent, 'f', 1, 64), ".0") + " %"
	}
	return strconv.FormatFloat(percent, 'g', 2, 64) + " %"
}

// times writes a ratio: one decimal below ten.
func times(ratio float64) string {
	if ratio >= 9.95 {
		return strconv.FormatFloat(ratio, 'f', 0, 64)
	}
	if ratio < .05 {
		return strconv.FormatFloat(ratio, 'g', 1, 64)
	}
	return strconv.FormatFloat(ratio, 'f', 1, 64)
}

// pValue writes a p-value with one digit.
func pValue(p float64) string {
	if p < .0001 {
		return "p < 0.0001"
	}
	return "p = " + strconv.FormatFloat(min(p, 1), 'g', 1, 64)
}
