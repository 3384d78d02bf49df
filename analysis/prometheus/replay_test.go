package prometheus_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/analysis"
	"github.com/sluice-mesh/sluice/analysis/prometheus"
)

// replay is a source of requests and the Prometheus that scrapes it, on a clock of their own. It answers
// range selectors with the raw samples of their time and looks at no matcher; the tests with a real
// server see to those.
type replay struct {
	now    time.Time
	random *rand.Rand
	counts map[string]float64
	series map[string][]string // "[time, value]" for every scrape
	times  []time.Time
}

func newReplay(seed uint64) *replay {
	r := &replay{
		now: since, random: rand.New(rand.NewPCG(seed, 0)), //nolint:gosec // a simulation
		counts: map[string]float64{}, series: map[string][]string{},
	}
	for _, revision := range []string{"new", "old"} {
		for _, labels := range []string{
			`"__name__":"sluice_requests_started_total"`,
			`"__name__":"sluice_requests_total","code":"200"`,
			`"__name__":"sluice_requests_total","code":"503"`,
			`"__name__":"sluice_request_duration_seconds_bucket","code":"2xx","le":"0.25"`,
			`"__name__":"sluice_request_duration_seconds_bucket","code":"2xx","le":"+Inf"`,
		} {
			r.counts[`"revision":"`+revision+`",`+labels] = 0
		}
	}
	return r
}

// request counts one request.
func (r *replay) request(revision string, fails bool) {
	for labels := range r.counts {
		failure := strings.Contains(labels, `"503"`)
		if strings.HasPrefix(labels, `"revision":"`+revision) && (strings.Contains(labels, "started") || failure == fails) {
			r.counts[labels]++
		}
	}
}

func (r *replay) scrape() {
	r.times = append(r.times, r.now)
	for labels, value := range r.counts {
		r.series[labels] = append(r.series[labels], fmt.Sprintf(`[%.3f,"%v"]`, float64(r.now.UnixMilli())/1000, value))
	}
}

func (r *replay) RoundTrip(request *http.Request) (*http.Response, error) {
	body := answer(`["0.1","0.25","1","+Inf"]`)
	if strings.HasSuffix(request.URL.Path, "/query") {
		encoded, err := io.ReadAll(request.Body)
		if err != nil {
			return nil, err
		}
		form, err := url.ParseQuery(string(encoded))
		if err != nil {
			return nil, err
		}
		query := form.Get("query")
		length, err := time.ParseDuration(strings.TrimSuffix(query[strings.LastIndex(query, "[")+1:], "]"))
		if err != nil {
			return nil, err
		}
		seconds, err := strconv.ParseFloat(form.Get("time"), 64)
		if err != nil {
			return nil, err
		}
		to := time.UnixMicro(int64(seconds * 1e6))
		first := len(r.times)
		for first > 0 && r.times[first-1].After(to.Add(-length)) {
			first--
		}
		var streams []string
		for labels, samples := range r.series {
			if first < len(samples) {
				streams = append(streams, `{"metric":{"instance":"a","reporter":"source","namespace":"shop","service":"cart","weight":"10",`+labels+`},"values":[`+strings.Join(samples[first:], ",")+`]}`)
			}
		}
		body = answer(`{"resultType":"matrix","result":[` + strings.Join(streams, ",") + `]}`)
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: request}, nil
}

// judged plays 200 requests a second, a tenth of them to the canary, with a scrape every second and a look
// every so often, until the judge has decided or the time is over. It returns how many responses were
// bad by then, and how long after the first of them it was.
func judged(t *testing.T, r *replay, failing float64, duration, most, look time.Duration) (verdict analysis.Verdict, bad int, after time.Duration) {
	t.Helper()
	sampler, err := prometheus.New(prometheus.Options{Address: "http://prometheus", RoundTripper: r, Now: func() time.Time { return r.now }})
	if err != nil {
		t.Fatal(err)
	}
	settings := analysis.Settings{SuccessRate: .99, LatencyP99: 250 * time.Millisecond, MinRequests: 50, Duration: duration}
	phase := r.random.IntN(200) // of the scrapes, in requests
	var first time.Time
	r.scrape()
	for n := 1; r.now.Sub(since) < most; n++ {
		r.now = r.now.Add(5 * time.Millisecond)
		revision, fails := "old", false
		if r.random.IntN(10) == 0 {
			revision, fails = "new", r.random.Float64() < failing
		}
		if r.request(revision, fails); fails {
			if bad++; bad == 1 {
				first = r.now
			}
		}
		if n%200 == phase {
			r.scrape()
		}
		if r.now.Sub(since)%look == 0 {
			evidence, err := sampler.Evidence(t.Context(), simple)
			if err != nil {
				t.Fatal(err)
			}
			if verdict = analysis.Assess(simple, settings, evidence, r.now); verdict.Outcome != analysis.Inconclusive {
				break
			}
		}
	}
	return verdict, bad, r.now.Sub(first)
}

// Of 100 broken canaries (seeded) each must fail within 40 bad responses and three seconds; that leaves
// the mesh its time to take the weight away.
func TestReplayedBrokenCanariesFail(t *testing.T) {
	worst, slowest, sum := 0, time.Duration(0), 0
	for seed := range uint64(100) {
		verdict, bad, after := judged(t, newReplay(seed), .5, time.Minute, time.Minute, 250*time.Millisecond)
		if verdict.Outcome != analysis.Fail || bad > 30 || after > 2500*time.Millisecond {
			t.Errorf("seed %d: %s after %d bad responses and %v: %s", seed, verdict.Outcome, bad, after, verdict.Reason)
		}
		worst, slowest, sum = max(worst, bad), max(slowest, after), sum+bad
	}
	t.Logf("100 canaries at 50 %% failed after at most %d bad responses (mean %d) and %v", worst, sum/100, slowest)
}

// A canary with half of the errors that are allowed is looked at every second for an hour. It is failed with
// a chance below 3e-4 (computed for twice the errors, with a look after every request, in package analysis).
func TestReplayedGoodCanaryIsNotFailedInAnHour(t *testing.T) {
	most := time.Hour
	if testing.Short() {
		most = 5 * time.Minute
	}
	verdict, bad, _ := judged(t, newReplay(1), .005, 2*time.Hour, most, time.Second)
	if verdict.Outcome != analysis.Inconclusive || bad == 0 || verdict.Bad == 0 || int(verdict.Bad) > bad { //nolint:gosec // few
		t.Errorf("%s with %d bad: %s", verdict.Outcome, bad, verdict.Reason)
	}
	t.Log(verdict.Reason)
}

// And it passes at the end of its minute.
func TestReplayedGoodCanaryPasses(t *testing.T) {
	verdict, _, _ := judged(t, newReplay(2), .002, time.Minute, 2*time.Minute, time.Second)
	if verdict.Outcome != analysis.Pass {
		t.Errorf("%s: %s", verdict.Outcome, verdict.Reason)
	}
	t.Log(verdict.Reason)
}
