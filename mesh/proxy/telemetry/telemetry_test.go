package telemetry

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

var canary = Key{
	Reporter: Source, Source: "front", SourceNamespace: "web", Service: "shop", Namespace: "demo",
	Revision: "v2", Weight: "20", Protocol: "http",
}

const canaryLabels = `namespace="demo",protocol="http",reporter="source",revision="v2",service="shop",source="front",source_namespace="web",weight="20"`

func TestSeriesExistAtZero(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	New(registry).Series(canary)
	text := exposition(t, registry)
	for _, line := range []string{
		`sluice_requests_started_total{` + canaryLabels + `} 0`,
		`sluice_requests_total{code="200",grpc_status="",` + canaryLabels + `} 0`,
		`sluice_request_duration_seconds_count{code="2xx",` + canaryLabels + `} 0`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("missing %s in\n%s", line, text)
		}
	}
}

func exposition(t *testing.T, registry *prometheus.Registry) string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&text, family); err != nil {
			t.Fatal(err)
		}
	}
	return text.String()
}

func TestCodesAndClasses(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	series := New(registry).Series(canary)
	for _, code := range []int{200, 200, 0, 499, 503, 742, -3} {
		series.Begin()
		series.End(code, 120*time.Millisecond)
	}
	count := map[string]float64{}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			code := ""
			for _, l := range m.GetLabel() {
				if l.GetName() == "code" {
					code = l.GetValue()
				}
			}
			switch family.GetName() {
			case "sluice_requests_total":
				count[code] = m.GetCounter().GetValue()
			case "sluice_requests_started_total":
				count["started"] = m.GetCounter().GetValue()
			case "sluice_request_duration_seconds":
				count["class "+code] = float64(m.GetHistogram().GetSampleCount())
				if got := len(m.GetHistogram().GetBucket()); got != len(Buckets) {
					t.Errorf("class %s has %d classic buckets, want %d", code, got, len(Buckets))
				}
				if m.GetHistogram().Schema == nil {
					t.Errorf("class %s has no native histogram", code)
				}
			}
		}
	}
	for label, want := range map[string]float64{
		"started": 7, "200": 2, "0": 1, "499": 1, "503": 1, "599": 2,
		"class 2xx": 2, "class none": 1, "class 4xx": 1, "class 5xx": 3,
	} {
		if count[label] != want {
			t.Errorf("%s = %v, want %v (all: %v)", label, count[label], want, count)
		}
	}
}

func TestSweepDropsWhatIsLongGone(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	recorder := New(registry)
	stable := canary
	stable.Revision = "v1"
	gone := recorder.Series(canary)
	recorder.Series(stable)
	gone.Begin()
	start := time.Unix(1000, 0)
	exist := func() int {
		return strings.Count(exposition(t, registry), "sluice_requests_started_total{")
	}
	live := map[Key]bool{stable: true}
	recorder.Sweep(live, start, time.Hour)
	gone.Begin() // an old stream still ends here
	recorder.Sweep(live, start.Add(59*time.Minute), time.Hour)
	recorder.Sweep(live, start.Add(118*time.Minute), time.Hour)
	if exist() != 2 {
		t.Error("a series that counted within the retention was dropped")
	}
	recorder.Sweep(live, start.Add(119*time.Minute), time.Hour)
	gone.End(503, time.Second)
	if text := exposition(t, registry); exist() != 1 || strings.Contains(text, canary.Revision) {
		t.Errorf("series of a revision long gone were kept:\n%s", text)
	}
	if again := recorder.Series(canary); again == gone {
		t.Error("a dropped series came back with its old handle")
	}
}
