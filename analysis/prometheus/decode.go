package prometheus

import (
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
	"sync"
)

// answer is a response to a range selector, decoded: raw samples, series by series. Its memory is used
// again for the next one. Once decoded it does not change.
type answer struct {
	body    []byte
	streams []stream
	samples []sample
	// histograms of streams of native histograms, with their buckets.
	histograms []histogram
	buckets    []bucket
	// of are the indexes of a service's streams.
	of map[*service][]int
	// cold are the weights that were not asked for.
	cold weights

	status, kind, errorType, errorText, warning string
}

// stream is the samples [from, to) of one series, or its histograms.
type stream struct {
	metric                     *metric
	from, to                   int
	histogramFrom, histogramTo int
}

// sample is the value of a counter at a time in milliseconds.
type sample struct {
	at    int64
	value float64
}

// histogram is the state of a native histogram at a time in milliseconds: buckets [from, to) are those
// that hold anything.
type histogram struct {
	at         int64
	count, sum float64
	from, to   int
}

// bucket holds the durations between two limits in seconds. closed says which limits are within, as the
// server's API does.
type bucket struct {
	closed              int
	lower, upper, count float64
}

// service is a Service that is called.
type service struct{ namespace, name string }

// decoder reads answers. It remembers the series that it meets, so that one that comes again, which most
// do, in the same order, costs a comparison. It is safe for concurrent use.
type decoder struct {
	mu       sync.Mutex
	known    map[string]*metric
	services map[service]*service
	first    metric // only its next is used
	last     *metric
	now      int64 // seconds
	swept    int64
}

func newDecoder() *decoder {
	return &decoder{known: map[string]*metric{}, services: map[service]*service{}}
}

// forget is for how many seconds a series is remembered that is not met again.
const forget = 3600

// decode reads a.body, at a time that is told in seconds.
func (d *decoder) decode(a *answer, now int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.begin(a, now)
	a.status, a.kind, a.errorType, a.errorText, a.warning = "", "", "", "", ""
	s := &scanner{data: a.body}
	ok := s.object(func(key []byte) bool {
		switch string(key) {
		case "status":
			return s.copyText(&a.status)
		case "errorType":
			return s.copyText(&a.errorType)
		case "error":
			return s.copyText(&a.errorText)
		case "warnings":
			return s.firstText(&a.warning)
		case "data":
			return d.data(s, a)
		}
		return s.skip(0)
	})
	s.space()
	switch {
	case !ok || s.at != len(s.data):
		return fmt.Errorf("bad_response: not what the API answers, from byte %d on", s.at)
	case a.status == "error":
		return fmt.Errorf("%s: %s", short(a.errorType), short(a.errorText))
	case a.status != "success":
		return errors.New("bad_response: neither success nor error")
	case a.warning != "":
		return fmt.Errorf("the answer is not complete: %s", short(a.warning))
	case a.kind != "matrix":
		return errors.New("the answer is not a list of raw samples")
	}
	return nil
}

// begin empties an answer and forgets series that were not met for long.
func (d *decoder) begin(a *answer, now int64) {
	a.streams, a.samples, a.histograms, a.buckets = a.streams[:0], a.samples[:0], a.histograms[:0], a.buckets[:0]
	if a.of == nil || len(a.of) > 1000 {
		a.of = map[*service][]int{}
	}
	for s, list := range a.of {
		if len(list) == 0 { // of an earlier answer
			delete(a.of, s)
			continue
		}
		a.of[s] = list[:0]
	}
	d.now, d.last = max(d.now, now), &d.first
	if d.now-d.swept < forget {
		return
	}
	d.swept = d.now
	d.first.next = nil
	for text, m := range d.known {
		m.next = nil
		if d.now-m.used > forget {
			delete(d.known, text)
		}
	}
	for name := range d.services {
		delete(d.services, name)
	}
	for _, m := range d.known {
		d.services[*m.service] = m.service
	}
}

func (d *decoder) data(s *scanner, a *answer) bool {
	if s.null() {
		return true
	}
	later := -1
	ok := s.object(func(key []byte) bool {
		switch string(key) {
		case "resultType":
			return s.copyText(&a.kind)
		case "result":
			if a.kind == "matrix" {
				return d.streams(s, a)
			}
			s.space()
			later = s.at
		}
		return s.skip(0)
	})
	if ok && a.kind == "matrix" && later >= 0 {
		end := s.at
		s.at = later
		ok = d.streams(s, a)
		s.at = end
	}
	return ok && a.kind != ""
}

func (d *decoder) streams(s *scanner, a *answer) bool {
	return s.array(func() bool {
		st := stream{from: len(a.samples), histogramFrom: len(a.histograms)}
		ok := s.object(func(key []byte) bool {
			switch string(key) {
			case "metric":
				st.metric = d.metric(s)
				return st.metric != nil
			case "values":
				return s.samples(a)
			case "histograms":
				return s.histograms(a)
			}
			return s.skip(0)
		})
		st.to, st.histogramTo = len(a.samples), len(a.histograms)
		if !ok || st.metric == nil {
			return false
		}
		a.add(st)
		return true
	})
}

func (a *answer) add(st stream) {
	a.of[st.metric.service] = append(a.of[st.metric.service], len(a.streams))
	a.streams = append(a.streams, st)
}

// split parts an answer into what is known at a time, in milliseconds, and what comes after it; nil: nothing.
func (a *answer) split(now int64) (early, rest *answer) {
	part := func() *answer {
		return &answer{samples: a.samples, histograms: a.histograms, buckets: a.buckets, of: map[*service][]int{}}
	}
	early, rest = part(), part()
	for _, st := range a.streams {
		x := st.from + sort.Search(st.to-st.from, func(i int) bool { return a.samples[st.from+i].at > now })
		h := st.histogramFrom + sort.Search(st.histogramTo-st.histogramFrom, func(i int) bool { return a.histograms[st.histogramFrom+i].at > now })
		if st.from < x || st.histogramFrom < h {
			early.add(stream{st.metric, st.from, x, st.histogramFrom, h})
		}
		if x < st.to || h < st.histogramTo {
			rest.add(stream{st.metric, x, st.to, h, st.histogramTo})
		}
	}
	switch {
	case len(rest.streams) == 0:
		return a, nil
	case len(early.streams) == 0:
		return nil, a
	}
	return early, rest
}

// metric reads the labels of a series; nil when they are none.
func (d *decoder) metric(s *scanner) *metric {
	s.space()
	m := d.last.next
	if m != nil && len(s.data)-s.at >= len(m.text) && string(s.data[s.at:s.at+len(m.text)]) == m.text {
		s.at += len(m.text)
	} else {
		start := s.at
		if !s.object(func([]byte) bool { _, ok := s.text(); return ok }) {
			return nil
		}
		text := s.data[start:s.at]
		if m = d.known[string(text)]; m == nil {
			if m = d.learn(string(text)); m == nil {
				return nil
			}
		}
		d.last.next = m
	}
	m.used, d.last = d.now, m
	return m
}

// learn makes a series of its labels; nil when they are none.
func (d *decoder) learn(text string) *metric {
	labels := map[string]string{}
	if json.NewDecoder(strings.NewReader(text)).Decode(&labels) != nil {
		return nil
	}
	m := newMetric(labels)
	m.text = text
	named := service{labels["namespace"], labels["service"]}
	if m.service = d.services[named]; m.service == nil {
		m.service = &named
		d.services[named] = m.service
	}
	d.known[text] = m
	return m
}
