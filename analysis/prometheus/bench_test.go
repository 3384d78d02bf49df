package prometheus_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/analysis"
	"github.com/sluice-mesh/sluice/analysis/prometheus"
)

// fleet is many sources and a Prometheus that scrapes them every 15 s, all at once, and answers with the
// raw samples of the last three scrapes and the present one, as a server does to a Sampler that has caught
// up.
type fleet struct {
	sources int
	now     time.Time
	body    []byte
	texts   []string // series without their samples
	slopes  []int    // requests in a scrape
}

var classicBounds = []string{"0.05", "0.1", "0.25", "1", "5", "+Inf"}

func newFleet(sources int) *fleet {
	f := &fleet{sources: sources, now: since}
	labels := func(source int, revision string) string {
		return fmt.Sprintf(`"instance":"10.0.%d.%d:15020","job":"sluice-proxies","namespace":"shop","pod":"front-7d9c6b5f4-%05d","protocol":"http","reporter":"source","revision":"%s","service":"cart","source":"front","source_namespace":"web","weight":"10"`,
			source/256, source%256, source, revision)
	}
	add := func(slope int, format string, args ...any) {
		f.texts = append(f.texts, `{"metric":{`+fmt.Sprintf(format, args...)+`},"values":[`)
		f.slopes = append(f.slopes, slope)
	}
	// In the order in which a server answers: by name first.
	for source := range sources {
		for i, revision := range []string{"5f6d8c9b77", "6c7b9d8f54"} {
			add(100+800*i, `"__name__":"sluice_requests_started_total",%s`, labels(source, revision))
			for j, code := range []string{"200", "404", "499", "503"} {
				add([]int{85, 10, 2, 3}[j]*(1+8*i), `"__name__":"sluice_requests_total","code":"%s",%s`, code, labels(source, revision))
			}
			for j, class := range []string{"2xx", "4xx"} {
				for k, le := range classicBounds {
					most := []int{85, 12}[j]
					add((most-5+k)*(1+8*i), `"__name__":"sluice_request_duration_seconds_bucket","code":"%s","le":"%s",%s`, class, le, labels(source, revision))
				}
			}
		}
	}
	return f
}

const benchInterval = 15 * time.Second

// scrape makes the answer after n scrapes.
func (f *fleet) scrape(n int) {
	f.now = since.Add(time.Duration(n)*benchInterval + 5*time.Second)
	b := f.body[:0]
	b = append(b, `{"status":"success","data":{"resultType":"matrix","result":[`...)
	for i, text := range f.texts {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, text...)
		for scrape := max(n-3, 0); scrape <= n; scrape++ {
			if scrape > max(n-3, 0) {
				b = append(b, ',')
			}
			b = append(b, '[')
			b = strconv.AppendInt(b, since.Unix()+int64(scrape)*15, 10)
			b = append(b, `.718,"`...)
			b = strconv.AppendInt(b, int64(scrape*f.slopes[i]), 10)
			b = append(b, `"]`...)
		}
		b = append(b, `]}`...)
	}
	b = append(b, `]}}`...)
	f.body = b
}

func (f *fleet) RoundTrip(r *http.Request) (*http.Response, error) {
	body := f.body
	if strings.HasSuffix(r.URL.Path, "/values") {
		body = []byte(answer(`["` + strings.Join(classicBounds, `","`) + `"]`))
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), Request: r}, nil
}

var benchRelease = analysis.Release{
	Namespace: "shop", Service: "cart", Stable: "6c7b9d8f54", Canary: "5f6d8c9b77",
	Since: since, Weight: 10, WeightSince: since, Planned: []uint32{10, 50, 100},
	Boundaries: []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, time.Second, 5 * time.Second},
}

func (f *fleet) sampler(t testing.TB) *prometheus.Sampler {
	t.Helper()
	sampler, err := prometheus.New(prometheus.Options{Address: "http://prometheus", RoundTripper: f, Now: func() time.Time { return f.now }})
	if err != nil {
		t.Fatal(err)
	}
	return sampler
}

// BenchmarkEvidence is one look at a release with 50 sources, 2 revisions and 5 boundaries: the answer of
// the server, already in memory, is read, decoded, booked, summed up, and judged by the default comparison.
func BenchmarkEvidence(b *testing.B) {
	for name, every := range map[string]int{"nothing new": 1 << 40, "a scrape in every third look": 3, "a scrape in every look": 1} {
		b.Run(name, func(b *testing.B) {
			f := newFleet(50)
			f.scrape(0)
			sampler := f.sampler(b)
			scrapes := 0
			for range 5 {
				scrapes++
				f.scrape(scrapes)
				if _, err := sampler.Evidence(b.Context(), benchRelease); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(f.body)))
			comparison := analysis.DefaultComparison()
			settings := analysis.Settings{Compare: &comparison, MinRequests: 50, Duration: time.Minute}
			n, spent := 0, time.Duration(0)
			for b.Loop() {
				if n++; n%every == 0 {
					b.StopTimer()
					scrapes++
					f.scrape(scrapes)
					b.StartTimer()
				}
				before := cpu()
				evidence, err := sampler.Evidence(b.Context(), benchRelease)
				if err != nil || evidence.Doubt != "" || evidence.Sources != 50 {
					b.Fatal(err, evidence.Doubt)
				}
				analysis.Assess(benchRelease, settings, evidence, f.now)
				spent += cpu() - before
			}
			b.ReportMetric(float64(n)/spent.Seconds(), "verdicts/cpu-s")
		})
	}
}

// cpu is how much processor time the process has spent: other than the clock's, it does not depend on what
// else runs on the machine.
func cpu() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// A release of 10,000 scrapes, 41 hours, holds no more than one of 300.
func TestALongReleaseDoesNotGrow(t *testing.T) {
	f := newFleet(3)
	f.scrape(0)
	sampler := f.sampler(t)
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	most, early := 10_000, uint64(0)
	if testing.Short() {
		most = 2000
	}
	for n := 1; n <= most; n++ {
		f.scrape(n)
		evidence, err := sampler.Evidence(t.Context(), benchRelease)
		if err != nil || evidence.Doubt != "" {
			t.Fatal(err, evidence.Doubt)
		}
		if want := uint64(3 * 100 * n); evidence.Strata[0].Seen.Canary.Answered != want {
			t.Fatalf("%d answered after %d scrapes, want %d", evidence.Strata[0].Seen.Canary.Answered, n, want)
		}
		if n == 300 {
			early = heap()
		}
	}
	late := heap()
	t.Logf("%d bytes after 300 scrapes, %d after %d", early, late, most)
	if late > early+early/10+50_000 {
		t.Errorf("%d bytes after 300 scrapes, %d after %d", early, late, most)
	}
	runtime.KeepAlive(sampler)
}
