package prometheus_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluice-mesh/sluice/analysis"
	"github.com/sluice-mesh/sluice/analysis/prometheus"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	since = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	// simple is a release with one boundary, so that none is chosen.
	simple = func() analysis.Release {
		r := release
		r.Boundaries = []time.Duration{250 * time.Millisecond}
		return r
	}()
)

// seen is what was seen at weight 10.
func seen(e analysis.Evidence) analysis.Pair { return stratum(e, 10).Seen }

// matrix is an answer with one series per labels, of which a scrape a second has the values.
func matrix(series map[string][]string) string {
	var streams []string
	for labels, values := range series {
		metric := map[string]string{"reporter": "source", "namespace": "shop", "service": "cart", "weight": "10", "instance": "10.0.0.1:15020"}
		for _, pair := range strings.Fields(labels) {
			name, value, _ := strings.Cut(pair, "=")
			metric[name] = value
		}
		var samples []string
		for i, value := range values {
			samples = append(samples, fmt.Sprintf(`[%d,%q]`, since.Unix()+int64(i), value))
		}
		encoded, _ := json.Marshal(metric)
		streams = append(streams, fmt.Sprintf(`{"metric":%s,"values":[%s]}`, encoded, strings.Join(samples, ",")))
	}
	return answer(`{"resultType":"matrix","result":[` + strings.Join(streams, ",") + `]}`)
}

func answer(data string) string { return `{"status":"success","data":` + data + `}` }

const (
	begun = "__name__=sluice_requests_started_total revision=new"
	over  = "__name__=sluice_requests_total code=200 revision=new"
)

// bounded answers the question for bucket bounds, and leaves the others to a handler.
func bounded(handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/values") {
			_, _ = io.WriteString(w, answer(`["0.25","+Inf"]`))
			return
		}
		handler(w, r)
	}
}

// serve runs a server that says the same to every query, and makes a Sampler for it.
func serve(t *testing.T, handler http.HandlerFunc, change func(*prometheus.Options)) *prometheus.Sampler {
	t.Helper()
	server := httptest.NewServer(handler)
	transport := &http.Transport{}
	t.Cleanup(func() { transport.CloseIdleConnections(); server.Close() })
	options := prometheus.Options{
		Address: server.URL, RoundTripper: transport, Timeout: 2 * time.Second,
		Now: func() time.Time { return since.Add(4 * time.Second) },
	}
	if change != nil {
		change(&options)
	}
	sampler, err := prometheus.New(options)
	if err != nil {
		t.Fatal(err)
	}
	return sampler
}

