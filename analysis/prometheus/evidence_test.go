package prometheus_test

import (
	"encoding/json"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/sluice-mesh/sluice/analysis"
	"github.com/sluice-mesh/sluice/analysis/prometheus"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

// These tests run a real Prometheus, which scrapes the proxies' own recorder.

var release = analysis.Release{Namespace: "shop", Service: "cart", Stable: "old", Canary: "new", Weight: 10, Since: since, WeightSince: since}

// requestsAt counts n requests at a weight.
func (p *proxy) requestsAt(weight int, revision string, n, code int, d time.Duration) {
	s := p.series(revision, weight)
	for range n {
		s.Begin()
		s.End(code, d)
	}
}

func stratum(e analysis.Evidence, weight uint32) analysis.Stratum {
	for _, s := range e.Strata {
		if s.Weight == weight {
			return s
		}
	}
	return analysis.Stratum{}
}

func TestEvidenceOfAWholeRelease(t *testing.T) {
	t.Parallel() // a Prometheus takes its first targets after five seconds
	first, second := newProxy(t, "load-1"), newProxy(t, "load-2")
	address := start(t, 200*time.Millisecond, first, second)
	sampler := connect(t, address)
	asked := release
	asked.Since = time.Now().Add(-time.Minute)
	asked.Boundaries = []time.Duration{240 * time.Millisecond, 90 * time.Millisecond, time.Hour}
	asked.Threshold = 700 * time.Millisecond
	eventually(t, sampler, asked, "both are scraped", func(e analysis.Evidence) bool { return e.Sources == 2 && e.Interval > 0 })
	first.requestsAt(10, "new", 20, 200, 200*time.Millisecond)
	first.requestsAt(10, "old", 180, 200, 10*time.Millisecond)
	second.requestsAt(10, "new", 3, 503, 10*time.Millisecond)
	done := time.Now()
	seen := eventually(t, sampler, asked, "the first weight is seen", func(e analysis.Evidence) bool {
		s := stratum(e, 10).Seen
		return s.Canary.Answered == 23 && s.Control.Answered == 180 && isPast(e, done)
	})
	if want := []time.Duration{100 * time.Millisecond, 250 * time.Millisecond, 750 * time.Millisecond}; !slices.Equal(seen.Boundaries, want) {
		t.Errorf("boundaries %v, want %v", seen.Boundaries, want)
	}

	// From now on the canary warms up, while it goes to 50 %, until its failures are seen. Requests at 20 % tell
	// how far the first source is: with one seen, its next interval ends in the warm-up; with two, begins after it.
	asked.WarmUps = []analysis.Window{{From: time.Now(), Until: time.Now().Add(time.Hour)}}
	first.requestsAt(20, "old", 1, 200, 10*time.Millisecond)
	eventually(t, sampler, asked, "the warm-up has begun", func(e analysis.Evidence) bool { return stratum(e, 20).Seen.Control.Answered == 1 })
	first.requestsAt(50, "new", 100, 500, 10*time.Millisecond)
	first.requestsAt(50, "old", 100, 200, 10*time.Millisecond)
	done = time.Now()
	eventually(t, sampler, asked, "the failures are seen", func(e analysis.Evidence) bool {
		return stratum(e, 50).Seen.Canary.Failed == 100 && stratum(e, 50).Seen.Control.Answered == 100 && isPast(e, done)
	})
	asked.WarmUps[0].Until = time.Now()
	eventually(t, sampler, asked, "the warm-up is over", func(e analysis.Evidence) bool { return isPast(e, asked.WarmUps[0].Until) })
	first.requestsAt(20, "old", 1, 200, 10*time.Millisecond)
	eventually(t, sampler, asked, "the first source is past it too", func(e analysis.Evidence) bool { return stratum(e, 20).Seen.Control.Answered == 2 })
	first.requestsAt(50, "new", 40, 200, 800*time.Millisecond)
	first.requestsAt(50, "old", 60, 200, 10*time.Millisecond)
	first.requestsAt(10, "old", 1, 200, 10*time.Millisecond) // ends late
	done = time.Now()
	got := eventually(t, sampler, asked, "all is seen", func(e analysis.Evidence) bool {
		return stratum(e, 50).Seen.Canary.Answered == 140 && stratum(e, 50).Seen.Control.Answered == 160 && stratum(e, 10).Seen.Control.Answered == 181 && isPast(e, done)
	})
	type requests = analysis.Requests
	three := func(a, b, c uint64) []uint64 { return []uint64{a, b, c} }
	want := []analysis.Stratum{{
		Weight: 10,
		Seen: analysis.Pair{
			Canary:  requests{Started: 23, Answered: 23, Failed: 3, Slow: three(20, 0, 0), Overdue: three(0, 0, 0)},
			Control: requests{Started: 181, Answered: 181, Slow: three(0, 0, 0), Overdue: three(0, 0, 0)},
		},
		Tested: analysis.Pair{
			Canary:  requests{Started: 23, Answered: 23, Failed: 3, Slow: three(20, 0, 0), Overdue: three(0, 0, 0)},
			Control: requests{Started: 181, Answered: 181, Slow: three(0, 0, 0), Overdue: three(0, 0, 0)},
		},
	}, {
		Weight: 50,
		Seen: analysis.Pair{
			Canary:  requests{Started: 140, Answered: 140, Failed: 100, Slow: three(40, 40, 40), Overdue: three(0, 0, 0)},
			Control: requests{Started: 160, Answered: 160, Slow: three(0, 0, 0), Overdue: three(0, 0, 0)},
		},
		Tested: analysis.Pair{
			Canary:  requests{Started: 40, Answered: 40, Slow: three(40, 40, 40), Overdue: three(0, 0, 0)},
			Control: requests{Started: 60, Answered: 60, Slow: three(0, 0, 0), Overdue: three(0, 0, 0)},
		},
	}}
	if diff := cmp.Diff(want, []analysis.Stratum{stratum(got, 10), stratum(got, 50)}); diff != "" || len(got.Strata) != 3 {
		t.Errorf("-want +got:\n%s", diff)
	}

	// A fresh sampler that knows the warm-up from the beginning, and a tape of what the server has.
	fresh, err := connect(t, address).Evidence(t.Context(), asked)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got.Strata, fresh.Strata); diff != "" {
		t.Errorf("-steady +fresh:\n%s", diff)
	}
	bounds, err := sampler.Boundaries(t.Context(), asked)
	if err != nil || !slices.Equal(bounds, got.Boundaries) {
		t.Errorf("boundaries %v, %v", bounds, err)
	}
	tape := prometheus.NewTape(asked)
	if err := sampler.Fetch(t.Context(), asked, asked.Since.Add(-2*time.Minute), time.Now(), tape.Add); err != nil {
		t.Fatal(err)
	}
	played := tape.Evidence(time.Now())
	if diff := cmp.Diff(got.Strata, played.Strata); diff != "" || !slices.Equal(played.Boundaries, got.Boundaries) {
		t.Errorf("-steady +tape (%v):\n%s", played.Boundaries, diff)
	}
	if early := tape.Evidence(time.Now()); !cmp.Equal(early, played) {
		t.Errorf("asked again the tape says something else")
	}

	// The release is tried again with the same hashes: nothing of before counts.
	again := asked
	again.Since, again.WarmUps = time.Now(), nil
	eventually(t, sampler, again, "the new attempt has begun", func(e analysis.Evidence) bool { return isPast(e, again.Since) })
	first.requestsAt(10, "new", 5, 200, time.Millisecond)
	eventually(t, sampler, again, "the new attempt is seen", func(e analysis.Evidence) bool {
		return len(e.Strata) == 1 && e.Strata[0].Seen.Canary.Answered == 5 && e.Strata[0].Seen.Control.Answered == 0
	})
}

