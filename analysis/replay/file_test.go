package replay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/common/model"
)

func opener(text string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
}

const header = `{"sluiceReplay":1,"namespace":"shop","service":"cart"}`

func TestRecordingIsReadAsItWasWritten(t *testing.T) {
	histogram := &model.SampleHistogram{Count: 3, Sum: .5, Buckets: model.HistogramBuckets{{Boundaries: 0, Lower: .1, Upper: .2, Count: 3}}}
	want := []model.Matrix{
		{{Metric: model.Metric{"a": "b\n"}, Values: []model.SamplePair{{Timestamp: 1500, Value: .1}, {Timestamp: 2001, Value: 1e15}}}},
		{{Metric: model.Metric{"a": "b"}, Histograms: []model.SampleHistogramPair{{Timestamp: 3000, Histogram: histogram}}}},
	}
	h := Header{
		From: noon, Until: noon.Add(time.Hour), Namespace: "shop", Service: "cart",
		Release: &Release{Stable: "old", Canary: "new", Weights: steps(1, 10), Until: noon.Add(time.Hour), BoundarySeconds: []float64{.0025, 1}, Pods: []time.Time{noon}, PodSpread: .3, ControlPods: 9},
	}
	for _, zipped := range []bool{true, false} {
		var m Memory
		w, err := NewWriter(&m, zipped, h, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, matrix := range append(want, nil) {
			if err := w.Add(matrix); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if begins := bytes.HasPrefix(m.buffer.Bytes(), []byte{0x1f, 0x8b}); begins != zipped {
			t.Errorf("zipped: %v, want %v", begins, zipped)
		}
		r, err := Open(m.Open)
		if err != nil {
			t.Fatal(err)
		}
		h.Version = Version
		if diff := cmp.Diff(h, r.Header); diff != "" {
			t.Errorf("header (-written +read):\n%s", diff)
		}
		for range 2 { // as often as one likes
			var got []model.Matrix
			if err := r.Each(t.Context(), func(matrix model.Matrix) error { got = append(got, matrix); return nil }); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("samples (-written +read):\n%s", diff)
			}
		}
	}
}

func TestRecordingTakesTheAPIsEnvelope(t *testing.T) {
	r, err := Open(opener(header + "\n\n" + `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"b"},"values":[[1.5,"2"]]}]}}` + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = r.Each(t.Context(), func(matrix model.Matrix) error {
		n += len(matrix)
		if matrix[0].Values[0].Timestamp != 1500 || matrix[0].Values[0].Value != 2 {
			t.Errorf("got %v", matrix)
		}
		return nil
	})
	if err != nil || n != 1 {
		t.Errorf("got %d series, %v", n, err)
	}
}

func TestRecordingRefuses(t *testing.T) {
	sample := func(at string) string {
		return "\n" + `{"resultType":"matrix","result":[{"metric":{"a":"b"},"values":[[` + at + `,"2"]]}]}`
	}
	for name, test := range map[string]struct{ text, part string }{
		"nothing":            {"", "is empty"},
		"no JSON":            {"time,value\n", "line 1: not a recording's header"},
		"something else":     {`{"kind":"Rollout"}`, "not a recording of sluice analyze --record"},
		"a later version":    {`{"sluiceReplay":2,"namespace":"a","service":"b"}`, "version 2"},
		"no service":         {`{"sluiceReplay":1,"namespace":"a"}`, "names no namespace and service"},
		"both":               {`{"sluiceReplay":1,"foreign":{},"release":{}}`, "both foreign and release"},
		"no weights":         {`{"sluiceReplay":1,"namespace":"a","service":"b","release":{"stable":"a","canary":"b"}}`, "no weights"},
		"one revision":       {`{"sluiceReplay":1,"namespace":"a","service":"b","release":{"stable":"a","canary":"a"}}`, "not two revisions"},
		"weights fall":       {`{"sluiceReplay":1,"namespace":"a","service":"b","release":{"stable":"a","canary":"b","until":"2026-03-01T13:00:00Z","weights":[{"percent":20,"at":"2026-03-01T12:00:00Z"},{"percent":10,"at":"2026-03-01T12:01:00Z"}]}}`, "do not rise"},
		"a vector":           {header + "\n" + `{"resultType":"vector","result":[]}`, "line 2: no matrix"},
		"an error":           {header + "\n" + `{"status":"error","data":{"resultType":"matrix","result":[]}}`, "line 2: no matrix"},
		"no matrix's JSON":   {header + "\n" + `{"resultType":"matrix","result":[{"values":[["x"]]}]}`, "line 2: not a matrix"},
		"a null":             {header + "\n" + `{"resultType":"matrix","result":[null]}`, "a series is null"},
		"times that fall":    {header + "\n" + `{"resultType":"matrix","result":[{"metric":{},"values":[[2,"1"],[1,"1"]]}]}`, "not in order of time"},
		"a time before all":  {header + sample("-1"), "not in order of time"},
		"pieces in disorder": {header + sample("20") + sample("10"), "line 3: its samples begin before"},
		"a broken zip":       {"\x1f\x8bxxxxxxxxxxx", "unzip recording"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Open(opener(test.text))
			if err == nil {
				err = r.Each(t.Context(), func(model.Matrix) error { return nil })
			}
			if err == nil || !strings.Contains(err.Error(), test.part) {
				t.Errorf("got %v, want an error with %q", err, test.part)
			}
		})
	}
}

func TestRecordingIsBounded(t *testing.T) {
	var m Memory
	w, err := NewWriter(&m, true, Header{Namespace: "shop", Service: "cart"}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	big := model.Matrix{{Metric: model.Metric{"a": model.LabelValue(strings.Repeat("b", 1000))}, Values: []model.SamplePair{{Timestamp: 1}}}}
	if err := w.Add(big); !errors.Is(err, ErrTooMuch) {
		t.Errorf("got %v", err)
	}
}

func TestReadingStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := Open(opener(header))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Each(ctx, func(model.Matrix) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// Whatever a file holds, reading and judging it ends without a panic, and with an error or a result that
// has a decision.
func FuzzRecording(f *testing.F) {
	release := `"release":{"stable":"old","canary":"new","weights":[{"percent":10,"at":"1970-01-01T00:00:01Z"}],"until":"1970-01-01T00:01:00Z","boundarySeconds":[0.25]}`
	line := `{"resultType":"matrix","result":[` +
		`{"metric":{"__name__":"sluice_requests_started_total","reporter":"source","namespace":"shop","service":"cart","revision":"new","weight":"10","pod":"a"},"values":[[1,"0"],[2,"3"]]},` +
		`{"metric":{"__name__":"sluice_requests_total","reporter":"source","namespace":"shop","service":"cart","revision":"new","weight":"10","pod":"a","code":"200"},"values":[[1,"0"],[2,"3"]]},` +
		`{"metric":{"__name__":"sluice_request_duration_seconds","reporter":"source","namespace":"shop","service":"cart","revision":"new","weight":"10","pod":"a","code":"2xx"},"histograms":[[2,{"count":"3","sum":"1","buckets":[[0,"0.1","0.2","3"]]}]]}]}`
	foreign := `{"sluiceReplay":1,"foreign":{"requests":"r","canary":"v=\"2\"","stable":"v=\"1\"","errors":["code=\"500\""],"latency":"l_bucket","latencyUnitSeconds":0.001}}`
	istio := `{"resultType":"matrix","result":[{"metric":{"__name__":"r","v":"2","pod":"a","code":"200"},"values":[[1,"0"],[200,"3"]]},` +
		`{"metric":{"__name__":"l_bucket","v":"1","pod":"a","le":"+Inf"},"values":[[1,"0"],[200,"3"]]}]}`
	f.Add(header + "\n" + line)
	f.Add(`{"sluiceReplay":1,"namespace":"shop","service":"cart",` + release + "}\n" + line)
	f.Add(foreign + "\n" + istio)
	f.Add(header + "\n" + `{"status":"success","data":{"resultType":"matrix","result":[null]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Open(opener(text))
		if err != nil {
			return
		}
		o := defaults()
		o.Interval = time.Minute
		result, err := Judge(t.Context(), r, o)
		if err == nil && (len(result.Decisions) == 0 || result.Decisions[0].Outcome == "") {
			t.Errorf("no decision: %+v", result)
		}
	})
}
