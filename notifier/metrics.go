package notifier

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Why a notification was dropped.
const (
	reasonCoalesced      = "coalesced"
	reasonFull           = "full"
	reasonPermanent      = "permanent"
	reasonDeadline       = "deadline"
	reasonShutdown       = "shutdown"
	reasonUnknownChannel = "unknown_channel"
)

type metrics struct {
	sent, dropped, retries *prometheus.CounterVec
}

func newMetrics() metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sluice_notifications_" + name, Help: help}, labels)
	}
	return metrics{
		sent:    counter("sent_total", "Notifications delivered.", "channel"),
		dropped: counter("dropped_total", "Notifications given up, by reason.", "channel", "reason"),
		retries: counter("retries_total", "Further attempts to deliver a notification.", "channel"),
	}
}

// expect makes a channel's series exist at zero, so that a first drop is an increase.
func (m metrics) expect(channel string) {
	m.sent.WithLabelValues(channel)
	m.retries.WithLabelValues(channel)
	for _, reason := range []string{reasonCoalesced, reasonFull, reasonPermanent, reasonDeadline, reasonShutdown} {
		m.dropped.WithLabelValues(channel, reason)
	}
}

func (m metrics) register(registerer prometheus.Registerer) error {
	for _, collector := range []prometheus.Collector{m.sent, m.dropped, m.retries} {
		if err := registerer.Register(collector); err != nil {
			return err
		}
	}
	return nil
}