func TestNativeHistogramsAreAsExactAsClassicOnes(t *testing.T) {
	t.Parallel() // a Prometheus takes its first targets after five seconds
	p := newProxy(t, "load-1")
	both, native := start(t, 200*time.Millisecond, p), startWith(t, 200*time.Millisecond, "always_scrape_classic_histograms: false\n  native_histogram_bucket_limit: 100", p)
	asked := release
	asked.Since = time.Now().Add(-time.Minute)
	// 0.25 and 1 s are limits of buckets of any resolution above 0, and of classic ones.
	asked.Boundaries = []time.Duration{250 * time.Millisecond, time.Second}
	classic, sampler := connect(t, both), connect(t, native)
	for _, s := range []*prometheus.Sampler{classic, sampler} {
		eventually(t, s, asked, "the source is scraped", func(e analysis.Evidence) bool { return e.Sources == 1 && e.Interval > 0 })
	}
	durations := []time.Duration{}
	for d := 100 * time.Millisecond; d < 2*time.Second; d += d / 7 {
		durations = append(durations, d)
	}
	durations = append(durations, 250*time.Millisecond, time.Second) // at a limit is not above it
	for i, d := range durations {
		p.requestsAt(10, []string{"new", "old"}[i%2], 1+i%3, 200, d)
	}
	p.requestsAt(10, "new", 7, 404, 300*time.Millisecond)
	p.requestsAt(10, "new", 5, 503, 300*time.Millisecond)
	p.requestsAt(10, "new", 2, 499, 300*time.Millisecond)
	done := time.Now()
	all := func(e analysis.Evidence) bool { return stratum(e, 10).Seen.Canary.Failed == 5 && isPast(e, done) }
	want := eventually(t, classic, asked, "all is seen", all)
	got := eventually(t, sampler, asked, "all is seen", all)
	if diff := cmp.Diff(want.Strata, got.Strata); diff != "" || stratum(got, 10).Seen.Canary.Slow[0] == 0 {
		t.Errorf("-classic +native:\n%s", diff)
	}
	if !slices.Equal(got.Boundaries, asked.Boundaries) || got.Doubt != "" {
		t.Errorf("boundaries %v, doubt %q", got.Boundaries, got.Doubt)
	}

	// Elsewhere the bound is raised to the next limit of the resolution: of 2^(1/8), then, when durations are
	// spread so far that there are more buckets than the server takes, of 2^(1/4).
	odd := asked
	odd.Boundaries = []time.Duration{270 * time.Millisecond}
	p.requestsAt(10, "old", 10, 200, 271*time.Millisecond)
	p.requestsAt(10, "old", 100, 200, 280*time.Millisecond)
	limit := func(exponent float64) time.Duration { return time.Duration(math.Round(1e9 * math.Pow(2, exponent))) }
	eventually(t, sampler, odd, "the bound is raised", func(e analysis.Evidence) bool {
		s := stratum(e, 10).Seen.Control
		return slices.Equal(e.Boundaries, []time.Duration{limit(-15. / 8)}) && len(s.Slow) == 1 && s.Slow[0] >= 100
	})
	for d := time.Millisecond / 8; d < time.Minute; d += d / 12 {
		p.requestsAt(10, "old", 1, 200, d)
	}
	done = time.Now()
	coarse := eventually(t, sampler, odd, "the bound is raised again", func(e analysis.Evidence) bool {
		return slices.Equal(e.Boundaries, []time.Duration{limit(-7. / 4)}) && isPast(e, done)
	})
	fresh, err := connect(t, native).Evidence(t.Context(), odd)
	if err != nil || !cmp.Equal(fresh.Strata, coarse.Strata) {
		t.Errorf("a fresh sampler says %v, %v", cmp.Diff(coarse.Strata, fresh.Strata), err)
	}
	tape := prometheus.NewTape(odd)
	if err := sampler.Fetch(t.Context(), odd, odd.Since.Add(-2*time.Minute), time.Now(), tape.Add); err != nil {
		t.Fatal(err)
	}
	if played := tape.Evidence(time.Now()); !cmp.Equal(played.Strata, coarse.Strata) || !slices.Equal(played.Boundaries, coarse.Boundaries) {
		t.Errorf("a tape says %v", cmp.Diff(coarse.Strata, played.Strata))
	}
	if bounds, err := sampler.Boundaries(t.Context(), odd); err != nil || !slices.Equal(bounds, odd.Boundaries) {
		t.Errorf("boundaries %v, %v", bounds, err)
	}
}

