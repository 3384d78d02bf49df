package replay

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/common/model"
)

// noon is when traces begin.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// trace is requests to a service through a release, as a Prometheus has them that scrapes the callers.
type trace struct {
	seed    uint64
	rate    float64 // requests a second
	sources int
	scrape  time.Duration
	length  time.Duration
	// weights by the time since noon; the last one may be 0
	weights []Weight
	// shares of requests that fail, and that take a second instead of 20 ms
	stableFails, canaryFails float64
	stableSlow, canarySlow   float64
	// restart of the first source, since noon; 0: none
	restart time.Duration
	// istio: the series are Istio's
	istio bool
	// pods of the canary that report their requests too
	pods int
}

// weightAt is in force so long after noon.
func (tr trace) weightAt(since time.Duration) uint32 {
	var weight uint32
	for _, w := range tr.weights {
		if !w.At.After(noon.Add(since)) {
			weight = w.Percent
		}
	}
	return weight
}

// steps makes weights that begin at these minutes after noon.
func steps(pairs ...float64) []Weight {
	var all []Weight
	for i := 0; i+1 < len(pairs); i += 2 {
		all = append(all, Weight{uint32(pairs[i+1]), noon.Add(time.Duration(pairs[i] * float64(time.Minute)))})
	}
	return all
}

// matrix plays the trace.
func (tr trace) matrix() model.Matrix {
	random := rand.New(rand.NewPCG(tr.seed, 1)) //nolint:gosec // a simulation
	streams := map[model.Fingerprint]*model.SampleStream{}
	values := make([]map[model.Fingerprint]float64, tr.sources+tr.pods) // the pods of the canary are targets too
	metrics := map[model.Fingerprint]model.Metric{}
	for s := range values {
		values[s] = map[model.Fingerprint]float64{}
	}
	count := func(source int, metric model.Metric, n float64) {
		if metric["pod"] == "" {
			metric["instance"] = model.LabelValue(fmt.Sprintf("10.0.0.%d:15020", source+1))
			metric["pod"] = model.LabelValue(fmt.Sprintf("front-%d", source+1))
		}
		key := metric.Fingerprint()
		metrics[key] = metric
		values[source][key] += n
	}
	seconds := int(tr.length / time.Second)
	offsets := make([]int, len(values))
	for s := range offsets {
		offsets[s] = random.IntN(int(tr.scrape / time.Second))
	}
	for second := range seconds {
		add := func(s int) func(model.Metric, float64) { return func(m model.Metric, n float64) { count(s, m, n) } }
		since := time.Duration(second) * time.Second
		weight := tr.weightAt(since)
		for s := range tr.sources {
			if tr.restart > 0 && since == tr.restart && s == 0 {
				values[s] = map[model.Fingerprint]float64{}
			}
			if weight > 0 {
				tr.count(add(s), "new", weight, 0, false, false)
			}
			tr.count(add(s), "old", weight, 0, false, false)
			requests := poisson(random, tr.rate/float64(tr.sources))
			type kind struct {
				revision     string
				failed, slow bool
			}
			kinds := map[kind]float64{}
			for range requests {
				revision, fails, slow := "old", tr.stableFails, tr.stableSlow
				if random.Float64()*100 < float64(weight) {
					revision, fails, slow = "new", tr.canaryFails, tr.canarySlow
				}
				kinds[kind{revision, random.Float64() < fails, random.Float64() < slow}]++
				if revision == "new" && tr.pods > 0 {
					pod := random.IntN(tr.pods)
					count(tr.sources+pod, model.Metric{
						"__name__": startedName, "reporter": "destination", "namespace": "shop", "service": "cart", "revision": "new", "weight": "",
						"pod": model.LabelValue(fmt.Sprintf("new-%d", pod)), "instance": model.LabelValue(fmt.Sprintf("10.0.1.%d:15020", pod+1)),
					}, 1)
				}
			}
			for k, n := range kinds {
				tr.count(add(s), k.revision, weight, n, k.failed, k.slow)
			}
		}
		for s := range values {
			if second%int(tr.scrape/time.Second) != offsets[s] {
				continue
			}
			at := model.TimeFromUnixNano(noon.Add(since + 7*time.Millisecond).UnixNano())
			for key, value := range values[s] {
				if streams[key] == nil {
					streams[key] = &model.SampleStream{Metric: metrics[key]}
				}
				streams[key].Values = append(streams[key].Values, model.SamplePair{Timestamp: at, Value: model.SampleValue(value)})
			}
		}
	}
	matrix := model.Matrix{}
	for _, key := range slices.Sorted(maps.Keys(streams)) {
		matrix = append(matrix, streams[key])
	}
	return matrix
}

