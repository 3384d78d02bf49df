package bench

import (
	"strconv"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sluice-mesh/sluice/analysis"
	"github.com/sluice-mesh/sluice/analysis/prometheus"
)

// taped leads scrapes through the real ledger of analysis/prometheus, as the samples that Prometheus would
// answer with.
type taped struct {
	weights []uint32
	bounds  []float64
	series  [][]*model.SampleStream // by source and weight; nil: not there yet
	fresh   model.Matrix
	tape    *prometheus.Tape
	doubt   string
}

func newTaped(cell Cell, bounds []float64) *taped {
	return &taped{
		weights: cell.Plan.Weights, bounds: bounds,
		series: make([][]*model.SampleStream, cell.Scraped.Sources*len(cell.Plan.Weights)),
	}
}

// changed begins the tape anew with all samples so far, since a tape is for one state of a release.
func (t *taped) changed(release analysis.Release) {
	t.tape, t.fresh = prometheus.NewTape(release), nil
	var all model.Matrix
	for _, series := range t.series {
		all = append(all, series...)
	}
	t.add(all)
}

func (t *taped) observe(scrape Scrape) {
	time := model.TimeFromUnixNano(at(scrape.At).UnixNano())
	for w := scrape.First; w < scrape.Known; w++ {
		series := &t.series[scrape.Source*len(t.weights)+w]
		if *series == nil {
			*series = t.describe(scrape.Source, t.weights[w])
		}
		i := 0
		t.values(scrape.Counters[w], func(value uint64) {
			stream := (*series)[i]
			stream.Values = append(stream.Values, model.SamplePair{Timestamp: time, Value: model.SampleValue(value)})
			t.fresh = append(t.fresh, &model.SampleStream{Metric: stream.Metric, Values: stream.Values[len(stream.Values)-1:]})
			i++
		})
	}
}

func (t *taped) evidence(now time.Time) analysis.Evidence {
	t.add(t.fresh)
	t.fresh = t.fresh[:0]
	evidence := t.tape.Evidence(now)
	if t.doubt != "" {
		evidence.Doubt = t.doubt
	}
	return evidence
}

func (t *taped) add(matrix model.Matrix) {
	if len(matrix) == 0 {
		return
	}
	if err := t.tape.Add(matrix); err != nil {
		t.doubt = err.Error()
	}
}

// describe makes the series of one source and weight, in the order of values.
func (t *taped) describe(source int, weight uint32) []*model.SampleStream {
	var series []*model.SampleStream
	pod := "load-" + strconv.Itoa(source)
	for _, revision := range []string{"new", "old"} {
		one := func(name model.LabelValue, labels ...model.LabelValue) {
			metric := model.Metric{
				model.MetricNameLabel: name, "reporter": "source", "source": "load", "source_namespace": "shop",
				"service": "cart", "namespace": "shop", "revision": model.LabelValue(revision),
				"weight": model.LabelValue(strconv.Itoa(int(weight))), "protocol": "http",
				"pod": model.LabelValue(pod), "instance": model.LabelValue(pod + ":15020"), "job": "pods",
			}
			for i := 0; i < len(labels); i += 2 {
				metric[model.LabelName(labels[i])] = labels[i+1]
			}
			series = append(series, &model.SampleStream{Metric: metric})
		}
		one("sluice_requests_started_total")
		one("sluice_requests_total", "code", "200")
		one("sluice_requests_total", "code", "503")
		for _, class := range []model.LabelValue{"2xx", "5xx"} {
			for _, bound := range t.bounds {
				one("sluice_request_duration_seconds_bucket", "code", class, "le", model.LabelValue(number(bound)))
			}
			one("sluice_request_duration_seconds_bucket", "code", class, "le", "+Inf")
		}
	}
	return series
}

// values hands on the values of the series of one source and weight. Failures are quick.
func (t *taped) values(pair Pair, each func(uint64)) {
	for _, c := range pair {
		good := c.All - c.Failed
		each(c.All)
		each(good)
		each(c.Failed)
		for i := range t.bounds {
			each(good - c.Slow[i])
		}
		each(good)
		for range len(t.bounds) + 1 {
			each(c.Failed)
		}
	}
}
