package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-mesh/sluice/analysis"
	"github.com/sluice-mesh/sluice/analysis/prometheus"
)

// served makes evidence the way that is taken in a cluster: the Sampler of analysis/prometheus asks a server
// for raw samples, decodes its answer and books them. The server is here, in memory.
type served struct {
	sampler *prometheus.Sampler
	server  *server
	release analysis.Release
}

func newServed(cell Cell, bounds []float64) *served {
	s := &served{server: newServer(cell.Plan.Weights, cell.Scraped.Sources, bounds)}
	sampler, err := prometheus.New(prometheus.Options{
		Address: "http://prometheus", RoundTripper: s.server, Timeout: time.Hour,
		Now: func() time.Time { return s.server.now },
	})
	if err == nil { // else there is no evidence
		s.sampler = sampler
	}
	return s
}

func (s *served) changed(release analysis.Release) { s.release = release }

func (s *served) observe(scrape Scrape) { s.server.scrape(scrape) }

func (s *served) evidence(now time.Time) analysis.Evidence {
	s.server.now = now
	if s.sampler == nil {
		return analysis.Evidence{Doubt: "there is no sampler"}
	}
	evidence, err := s.sampler.Evidence(context.Background(), s.release)
	if err != nil {
		return analysis.Evidence{Doubt: err.Error()}
	}
	return evidence
}

// server is a Prometheus that answers range selectors with the raw samples of their time, whatever they
// select; there is nothing but one release's series.
type server struct {
	now     time.Time
	weights []uint32
	bounds  []float64
	series  [][]*samples // by source and weight; nil: not there yet
	body    []byte
	spent   time.Duration // on making answers
}

// samples is one series with its samples: times in milliseconds.
type samples struct {
	labels []byte // `{"metric":{...},"values":[`
	times  []int64
	values []uint64
}

func newServer(weights []uint32, sources int, bounds []float64) *server {
	return &server{weights: weights, bounds: bounds, series: make([][]*samples, sources*len(weights))}
}

func (s *server) scrape(scrape Scrape) {
	for w := scrape.First; w < scrape.Known; w++ {
		series := &s.series[scrape.Source*len(s.weights)+w]
		if *series == nil {
			*series = s.describe(scrape.Source, s.weights[w])
		}
		i, at := 0, at(scrape.At).UnixMilli()
		s.values(scrape.Counters[w], func(value uint64) {
			one := (*series)[i]
			one.times, one.values = append(one.times, at), append(one.values, value)
			i++
		})
	}
}

// describe makes the series of one source and weight, in the order of values.
func (s *server) describe(source int, weight uint32) []*samples {
	var series []*samples
	for _, revision := range []string{"new", "old"} {
		add := func(name, more string) {
			series = append(series, &samples{labels: fmt.Appendf(nil,
				`{"metric":{"__name__":"%s","instance":"10.0.%d.%d:15020","job":"sluice-proxies","namespace":"shop","pod":"front-7d9c6b5f4-%05d","protocol":"http","reporter":"source","revision":"%s","service":"cart","source":"front","source_namespace":"web","weight":"%d"%s},"values":[`,
				name, source/256, source%256, source, revision, weight, more)})
		}
		add("sluice_requests_started_total", "")
		add("sluice_requests_total", `,"code":"200"`)
		add("sluice_requests_total", `,"code":"503"`)
		for _, class := range []string{"2xx", "5xx"} {
			for _, bound := range append(s.bounds[:len(s.bounds):len(s.bounds)], math.Inf(1)) {
				add("sluice_request_duration_seconds_bucket", fmt.Sprintf(`,"code":"%s","le":"%s"`, class, edge(bound)))
			}
		}
	}
	return series
}

// values hands on the values of the series of one source and weight. Failures are quick.
func (s *server) values(pair Pair, each func(uint64)) {
	for _, c := range pair {
		good := c.All - c.Failed
		each(c.All)
		each(good)
		each(c.Failed)
		for i := range s.bounds {
			each(good - c.Slow[i])
		}
		each(good)
		for range len(s.bounds) + 1 {
			each(c.Failed)
		}
	}
}

// edge is a bound as the label le has it.
func edge(bound float64) string {
	if math.IsInf(bound, 1) {
		return "+Inf"
	}
	return strconv.FormatFloat(bound, 'f', -1, 64)
}

// RoundTrip answers the Sampler.
func (s *server) RoundTrip(request *http.Request) (*http.Response, error) {
	defer func(before time.Duration) { s.spent += processor() - before }(processor())
	switch {
	case strings.HasSuffix(request.URL.Path, "/values"):
		s.body = append(s.body[:0], `{"status":"success","data":["+Inf"`...)
		for _, bound := range s.bounds {
			s.body = append(s.body, `,"`+edge(bound)+`"`...)
		}
		s.body = append(s.body, `]}`...)
	default:
		from, to, err := asked(request)
		if err != nil {
			return nil, err
		}
		s.body = s.answer(s.body[:0], from, to)
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(s.body)), Request: request}, nil
}

// asked is the time (from, to] of a range selector, in milliseconds; nothing at all where there is none, as
// in the query for sources that are down: there are none.
func asked(request *http.Request) (from, to int64, err error) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return 0, 0, err //nolint:wrapcheck // a reader in memory
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return 0, 0, fmt.Errorf("parse query: %w", err)
	}
	seconds, err := strconv.ParseFloat(form.Get("time"), 64)
	if err != nil {
		return 0, 0, fmt.Errorf("parse time: %w", err)
	}
	to = int64(math.Round(seconds * 1000))
	query := form.Get("query")
	open := strings.LastIndex(query, "[")
	if open < 0 {
		return to, to, nil
	}
	length, found := strings.CutSuffix(query[open+1:], "ms]")
	ms, err := strconv.ParseInt(length, 10, 64)
	if err != nil || !found {
		return 0, 0, errors.New("parse range: not in milliseconds")
	}
	return to - ms, to, nil
}

// answer appends the body of an answer.
func (s *server) answer(b []byte, from, to int64) []byte {
	kind := "matrix"
	if from == to {
		kind = "vector"
	}
	b = append(b, `{"status":"success","data":{"resultType":"`+kind+`","result":[`...)
	before := len(b)
	for _, series := range s.series {
		for _, one := range series {
			last := len(one.times)
			for last > 0 && one.times[last-1] > to {
				last--
			}
			first := last
			for first > 0 && one.times[first-1] > from {
				first--
			}
			if first == last {
				continue
			}
			if len(b) > before {
				b = append(b, ',')
			}
			b = append(b, one.labels...)
			for i := first; i < last; i++ {
				if i > first {
					b = append(b, ',')
				}
				b = append(b, '[')
				b = strconv.AppendInt(b, one.times[i]/1000, 10)
				b = append(b, '.', byte('0'+one.times[i]/100%10), byte('0'+one.times[i]/10%10), byte('0'+one.times[i]%10))
				b = append(b, `,"`...)
				b = strconv.AppendUint(b, one.values[i], 10)
				b = append(b, `"]`...)
			}
			b = append(b, `]}`...)
		}
	}
	return append(b, `]}}`...)
}
