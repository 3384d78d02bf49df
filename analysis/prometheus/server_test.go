package prometheus_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	registry "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sluice-mesh/sluice/analysis"
	"github.com/sluice-mesh/sluice/analysis/prometheus"
	"github.com/sluice-mesh/sluice/internal/promserver"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

// These tests run a real Prometheus, which scrapes the proxies' own recorder.

// prometheusID is the process of the Prometheus that was started last.
var prometheusID atomic.Int64

// proxy is a source of requests: a recorder as the proxies have it, served to be scraped.
type proxy struct {
	server   *httptest.Server
	pod      string
	recorder atomic.Pointer[telemetry.Recorder]
	handler  atomic.Pointer[http.Handler]
}

func newProxy(t *testing.T, pod string) *proxy {
	t.Helper()
	p := &proxy{pod: pod}
	p.restart()
	p.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*p.handler.Load()).ServeHTTP(w, r) }))
	t.Cleanup(p.server.Close)
	return p
}

// restart begins anew with all counters at zero.
func (p *proxy) restart() {
	r := registry.NewRegistry()
	p.recorder.Store(telemetry.New(r))
	handler := promhttp.HandlerFor(r, promhttp.HandlerOpts{})
	p.handler.Store(&handler)
	p.series("new", 10)
	p.series("old", 10)
	p.series("old", 0)
}

// series are those of a revision at a weight.
func (p *proxy) series(revision string, weight int) *telemetry.Series {
	return p.recorder.Load().Series(telemetry.Key{
		Reporter: telemetry.Source, Source: "load", SourceNamespace: "shop", Service: "cart", Namespace: "shop",
		Revision: revision, Weight: fmt.Sprint(weight), Protocol: "http",
	})
}

// requests counts n requests that ended with a code after d.
func (p *proxy) requests(revision string, n, code int, d time.Duration) {
	s := p.series(revision, 10)
	for range n {
		s.Begin()
		s.End(code, d)
	}
}

// start runs a Prometheus that scrapes the proxies, both kinds of histograms, and waits until it listens.
func start(t *testing.T, interval time.Duration, proxies ...*proxy) (address string) {
	t.Helper()
	return startWith(t, interval, "always_scrape_classic_histograms: true", proxies...)
}

// startWith is start with other settings of the scrapes.
func startWith(t *testing.T, interval time.Duration, job string, proxies ...*proxy) (address string) {
	t.Helper()
	config := fmt.Sprintf("global: {scrape_interval: %s, scrape_timeout: %s, scrape_native_histograms: true}\nscrape_configs:\n- job_name: pods\n  honor_labels: true\n  %s\n  static_configs:\n",
		interval, interval, job)
	for _, p := range proxies {
		config += fmt.Sprintf("  - {targets: [%q], labels: {pod: %q, namespace: elsewhere}}\n", strings.TrimPrefix(p.server.URL, "http://"), p.pod)
	}
	server := promserver.Start(t, config)
	prometheusID.Store(int64(server.PID))
	return server.Address
}

// connect makes a Sampler whose connections end with the test.
func connect(t *testing.T, address string) *prometheus.Sampler {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	sampler, err := prometheus.New(prometheus.Options{Address: address, RoundTripper: transport})
	if err != nil {
		t.Fatal(err)
	}
	return sampler
}

// eventually looks every 50 ms until the evidence is as wanted.
func eventually(t *testing.T, sampler analysis.EvidenceSource, release analysis.Release, what string, wanted func(analysis.Evidence) bool) analysis.Evidence {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		evidence, err := sampler.Evidence(ctx, release)
		if err == nil && wanted(evidence) {
			return evidence
		}
		select {
		case <-ctx.Done():
			t.Fatalf("wait until %s: last %+v, %v", what, evidence, err)
		case <-ticker.C:
		}
	}
}

// isPast says that what was there at a time has been scraped whole, and that what comes now is scraped after it.
// Prometheus stamps a scrape before it reads, and gives up after the interval of 200 ms: until then a scrape
// from before the time may see some of what came later. The newest scrape is any source's; within two
// intervals it is the turn of each.
func isPast(e analysis.Evidence, at time.Time) bool { return e.Newest.Sub(at) > 450*time.Millisecond }

