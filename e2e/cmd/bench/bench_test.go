package main

import (
	"math"
	"testing"
	"time"
)

func TestBars(t *testing.T) {
	tests := map[string]struct {
		unit  string
		value float64
		text  string
		ok    bool
	}{
		"weight_live_p99_ms":      {"ms", 99.99996, "weight_live_p99_ms: 100 ms", true},
		"failed_requests_promote": {"requests", 1, "failed_requests_promote: 1 requests", false},
		"pods_started_promote":    {"pods", 5, "pods_started_promote: 5 pods", false},
		"detect_to_zero_s":        {"s", 2.25, "detect_to_zero_s: 2.25 s", true},
		"bad_responses":           {"responses", 41, "bad_responses: 41 responses", false},
		"split_error_ok":          {"bool", 1, "split_error_ok: 1 bool", true},
		"proxy_rss_mb":            {"MB", 20, "proxy_rss_mb: 20 MB", true},
		"operator_rss_mb":         {"MB", math.NaN(), "operator_rss_mb: NaN MB", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := bars.New(name, test.unit, test.value, "")
			if r.String() != test.text || r.OK != test.ok {
				t.Errorf("got %q, ok %v; want %q, ok %v", r, r.OK, test.text, test.ok)
			}
		})
	}
}

func TestSplitOf(t *testing.T) {
	config := []byte(`{"applied":null,"services":[
		{"namespace":"other","name":"shop","split":{"epoch":9}},
		{"namespace":"a","name":"shop","split":{"epoch":3,"weight":20,"since":"2026-01-02T03:04:05.006Z"}}]}`)
	got, err := splitOf(config, "a", "shop")
	want := split{Epoch: 3, Weight: 20, Since: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)}
	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{`{}`, `nonsense`} {
		if _, err := splitOf([]byte(bad), "a", "shop"); err == nil {
			t.Errorf("splitOf(%s): no error", bad)
		}
	}
}