func TestBoundariesAreChosenFromTheHourBefore(t *testing.T) {
	t.Parallel() // a Prometheus takes its first targets after five seconds
	first, second := newProxy(t, "load-1"), newProxy(t, "load-1")
	both, native := start(t, 200*time.Millisecond, first), startWith(t, 200*time.Millisecond, "always_scrape_classic_histograms: false", second)
	for name, test := range map[string]struct {
		p             *proxy
		address       string
		unknown, want []time.Duration
	}{
		"classic": {
			p: first, address: both,
			unknown: []time.Duration{50 * time.Millisecond, 250 * time.Millisecond, time.Second, 5 * time.Second},
			// 8 % take longer than 20 ms, 3 % than 120 ms, 0.5 % than 700 ms, none than 4 s.
			want: []time.Duration{25 * time.Millisecond, 150 * time.Millisecond, 750 * time.Millisecond, 5 * time.Second},
		},
		"native": {
			p: second, address: native,
			unknown: nil,
			want:    []time.Duration{limitAbove(20 * time.Millisecond), limitAbove(120 * time.Millisecond), limitAbove(700 * time.Millisecond), limitAbove(4 * time.Second)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			sampler := connect(t, test.address)
			asked := release
			asked.Since = time.Now()
			eventually(t, sampler, asked, "the source is scraped", func(e analysis.Evidence) bool { return e.Sources == 1 && e.Interval > 0 })
			if got, err := sampler.Boundaries(t.Context(), asked); err != nil || test.unknown != nil && !slices.Equal(got, test.unknown) {
				t.Errorf("before there are requests: %v, %v, want %v", got, err, test.unknown)
			}
			normal := test.p.series("old", 0)
			for i := range 2000 {
				d := 15 * time.Millisecond
				switch {
				case i < 10:
					d = 4 * time.Second
				case i < 60:
					d = 700 * time.Millisecond
				case i < 160:
					d = 120 * time.Millisecond
				case i < 400:
					d = 20 * time.Millisecond
				}
				normal.Begin()
				normal.End(200, d)
			}
			for range 500 { // failures say nothing about how long it takes
				normal.Begin()
				normal.End(500, 20*time.Second)
			}
			done := time.Now()
			eventually(t, sampler, asked, "all is seen", func(e analysis.Evidence) bool { return isPast(e, done) })
			later := release
			later.Since = time.Now()
			var got []time.Duration
			eventually(t, sampler, later, "there are boundaries", func(analysis.Evidence) bool { // none after a scrape that failed
				var err error
				got, err = sampler.Boundaries(t.Context(), later)
				return err == nil && len(got) > 0
			})
			if !slices.Equal(got, test.want) {
				t.Errorf("boundaries %v, want %v", got, test.want)
			}
			if e, err := sampler.Evidence(t.Context(), later); err != nil || !slices.Equal(e.Boundaries, test.want) {
				t.Errorf("evidence with boundaries %v, %v, want %v", e.Boundaries, err, test.want)
			}
		})
	}
}