func TestCountsAreWhatTheSourcesDid(t *testing.T) {
	t.Parallel() // a Prometheus takes its first targets after five seconds
	first, second := newProxy(t, "load-1"), newProxy(t, "load-2")
	// An earlier attempt of the same release, and another weight: neither may count.
	first.requests("new", 400, 503, time.Millisecond)
	first.requests("old", 4000, 200, time.Millisecond)
	for range 100 {
		s := first.series("old", 0)
		s.Begin()
		s.End(500, time.Second)
	}
	sampler := connect(t, start(t, 200*time.Millisecond, first, second))
	before := release
	before.Since, before.Boundaries = time.Now().Add(-30*time.Minute), []time.Duration{240 * time.Millisecond}
	eventually(t, sampler, before, "the earlier attempt is scraped at both", func(e analysis.Evidence) bool {
		return seen(e).Canary.Failed == 400 && seen(e).Control.Answered == 4000 && e.Sources == 2
	})

	asked := before
	asked.Since = time.Now()
	looks := eventually(t, sampler, asked, "two scrapes are made since", func(e analysis.Evidence) bool {
		return isPast(e, asked.Since) && e.Interval > 0
	})
	if got := seen(looks); got.Canary.Started+got.Canary.Answered+got.Control.Started+got.Control.Answered > 0 {
		t.Fatalf("what was before counts: %+v", looks)
	}
	if want := []time.Duration{250 * time.Millisecond}; !slices.Equal(looks.Boundaries, want) || looks.Patience != analysis.Patience {
		t.Errorf("boundaries %v, patience %v, want %v, %v", looks.Boundaries, looks.Patience, want, analysis.Patience)
	}

	first.requests("new", 50, 200, 10*time.Millisecond)
	first.requests("new", 7, 500, 10*time.Millisecond)
	first.requests("new", 3, 0, time.Second)
	first.requests("new", 5, 200, 300*time.Millisecond)
	first.requests("new", 2, 499, 300*time.Millisecond)
	first.requests("new", 4, 499, 10*time.Millisecond)
	second.requests("new", 40, 200, 240*time.Millisecond)
	second.requests("new", 1, 404, 10*time.Millisecond)
	second.requests("old", 900, 200, 10*time.Millisecond)
	for range 6 {
		second.series("new", 10).Begin() // and no end
	}
	done := time.Now()
	want := analysis.Requests{Started: 118, Answered: 108, Failed: 10, Slow: []uint64{7}, Cancelled: 4, Unfinished: 6, Overdue: []uint64{6}}
	got := eventually(t, sampler, asked, "all is scraped and old enough", func(e analysis.Evidence) bool {
		got := seen(e)
		return got.Canary.Started == want.Started && got.Control.Answered == 900 && got.Canary.Overdue[0] > 0 && isPast(e, done)
	})
	if diff := cmp.Diff(want, seen(got).Canary); diff != "" {
		t.Errorf("canary (-want +got):\n%s", diff)
	}

	// The second source restarts: what it counted stays, its requests under way are gone, and at most the
	// interval of the restart is lost, for both revisions.
	second.restart()
	eventually(t, sampler, asked, "the restart is seen", func(e analysis.Evidence) bool { return e.Dropped == 1 })
	second.requests("new", 10, 200, 10*time.Millisecond)
	second.requests("old", 90, 200, 10*time.Millisecond)
	done = time.Now()
	want = analysis.Requests{Started: 128, Answered: 118, Failed: 10, Slow: []uint64{7}, Cancelled: 4, Overdue: []uint64{0}}
	got = eventually(t, sampler, asked, "requests after the restart are seen", func(e analysis.Evidence) bool {
		return seen(e).Control.Answered == 990 && isPast(e, done)
	})
	if diff := cmp.Diff(want, seen(got).Canary); diff != "" {
		t.Errorf("canary after the restart (-want +got):\n%s", diff)
	}
	if got.Interval < 150*time.Millisecond || got.Interval > time.Second || got.Sources != 2 || got.Doubt != "" { // a busy machine misses scrapes
		t.Errorf("got %+v", got)
	}

	// A source that cannot be scraped any more is missed.
	second.server.Close()
	eventually(t, sampler, asked, "the silent source is missed", func(e analysis.Evidence) bool { return e.Unscraped == 1 })
}

