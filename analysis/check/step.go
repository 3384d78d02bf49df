package check

import (
	"fmt"
	"time"
)

const (
	// keep is how many measurements of a metric are kept.
	keep = 10
	// consecutiveErrors is how many errors may follow one another where a metric does not say.
	consecutiveErrors = 4
	// retry is the time from an error to the next try of a metric without an interval.
	retry = 10 * time.Second
)

// Step takes a measurement into account. A Running one is kept as the last, to be replaced by its next
// state. The status that is given is not changed. A metric that is complete stays as it is.
func Step(metric Metric, status MetricStatus, measurement Measurement, now time.Time) MetricStatus {
	status.Name, status.DryRun = metric.Name, metric.DryRun
	if status.Phase.Completed() {
		return status
	}
	if measurement.Phase != Running && !measurement.Phase.Completed() {
		measurement.Phase, measurement.Message = Error, fmt.Sprintf("measurement has no phase: %q", short(string(measurement.Phase), 40))
	}
	if measurement.Phase.Completed() && measurement.FinishedAt.IsZero() {
		measurement.FinishedAt = now
	}
	if measurement.StartedAt.IsZero() {
		measurement.StartedAt = now
	}
	status.Measurements = remember(status.Measurements, measurement)
	status.Message = measurement.Message
	switch measurement.Phase {
	case Successful:
		status.Successful++
	case Failed:
		status.Failed++
	case Inconclusive:
		status.Inconclusive++
	case Error:
		status.Error++
	}
	if measurement.Phase == Error {
		status.ConsecutiveError++
	} else if measurement.Phase.Completed() {
		status.ConsecutiveError = 0
	}
	status.Count = status.Successful + status.Failed + status.Inconclusive
	status.Phase, status.Message = assess(metric, status)
	return status
}

// remember appends a measurement, or replaces the last where that is still running.
func remember(measurements []Measurement, measurement Measurement) []Measurement {
	if last := len(measurements) - 1; last >= 0 && measurements[last].Phase == Running {
		measurements = measurements[:last]
	}
	measurements = measurements[max(0, len(measurements)-keep+1):]
	return append(append(make([]Measurement, 0, keep), measurements...), measurement)
}

// assess compares the counts of a metric with its limits.
func assess(metric Metric, status MetricStatus) (Phase, string) {
	errors := consecutiveErrors
	if metric.ConsecutiveErrorLimit != nil {
		errors = *metric.ConsecutiveErrorLimit
	}
	over := func(n, limit int, verb string) string {
		if limit == 0 {
			return status.Message
		}
		return fmt.Sprintf("%d measurements %s, %d may; the last: %s", n, verb, limit, status.Message)
	}
	switch times := metric.Times(); {
	case status.Failed > metric.FailureLimit:
		return Failed, over(status.Failed, metric.FailureLimit, "failed")
	case status.Inconclusive > metric.InconclusiveLimit:
		return Inconclusive, over(status.Inconclusive, metric.InconclusiveLimit, "were inconclusive")
	case status.ConsecutiveError > errors:
		return Error, over(status.ConsecutiveError, errors, "in a row had errors")
	case times > 0 && status.Count >= times && status.Successful == 0:
		return Inconclusive, "no measurement succeeded; the last: " + status.Message
	case times > 0 && status.Count >= times:
		return Successful, status.Message
	}
	return Running, status.Message
}

// Next is when a metric of a run that started then is to be measured, or its running measurement to be
// looked at again. Not ok: the metric is complete, or its provider will say.
func Next(metric Metric, status MetricStatus, started time.Time) (due time.Time, ok bool) {
	if status.Phase.Completed() {
		return time.Time{}, false
	}
	if len(status.Measurements) == 0 {
		return started.Add(metric.InitialDelay), true
	}
	last := status.Measurements[len(status.Measurements)-1]
	if last.Phase == Running {
		return last.ResumeAt, !last.ResumeAt.IsZero()
	}
	interval := metric.Interval
	if interval <= 0 {
		interval = retry // without an interval, only an error leaves a metric incomplete
	}
	return last.FinishedAt.Add(interval), true
}

// Stop ends a metric early, because its run is. It is a success only where that is how the metric ends: it
// has no count, and it succeeded at least once.
func Stop(metric Metric, status MetricStatus, now time.Time) MetricStatus {
	status.Name, status.DryRun = metric.Name, metric.DryRun
	if status.Phase.Completed() {
		return status
	}
	if last := len(status.Measurements) - 1; last >= 0 && status.Measurements[last].Phase == Running {
		cut := status.Measurements[last]
		cut.Phase, cut.Message, cut.FinishedAt, cut.ResumeAt = Inconclusive, "stopped before it was done", now, time.Time{}
		status.Measurements = remember(status.Measurements, cut) // it is not counted: it says nothing
	}
	switch {
	case metric.Endless() && status.Successful > 0:
		status.Phase, status.Message = Successful, fmt.Sprintf("stopped after %d measurements, %d of them successful", status.Count, status.Successful)
	case status.Count == 0:
		status.Phase, status.Message = Inconclusive, "stopped before the first measurement"
	case metric.Endless():
		status.Phase, status.Message = Inconclusive, fmt.Sprintf("stopped after %d measurements, none of them successful", status.Count)
	default:
		status.Phase, status.Message = Inconclusive, fmt.Sprintf("stopped after %d of %d measurements", status.Count, metric.Times())
	}
	return status
}
