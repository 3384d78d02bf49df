package figure

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var bars = Bars{"speed": AtLeast(.9), "delay": AtMost(300), "pods": Exactly(4)}

func TestBars(t *testing.T) {
	cases := []struct {
		name  string
		value float64
		ok    bool
		bar   string
	}{
		{"speed", .9, true, ">= 0.9"},
		{"speed", .899, false, ">= 0.9"},
		{"speed", .8996, true, ">= 0.9"},
		{"speed", math.NaN(), false, ">= 0.9"},
		{"delay", -12, true, "<= 300"},
		{"delay", 301, false, "<= 300"},
		{"pods", 4, true, "= 4"},
		{"pods", 5, false, "= 4"},
		{"pods", math.NaN(), false, "= 4"},
		{"other", 1, true, ""},
	}
	for _, c := range cases {
		if r := bars.New(c.name, "x", c.value, ""); r.OK != c.ok || r.Bar != c.bar {
			t.Errorf("%s of %v: ok %v, bar %q; want %v, %q", c.name, c.value, r.OK, r.Bar, c.ok, c.bar)
		}
	}
}

func TestReport(t *testing.T) {
	all := Results{
		bars.New("speed", "ratio", 1.23456, "n"), bars.New("delay", "us", 301.5, ""), bars.New("requests", "requests", 4e6, ""),
		bars.New("pods", "pods", math.NaN(), ""),
	}
	if got := all[0].String(); got != "speed: 1.235 ratio" {
		t.Errorf("got %q", got)
	}
	var out strings.Builder
	all.WriteBars(&out)
	want := "pass  speed: 1.235 ratio, asked >= 0.9\nMISS  delay: 301.5 us, asked <= 300\n" +
		"MISS  pods: NaN pods, asked = 4\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	if missed := all.Missed(); len(missed) != 2 || missed[0] != "delay" {
		t.Errorf("missed %v", missed)
	}
	if value, found := all.Lookup("requests"); !found || value != 4e6 {
		t.Errorf("lookup: %v, %v", value, found)
	}
	path := filepath.Join(t.TempDir(), "bench", "it.json")
	if err := all.Save(path, "it"); err != nil {
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
	if err := json.Unmarshal(body, &read); err != nil || read.Benchmark != "it" || len(read.Results) != 4 || !reflect.DeepEqual(read.Results[:3], []Result(all[:3])) {
		t.Errorf("got %s, %v", body, err)
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for percent, want := range map[int]float64{1: 1, 50: 50, 99: 99, 100: 100} {
		if got := Percentile(hundred, percent); got != want {
			t.Errorf("p%d of 1 to 100: %v, want %v", percent, got, want)
		}
	}
	if got := Percentile([]float64{7}, 99); got != 7 {
		t.Errorf("p99 of one: %v", got)
	}
	if got := Percentile(nil, 99); !math.IsNaN(got) {
		t.Errorf("p99 of none: %v, want NaN", got)
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
