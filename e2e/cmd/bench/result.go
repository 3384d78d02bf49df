package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// measure is what a figure means and which value is asked for.
type measure struct {
	unit string
	// low and high bound the values asked for, both included.
	low, high float64
}

var measures = map[string]measure{
	// From the decision about a weight until the last of 20 proxies, spread over two operators, has it
	// in force: the 99th percentile over the weights of a release.
	"weight_live_p99_ms": {"ms", 0, 100},
	// Requests that no application answered, in a promotion of 10 weight changes at 500 a second.
	"failed_requests_promote": {"requests", 0, 0},
	// Pods started to promote a Deployment of 4.
	"pods_started_promote": {"pods", 4, 4},
	// From the first bad answer a client saw to the last one: half of the answers are bad, weight 10,
	// 200 requests a second, scraped every second. The worst of several releases.
	"detect_to_zero_s": {"s", 0, 3},
	// Bad answers in such a release; the worst of several.
	"bad_responses": {"responses", 0, 40},
	// 1 if at each of five weights the canary's share of 10,000 requests is within the 99.9 % binomial
	// bounds. A right split fails it in one of 200 runs.
	"split_error_ok": {"bool", 1, 1},
	// Resident memory of the busiest sidecar after 1,000 requests a second for a minute.
	"proxy_rss_mb": {"MB", 0, 40},
	// Resident memory of the larger operator with 50 Rollouts on which nothing happens.
	"operator_rss_mb": {"MB", 0, 150},
}

// result is one figure.
type result struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// OK: the value is the one asked for, or better.
	OK bool `json:"ok"`
	// Note says how it came about.
	Note string `json:"note,omitempty"`
}

func newResult(name string, value float64, note string) result {
	m := measures[name]
	value = math.Round(value*1000) / 1000
	return result{Name: name, Value: value, Unit: m.unit, OK: value >= m.low && value <= m.high, Note: note}
}

func (r result) String() string {
	return fmt.Sprintf("%s: %s %s", r.Name, strconv.FormatFloat(r.Value, 'f', -1, 64), r.Unit)
}

type results []result

func (all results) missed() []string {
	var names []string
	for _, r := range all {
		if !r.OK {
			names = append(names, r.Name)
		}
	}
	return names
}

func (all results) write(path string) error {
	body, err := json.MarshalIndent(map[string]any{"benchmark": "release", "results": all}, "", "  ")
	if err != nil {
		return fmt.Errorf("marshal results: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if err := os.WriteFile(path, append(body, '\n'), 0o644); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

// percentile returns the smallest value that at least percent of 100 values do not exceed.
func percentile(values []float64, percent int) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max((len(sorted)*percent+99)/100, 1)-1]
}
