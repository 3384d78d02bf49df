package server

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-mesh/sluice/mesh/xds"
	"github.com/sluice-mesh/sluice/mesh/xds/part"
)

type metrics struct {
	clients *prometheus.GaugeVec
	pushes  *prometheus.CounterVec
	nacks   *prometheus.CounterVec
	spread  prometheus.Histogram
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	m := &metrics{
		clients: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sluice_xds_clients",
			Help: "Streams that clients have open, by protocol (delta, sotw).",
		}, []string{"protocol"}),
		pushes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_xds_pushes_total",
			Help: "Answers sent to clients, by type of resource.",
		}, []string{"type"}),
		nacks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_xds_nacks_total",
			Help: "Answers that clients refused, by type of resource.",
		}, []string{"type"}),
		spread: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "sluice_xds_propagation_seconds",
			Help:    "Time from the publication of a change to the last acknowledgement of it by a connected client of this replica.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
	}
	for _, protocol := range []string{"delta", "sotw"} {
		m.clients.WithLabelValues(protocol)
	}
	for _, typeURL := range types {
		m.pushes.WithLabelValues(shortType(typeURL))
		m.nacks.WithLabelValues(shortType(typeURL))
	}
	if registerer != nil {
		registerer.MustRegister(m.clients, m.pushes, m.nacks, m.spread)
	}
	return m
}

// shortType is a type as a label.
func shortType(typeURL string) string {
	switch typeURL {
	case xds.ListenerType:
		return "listener"
	case xds.RouteType:
		return "route"
	case xds.ClusterType:
		return "cluster"
	case xds.EndpointType:
		return "endpoint"
	case part.Type:
		return "part"
	default:
		return "other"
	}
}

// wave is one publication on its way to the streams that it concerns. A wave that a client refused, or
// that ended with a stream, is not measured.
type wave struct {
	start  time.Time
	open   int
	failed bool
}

func (t *stream) join(w *wave) {
	w.open++
	t.waves = append(t.waves, w)
}

// landWaves is called when the stream has acknowledged all there is.
func (t *stream) landWaves() {
	if len(t.waves) == 0 {
		return
	}
	now := t.server.options.Now()
	for _, w := range t.waves {
		if w.open--; w.open == 0 && !w.failed {
			t.server.metrics.spread.Observe(now.Sub(w.start).Seconds())
		}
	}
	t.waves = nil
}

// failWaves is called when the client refused something, leaveWaves when its stream ends.
func (t *stream) failWaves() {
	for _, w := range t.waves {
		w.failed = true
	}
}

func (t *stream) leaveWaves() {
	t.failWaves()
	t.waves = nil
}
