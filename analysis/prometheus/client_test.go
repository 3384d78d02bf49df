package prometheus_test

import (
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sluice-mesh/sluice/analysis/check"
	"github.com/sluice-mesh/sluice/analysis/prometheus"
)

func TestQueryAnswers(t *testing.T) {
	labels := map[string]string{"a": "b"}
	for name, test := range map[string]struct {
		status int
		body   string
		want   check.Result
		err    string // how it begins
	}{
		"a scalar":            {body: answer(`{"resultType":"scalar","result":[1,"2.5"]}`), want: check.Result{Kind: check.KindScalar, Number: 2.5}},
		"a string":            {body: answer(`{"resultType":"string","result":[1,"x"]}`), want: check.Result{Kind: check.KindString, Text: "x"}},
		"a vector":            {body: answer(`{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1,"2"]}]}`), want: check.Result{Kind: check.KindVector, Series: []check.Series{{Labels: labels, Value: 2}}}},
		"no series":           {body: answer(`{"resultType":"vector","result":[]}`), want: check.Result{Kind: check.KindVector}},
		"a warning that says": {body: `{"status":"success","warnings":["PromQL warning: odd\nquantile"],"data":{"resultType":"scalar","result":[1,"1"]}}`, want: check.Result{Kind: check.KindScalar, Number: 1, Warnings: []string{"PromQL warning: odd quantile"}}},
		"only a part":         {body: `{"status":"success","warnings":["a store is away"],"data":{"resultType":"scalar","result":[1,"1"]}}`, err: "query prometheus: the answer is not complete: a store is away"},
		"a matrix":            {body: answer(`{"resultType":"matrix","result":[]}`), err: "query prometheus: the result is a range of samples, not one value; take rate"},
		"a histogram":         {body: answer(`{"resultType":"vector","result":[{"metric":{},"histogram":[1,{"count":"1","sum":"1"}]}]}`), err: "query prometheus: the result is a histogram, not a number"},
		"null":                {body: answer(`null`), err: "query prometheus: "},
		"too many":            {body: answer(`{"resultType":"vector","result":[{"metric":{},"value":[1,"2"]},{"metric":{},"value":[1,"2"]},{"metric":{},"value":[1,"2"]}]}`), err: "query prometheus: more than 2 series"},
		"no PromQL":           {status: 400, body: `{"status":"error","errorType":"bad_data","error":"1:3: parse error: unexpected end of input"}`, err: "query prometheus: bad_data: 1:3: parse error: unexpected end of input"},
		"who are you":         {status: 401, body: "s3cret", err: "query prometheus: client_error: client error: 401"},
		"too large":           {body: strings.Repeat(" ", 1<<17), err: "query prometheus: the response is too large"},
	} {
		t.Run(name, func(t *testing.T) {
			sampler := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.FormValue("query") != "up" || r.FormValue("time") != "1772366400" {
					t.Errorf("asked %v", r.Form)
				}
				if test.status != 0 {
					w.WriteHeader(test.status)
				}
				_, _ = io.WriteString(w, test.body)
			}, func(o *prometheus.Options) { o.MaxBytes, o.MaxSeries = 1<<16, 2 })
			got, err := sampler.Query(t.Context(), "up", since)
			if test.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), test.err) || strings.Contains(err.Error(), "s3cret") {
					t.Fatalf("got %v, want %s", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty(), cmpopts.EquateNaNs()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// What the expressions of people come to on a real server.
func TestQueriesOnARealServer(t *testing.T) {
	t.Parallel()
	sampler := connect(t, start(t, time.Second))
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if _, err := sampler.Query(t.Context(), "1", time.Time{}); err == nil {
			break // it has started
		}
	}
	for expression, want := range map[string]check.Result{
		`1 + 1`: {Kind: check.KindScalar, Number: 2},
		`"x"`:   {Kind: check.KindString, Text: "x"},
		`none`:  {Kind: check.KindVector},
	} {
		if got, err := sampler.Query(t.Context(), expression, time.Now()); err != nil || !cmp.Equal(got, want, cmpopts.EquateEmpty()) {
			t.Errorf("%s: got %+v, %v", expression, got, err)
		}
	}
	got, err := sampler.Query(t.Context(), `vector(1) / 0 - vector(1) / 0`, time.Now())
	if diff := cmp.Diff(check.KindVector, got.Kind); err != nil || diff != "" || len(got.Series) != 1 || !math.IsNaN(got.Series[0].Value) {
		t.Errorf("got %+v, %v", got, err)
	}
	for expression, want := range map[string]string{
		`sum(rate(x[1m]`: "query prometheus: bad_data: ",
		`x[5m]`:          "query prometheus: the result is a range of samples",
	} {
		if _, err := sampler.Query(t.Context(), expression, time.Now()); err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("%s: got %v", expression, err)
		}
	}
	from := time.Now().Truncate(time.Second)
	points, err := sampler.Range(t.Context(), `label_replace(vector(time()), "a", "b", "", "")`, from, from.Add(4*time.Second), 2*time.Second)
	at := float64(from.Unix())
	if diff := cmp.Diff([]check.Points{{Labels: map[string]string{"a": "b"}, Values: []float64{at, at + 2, at + 4}}}, points); err != nil || diff != "" {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
	if _, err := sampler.Range(t.Context(), `x[5m]`, from, from, time.Second); err == nil || !strings.HasPrefix(err.Error(), "query prometheus: bad_data: ") {
		t.Errorf("got %v", err)
	}
}

// Whatever a server answers to a query: no panic, and an answer or an error.
func FuzzQuery(f *testing.F) {
	for _, data := range []string{`{"resultType":"scalar","result":[1,"2.5"]}`, `{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1,"2"]}]}`, `{"resultType":"vector","result":[null]}`, `null`} {
		f.Add([]byte(answer(data)))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		client, err := prometheus.NewClient(prometheus.Options{Address: "http://prometheus", RoundTripper: canned(body)})
		if err != nil {
			t.Fatal(err)
		}
		got, err := client.Query(t.Context(), "x", since)
		if (err == nil) == (got.Kind == "") {
			t.Fatalf("%+v, %v", got, err)
		}
		if _, err := client.Range(t.Context(), "x", since, since, time.Second); err != nil && strings.Contains(err.Error(), "\n") {
			t.Fatal(err)
		}
	})
}