// limitAbove is the limit of the native bucket, of the recorder's resolution, that holds a duration.
func limitAbove(d time.Duration) time.Duration {
	return time.Duration(math.Round(1e9 * math.Pow(2, math.Ceil(8*math.Log2(d.Seconds()))/8)))
}

func TestPodSpreadOfRealPods(t *testing.T) {
	t.Parallel() // a Prometheus takes its first targets after five seconds
	pods := []*proxy{newProxy(t, "cart-1"), newProxy(t, "cart-2"), newProxy(t, "cart-3")}
	answer := func(p *proxy, n, failed int) {
		s := p.recorder.Load().Series(telemetry.Key{
			Reporter: telemetry.Destination, Source: "mesh", Service: "cart", Namespace: "shop", Revision: "old", Protocol: "http",
		})
		for i := range n {
			s.Begin()
			code := 200
			if i < failed {
				code = 503
			}
			s.End(code, time.Millisecond)
		}
	}
	for _, p := range pods {
		answer(p, 0, 0)
	}
	sampler := connect(t, start(t, 200*time.Millisecond, pods...))
	eventually(t, sampler, release2(), "all are scraped", func(e analysis.Evidence) bool { return e.Sources == 3 })
	for i, p := range pods {
		answer(p, 10_000, []int{50, 100, 200}[i])
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		asked := release
		asked.Since = time.Now()
		spread, n, err := sampler.PodSpread(t.Context(), asked)
		if err == nil && n == 3 && spread > 0.5 && spread < 0.8 { // ln 2 apart; 0.56 by moments
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("spread %v of %d pods, %v", spread, n, err)
		}
		time.Sleep(100 * time.Millisecond) // until the next scrape
	}
}

