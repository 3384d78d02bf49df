package telemetry

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// pageSize is how many cells are made at a time: two cache lines.
const pageSize = 16

type page [pageSize]atomic.Uint64

// durations is a histogram, classic and native. Its cells are in pages that are made when something first
// falls into them.
type durations struct {
	pages [maxPages]atomic.Pointer[page]
	sum   atomic.Uint64 // nanoseconds

	labels  []*dto.LabelPair
	created *timestamppb.Timestamp
}

// maxPages is room for all cells; a test holds it to their number.
const maxPages = 19

func newDurations(labels []*dto.LabelPair) *durations {
	return &durations{labels: labels, created: timestamppb.Now()}
}

func (h *durations) observe(d time.Duration) {
	d = max(d, 0)
	at := cellOf(d)
	p := h.pages[at/pageSize].Load()
	if p == nil {
		p = h.makePage(at / pageSize)
	}
	h.sum.Add(uint64(d)) //nolint:gosec // not negative
	p[at%pageSize].Add(1)
}

func (h *durations) makePage(i int) *page {
	h.pages[i].CompareAndSwap(nil, &page{})
	return h.pages[i].Load()
}

// Desc implements prometheus.Metric.
func (h *durations) Desc() *prometheus.Desc { return durationDesc }

// Write implements prometheus.Metric. Every cell is read once, so that count, classic and native buckets
// agree; the sum may be ahead by what is being counted meanwhile.
func (h *durations) Write(out *dto.Metric) error {
	var native spans
	var zero, count uint64
	upTo := make([]uint64, len(Buckets)) // cumulative after the loop below
	for i := range h.pages {
		p := h.pages[i].Load()
		if p == nil {
			continue
		}
		for j := range p {
			n := p[j].Load()
			if n == 0 {
				continue
			}
			c := &cells[i*pageSize+j]
			count += n
			if c.classic < len(upTo) {
				upTo[c.classic] += n
			}
			if c.native < firstNative {
				zero += n
			} else {
				native.add(c.native, n)
			}
		}
	}
	buckets := make([]dto.Bucket, len(Buckets))
	pointers := make([]*dto.Bucket, len(Buckets))
	for i := range buckets {
		if i > 0 {
			upTo[i] += upTo[i-1]
		}
		buckets[i].CumulativeCount, buckets[i].UpperBound = &upTo[i], &Buckets[i]
		pointers[i] = &buckets[i]
	}
	native.end()
	sum := time.Duration(h.sum.Load()).Seconds() //nolint:gosec // 292 years
	out.Label = h.labels
	out.Histogram = &dto.Histogram{
		SampleCount: &count, SampleSum: &sum, Bucket: pointers, CreatedTimestamp: h.created,
		Schema: new(int32(schema)), ZeroThreshold: &zeroThreshold, ZeroCount: &zero,
		PositiveSpan: native.spans, PositiveDelta: native.deltas,
	}
	return nil
}

// spans builds a native histogram's sparse buckets, as differences between neighbours; a gap of up to two
// empty buckets costs less within a span than between two.
type spans struct {
	spans  []*dto.BucketSpan
	deltas []int64

	open        bool
	bucket      int // the last one, not yet written
	n, previous int64
}

// add counts n in a bucket; buckets come in rising order, one of them perhaps twice.
func (s *spans) add(bucket int, n uint64) {
	if s.open && bucket == s.bucket {
		s.n += int64(n) //nolint:gosec // a count
		return
	}
	next := 0
	if s.open {
		s.end()
		next = s.bucket + 1
	}
	gap := bucket - next
	if !s.open || gap > 2 {
		s.spans = append(s.spans, &dto.BucketSpan{Offset: new(int32(gap)), Length: new(uint32(0))}) //nolint:gosec // some hundred
	} else {
		for range gap {
			s.delta(0)
		}
	}
	s.open, s.bucket, s.n = true, bucket, int64(n) //nolint:gosec // a count
}

// end writes the last bucket.
func (s *spans) end() {
	if s.open {
		s.delta(s.n)
	}
}

func (s *spans) delta(n int64) {
	*s.spans[len(s.spans)-1].Length++
	s.deltas = append(s.deltas, n-s.previous)
	s.previous = n
}
