package prometheus_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-mesh/sluice/analysis"
	"github.com/sluice-mesh/sluice/analysis/prometheus"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

// town answers about many services, the n-th of which has n requests, whatever it is asked.
type town struct {
	services int
	asked    atomic.Int64
	// refuse says which queries fail.
	refuse func(query string) bool
	// wait is how long an answer takes.
	wait atomic.Int64
}

func townRelease(n int) analysis.Release {
	r := release
	r.Service = fmt.Sprint("cart-", n)
	r.Boundaries = []time.Duration{time.Second}
	return r
}

func (c *town) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/values") {
		_, _ = io.WriteString(w, answer(`["1","+Inf"]`))
		return
	}
	c.asked.Add(1)
	query := r.FormValue("query")
	select {
	case <-time.After(time.Duration(c.wait.Load())):
	case <-r.Context().Done():
		return
	}
	if c.refuse != nil && c.refuse(query) {
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = io.WriteString(w, `{"status":"error","errorType":"execution","error":"no"}`)
		return
	}
	streams := map[string][]string{}
	for n := range c.services {
		if strings.Contains(query, fmt.Sprintf(`"cart-%d"`, n)) || strings.Contains(query, fmt.Sprintf(`cart-%d|`, n)) || strings.Contains(query, fmt.Sprintf(`cart-%d"`, n)) {
			streams[over+" service=cart-"+strconv.Itoa(n)] = []string{"0", strconv.Itoa(n)}
		}
	}
	_, _ = io.WriteString(w, matrix(streams))
}

// look asks for each release so often, all at once, and checks that each gets its own.
func (c *town) look(t *testing.T, sampler *prometheus.Sampler, times int) (failures int64) {
	t.Helper()
	var all sync.WaitGroup
	var failed atomic.Int64
	for n := range c.services {
		all.Go(func() {
			for range times {
				e, err := sampler.Evidence(t.Context(), townRelease(n))
				if err != nil {
					failed.Add(1)
					continue
				}
				if n > 0 && (len(e.Strata) != 1 || e.Strata[0].Seen.Canary.Answered != uint64(n)) || e.Doubt != "" {
					t.Errorf("release %d: %+v", n, e)
				}
			}
		})
	}
	all.Wait()
	return failed.Load()
}

func TestLooksShareQueries(t *testing.T) {
	c := &town{services: 40}
	c.wait.Store(int64(5 * time.Millisecond))
	sampler := serve(t, c.ServeHTTP, nil)
	c.look(t, sampler, 1) // each reads its past alone
	before := c.asked.Load()
	if c.look(t, sampler, 20) > 0 {
		t.Error("a look failed")
	}
	asked := c.asked.Load() - before
	t.Logf("800 looks at 40 releases in %d queries", asked)
	if asked > 200 {
		t.Errorf("800 looks at 40 releases took %d queries, want at most 200", asked)
	}
}

// A release that cannot be asked about costs the others nothing but their own query.
func TestAnErrorIsNotShared(t *testing.T) {
	c := &town{services: 20}
	c.wait.Store(int64(time.Millisecond))
	sampler := serve(t, c.ServeHTTP, nil)
	c.look(t, sampler, 1)
	c.refuse = func(query string) bool {
		return strings.Contains(query, "cart-7|") || strings.Contains(query, `cart-7"`)
	}
	if got := c.look(t, sampler, 5); got != 5 {
		t.Errorf("%d looks failed, want the 5 at the one release", got)
	}
}

