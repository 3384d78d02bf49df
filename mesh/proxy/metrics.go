package proxy

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the proxy's own numbers, beside those of the judge (package telemetry).
type metrics struct {
	applied  prometheus.Gauge
	rejected prometheus.Counter
	passed   prometheus.Counter
	open     *prometheus.GaugeVec
	refused  *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		applied: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sluice_proxy_configuration_applied_timestamp_seconds",
			Help: "When the configuration in force was applied; 0 before the first.",
		}),
		rejected: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sluice_proxy_configurations_rejected_total",
			Help: "Configurations that were not valid.",
		}),
		passed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sluice_proxy_passed_connections_total",
			Help: "Outbound connections to destinations that the mesh does not know.",
		}),
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sluice_proxy_open_connections",
			Help: "Captured connections that are open.",
		}, []string{"direction"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_proxy_refused_connections_total",
			Help: "Connections refused: too many open, not captured, or leading back to the proxy.",
		}, []string{"direction"}),
	}
	r.MustRegister(m.applied, m.rejected, m.passed, m.open, m.refused)
	return m
}
