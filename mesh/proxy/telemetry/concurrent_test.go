package telemetry

import (
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// TestCountingWhileScraped: every scrape is consistent in itself, and in the end nothing is missing.
func TestCountingWhileScraped(t *testing.T) {
	const workers, each = 4, 20_000
	registry := prometheus.NewPedanticRegistry()
	recorder := New(registry)
	recorder.Series(canary)
	var counting sync.WaitGroup
	for w := range workers {
		counting.Go(func() {
			for i := range each {
				s := recorder.Series(canary)
				s.Begin()
				d := time.Duration(i) * time.Duration(i) * time.Microsecond / 100
				if i%5 == w {
					s.EndGRPC(200, i%20-1, d)
				} else {
					s.End(100+i%500, d)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		counting.Wait()
		close(done)
	}()
	for last := false; !last; {
		select {
		case <-done:
			last = true
		default:
		}
		started, ended, timed := uint64(0), uint64(0), uint64(0)
		for _, family := range gather(t, registry) {
			for _, m := range family.GetMetric() {
				switch family.GetName() {
				case "sluice_requests_started_total":
					started += uint64(m.GetCounter().GetValue())
				case "sluice_requests_total":
					ended += uint64(m.GetCounter().GetValue())
				default:
					timed += consistent(t, m.GetHistogram())
				}
			}
		}
		if ended > started {
			t.Fatalf("%d ended of %d begun", ended, started)
		}
		if want := uint64(workers * each); last && (started != want || ended != want || timed != want) {
			t.Errorf("%d begun, %d ended, %d timed, want %d", started, ended, timed, want)
		}
	}
}

// consistent checks what Prometheus checks: no classic bucket has more than the next, and the native ones
// sum to the count. It returns the count.
func consistent(t *testing.T, h *dto.Histogram) uint64 {
	t.Helper()
	before := uint64(0)
	for _, b := range h.GetBucket() {
		if b.GetCumulativeCount() < before {
			t.Fatalf("falling buckets: %v", h)
		}
		before = b.GetCumulativeCount()
	}
	sum, n := int64(h.GetZeroCount()), int64(0)
	for _, delta := range h.GetPositiveDelta() {
		n += delta
		sum += n
	}
	if before > h.GetSampleCount() || uint64(sum) != h.GetSampleCount() {
		t.Fatalf("count %d, classic %d, native %d", h.GetSampleCount(), before, sum)
	}
	return h.GetSampleCount()
}

func TestCountingAllocatesNothing(t *testing.T) {
	series := New(prometheus.NewRegistry()).Series(canary)
	count := func() {
		series.Begin()
		series.End(200, 3*time.Millisecond)
		series.Begin()
		series.EndGRPC(200, 14, 3*time.Millisecond)
	}
	count()
	if n := testing.AllocsPerRun(100, count); n != 0 {
		t.Errorf("%v allocations for two requests", n)
	}
}
