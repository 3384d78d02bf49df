package figure

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBars(t *testing.T) {
	cases := map[string]struct {
		value float64
		ok    bool
		bar   string
	}{
		"h1_vs_nginx":          {.9, true, ">= 0.9"},
		"h1_vs_haproxy":        {.899, false, ">= 0.9"},
		"grpc_vs_best_go":      {math.NaN(), false, ">= 1.5"},
		"swap_failed_requests": {1, false, "<= 0"},
		"added_p99_us_1000rps": {-12, true, "<= 300"},
		"h1_small_caddy_rps":   {1, true, ""},
	}
	for name, c := range cases {
		if r := New(name, "x", c.value, ""); r.OK != c.ok || r.Bar != c.bar {
			t.Errorf("%s of %v: ok %v, bar %q; want %v, %q", name, c.value, r.OK, r.Bar, c.ok, c.bar)
		}
	}
}

func TestReport(t *testing.T) {
	all := Results{
		New("h1_vs_nginx", "ratio", 1.23456, "n"), New("h1_vs_caddy", "ratio", 1.5, ""), New("h1_small", "requests", 4e6, ""),
		New("h1_vs_traefik", "ratio", math.NaN(), ""),
	}
	if got := all[0].String(); got != "h1_vs_nginx: 1.235 ratio" {
		t.Errorf("got %q", got)
	}
	var out strings.Builder
	all.WriteBars(&out)
	want := "pass  h1_vs_nginx: 1.235 ratio, asked >= 0.9\nMISS  h1_vs_caddy: 1.5 ratio, asked >= 2\n" +
		"MISS  h1_vs_traefik: NaN ratio, asked >= 2\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	if missed := all.Missed(); len(missed) != 2 || missed[0] != "h1_vs_caddy" {
		t.Errorf("missed %v", missed)
	}
	if value, found := all.Lookup("h1_small"); !found || value != 4e6 {
		t.Errorf("lookup: %v, %v", value, found)
	}
	path := filepath.Join(t.TempDir(), "bench", "proxy.json")
	if err := all.Save(path); err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var read struct {
		Benchmark string
		Results   []Result
	}
	if err := json.Unmarshal(body, &read); err != nil || read.Benchmark != "proxy" || len(read.Results) != 4 || read.Results[0].Note != "n" {
		t.Errorf("got %s, %v", body, err)
	}
}

func TestMedian(t *testing.T) {
	values := []float64{5, 1, 3}
	if got := Median(values); got != 3 || values[0] != 5 {
		t.Errorf("median %v, input now %v", got, values)
	}
	if got := Median([]float64{1, 2, 10, 4}); got != 3 {
		t.Errorf("median of four: %v", got)
	}
	if got := Median(nil); !math.IsNaN(got) {
		t.Errorf("median of none: %v", got)
	}
}