func TestAnswers(t *testing.T) {
	tests := map[string]struct {
		status      int
		body        string
		err, doubt  string // beginnings
		answered    uint64
		newestAfter time.Duration
	}{
		"counts":               {body: matrix(map[string][]string{begun: {"0", "5", "9"}, over: {"0", "5", "8"}}), answered: 8, newestAfter: 2 * time.Second},
		"nothing":              {body: matrix(nil)},
		"not a number":         {body: matrix(map[string][]string{over: {"0", "NaN"}}), doubt: "a counter of 10.0.0.1:15020 has the value NaN"},
		"infinite":             {body: matrix(map[string][]string{over: {"0", "+Inf"}}), doubt: "a counter of"},
		"twice":                {body: matrix(map[string][]string{over: {"0", "1"}, over + " replica=b": {"0", "1"}}), doubt: "10.0.0.1:15020 is there twice"},
		"what was not asked":   {body: matrix(map[string][]string{"__name__=up revision=new": {"1"}}), doubt: "a series \"up\""},
		"no JSON":              {body: "<html>502</html>", err: "query prometheus: bad_response: "},
		"half a JSON":          {body: `{"status":"success","data":{"resultType":"matrix","result":[{`, err: "query prometheus: bad_response: "},
		"empty":                {body: "", err: "query prometheus: bad_response: "},
		"a vector":             {body: answer(`{"resultType":"vector","result":[]}`), err: "query prometheus: the answer is not a list of raw samples"},
		"a scalar":             {body: answer(`{"resultType":"scalar","result":[1,"1"]}`), err: "query prometheus: the answer is not a list of raw samples"},
		"no type":              {body: answer(`{}`), err: "query prometheus: bad_response: "},
		"null":                 {body: answer(`null`), err: "query prometheus: the answer is not a list of raw samples"},
		"a value that is none": {body: matrix(map[string][]string{over: {"many"}}), err: "query prometheus: bad_response: "},
		"cut short":            {body: `{"status":"success","warnings":["results truncated due to limit"],"data":{"resultType":"matrix","result":[]}}`, err: "query prometheus: the answer is not complete: results truncated due to limit"},
		"an error":             {body: `{"status":"error","errorType":"timeout","error":"query timed out"}`, err: "query prometheus: timeout: query timed out"},
		"refused":              {status: 401, body: "who are you?", err: "query prometheus: client_error: client error: 401"},
		"down":                 {status: 503, body: "sorry", err: "query prometheus: server_error: server error: 503"},
		"sent elsewhere":       {status: 302, body: "", err: "query prometheus: bad_response: bad response code 302"},
		"huge":                 {body: strings.Repeat(" ", 1<<20) + matrix(nil), err: "query prometheus: the response is too large"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			sampler := serve(t, bounded(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "http://127.0.0.1:1/?token=secret")
				if test.status != 0 {
					w.WriteHeader(test.status)
				}
				_, _ = io.WriteString(w, test.body)
			}), func(o *prometheus.Options) { o.MaxBytes = 1 << 16 })
			got, err := sampler.Evidence(t.Context(), simple)
			switch {
			case test.err != "":
				if err == nil || !strings.HasPrefix(err.Error(), test.err) || strings.Contains(err.Error(), "\n") {
					t.Fatalf("got %v, want %s", err, test.err)
				}
				return
			case err != nil:
				t.Fatal(err)
			case test.doubt == "" && got.Doubt != "" || !strings.HasPrefix(got.Doubt, test.doubt):
				t.Fatalf("doubt %q, want %q", got.Doubt, test.doubt)
			case test.doubt != "":
				if len(got.Strata) > 0 {
					t.Errorf("doubtful counts are told: %+v", got.Strata)
				}
				return
			}
			if n := seen(got).Canary.Answered; n != test.answered {
				t.Errorf("%d answered, want %d", n, test.answered)
			}
			if test.newestAfter > 0 && !got.Newest.Equal(since.Add(test.newestAfter)) || test.newestAfter == 0 && !got.Newest.IsZero() {
				t.Errorf("newest %v", got.Newest)
			}
		})
	}
}

func TestTooManySeries(t *testing.T) {
	sampler := serve(t, bounded(func(w http.ResponseWriter, r *http.Request) {
		if got := r.FormValue("limit"); got != "1" {
			t.Errorf("limit %q, want 1", got)
		}
		_, _ = io.WriteString(w, matrix(map[string][]string{begun: {"0"}, over: {"0"}}))
	}), func(o *prometheus.Options) { o.MaxSeries = 1 })
	if _, err := sampler.Evidence(t.Context(), simple); err == nil || err.Error() != "query prometheus: more than 1 series" {
		t.Errorf("got %v", err)
	}
}

// A response that is too large is asked for again in smaller pieces.
func TestLargeResponsesComeInPieces(t *testing.T) {
	var ranges []string
	sampler := serve(t, bounded(func(w http.ResponseWriter, r *http.Request) {
		query := r.FormValue("query")
		length, err := time.ParseDuration(strings.TrimSuffix(query[strings.LastIndex(query, "[")+1:], "]"))
		if err != nil {
			t.Error(err)
		}
		ranges = append(ranges, length.String())
		padding := ""
		if length > time.Minute {
			padding = strings.Repeat(" ", 1<<17)
		}
		_, _ = io.WriteString(w, padding+matrix(nil))
	}), func(o *prometheus.Options) { o.MaxBytes = 1 << 16 })
	if _, err := sampler.Evidence(t.Context(), simple); err != nil {
		t.Fatal(err)
	}
	// Two minutes before and four seconds since, and the lead.
	if got, want := strings.Join(ranges, " "), "2m34s 1m17s 38.5s 38.5s 38.5s 38.5s"; got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
}

func TestASlowServerIsGivenUp(t *testing.T) {
	release := make(chan struct{})
	sampler := serve(t, bounded(func(_ http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		<-release
	}), func(o *prometheus.Options) { o.Timeout = 50 * time.Millisecond })
	defer close(release)
	_, err := sampler.Evidence(t.Context(), simple)
	if !errors.Is(err, context.DeadlineExceeded) || err.Error() != "query prometheus: no answer in time: context deadline exceeded" {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sampler.Evidence(ctx, simple); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
}

type bearer struct{ next http.RoundTripper }

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer s3cret")
	return b.next.RoundTrip(r)
}

