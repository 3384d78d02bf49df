package controllers

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// Meter holds the operator's own metrics about releases.
type Meter struct {
	phase    *prometheus.GaugeVec
	weight   *prometheus.GaugeVec
	step     *prometheus.GaugeVec
	verdicts *prometheus.CounterVec
	releases *prometheus.CounterVec
	duration *prometheus.HistogramVec
	live     prometheus.Histogram
}

// NewMeter registers the metrics.
func NewMeter(registerer prometheus.Registerer) *Meter {
	name := []string{"namespace", "rollout"}
	m := &Meter{
		phase: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sluice_rollout_phase", Help: "1 for the phase that a Rollout is in.",
		}, append(name, "phase")),
		weight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sluice_rollout_weight", Help: "The canary's weight in percent, desired and live.",
		}, append(name, "state")),
		step: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sluice_rollout_step", Help: "Index of the step being taken, from 0.",
		}, name),
		verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_verdicts_total", Help: "Verdicts of the judge that said something new, by outcome.",
		}, append(name, "outcome")),
		releases: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_releases_total", Help: "Releases that ended, by outcome.",
		}, append(name, "outcome")),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sluice_release_duration_seconds", Help: "How long releases took, by outcome.",
			Buckets: prometheus.ExponentialBuckets(5, 2, 14),
		}, []string{"outcome"}),
		live: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "sluice_weight_live_seconds", Help: "From the decision about a weight until every proxy has it in force.",
			Buckets: prometheus.ExponentialBuckets(.005, 2, 14),
		}),
	}
	registerer.MustRegister(m.phase, m.weight, m.step, m.verdicts, m.releases, m.duration, m.live)
	return m
}

// observe records what a decision changed.
func (m *Meter) observe(rollout *v1alpha1.Rollout, before *v1alpha1.RolloutStatus) {
	status := rollout.Status
	if before.Phase != status.Phase {
		m.phase.DeleteLabelValues(rollout.Namespace, rollout.Name, string(before.Phase))
	}
	m.phase.WithLabelValues(rollout.Namespace, rollout.Name, string(status.Phase)).Set(1)
	m.weight.WithLabelValues(rollout.Namespace, rollout.Name, "desired").Set(float64(status.Weight.Desired))
	m.weight.WithLabelValues(rollout.Namespace, rollout.Name, "live").Set(float64(status.Weight.Live))
	if status.Step != nil {
		m.step.WithLabelValues(rollout.Namespace, rollout.Name).Set(float64(status.Step.Index))
	}
	if len(status.Verdicts) > 0 && (len(before.Verdicts) == 0 || !equality.Semantic.DeepEqual(before.Verdicts[0], status.Verdicts[0])) {
		m.verdicts.WithLabelValues(rollout.Namespace, rollout.Name, string(status.Verdicts[0].Outcome)).Inc()
	}
	if status.Release != nil && status.Release.Outcome != "" && (before.Release == nil || before.Release.Outcome == "" || before.Release.ID != status.Release.ID) {
		m.releases.WithLabelValues(rollout.Namespace, rollout.Name, status.Release.Outcome).Inc()
		if status.Release.EndedAt != nil {
			m.duration.WithLabelValues(status.Release.Outcome).Observe(status.Release.EndedAt.Sub(status.Release.StartedAt.Time).Seconds())
		}
	}
	if w := status.Weight; w.LiveAt != nil && w.DecidedAt != nil && (before.Weight.LiveAt == nil || before.Weight.Epoch != w.Epoch) {
		m.live.Observe(w.LiveAt.Sub(w.DecidedAt.Time).Seconds())
	}
}

// forget drops the series of a Rollout that is gone.
func (m *Meter) forget(key types.NamespacedName) {
	labels := prometheus.Labels{"namespace": key.Namespace, "rollout": key.Name}
	for _, vec := range []*prometheus.GaugeVec{m.phase, m.weight, m.step} {
		vec.DeletePartialMatch(labels)
	}
	m.verdicts.DeletePartialMatch(labels)
	m.releases.DeletePartialMatch(labels)
}