func release2() analysis.Release {
	r := release
	r.Since = time.Now().Add(-time.Minute)
	return r
}

func TestATapeRefusesWhatIsNoMatrix(t *testing.T) {
	for name, matrix := range map[string]model.Matrix{
		"null": {nil}, "a null histogram": {{Metric: model.Metric{"a": "b"}, Histograms: []model.SampleHistogramPair{{}}}},
		"a null bucket": {{Metric: model.Metric{"a": "b"}, Histograms: []model.SampleHistogramPair{{Histogram: &model.SampleHistogram{Buckets: model.HistogramBuckets{nil}}}}}},
	} {
		tape := prometheus.NewTape(release)
		if err := tape.Add(matrix); err == nil {
			t.Errorf("%s: no error", name)
		}
		if e := tape.Evidence(since); e.Doubt != "" || len(e.Strata) > 0 {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

// Whatever was recorded: no panic, and evidence that does not contradict itself, however it is played.
func FuzzTape(f *testing.F) {
	metric := `"metric":{"reporter":"source","namespace":"shop","service":"cart","weight":"10","instance":"a","revision":"new",`
	f.Add([]byte(`[{`+metric+`"__name__":"sluice_requests_total","code":"200"},"values":[[1772366400,"1"],[1772366401,"5"]]}]`), uint16(1))
	f.Add([]byte(`[{`+metric+`"__name__":"sluice_request_duration_seconds","code":"2xx"},"histograms":[[1772366401,{"count":"4","sum":"1","buckets":[[0,"0.2","0.3","4"]]}]]}]`), uint16(7))
	f.Add([]byte(`[{`+metric+`"__name__":"sluice_request_duration_seconds_bucket","code":"4xx","le":"1"},"values":[[1772366400,"1"]]}]`), uint16(3))
	f.Fuzz(func(t *testing.T, recorded []byte, step uint16) {
		var matrix model.Matrix
		if json.Unmarshal(recorded, &matrix) != nil {
			return
		}
		tape := prometheus.NewTape(release)
		if tape.Add(matrix) != nil {
			return
		}
		for now := since; now.Before(since.Add(10 * time.Second)); now = now.Add(time.Duration(step%5000+1) * time.Millisecond) {
			if now = now.Add(100 * time.Millisecond); tape.Add(nil) != nil {
				t.Fatal("refuses nothing")
			}
			sound(t, tape.Evidence(now))
		}
		whole := prometheus.NewTape(release)
		_ = whole.Add(matrix)
		end := since.Add(time.Hour)
		one, other := tape.Evidence(end), whole.Evidence(end)
		sound(t, one)
		if (one.Doubt == "") == (other.Doubt == "") && !cmp.Equal(one.Strata, other.Strata) {
			t.Fatalf("played in parts and at once (-parts +once):\n%s", cmp.Diff(one.Strata, other.Strata))
		}
	})
}