func TestErrorsTellNoSecrets(t *testing.T) {
	for _, address := range []string{
		"http://me:s3cret@127.0.0.1:1", "http://127.0.0.1:1?token=s3cret", "http://127.0.0.1:1#s3cret", "http://s3cret\x7f", "s3cret", "ftp://s3cret", "http://",
	} {
		if _, err := prometheus.New(prometheus.Options{Address: address}); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("address %q: %v", address, err)
		}
	}
	// Nobody listens, a server that shuts the door, and one that sends us on with what we brought.
	var brought []string
	sampler := serve(t, bounded(func(w http.ResponseWriter, r *http.Request) {
		brought = append(brought, r.Header.Get("Authorization"))
		w.Header().Set("Location", "/elsewhere?"+r.Header.Get("Authorization"))
		w.WriteHeader(http.StatusTemporaryRedirect)
		_, _ = io.WriteString(w, r.Header.Get("Authorization"))
	}), func(o *prometheus.Options) { o.RoundTripper = bearer{o.RoundTripper} })
	_, err := sampler.Evidence(t.Context(), simple)
	if err == nil || strings.Contains(err.Error(), "s3cret") || len(brought) != 1 || brought[0] != "Bearer s3cret" {
		t.Errorf("got %v after %v", err, brought)
	}
	nobody, err := prometheus.New(prometheus.Options{Address: "http://127.0.0.1:1/s3cret", Now: func() time.Time { return since }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nobody.Evidence(t.Context(), simple); err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("got %v", err)
	}
}

func TestReleasesThatAreNone(t *testing.T) {
	sampler := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("asked") }, nil)
	for name, change := range map[string]func(*analysis.Release){
		"no service":   func(r *analysis.Release) { r.Service = "" },
		"no namespace": func(r *analysis.Release) { r.Namespace = "" },
		"no canary":    func(r *analysis.Release) { r.Canary = "" },
		"one revision": func(r *analysis.Release) { r.Canary = r.Stable },
		"no time":      func(r *analysis.Release) { r.Since = time.Time{} },
	} {
		r := simple
		change(&r)
		if _, err := sampler.Evidence(t.Context(), r); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A source that has gone silent holds up a pass only while it exists.
func TestSilentSources(t *testing.T) {
	streams := map[string][]string{
		begun: {"0", "1", "2", "3", "4", "5", "6"}, over: {"0", "1", "2", "3", "4", "5", "6"},
		begun + " instance=b": {"0", "1"}, over + " instance=b": {"0", "1"},
	}
	for name, test := range map[string]struct {
		up        string
		unscraped int
	}{
		"cannot be scraped": {answer(`{"resultType":"vector","result":[{"metric":{"instance":"b"},"value":[1,"0"]}]}`), 1},
		"is gone":           {answer(`{"resultType":"vector","result":[]}`), 0},
		"nobody knows":      {`{"status":"error","errorType":"execution","error":"no"}`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			sampler := serve(t, bounded(func(w http.ResponseWriter, r *http.Request) {
				switch query := r.FormValue("query"); {
				case !strings.HasPrefix(query, "up"):
					_, _ = io.WriteString(w, matrix(streams))
				case query != `up{instance=~"b"} == 0`:
					t.Errorf("asked %s", query)
				default:
					_, _ = io.WriteString(w, test.up)
				}
			}), nil)
			got, err := sampler.Evidence(t.Context(), simple)
			if err != nil {
				t.Fatal(err)
			}
			if got.Unscraped != test.unscraped || got.Sources != 2 || seen(got).Canary.Answered != 7 {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// canned answers every request with the same bytes.
type canned []byte

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(string(c))), Request: r}, nil
}

// steered answers by what is asked for: bucket bounds, or samples.
type steered struct{ bounds, samples []byte }

func (s steered) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/values") {
		return canned(s.bounds).RoundTrip(r)
	}
	return canned(s.samples).RoundTrip(r)
}