// One that goes away while it waits leaves the query to the others, and takes it along when it is the last.
func TestOneThatGoesAway(t *testing.T) {
	c := &town{services: 3}
	sampler := serve(t, c.ServeHTTP, nil)
	c.look(t, sampler, 1)
	c.wait.Store(int64(300 * time.Millisecond))
	var all sync.WaitGroup
	for n := range 3 {
		all.Go(func() {
			ctx := t.Context()
			if n == 1 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
				defer cancel()
			}
			e, err := sampler.Evidence(ctx, townRelease(n))
			switch {
			case n == 1 && !errors.Is(err, context.DeadlineExceeded):
				t.Errorf("got %v, want that the time is over", err)
			case n == 2 && (err != nil || e.Strata[0].Seen.Canary.Answered != 2):
				t.Errorf("got %+v, %v", e, err)
			}
		})
	}
	all.Wait()
	c.wait.Store(int64(time.Hour))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := sampler.Evidence(ctx, townRelease(1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	c.wait.Store(0)
	if e, err := sampler.Evidence(t.Context(), townRelease(1)); err != nil || e.Strata[0].Seen.Canary.Answered != 1 {
		t.Errorf("got %+v, %v", e, err)
	}
}

// inMemory answers by a handler without a network, so that a test with a fake clock can wait for the answer.
type inMemory struct{ http.Handler }

func (m inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	m.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// One that goes away before its query has begun takes that along: who comes next does not join it.
func TestOneThatGoesAwayBeforeItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &town{services: 3}
		sampler, err := prometheus.New(prometheus.Options{Address: "http://prometheus", RoundTripper: inMemory{c}, Now: func() time.Time { return since }})
		if err != nil {
			t.Fatal(err)
		}
		c.look(t, sampler, 1) // each reads its past alone
		c.wait.Store(int64(time.Second))
		var first sync.WaitGroup
		first.Go(func() {
			if _, err := sampler.Evidence(t.Context(), townRelease(0)); err != nil {
				t.Errorf("got %v of the query under way", err)
			}
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := sampler.Evidence(ctx, townRelease(1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want that the time is over", err)
		}
		if e, err := sampler.Evidence(t.Context(), townRelease(2)); err != nil || e.Strata[0].Seen.Canary.Answered != 2 {
			t.Errorf("got %+v, %v", e, err)
		}
		first.Wait()
	})
}

// TestQueryCost measures, when SLUICE_MEASURE is set, what sharing saves a real Prometheus: processor time
// and queries for looks at 30 releases, with and without.
func TestQueryCost(t *testing.T) {
	if os.Getenv("SLUICE_MEASURE") == "" {
		t.Skip("a measurement; set SLUICE_MEASURE")
	}
	const services, rounds = 30, 20
	p := newProxy(t, "load-1")
	for n := range services {
		for _, revision := range []string{"new", "old"} {
			for _, code := range []int{200, 404, 503} {
				s := p.recorder.Load().Series(telemetry.Key{
					Reporter: telemetry.Source, Source: "load", SourceNamespace: "shop", Service: fmt.Sprint("cart-", n), Namespace: "shop",
					Revision: revision, Weight: "10", Protocol: "http",
				})
				s.Begin()
				s.End(code, time.Millisecond)
			}
		}
	}
	sources := []*proxy{p}
	for i := range 9 { // the same proxy under other names
		sources = append(sources, &proxy{server: p.server, pod: fmt.Sprint("load-", 2+i)})
	}
	address := start(t, time.Second, sources...)
	spent := func() time.Duration {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", prometheusID.Load()))
		fields := strings.Fields(string(text))
		user, _ := strconv.Atoi(fields[13])
		system, _ := strconv.Atoi(fields[14])
		return time.Duration(user+system) * 10 * time.Millisecond
	}
	shared := connect(t, address)
	alone := make([]*prometheus.Sampler, services)
	for n := range alone {
		alone[n] = connect(t, address)
	}
	time.Sleep(10 * time.Second)
	for name, of := range map[string]func(n int) *prometheus.Sampler{
		"shared": func(int) *prometheus.Sampler { return shared }, "alone": func(n int) *prometheus.Sampler { return alone[n] },
	} {
		round := func() {
			var all sync.WaitGroup
			for n := range services {
				all.Go(func() {
					r := townRelease(n)
					r.Since = time.Now().Add(-time.Minute).Truncate(time.Hour)
					if e, err := of(n).Evidence(t.Context(), r); err != nil || e.Doubt != "" || e.Sources == 0 {
						t.Error(e, err)
					}
				})
			}
			all.Wait()
		}
		round()
		before, began, mine := spent(), time.Now(), cpu()
		for range rounds {
			round()
		}
		t.Logf("%s: %d looks, %v of the server's processor time and %v of ours, %v", name, services*rounds, spent()-before, cpu()-mine, time.Since(began).Round(time.Millisecond))
	}
}
