package analysis

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// fails is the clause that says how a criterion is not met.
func (t trial) fails() string {
	if t.latency > 0 {
		return fmt.Sprintf("canary latency p99 is above %v: %d bad of %d requests (%s), where 1 %% may be", t.latency, t.bad, t.of, t.parts())
	}
	return fmt.Sprintf("%s is below %s", t.rate(), percent(1-t.allowed, -1))
}

// stands is the clause that says how a criterion stands.
func (t trial) stands() string {
	if t.latency > 0 {
		return fmt.Sprintf("latency p99 within %v (%d bad of %d requests: %s)", t.boundary, t.bad, t.of, t.parts())
	}
	return t.rate()
}

func (t trial) rate() string {
	if t.of == 0 {
		return "no request to the canary has been answered"
	}
	overdue := ""
	if t.overdue > 0 {
		overdue = fmt.Sprintf(", %d of them unanswered for %v", t.overdue, t.boundary)
	}
	return fmt.Sprintf("canary success rate %s (%d bad of %d requests%s)",
		percent(1-float64(t.bad)/float64(t.of), 1-t.allowed), t.bad, t.of, overdue)
}

func (t trial) parts() string {
	return fmt.Sprintf("%d failed, %d slower than %v, %d unfinished after it", t.failed, t.slow, t.boundary, t.overdue)
}

// beside says how stable does, for people to compare.
func (t trial) beside() string {
	if t.stableOf == 0 {
		return ""
	}
	good := 1 - float64(min(t.stableBad, t.stableOf))/float64(t.stableOf)
	if t.latency > 0 {
		return fmt.Sprintf("; stable %s bad", percent(1-good, t.allowed))
	}
	return fmt.Sprintf("; stable %s", percent(good, 1-t.allowed))
}

// percent writes a share with one decimal, or with as many as tell it from a threshold that it does not
// equal. A negative threshold is none: then the share is written as short as it is.
func percent(share, threshold float64) string {
	if threshold < 0 {
		return strconv.FormatFloat(math.Round(share*1e8)/1e6, 'f', -1, 64) + " %"
	}
	for decimals := 1; ; decimals++ {
		text := strconv.FormatFloat(share*100, 'f', decimals, 64)
		if decimals == 6 || math.Abs(share-threshold) < 1e-9 || text != strconv.FormatFloat(threshold*100, 'f', decimals, 64) {
			return text + " %"
		}
	}
}

// chance writes a p-value as a bound, or with one digit where it is large.
func chance(p float64) string {
	for _, bound := range []string{"0.0001", "0.001", "0.01"} {
		if limit, _ := strconv.ParseFloat(bound, 64); p < limit {
			return "p < " + bound
		}
	}
	return "p = " + strconv.FormatFloat(p, 'f', 2, 64)
}

// seconds writes a duration as people read it: tenths below ten seconds, else whole seconds.
func seconds(d time.Duration) string {
	if d.Abs() >= time.Minute {
		text := d.Round(time.Second).String()
		if short, whole := strings.CutSuffix(text, "m0s"); whole {
			return short + "m"
		}
		return text
	}
	if d.Abs() >= 10*time.Second {
		return strconv.FormatFloat(d.Round(time.Second).Seconds(), 'f', 0, 64) + " s"
	}
	return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
}