// count counts n requests on the series of the trace's mesh.
func (tr trace) count(count func(model.Metric, float64), revision string, weight uint32, n float64, failed, slow bool) {
	if tr.istio {
		workload := map[string]model.LabelValue{"old": "cart-primary", "new": "cart"}[revision]
		with := func(name, code, le string) model.Metric {
			m := model.Metric{
				"__name__": model.LabelValue(name), "reporter": "source", "destination_service_namespace": "shop", "destination_service_name": "cart",
				"destination_workload": workload, "response_code": model.LabelValue(code), "response_flags": "-",
			}
			if le != "" {
				m["le"] = model.LabelValue(le)
			}
			return m
		}
		if n == 0 {
			return // Envoy has no series before the first request
		}
		code := "200"
		if failed {
			code = "503"
		}
		count(with("istio_requests_total", code, ""), n)
		for _, le := range []string{"10", "25", "50", "100", "250", "500", "1000", "2500", "+Inf"} {
			took := 20.0
			if slow {
				took = 1000
			}
			more := 0.0
			if bound, err := strconv.ParseFloat(le, 64); err == nil && took <= bound {
				more = n
			}
			count(with("istio_request_duration_milliseconds_bucket", code, le), more)
		}
		return
	}
	label := ""
	if len(tr.weights) > 0 && (weight > 0 || noon.Before(tr.weights[0].At)) {
		label = strconv.Itoa(int(weight))
	}
	with := func(name, code, le string) model.Metric {
		m := model.Metric{
			"__name__": model.LabelValue(name), "reporter": "source", "source": "front", "source_namespace": "shop", "protocol": "http",
			"namespace": "shop", "service": "cart", "revision": model.LabelValue(revision), "weight": model.LabelValue(label),
		}
		if code != "" {
			m["code"] = model.LabelValue(code)
		}
		if le != "" {
			m["le"] = model.LabelValue(le)
		}
		return m
	}
	code, class := "200", "2xx"
	if failed {
		code, class = "503", "5xx"
	}
	count(with(startedName, "", ""), n)
	count(with("sluice_requests_total", code, ""), n)
	for _, le := range []string{"0.01", "0.05", "0.25", "1", "5", "+Inf"} {
		took := .02
		if slow {
			took = .9
		}
		more := 0.0
		if bound, err := strconv.ParseFloat(le, 64); err == nil && took <= bound {
			more = n
		}
		count(with("sluice_request_duration_seconds_bucket", class, le), more)
	}
}

// poisson draws from a Poisson distribution by multiplying uniforms (Knuth).
func poisson(random *rand.Rand, mean float64) int {
	n, product, limit := 0, random.Float64(), math.Exp(-mean)
	for product > limit {
		n++
		product *= random.Float64()
	}
	return n
}

// pieces cuts a matrix into pieces of time.
func pieces(matrix model.Matrix, length time.Duration) []model.Matrix {
	first, newest, _ := extent(matrix)
	var all []model.Matrix
	for from := first; from <= newest; from += length.Milliseconds() {
		var piece model.Matrix
		for _, stream := range matrix {
			part := &model.SampleStream{Metric: stream.Metric}
			for _, sample := range stream.Values {
				if at := int64(sample.Timestamp); at >= from && at < from+length.Milliseconds() {
					part.Values = append(part.Values, sample)
				}
			}
			if len(part.Values) > 0 {
				piece = append(piece, part)
			}
		}
		if len(piece) > 0 {
			all = append(all, piece)
		}
	}
	slices.SortFunc(all, func(a, b model.Matrix) int {
		x, _, _ := extent(a)
		y, _, _ := extent(b)
		return cmp.Compare(x, y)
	})
	return all
}

// record writes a recording and opens it.
func record(t *testing.T, header Header, matrices []model.Matrix) *Recording {
	t.Helper()
	recording, err := Open(written(t, header, matrices))
	if err != nil {
		t.Fatal(err)
	}
	return recording
}

func written(t *testing.T, header Header, matrices []model.Matrix) func() (io.ReadCloser, error) {
	t.Helper()
	var m Memory
	w, err := NewWriter(&m, true, header, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, matrix := range matrices {
		if err := w.Add(matrix); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return m.Open
}