// Whatever a server answers: no panic, evidence that does not contradict itself, and no pass of a canary
// that is not seen to be good.
func FuzzEvidence(f *testing.F) {
	none, classic := []byte(answer(`[]`)), []byte(answer(`["0.25","1","+Inf"]`))
	durations := "__name__=sluice_request_duration_seconds_bucket revision=new "
	f.Add(none, []byte(matrix(map[string][]string{begun: {"0", "5", "9"}, over: {"0", "5", "8"}})))
	f.Add(classic, []byte(matrix(map[string][]string{
		over: {"0", "100", "20"}, begun + " weight=50": {"0.6", "5.5"}, "__name__=sluice_requests_total code=499 revision=new": {"0", "5"},
		durations + "le=0.25 code=4xx": {"0", "2"}, durations + "le=1 code=4xx": {"0", "3"}, durations + "le=+Inf code=4xx": {"0", "5"},
	})))
	f.Add(none, []byte(strings.ReplaceAll(matrix(map[string][]string{"__name__=sluice_request_duration_seconds code=2xx revision=new": {"0"}}),
		`"values":[[1772366400,"0"]]`, `"histograms":[[1772366400,{"count":"4","sum":"1","buckets":[[0,"0.2","0.3","4"]]}]]`)))
	f.Add(none, []byte(answer(`{"resultType":"vector","result":[{"metric":{"le":"0.25"},"value":[1,"1000"]},{"metric":{},"histogram":[1,{"count":"400","sum":"1","buckets":[[0,"0.2","0.3","4"]]}]}]}`)))
	f.Fuzz(func(t *testing.T, bounds, samples []byte) {
		now := since.Add(4 * time.Second)
		sampler, err := prometheus.New(prometheus.Options{Address: "http://prometheus", RoundTripper: steered{bounds, samples}, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		asked := release
		for range 3 {
			got, err := sampler.Evidence(t.Context(), asked)
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Fatal(err)
			}
			sound(t, got)
			verdict := analysis.Assess(asked, analysis.Settings{SuccessRate: .99, MinRequests: 1}, got, now)
			if verdict.Outcome == analysis.Pass && (got.Doubt != "" || len(got.Strata) == 0 || got.Newest.IsZero()) {
				t.Fatalf("passed: %+v", got)
			}
			asked.WarmUps = []analysis.Window{{From: since.Add(time.Second), Until: now}}
			asked.Boundaries = []time.Duration{250 * time.Millisecond, time.Second}
		}
		if _, pods, err := sampler.PodSpread(t.Context(), asked); err != nil && pods > 0 {
			t.Fatal(pods, err)
		}
	})
}

// sound checks that evidence does not contradict itself.
func sound(t *testing.T, e analysis.Evidence) {
	t.Helper()
	if !slices.IsSorted(e.Boundaries) {
		t.Fatalf("boundaries %v", e.Boundaries)
	}
	for i, s := range e.Strata {
		if s.Weight == 0 || s.Weight > 100 || i > 0 && s.Weight <= e.Strata[i-1].Weight {
			t.Fatalf("stratum %d has weight %d", i, s.Weight)
		}
		for _, r := range []analysis.Requests{s.Seen.Canary, s.Seen.Control, s.Tested.Canary, s.Tested.Control} {
			bad := r.Failed > r.Answered || r.Hanging > r.Unfinished || r.Unfinished > r.Started ||
				len(r.Slow) != len(e.Boundaries) || len(r.Overdue) != len(e.Boundaries)
			for i := range r.Slow {
				bad = bad || r.Slow[i] > r.Answered-r.Failed || r.Overdue[i] > r.Unfinished
			}
			if bad {
				t.Fatalf("%+v", r)
			}
		}
		if s.Tested.Canary.Started > s.Seen.Canary.Started || s.Tested.Control.Failed > s.Seen.Control.Failed {
			t.Fatalf("more was tested than seen: %+v", s)
		}
	}
}

// Series of a scrape that can be queried later than others, as of remote storage, do not count wrongly for
// good; samples that change at every look do not count at all.
func TestSamplesThatAppearLate(t *testing.T) {
	full := map[string][]string{begun: {"0", "100", "110", "120"}, over: {"0", "100", "110", "120"}}
	look, now := 0, since.Add(4*time.Second)
	sampler := serve(t, bounded(func(w http.ResponseWriter, _ *http.Request) {
		switch look++; {
		case look == 1: // the third scrape is there in part
			_, _ = io.WriteString(w, matrix(map[string][]string{begun: {"0", "100", "110"}, over: {"0", "100"}}))
		case look < 10:
			_, _ = io.WriteString(w, matrix(full))
		default: // the other server scrapes half a second later
			_, _ = io.WriteString(w, strings.ReplaceAll(matrix(full), `,"1`, fmt.Sprintf(`.%d,"1`, look%2*5)))
		}
	}), func(o *prometheus.Options) { o.Now = func() time.Time { return now } })
	if _, err := sampler.Evidence(t.Context(), simple); err != nil {
		t.Fatal(err)
	}
	got, err := sampler.Evidence(t.Context(), simple)
	if err != nil || seen(got).Canary.Answered != 120 || got.Dropped != 0 || got.Doubt != "" {
		t.Fatalf("got %+v, %v", got, err)
	}
	now = now.Add(2 * time.Minute)
	look = 10
	for range 3 {
		got, err = sampler.Evidence(t.Context(), simple)
	}
	if err != nil || got.Doubt != "samples appeared behind newer ones twice within a minute, so two servers may answer in turn" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// A service that is not called yet has no bounds; they are looked for until they are there.
func TestBoundsThatComeLater(t *testing.T) {
	called, half, asked := false, false, 0
	sampler := serve(t, func(w http.ResponseWriter, r *http.Request) {
		durations := "__name__=sluice_request_duration_seconds_bucket revision=new code=2xx "
		switch {
		case strings.HasSuffix(r.URL.Path, "/values") && called:
			asked++
			_, _ = io.WriteString(w, answer(`["0.25","1","+Inf"]`))
		case strings.HasSuffix(r.URL.Path, "/values") && half:
			_, _ = io.WriteString(w, answer(`["0.1"]`)) // the server is reading the first scrape
		case strings.HasSuffix(r.URL.Path, "/values"):
			_, _ = io.WriteString(w, answer(`[]`))
		case !called:
			_, _ = io.WriteString(w, matrix(nil))
		case strings.Contains(r.FormValue("query"), "_bucket"):
			_, _ = io.WriteString(w, matrix(map[string][]string{over: {"0", "9"}, durations + "le=0.25": {"0", "5"}, durations + "le=+Inf": {"0", "9"}}))
		default:
			_, _ = io.WriteString(w, matrix(map[string][]string{over: {"0", "9"}}))
		}
	}, nil)
	r := release
	r.Boundaries = []time.Duration{200 * time.Millisecond}
	if e, err := sampler.Evidence(t.Context(), r); err != nil || len(e.Boundaries) > 0 || e.Doubt != "" {
		t.Fatalf("%+v, %v", e, err)
	}
	half = true
	if e, err := sampler.Evidence(t.Context(), r); err != nil || len(e.Boundaries) > 0 || e.Doubt != "" {
		t.Fatalf("%+v, %v", e, err)
	}
	called = true
	for range 3 {
		e, err := sampler.Evidence(t.Context(), r)
		if err != nil || len(e.Strata) != 1 || !slices.Equal(e.Boundaries, []time.Duration{250 * time.Millisecond}) || e.Strata[0].Seen.Canary.Slow[0] != 4 {
			t.Fatalf("%+v, %v", e, err)
		}
	}
	if asked != 1 {
		t.Errorf("the bounds were asked for %d times after they were known, want once", asked)
	}
}

// The first scrape with durations may be stored just when a look has asked for bounds. Then it reads native
// histograms; where there are classic ones too, they count from the next look on.
func TestBoundsThatComeWithinALook(t *testing.T) {
	stored := false
	sampler := serve(t, func(w http.ResponseWriter, r *http.Request) {
		durations := "__name__=sluice_request_duration_seconds_bucket revision=new code=2xx "
		switch {
		case strings.HasSuffix(r.URL.Path, "/values") && stored:
			_, _ = io.WriteString(w, answer(`["0.25","1","+Inf"]`))
		case strings.HasSuffix(r.URL.Path, "/values"):
			stored = true
			_, _ = io.WriteString(w, answer(`[]`))
		case strings.Contains(r.FormValue("query"), "_bucket"):
			_, _ = io.WriteString(w, matrix(map[string][]string{over: {"0", "9"}, durations + "le=0.25": {"0", "5"}, durations + "le=+Inf": {"0", "9"}}))
		default:
			_, _ = io.WriteString(w, strings.ReplaceAll(matrix(map[string][]string{over: {"0", "9"}, "__name__=sluice_request_duration_seconds revision=new code=2xx": {"0"}}),
				`"values":[[1772366400,"0"]]`, `"histograms":[[1772366400,{"count":"0","sum":"0"}],[1772366401,{"count":"9","sum":"2","buckets":[[0,"0.1","0.2","5"],[0,"0.3","0.4","4"]]}]]`))
		}
	}, nil)
	r := release
	r.Boundaries = []time.Duration{200 * time.Millisecond}
	for look, want := range []time.Duration{200 * time.Millisecond, 250 * time.Millisecond, 250 * time.Millisecond} {
		e, err := sampler.Evidence(t.Context(), r)
		if err != nil || len(e.Strata) != 1 || !slices.Equal(e.Boundaries, []time.Duration{want}) || e.Strata[0].Seen.Canary.Slow[0] != 4 {
			t.Errorf("look %d: %+v, %v", look, e, err)
		}
	}
}
