package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestResult(t *testing.T) {
	tests := map[string]struct {
		value float64
		text  string
		ok    bool
	}{
		"weight_live_p99_ms":      {99.99996, "weight_live_p99_ms: 100 ms", true},
		"failed_requests_promote": {1, "failed_requests_promote: 1 requests", false},
		"pods_started_promote":    {5, "pods_started_promote: 5 pods", false},
		"detect_to_zero_s":        {2.25, "detect_to_zero_s: 2.25 s", true},
		"split_error_ok":          {1, "split_error_ok: 1 bool", true},
		"operator_rss_mb":         {math.NaN(), "operator_rss_mb: NaN MB", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newResult(name, test.value, "")
			if r.String() != test.text || r.OK != test.ok {
				t.Errorf("got %q, ok %v; want %q, ok %v", r, r.OK, test.text, test.ok)
			}
		})
	}
}

func TestWrite(t *testing.T) {
	all := results{newResult("bad_responses", 41, "n"), newResult("proxy_rss_mb", 20, "")}
	path := filepath.Join(t.TempDir(), "bench", "release.json")
	if err := all.write(path); err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var read struct {
		Results []result `json:"results"`
	}
	if err := json.Unmarshal(body, &read); err != nil || len(read.Results) != 2 || read.Results[0] != all[0] {
		t.Errorf("got %s, %v", body, err)
	}
	if missed := all.missed(); len(missed) != 1 || missed[0] != "bad_responses" {
		t.Errorf("missed %v", missed)
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for percent, want := range map[int]float64{1: 1, 50: 50, 99: 99, 100: 100} {
		if got := percentile(hundred, percent); got != want {
			t.Errorf("p%d of 1 to 100: %v, want %v", percent, got, want)
		}
	}
	if got := percentile([]float64{7}, 99); got != 7 {
		t.Errorf("p99 of one: %v", got)
	}
	if got := percentile(nil, 99); !math.IsNaN(got) {
		t.Errorf("p99 of none: %v, want NaN", got)
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
