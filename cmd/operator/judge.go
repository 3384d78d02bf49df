package main

import (
	"fmt"
	"time"

	"github.com/sluice-mesh/sluice/analysis"
	"github.com/sluice-mesh/sluice/analysis/prometheus"
)

// newJudge makes the judge that asks the Prometheus of the flags.
func newJudge(o options) (analysis.Looker, error) {
	sampler, err := prometheus.New(prometheus.Options{Address: o.prometheusAddress, ScrapeInterval: o.scrapeInterval})
	if err != nil {
		return analysis.Looker{}, fmt.Errorf("--prometheus-address: %w", err)
	}
	return analysis.Looker{Sampler: sampler, Now: time.Now}, nil
}
