package main

import "github.com/sluice-mesh/sluice/e2e/figure"

// bars by the names of the figures.
var bars = figure.Bars{
	// From the decision about a weight until the last of 20 proxies, spread over two operators, has it
	// in force: the 99th percentile over the weights of a release.
	"weight_live_p99_ms": figure.AtMost(100),
	// Requests that no application answered, in a promotion of 10 weight changes at 500 a second.
	"failed_requests_promote": figure.AtMost(0),
	// Pods started to promote a Deployment of 4.
	"pods_started_promote": figure.Exactly(4),
	// From the first bad answer a client saw to the last one: half of the answers are bad, weight 10,
	// 200 requests a second, scraped every second. The worst of several releases.
	"detect_to_zero_s": figure.AtMost(3),
	// Bad answers in such a release; the worst of several.
	"bad_responses": figure.AtMost(40),
	// 1 if at each of five weights the canary's share of 10,000 requests is within the 99.9 % binomial
	// bounds. A right split fails it in one of 200 runs.
	"split_error_ok": figure.Exactly(1),
	// Resident memory of the busiest sidecar after 1,000 requests a second for a minute.
	"proxy_rss_mb": figure.AtMost(40),
	// Resident memory of the larger operator with 50 Rollouts on which nothing happens.
	"operator_rss_mb": figure.AtMost(150),
}
