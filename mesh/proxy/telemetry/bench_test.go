package telemetry

import (
	"io"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

// BenchmarkRequest counts one request from its beginning to its end.
func BenchmarkRequest(b *testing.B) {
	series := New(prometheus.NewRegistry()).Series(canary)
	next := func(d time.Duration) time.Duration { return (d + 77777) % (100 * time.Millisecond) }
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		d := time.Duration(0)
		for b.Loop() {
			d = next(d)
			series.Begin()
			series.End(200, d)
		}
	})
	b.Run("gRPC", func(b *testing.B) {
		b.ReportAllocs()
		d := time.Duration(0)
		for b.Loop() {
			d = next(d)
			series.Begin()
			series.EndGRPC(200, 0, d)
		}
	})
	b.Run("on all cores", func(b *testing.B) {
		b.RunParallel(func(p *testing.PB) {
			d := time.Duration(0)
			for p.Next() {
				d = next(d)
				series.Begin()
				series.End(200, d)
			}
		})
	})
}

// BenchmarkScrape gathers the series of 40 revisions and writes them as text, by our own means and, to
// compare, by client_golang's.
func BenchmarkScrape(b *testing.B) {
	ours, theirs := prometheus.NewRegistry(), prometheus.NewRegistry()
	recorder, vectors := New(ours), newVectors(theirs)
	for i := range 40 {
		key := canary
		key.Revision = strconv.Itoa(i)
		series := recorder.Series(key)
		for n := range 1000 {
			d := time.Duration(n) * 50 * time.Microsecond
			series.Begin()
			series.End(200, d)
			vectors.count(key, 200, "", "2xx", d)
		}
	}
	for name, registry := range map[string]*prometheus.Registry{"ours": ours, "client_golang": theirs} {
		scrape := func(b *testing.B, format expfmt.Format) {
			b.ReportAllocs()
			for b.Loop() {
				families, err := registry.Gather()
				if err != nil {
					b.Fatal(err)
				}
				encoder := expfmt.NewEncoder(io.Discard, format)
				for _, family := range families {
					if err := encoder.Encode(family); err != nil {
						b.Fatal(err)
					}
				}
			}
		}
		b.Run(name+"/text", func(b *testing.B) { scrape(b, expfmt.NewFormat(expfmt.TypeTextPlain)) })
		b.Run(name+"/protobuf", func(b *testing.B) { scrape(b, expfmt.NewFormat(expfmt.TypeProtoDelim)) })
	}
}
