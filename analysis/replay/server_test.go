package replay

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/common/model"

	"github.com/sluice-mesh/sluice/analysis/prometheus"
	"github.com/sluice-mesh/sluice/internal/promserver"
)

// exposition is a matrix as a target may expose it: with the time of each sample. A Prometheus that scrapes
// it once has all of the past, and nothing more when it scrapes it again.
func exposition(matrix model.Matrix) string {
	var text strings.Builder
	for _, stream := range matrix {
		var labels []string
		for _, name := range slices.Sorted(maps.Keys(stream.Metric)) {
			if name != model.MetricNameLabel {
				labels = append(labels, string(name)+"="+strconv.Quote(string(stream.Metric[name])))
			}
		}
		for _, sample := range stream.Values {
			fmt.Fprintf(&text, "%s{%s} %v %d\n", stream.Metric[model.MetricNameLabel], strings.Join(labels, ","), float64(sample.Value), int64(sample.Timestamp))
		}
	}
	return text.String()
}

// backfilled runs a real Prometheus that has the samples.
func backfilled(t *testing.T, matrix model.Matrix) *prometheus.Sampler {
	t.Helper()
	text := exposition(matrix)
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = io.WriteString(w, text) // each time, since a scrape may take too long
	}))
	t.Cleanup(target.Close)
	server := promserver.Start(t, fmt.Sprintf("global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: past\n  honor_labels: true\n  static_configs: [{targets: [%q]}]\n",
		strings.TrimPrefix(target.URL, "http://")))
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	sampler, err := prometheus.New(prometheus.Options{Address: server.Address, RoundTripper: transport, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	// A scrape is stored together with that it succeeded.
	for deadline := time.Now().Add(30 * time.Second); ; <-time.After(50 * time.Millisecond) {
		up, err := sampler.Query(t.Context(), "up == 1", time.Time{})
		if err == nil && len(up.Series) == 1 {
			return sampler
		}
		if time.Now().After(deadline) {
			t.Fatalf("Prometheus does not scrape: %v", err)
		}
	}
}

// past moves a trace so that it ended just now, to whole milliseconds; it returns by how much.
func past(matrix model.Matrix, tr trace) time.Duration {
	shift := time.Now().Add(-tr.length - time.Minute).Truncate(time.Second).Sub(noon)
	for _, stream := range matrix {
		for i := range stream.Values {
			stream.Values[i].Timestamp += model.Time(shift.Milliseconds())
		}
	}
	return shift
}

// What is recorded of a real Prometheus is judged like the samples that it was given, and like a recording
// of it that is read again.
func TestReplayOfARealPrometheus(t *testing.T) {
	for name, r := range recorded() {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // a Prometheus takes its first targets after five seconds
			matrix := r.trace.matrix()
			shift := past(matrix, r.trace)
			server := backfilled(t, matrix)
			request := Request{
				Namespace: "shop", Service: "cart", Foreign: r.header.Foreign,
				From: noon.Add(shift + time.Minute), Until: noon.Add(shift + r.trace.length),
			}
			var kept Memory
			seen := 0
			request.Progress = func(string, time.Time, time.Time) { seen++ }
			err := Record(t.Context(), server, request, func(h Header) (*Writer, error) { return NewWriter(&kept, true, h, 0) })
			if err != nil {
				t.Fatal(err)
			}
			recording, err := Open(kept.Open)
			if err != nil {
				t.Fatal(err)
			}
			var results []Result
			for range 2 {
				result, err := Judge(t.Context(), recording, defaults())
				if err != nil {
					t.Fatal(err)
				}
				results = append(results, result)
			}
			direct, err := Judge(t.Context(), record(t, recording.Header, pieces(matrix, 3*time.Minute)), defaults())
			if err != nil {
				t.Fatal(err)
			}
			for _, other := range []Result{results[1], direct} {
				if diff := cmp.Diff(results[0], other, cmpopts.IgnoreUnexported(Line{})); diff != "" {
					t.Errorf("recorded (-) and otherwise (+):\n%s", diff)
				}
			}
			want := map[string]Outcome{"good": Promote, "bad": RollBack, "istio": RollBack}[name]
			if d := results[0].Decisions[0]; d.Outcome != want || seen == 0 {
				t.Errorf("got %+v after %d signs of progress", d, seen)
			}
			if foreign := recording.Header.Foreign != nil; !foreign {
				found := recording.Header.Release
				if found.Canary != "new" || len(found.Weights) != 3 || len(found.Pods) != 2 || !slices.Contains(found.BoundarySeconds, .05) {
					t.Errorf("found %+v", found)
				}
			}
		})
	}
}

func TestRecordRefusesWhatIsNotThere(t *testing.T) {
	t.Parallel() // a Prometheus takes its first targets after five seconds
	tr := trace{seed: 1, rate: 5, sources: 1, scrape: 15 * time.Second, length: 5 * time.Minute}
	matrix := tr.matrix()
	shift := past(matrix, tr)
	server := backfilled(t, matrix)
	begin := func(Header) (*Writer, error) { t.Error("began to write"); return nil, io.EOF }
	for service, part := range map[string]string{"cart": "no release was on", "catalog": "no requests to the service"} {
		err := Record(t.Context(), server, Request{Namespace: "shop", Service: service, From: noon.Add(shift), Until: time.Now()}, begin)
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: got %v", service, err)
		}
	}
}
