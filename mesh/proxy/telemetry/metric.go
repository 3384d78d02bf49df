package telemetry

import (
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"
)

var (
	// In the order of their names, as metrics want them.
	keyLabels   = []string{"namespace", "protocol", "reporter", "revision", "service", "source", "source_namespace", "weight"}
	startedDesc = prometheus.NewDesc("sluice_requests_started_total",
		"Requests begun, by the revision that was drawn and the weight in force at the draw.", keyLabels, nil)
	totalDesc = prometheus.NewDesc("sluice_requests_total",
		"Requests ended; code 0: no endpoint answered, 499: the caller went away.",
		append([]string{"code", "grpc_status"}, keyLabels...), nil)
	durationDesc = prometheus.NewDesc("sluice_request_duration_seconds",
		"Time from the draw to the end of the response; code is a class.",
		append([]string{"code"}, keyLabels...), nil)
)

// labels are those of one key, made once for all its series.
type labels struct{ pairs []*dto.LabelPair }

func newLabels(k Key) *labels {
	values := [...]string{
		k.Namespace, k.Protocol, k.Reporter, k.Revision, k.Service, k.Source, k.SourceNamespace, k.Weight,
	}
	pairs := make([]dto.LabelPair, len(values))
	l := &labels{pairs: make([]*dto.LabelPair, len(values))}
	for i := range values {
		pairs[i].Name, pairs[i].Value = &keyLabels[i], &values[i]
		l.pairs[i] = &pairs[i]
	}
	return l
}

func (l *labels) started() []*dto.LabelPair { return l.pairs }

func (l *labels) total(code, status int) []*dto.LabelPair {
	number := ""
	if status != noStatus {
		number = strconv.Itoa(status)
	}
	return l.with(pair("code", strconv.Itoa(code)), pair("grpc_status", number))
}

func (l *labels) duration(class int) []*dto.LabelPair { return l.with(pair("code", classes[class])) }

// with puts labels before the others; "code" and "grpc_status" are first by name.
func (l *labels) with(first ...*dto.LabelPair) []*dto.LabelPair { return append(first, l.pairs...) }

func pair(name, value string) *dto.LabelPair { return &dto.LabelPair{Name: &name, Value: &value} }

// counter is one series of a counter.
type counter struct {
	n       atomic.Uint64
	desc    *prometheus.Desc
	labels  []*dto.LabelPair
	created *timestamppb.Timestamp
}

func (c *counter) init(desc *prometheus.Desc, labels []*dto.LabelPair) {
	c.desc, c.labels, c.created = desc, labels, timestamppb.Now()
}

// Desc implements prometheus.Metric.
func (c *counter) Desc() *prometheus.Desc { return c.desc }

// Write implements prometheus.Metric.
func (c *counter) Write(out *dto.Metric) error {
	out.Label = c.labels
	out.Counter = &dto.Counter{Value: new(float64(c.n.Load())), CreatedTimestamp: c.created}
	return nil
}
