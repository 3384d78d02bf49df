package prometheus

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
)

// wire makes an answer of what a server says about some series.
func wire(streams string) string {
	return `{"status":"success","data":{"resultType":"matrix","result":[` + streams + `]}}`
}

const oneSeries = `{"metric":{"__name__":"sluice_requests_total","code":"200"},"values":[[1.5,"1"],[2.517,"2"]]}`

func TestDecode(t *testing.T) {
	for name, test := range map[string]struct {
		body string
		want model.Matrix
		err  string // how it begins
	}{
		"counters": {
			body: wire(oneSeries),
			want: model.Matrix{{
				Metric: model.Metric{"__name__": "sluice_requests_total", "code": "200"},
				Values: []model.SamplePair{{Timestamp: 1500, Value: 1}, {Timestamp: 2517, Value: 2}},
			}},
		},
		"a type behind the result, spaces, keys that are not known": {
			body: ` { "data" : { "result" : [ {"more":[{}, null, -1e3, "\u00e9\\"], "values" : [ [ 1 , "0.5" ] , [-0.25,"+Inf"]] , "metric" : { "a" : "\"\u00e9\n" } } ], "resultType" : "matrix" }, "infos":["x"], "status" : "success" } ` + "\n",
			want: model.Matrix{{
				Metric: model.Metric{"a": "\"é\n"},
				Values: []model.SamplePair{{Timestamp: 1000, Value: .5}, {Timestamp: -250, Value: model.SampleValue(math.Inf(1))}},
			}},
		},
		"native histograms": {
			body: wire(`{"metric":{},"histograms":[[1.5,{"count":"42","sum":"3.5","buckets":[[3,"-0.25","0.25","3"],[0,"0.25","0.5","39"]]}],[3,{"count":"42","sum":"-1"}]]}`),
			want: model.Matrix{{Metric: model.Metric{}, Histograms: []model.SampleHistogramPair{
				{Timestamp: 1500, Histogram: &model.SampleHistogram{Count: 42, Sum: 3.5, Buckets: model.HistogramBuckets{
					{Boundaries: 3, Lower: -.25, Upper: .25, Count: 3}, {Boundaries: 0, Lower: .25, Upper: .5, Count: 39},
				}}},
				{Timestamp: 3000, Histogram: &model.SampleHistogram{Count: 42, Sum: -1}},
			}}},
		},
		"nothing":           {body: wire(""), want: model.Matrix{}},
		"no labels":         {body: wire(`{"values":[[1,"1"]]}`), err: "bad_response: not what the API answers, from byte"},
		"null":              {body: wire(`null`), err: "bad_response: "},
		"no time":           {body: wire(`{"metric":{},"values":[["1","1"]]}`), err: "bad_response: "},
		"a number":          {body: wire(`{"metric":{},"values":[[1,1]]}`), err: "bad_response: "},
		"hardly a number":   {body: wire(`{"metric":{},"values":[[1,"1,0"]]}`), err: "bad_response: "},
		"too many":          {body: wire(`{"metric":{},"values":[[1,"1",2]]}`), err: "bad_response: "},
		"a label that isnt": {body: wire(`{"metric":{"a":1},"values":[]}`), err: "bad_response: "},
		"half":              {body: wire(oneSeries)[:150], err: "bad_response: "},
		"twice":             {body: wire(oneSeries) + "{}", err: "bad_response: "},
		"deep":              {body: `{"a":` + strings.Repeat("[", 1e6), err: "bad_response: "},
		"an error":          {body: `{"status":"error","errorType":"bad_data","error":"parse \"x\"\nhere"}`, err: `bad_data: parse "x" here`},
		"no status":         {body: `{"data":{"resultType":"matrix","result":[]}}`, err: "bad_response: neither"},
		"a vector":          {body: `{"status":"success","data":{"resultType":"vector","result":[]}}`, err: "the answer is not a list of raw samples"},
		"a warning":         {body: `{"status":"success","warnings":["late","x"],"data":{"resultType":"matrix","result":[]}}`, err: "the answer is not complete: late"},
	} {
		t.Run(name, func(t *testing.T) {
			d, a := newDecoder(), &answer{}
			for range 2 { // the second time the series are known
				a.body = append(a.body[:0], test.body...)
				err := d.decode(a, 0)
				if test.err != "" {
					if err == nil || !strings.HasPrefix(err.Error(), test.err) {
						t.Fatalf("got %v, want %s", err, test.err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				got, err := a.matrix()
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(test.want, got, cmp.Comparer(sameFloat), cmp.Comparer(sameText)); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			}
		})
	}
}

func sameFloat(a, b model.SampleValue) bool { return a.Equal(b) }
func sameText(a, b model.FloatString) bool {
	return a == b || math.IsNaN(float64(a)) && math.IsNaN(float64(b))
}

// Series that come in another order, go and come back are told apart as before.
func TestTheDecoderRemembersSeries(t *testing.T) {
	d, a := newDecoder(), &answer{}
	decode := func(now int64, codes ...string) (met []*metric) {
		var streams []string
		for _, code := range codes {
			streams = append(streams, `{"metric":{"code":"`+code+`"},"values":[[1,"1"]]}`)
		}
		a.body = []byte(wire(strings.Join(streams, ",")))
		if err := d.decode(a, now); err != nil {
			t.Fatal(err)
		}
		for i, st := range a.streams {
			if want := `{"code":"` + codes[i] + `"}`; st.metric.text != want {
				t.Errorf("series %d is %s, want %s", i, st.metric.text, want)
			}
			met = append(met, st.metric)
		}
		return met
	}
	first := decode(1, "200", "404", "500")
	second := decode(2, "200", "403", "404", "500")
	third := decode(3, "500", "200", "200", "404")
	if first[0] != second[0] || first[1] != second[2] || third[0] != first[2] || third[1] != first[0] || third[2] != first[0] || third[3] != first[1] {
		t.Error("a series was made anew")
	}
	decode(3600, "200")
	decode(7200, "200")
	if len(d.known) != 1 || len(d.services) != 1 {
		t.Errorf("%d series and %d services are remembered, want 1 of each", len(d.known), len(d.services))
	}
	if again := decode(7201, "200", "500"); again[0] != first[0] || again[1] == first[2] {
		t.Error("forgot what it met, or remembers what it did not")
	}
}

// Whatever the standard library and the API's own types read, the decoder reads likewise; and what it reads
// and they do not differs in nothing but the bounds of its leniency.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(wire(oneSeries)))
	f.Add([]byte(wire(oneSeries + "," + oneSeries)))
	f.Add([]byte(wire(`{"metric":{"a":"\u0041"},"values":[[1.5004,"1e3"],[2,"0x1p-2"]]}`)))
	f.Add([]byte(wire(`{"metric":{},"histograms":[[1.5,{"count":"42","sum":"3.5","buckets":[[3,"-0.25","0.25","3"]]}]]}`)))
	f.Add([]byte(`{"status":"error","error":"x"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, a := newDecoder(), &answer{body: body}
		err := d.decode(a, 0)
		var want struct {
			Status   string   `json:"status"`
			Warnings []string `json:"warnings"`
			Data     struct {
				ResultType string       `json:"resultType"`
				Result     model.Matrix `json:"result"`
			} `json:"data"`
		}
		known := json.Unmarshal(body, &want)
		if err != nil {
			if known == nil && want.Status == "success" && want.Data.ResultType == "matrix" && len(want.Warnings) == 0 && plainly(body, want.Data.Result) {
				t.Fatalf("not read: %v", err)
			}
			return
		}
		got, err := a.matrix()
		if err != nil {
			t.Fatal(err)
		}
		if known != nil || !plainly(body, want.Data.Result) {
			return
		}
		if diff := cmp.Diff(want.Data.Result, got, cmp.Comparer(sameFloat), cmp.Comparer(sameText)); diff != "" {
			t.Fatalf("-standard +decoder:\n%s", diff)
		}
	})
}

// plainly says whether a text is written as servers write it: keys once and in lower case, nothing null, no
// exponents in times, none out of range. Elsewhere readers may differ.
func plainly(body []byte, matrix model.Matrix) bool {
	text := string(body)
	for _, odd := range []string{"null", "\\u", "e", "E", "x", "_"} {
		rest := strings.NewReplacer("metric", "", "values", "", "result", "", "Type", "", "success", "", "buckets", "", "__name__", "", "code", "",
			"sluice_requests_total", "").Replace(text)
		if strings.Contains(rest, odd) {
			return false
		}
	}
	for _, key := range []string{`"status"`, `"data"`, `"resultType"`, `"result"`, `"warnings"`} {
		if strings.Count(strings.ToLower(text), strings.ToLower(key)) > 1 {
			return false
		}
	}
	if strings.Count(text, `"metric"`) != len(matrix) || strings.Count(text, `"values"`)+strings.Count(text, `"histograms"`) != len(matrix) {
		return false
	}
	for _, s := range matrix {
		if s == nil || s.Metric == nil || s.Values == nil && s.Histograms == nil {
			return false
		}
		for _, v := range s.Values {
			if v.Timestamp > 1e15 || v.Timestamp < -1e15 || v.Timestamp == 0 {
				return false
			}
		}
		for _, v := range s.Histograms {
			if v.Timestamp > 1e15 || v.Timestamp < -1e15 || v.Timestamp == 0 {
				return false
			}
		}
	}
	return true
}
