package runs

import (
	"math"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-mesh/sluice/analysis/check"
	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// jobKey is where a measurement keeps the name of its Job.
const jobKey = "job"

// What the API takes, in characters.
const (
	maxValue   = 512
	maxMessage = 1024
)

// readMetrics are the results on record, in the order of the spec, in the terms of analysis/check.
func readMetrics(run *v1alpha1.AnalysisRun) []check.MetricStatus {
	known := map[string]v1alpha1.MetricStatus{}
	for _, status := range run.Status.Metrics {
		known[status.Name] = status
	}
	read := make([]check.MetricStatus, len(run.Spec.Metrics))
	for i, metric := range run.Spec.Metrics {
		s := known[metric.Name]
		read[i] = check.MetricStatus{
			Name: metric.Name, Phase: check.Phase(s.Phase), Message: s.Message, DryRun: metric.DryRun,
			Count: int(s.Count), Successful: int(s.Successful), Failed: int(s.Failed), Inconclusive: int(s.Inconclusive),
			Error: int(s.Error), ConsecutiveError: int(s.ConsecutiveError),
		}
		if read[i].Phase == "" {
			read[i].Phase = check.Pending
		}
		for _, m := range s.Measurements {
			read[i].Measurements = append(read[i].Measurements, readMeasurement(m))
		}
	}
	return read
}

func readMeasurement(m v1alpha1.Measurement) check.Measurement {
	read := check.Measurement{Phase: check.Phase(m.Phase), Value: m.Value, Message: m.Message, StartedAt: m.StartedAt.Time}
	if m.FinishedAt != nil {
		read.FinishedAt = m.FinishedAt.Time
	}
	if m.Job != "" {
		read.Metadata = map[string]string{jobKey: m.Job}
	}
	return read
}

// writeMetrics are results as they are recorded.
func writeMetrics(metrics []check.MetricStatus) []v1alpha1.MetricStatus {
	written := make([]v1alpha1.MetricStatus, len(metrics))
	for i, s := range metrics {
		written[i] = v1alpha1.MetricStatus{
			Name: s.Name, Phase: v1alpha1.RunPhase(s.Phase), Message: clip(s.Message, maxMessage), DryRun: s.DryRun,
			Count: whole(s.Count), Successful: whole(s.Successful), Failed: whole(s.Failed), Inconclusive: whole(s.Inconclusive),
			Error: whole(s.Error), ConsecutiveError: whole(s.ConsecutiveError),
		}
		for _, m := range s.Measurements {
			written[i].Measurements = append(written[i].Measurements, writeMeasurement(m))
		}
	}
	return written
}

func writeMeasurement(m check.Measurement) v1alpha1.Measurement {
	written := v1alpha1.Measurement{
		Phase: v1alpha1.RunPhase(m.Phase), Value: clip(m.Value, maxValue), Message: clip(m.Message, maxMessage),
		StartedAt: metav1.NewMicroTime(m.StartedAt), Job: m.Metadata[jobKey],
	}
	if !m.FinishedAt.IsZero() {
		written.FinishedAt = micro(m.FinishedAt)
	}
	return written
}

func micro(t time.Time) *metav1.MicroTime {
	m := metav1.NewMicroTime(t)
	return &m
}

// whole fits a count into the API's numbers.
func whole(n int) int32 { return int32(min(max(n, 0), math.MaxInt32)) } //nolint:gosec // bounded

// clip shortens a text to so many characters.
func clip(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}

// score is a run's score as it is recorded.
func score(metrics []check.Metric, statuses []check.MetricStatus) *int32 {
	s := check.Score(metrics, statuses)
	if s == nil {
		return nil
	}
	rounded := whole(int(math.Round(*s)))
	return &rounded
}
