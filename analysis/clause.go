package analysis

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// other names what the canary is compared with.
func (a *assessment) other() string {
	if a.Control != "" && a.Control != a.Stable {
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
	canary, control := m.canary.Share(), m.control.Share()
	switch {
	case m.canary.Bad == 0 && m.control.Bad == 0:
		return fmt.Sprintf("%s none of %d, as %s", what, m.canary.Of, a.other())
	case m.canary.Bad == 0:
		return fmt.Sprintf("%s none of %d against %s", what, m.canary.Of, share(control))
	case !(m.ratio > 0) || math.IsInf(m.ratio, 1):
		return fmt.Sprintf("%s %s against none of %d", what, share(canary), m.control.Of)
	}
	return fmt.Sprintf("%s %s against %s: %s times as many", what, share(canary), share(canary/m.ratio), times(m.ratio))
}

// worse says why the comparison fails the canary: by the metrics that are significant by themselves, or by
// all of them combined.
func (a *assessment) worse() string {
	var alone, all []string
	for _, m := range a.compared.metrics {
		clause := a.clause(m)
		all = append(all, clause)
		if m.logE >= -math.Log(a.compared.Alpha) {
			alone = append(alone, clause)
		}
	}
	p := pValue(math.Exp(-a.compared.logE))
	after := seconds(a.now.Sub(a.Since))
	if len(alone) == 0 {
		return fmt.Sprintf("canary %s; combined %s after %s", strings.Join(all, ", and "), p, after)
	}
	return fmt.Sprintf("canary %s, %s after %s", strings.Join(alone, ", and "), p, after)
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