// A fresh Sampler, as after a restart of the operator, comes to the counts of one that was there all the time.
func TestAFreshSamplerCountsTheSame(t *testing.T) {
	t.Parallel() // a Prometheus takes its first targets after five seconds
	p := newProxy(t, "load-1")
	address := start(t, 200*time.Millisecond, p)
	asked := release
	asked.Since, asked.Boundaries = time.Now(), []time.Duration{100 * time.Millisecond}
	steady := connect(t, address)
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a simulation
	var last analysis.Evidence
	for round := range 10 {
		if round == 5 {
			p.restart()
		}
		p.requests("new", 1+random.IntN(20), 200+100*random.IntN(4), time.Duration(random.IntN(200))*time.Millisecond)
		p.requests("old", 100+random.IntN(20), 200, time.Duration(random.IntN(200))*time.Millisecond)
		before := last.Newest
		last = eventually(t, steady, asked, "another scrape is made", func(e analysis.Evidence) bool { return e.Newest.After(before) })
	}
	done := time.Now()
	if last.Dropped != 1 || seen(last).Canary.Answered == 0 {
		t.Fatalf("nothing to compare: %+v", last)
	}
	// Both may see a scrape more than the other; with no more requests the tallies stand still.
	last = eventually(t, steady, asked, "all is seen", func(e analysis.Evidence) bool { return isPast(e, done) })
	fresh, err := connect(t, address).Evidence(t.Context(), asked)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(last.Strata, fresh.Strata); diff != "" || fresh.Dropped != last.Dropped {
		t.Errorf("dropped %d and %d; (-steady +fresh)\n%s", last.Dropped, fresh.Dropped, diff)
	}
}

// A canary that fails half of its requests, at a weight of 10 % and 200 requests a second, scraped every
// second: 10 bad responses a second. The verdict must come with the first scrape that shows it.
func TestABrokenCanaryIsFoundOut(t *testing.T) {
	t.Parallel() // a Prometheus takes its first targets after five seconds
	p := newProxy(t, "load-1")
	sampler := connect(t, start(t, time.Second, p))
	asked := simple
	asked.Since, asked.WeightSince = time.Now(), time.Now()
	settings := analysis.Settings{SuccessRate: .99, LatencyP99: 250 * time.Millisecond, MinRequests: 50, Duration: time.Minute}
	eventually(t, sampler, asked, "the proxy is scraped", func(e analysis.Evidence) bool { return !e.Newest.IsZero() })

	ctx, stop := context.WithCancel(t.Context())
	var bad atomic.Int64
	var began time.Time
	over := make(chan struct{})
	go func() {
		defer close(over)
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			switch {
			case n%20 == 0:
				if bad.Add(1) == 1 {
					began = time.Now()
				}
				p.requests("new", 1, 503, time.Millisecond)
			case n%10 == 0:
				p.requests("new", 1, 200, time.Millisecond)
			default:
				p.requests("old", 1, 200, time.Millisecond)
			}
		}
	}()
	looks := time.NewTicker(250 * time.Millisecond)
	defer looks.Stop()
	var verdict analysis.Verdict
	for verdict.Outcome != analysis.Fail {
		there, err := sampler.Query(t.Context(), `sluice_requests_total{revision="new", code="503"}`, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		evidence, err := sampler.Evidence(t.Context(), asked)
		if err != nil {
			t.Fatal(err)
		}
		if verdict = analysis.Assess(asked, settings, evidence, time.Now()); verdict.Outcome == analysis.Pass {
			t.Fatal(verdict.Reason)
		}
		// A look sees the newest scrape that is stored. The first one may show too few bad responses, the second
		// one, with 10 more, decides. How many there are by then says nothing: a busy machine misses scrapes.
		for _, s := range there.Series {
			if float64(verdict.Bad) < s.Value {
				t.Errorf("the verdict is about %d bad responses, the server knew of %v", verdict.Bad, s.Value)
			}
		}
		if verdict.Outcome != analysis.Fail && verdict.Bad >= 10 {
			t.Fatalf("%d bad responses do not decide: %s", verdict.Bad, verdict.Reason)
		}
		if time.Since(asked.Since) > 20*time.Second {
			t.Fatal("no verdict in time: " + verdict.Reason)
		}
		if verdict.Outcome != analysis.Fail {
			<-looks.C
		}
	}
	stop()
	<-over
	t.Logf("failed %v after the first bad response, after %d bad responses: %s", time.Since(began).Round(time.Millisecond), bad.Load(), verdict.Reason)
}
