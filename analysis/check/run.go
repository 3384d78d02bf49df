package check

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// find gives the status of a metric, or a pending one.
func find(statuses []MetricStatus, metric Metric) MetricStatus {
	i := slices.IndexFunc(statuses, func(s MetricStatus) bool { return s.Name == metric.Name })
	if i < 0 || statuses[i].Phase == "" {
		return MetricStatus{Name: metric.Name, Phase: Pending, DryRun: metric.DryRun}
	}
	return statuses[i]
}

// Settled reports whether the outcome of a run is known, so that the metrics that are not complete are to
// be stopped: one that decides has not succeeded, or all that decide are complete. Dry-run metrics decide
// nothing, and nobody waits for them, unless there are no others.
func Settled(metrics []Metric, statuses []MetricStatus) bool {
	decisive, open, openDry := 0, 0, 0
	for _, metric := range metrics {
		phase := find(statuses, metric).Phase
		switch {
		case metric.DryRun && !phase.Completed():
			openDry++
		case metric.DryRun:
		case phase.Completed() && phase != Successful:
			return true
		default:
			decisive++
			if !phase.Completed() {
				open++
			}
		}
	}
	if decisive == 0 {
		return openDry == 0
	}
	return open == 0
}

// worse orders phases of complete metrics.
var worse = map[Phase]int{Successful: 1, Inconclusive: 2, Error: 3, Failed: 4}

// Overall is the phase of a run, with one sentence for people. Running, until every metric is complete;
// then the worst of the metrics that are not dry-run. A run of dry-run metrics only succeeds.
func Overall(metrics []Metric, statuses []MetricStatus) (Phase, string) {
	if len(metrics) == 0 {
		return Error, "the run has no metrics"
	}
	worst, message, decisive, started, open := Successful, "", 0, false, 0
	for _, metric := range metrics {
		status := find(statuses, metric)
		started = started || status.Phase != Pending
		if !status.Phase.Completed() {
			open++
			continue
		}
		if metric.DryRun {
			continue
		}
		decisive++
		if worse[status.Phase] > worse[worst] {
			worst, message = status.Phase, fmt.Sprintf("metric %s %s: %s", metric.Name, verb(status.Phase), status.Message)
		}
	}
	switch {
	case open > 0 && !started:
		return Pending, ""
	case open > 0:
		return Running, ""
	case decisive == 0:
		return Successful, "all metrics are dry-run: " + dry(metrics, statuses)
	case worst == Successful && decisive == 1:
		return Successful, "the metric succeeded"
	case worst == Successful:
		return Successful, fmt.Sprintf("all %d metrics succeeded", decisive)
	}
	return worst, message
}

func verb(phase Phase) string {
	switch phase {
	case Failed:
		return "failed"
	case Error:
		return "could not be measured"
	}
	return "is inconclusive"
}

func dry(metrics []Metric, statuses []MetricStatus) string {
	var parts []string
	for _, metric := range metrics {
		parts = append(parts, fmt.Sprintf("%s would be %s", metric.Name, find(statuses, metric).Phase))
	}
	return short(strings.Join(parts, ", "), 300)
}

// Score is how well a run stands, 0 to 100, in the spirit of Kayenta's: the weighted mean over its metrics
// of the share of measurements that succeeded, a failed metric counting 0. A failed critical metric makes
// the whole 0. Metrics without a measurement that counted say nothing and are left out; where all are, there
// is no score (nil), never 100. Dry-run metrics are left out.
func Score(metrics []Metric, statuses []MetricStatus) *float64 {
	sum, weights := 0.0, 0.0
	for _, metric := range metrics {
		status := find(statuses, metric)
		score := status.Score()
		if metric.DryRun || score == nil {
			continue
		}
		if metric.Critical && status.Phase == Failed {
			return new(float64)
		}
		weight := metric.Weight
		if !(weight > 0) || math.IsInf(weight, 0) {
			weight = 1
		}
		sum += weight * *score
		weights += weight
	}
	if weights == 0 || math.IsInf(weights, 0) {
		return nil
	}
	score := min(max(sum/weights, 0), 100)
	return &score
}

// Score of a metric, 0 to 100; nil without a measurement that counted.
func (s MetricStatus) Score() *float64 {
	if s.Count <= 0 {
		return nil
	}
	score := 0.0
	if s.Phase != Failed {
		score = min(max(100*float64(s.Successful)/float64(s.Count), 0), 100)
	}
	return &score
}
