package prometheus

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/sluice-mesh/sluice/analysis"
)

var (
	since   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	release = analysis.Release{Namespace: "shop", Service: "cart", Stable: "old", Canary: "new", Weight: 10, Since: since}
	quarter = scale{bounds: []bound{{.25, []string{"0.25"}}}}
)

// tally is what the tests compare: at weight 10, with one bound.
type tally struct{ Started, Answered, Failed, Slow, Cancelled, Unfinished, Overdue uint64 }

func tallyFrom(r analysis.Requests) tally {
	t := tally{Started: r.Started, Answered: r.Answered, Failed: r.Failed, Cancelled: r.Cancelled, Unfinished: r.Unfinished}
	if len(r.Slow) > 0 {
		t.Slow, t.Overdue = r.Slow[0], r.Overdue[0]
	}
	return t
}

// feed adds a matrix to a ledger.
func feed(l *ledger, d *decoder, matrix model.Matrix) error {
	a := &answer{}
	if err := d.encode(a, matrix); err != nil {
		return err
	}
	return l.add(a)
}

// at is what was seen at a weight.
func at(e analysis.Evidence, weight uint32) analysis.Stratum {
	for _, s := range e.Strata {
		if s.Weight == weight {
			return s
		}
	}
	return analysis.Stratum{}
}

// line makes a stream: labels as "name=value name=value", then a value for every second from `first`
// seconds after since on; NaN stands for a scrape without the series.
func line(labels string, first int, values ...float64) *model.SampleStream {
	s := &model.SampleStream{Metric: model.Metric{
		"reporter": "source", "namespace": "shop", "service": "cart", "weight": "10", "instance": "10.0.0.1:15020",
	}}
	for _, pair := range strings.Fields(labels) {
		name, value, _ := strings.Cut(pair, "=")
		if name == "is" {
			name = model.MetricNameLabel
			value = map[string]string{"started": startedName, "total": totalName, "bucket": bucketName}[value]
		}
		s.Metric[model.LabelName(name)] = model.LabelValue(value)
	}
	for i, value := range values {
		if !math.IsNaN(value) {
			at := since.Add(time.Duration(first+i) * time.Second).UnixMilli()
			s.Values = append(s.Values, model.SamplePair{Timestamp: model.Time(at), Value: model.SampleValue(value)})
		}
	}
	return s
}

func TestLedger(t *testing.T) {
	none := math.NaN()
	tests := map[string]struct {
		matrix         model.Matrix
		canary, stable tally
		dropped        int
		doubt          string
	}{
		"from zero": {
			matrix: model.Matrix{
				line("is=started revision=new", -1, 0, 0, 4, 9, 10),
				line("is=total revision=new code=200", -1, 0, 0, 3, 6, 7),
				line("is=total revision=new code=503", 1, 1, 2, 3), // appears at the first failure
				line("is=started revision=old", -1, 0, 0, 40, 90, 100),
				line("is=total revision=old code=200", -1, 0, 0, 40, 90, 100),
			},
			canary: tally{Started: 10, Answered: 10, Failed: 3},
			stable: tally{Started: 100, Answered: 100},
		},
		"what was there at the time is subtracted": {
			matrix: model.Matrix{
				line("is=started revision=new", -2, 50, 60, 60, 70),
				line("is=total revision=new code=500", -2, 50, 60, 60, 60),
				line("is=total revision=new code=200", -1, 0, 0, 10),
			},
			canary: tally{Started: 10, Answered: 10},
		},
		"the scrape at the time itself is before it": {
			matrix: model.Matrix{line("is=started revision=new", 0, 5, 9), line("is=total revision=new code=200", 0, 5, 9)},
			canary: tally{Started: 4, Answered: 4},
		},
		"a restart before it is none": {
			matrix: model.Matrix{line("is=total revision=new code=200", -3, 50, 0, 1, 1, 4)},
			canary: tally{Answered: 3},
		},
		"a source that appears later counts from zero": {
			matrix: model.Matrix{
				line("is=started revision=new instance=b", 5, 7, 9),
				line("is=total revision=new code=200 instance=b", 5, 7, 9),
			},
			canary: tally{Started: 9, Answered: 9},
		},
		"a restart drops the interval for both revisions": {
			matrix: model.Matrix{
				line("is=started revision=new", 0, 0, 10, 3, 8),
				line("is=total revision=new code=200", 0, 0, 10, 3, 8),
				line("is=started revision=old", 0, 0, 90, 120, 150), // grew past itself: the same restart
				line("is=total revision=old code=200", 0, 0, 90, 120, 150),
				line("is=started revision=new instance=b", 0, 0, 10, 20, 30),
				line("is=total revision=new code=200 instance=b", 0, 0, 10, 20, 30),
			},
			canary: tally{Started: 45, Answered: 45}, stable: tally{Started: 120, Answered: 120}, dropped: 1,
		},
		"a series that vanishes is a restart": {
			matrix: model.Matrix{
				line("is=started revision=new", 0, 0, 10, 0, 8),
				line("is=total revision=new code=200", 0, 0, 5, 0, 8),
				line("is=total revision=new code=500", 0, none, 5, none, none),
			},
			canary: tally{Started: 18, Answered: 18, Failed: 5}, dropped: 1,
		},
		"a missed scrape only lengthens the interval": {
			matrix: model.Matrix{
				line("is=started revision=new", 0, 0, none, none, 30),
				line("is=total revision=new code=200", 0, 0, none, none, 30),
			},
			canary: tally{Started: 30, Answered: 30},
		},
		"slow, and failures are no slow ones": {
			matrix: model.Matrix{
				line("is=started revision=new", 0, 0, 100),
				line("is=total revision=new code=200", 0, 0, 80),
				line("is=total revision=new code=404", 1, 10),
				line("is=total revision=new code=500", 1, 10),
				line("is=bucket revision=new code=2xx le=0.25", 0, 0, 75),
				line("is=bucket revision=new code=2xx le=+Inf", 0, 0, 80),
				line("is=bucket revision=new code=4xx le=0.25", 1, 8),
				line("is=bucket revision=new code=4xx le=+Inf", 1, 10),
				line("is=bucket revision=new code=5xx le=0.25", 1, 1),
				line("is=bucket revision=new code=5xx le=+Inf", 1, 10),
			},
			canary: tally{Started: 100, Answered: 100, Failed: 10, Slow: 7},
		},
		"clients that give up soon count for nothing, late ones are slow": {
			matrix: model.Matrix{
				line("is=started revision=new", 0, 0, 100),
				line("is=total revision=new code=200", 0, 0, 80),
				line("is=total revision=new code=499", 1, 20),
				line("is=bucket revision=new code=2xx le=0.25", 0, 0, 80),
				line("is=bucket revision=new code=2xx le=+Inf", 0, 0, 80),
				line("is=bucket revision=new code=4xx le=0.25", 1, 15),
				line("is=bucket revision=new code=4xx le=+Inf", 1, 20),
			},
			canary: tally{Started: 100, Answered: 85, Slow: 5, Cancelled: 15},
		},
		"what hangs is unfinished and then overdue": {
			matrix: model.Matrix{
				line("is=started revision=new", 0, 0, 20, 40, 60),
				line("is=total revision=new code=200", 0, 0, 0, 0, 0),
				line("is=started revision=old", 0, 0, 180, 360, 540),
				line("is=total revision=old code=200", 0, 0, 176, 356, 537),
				line("is=bucket revision=new code=2xx le=0.25", 0, 0, 0, 0, 0), line("is=bucket revision=new code=2xx le=+Inf", 0, 0, 0, 0, 0),
			},
			canary: tally{Started: 60, Unfinished: 60, Overdue: 40},
			stable: tally{Started: 540, Answered: 537, Unfinished: 3},
		},
		"what was under way at a source that is gone is not": {
			matrix: model.Matrix{
				line("is=started revision=new", 0, 0, 20),
				line("is=started revision=new instance=b", 0, 0, 1, 2, 3, 4, 5, 6),
				line("is=bucket revision=new code=2xx le=0.25", 0, 0, 0), line("is=bucket revision=new code=2xx le=+Inf", 0, 0, 0),
				line("is=bucket revision=new code=2xx le=0.25 instance=b", 0, 0, 0, 0, 0, 0, 0, 0), line("is=bucket revision=new code=2xx le=+Inf instance=b", 0, 0, 0, 0, 0, 0, 0, 0),
			},
			canary: tally{Started: 26, Unfinished: 6, Overdue: 5},
		},
		"classic histograms before native ones": {
			matrix: model.Matrix{
				line("is=total revision=new code=200", 0, 0, 9),
				line("is=bucket revision=new code=2xx le=0.25", 0, 0, 5),
				line("is=bucket revision=new code=2xx le=+Inf", 0, 0, 9),
				histograms(model.SampleHistogram{}, model.SampleHistogram{Count: 9, Buckets: model.HistogramBuckets{{Lower: .1, Upper: .2, Count: 9}}}),
			},
			canary: tally{Answered: 9, Slow: 4},
		},
		"connections that stay open are not unfinished": {
			matrix: model.Matrix{
				line("is=started revision=new protocol=tcp", 0, 0, 20, 40),
				line("is=total revision=new protocol=tcp code=200", 0, 0, 0, 1),
			},
			canary: tally{Started: 40, Answered: 1},
		},
		"no answer, and what gRPC says": {
			matrix: model.Matrix{
				line("is=total revision=new code=0", 1, 1),
				line("is=total revision=new code=200 grpc_status=14", 1, 2),
				line("is=total revision=new code=200 grpc_status=DEADLINE_EXCEEDED", 1, 4),
				line("is=total revision=new code=200 grpc_status=Internal", 1, 8),
				line("is=total revision=new code=200 grpc_status=5", 1, 16),
				line("is=total revision=new code=200 grpc_status=OK", 1, 32),
				line("is=total revision=new code=200 grpc_status=CANCELLED", 1, 64),
				line("is=total revision=new code=429", 1, 128),
			},
			canary: tally{Answered: 191, Failed: 15, Cancelled: 64},
		},
		"pods of one name in two namespaces are two sources": {
			matrix: model.Matrix{
				line("is=started revision=new pod=load-0 source_namespace=a", 0, 0, 10, 20),
				line("is=started revision=new pod=load-0 source_namespace=b instance=c", 0, 0, 1, 2),
				line("is=bucket revision=new code=2xx le=0.25 pod=load-0 source_namespace=a", 0, 0, 0, 0), line("is=bucket revision=new code=2xx le=+Inf pod=load-0 source_namespace=a", 0, 0, 0, 0),
				line("is=bucket revision=new code=2xx le=0.25 pod=load-0 source_namespace=b instance=c", 0, 0, 0, 0), line("is=bucket revision=new code=2xx le=+Inf pod=load-0 source_namespace=b instance=c", 0, 0, 0, 0),
			},
			canary: tally{Started: 22, Unfinished: 22, Overdue: 11},
		},
		"the same series from two jobs": {
			matrix: model.Matrix{
				line("is=started revision=new job=a", 0, 0, 10, 20),
				line("is=started revision=new job=b", 0, 0, 10, 20),
			},
			doubt: "10.0.0.1:15020 is there twice, so it is scraped twice or two servers answer",
		},
		"the same pod at two addresses": {
			matrix: model.Matrix{
				line("is=started revision=new pod=p", 0, 0, 10, 20),
				line("is=started revision=new pod=p instance=p:15020", 0, 0, 10, 20),
			},
			doubt: "/p is there twice, so it is scraped twice or two servers answer",
		},
		"a pod that comes again at another address": {
			matrix: model.Matrix{
				line("is=started revision=new pod=p", 0, 0, 10, 20),
				line("is=started revision=new pod=p instance=p:15020", 4, 0, 5, 6),
				line("is=bucket revision=new code=2xx le=0.25 pod=p", 0, 0, 0, 0), line("is=bucket revision=new code=2xx le=+Inf pod=p", 0, 0, 0, 0),
				line("is=bucket revision=new code=2xx le=0.25 pod=p instance=p:15020", 0, none, none, none, none, 0, 0, 0), line("is=bucket revision=new code=2xx le=+Inf pod=p instance=p:15020", 0, none, none, none, none, 0, 0, 0),
			},
			canary: tally{Started: 26, Unfinished: 6, Overdue: 5}, dropped: 1,
		},
		"not a number":       {matrix: model.Matrix{{Metric: line("is=started revision=new", 0).Metric, Values: []model.SamplePair{{Timestamp: 1, Value: model.SampleValue(math.NaN())}}}}, doubt: "a counter of 10.0.0.1:15020 has the value NaN"},
		"negative":           {matrix: model.Matrix{line("is=started revision=new", 0, -1)}, doubt: "a counter of 10.0.0.1:15020 has the value -1"},
		"infinite":           {matrix: model.Matrix{line("is=started revision=new", 0, math.Inf(1))}, doubt: "a counter of 10.0.0.1:15020 has the value +Inf"},
		"a foreign revision": {matrix: model.Matrix{line("is=started revision=other", 0, 1)}},
		"a foreign service":  {matrix: model.Matrix{line("is=started revision=new service=other", 0, 1)}},
		"a foreign report":   {matrix: model.Matrix{line("is=started revision=new reporter=destination", 0, 1)}},
		"no weight":          {matrix: model.Matrix{line("is=started revision=new weight=", 0, 1), line("is=started revision=new weight=0", 0, 1)}},
		"a strange weight":   {matrix: model.Matrix{line("is=started revision=new weight=101", 0, 1)}, doubt: `weight "101" is no percentage`},
		"a foreign name":     {matrix: model.Matrix{line("__name__=up revision=new", 0, 1)}, doubt: `a series "up" was not asked for`},
		"a strange code":     {matrix: model.Matrix{line("is=total revision=new code=2xx", 0, 1)}, doubt: `code "2xx" is no number`},
		"a strange class":    {matrix: model.Matrix{line("is=bucket revision=new code=200 le=+Inf", 0, 1)}, doubt: `durations have the code "200", which is no class`},
		"no source":          {matrix: model.Matrix{line("is=started revision=new instance=", 0, 1)}, doubt: "a series does not say which source it comes from, by pod or instance"},
		"another schema":     {matrix: model.Matrix{line("is=bucket revision=new code=2xx le=+Inf", 0, 1)}, doubt: "a source does not count durations at the bound that others have"},
		"buckets that shrink": {matrix: model.Matrix{
			line("is=bucket revision=new code=2xx le=+Inf", 0, 1), line("is=bucket revision=new code=2xx le=0.25", 0, 2),
		}, doubt: "more durations are under a bound than there are"},
		"nothing at all": {},
		"null":           {matrix: model.Matrix{nil}, doubt: "a series is null"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			decoder := newDecoder()
			whole := newLedger(release, quarter, 0)
			err := feed(whole, decoder, test.matrix)
			if test.doubt != "" {
				var doubt doubtError
				if !errors.As(err, &doubt) || doubt.Error() != test.doubt {
					t.Fatalf("got %v, want doubt %q", err, test.doubt)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := whole.evidence()
			seen := at(got, 10).Seen
			if diff := cmp.Diff(test.canary, tallyFrom(seen.Canary)); diff != "" {
				t.Errorf("canary (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.stable, tallyFrom(seen.Control)); diff != "" {
				t.Errorf("stable (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(seen, at(got, 10).Tested); diff != "" {
				t.Errorf("without a warm-up, what is tested is not what is seen:\n%s", diff)
			}
			if got.Dropped != test.dropped {
				t.Errorf("%d dropped, want %d", got.Dropped, test.dropped)
			}
			// Read second by second, with overlap, it must come to the same.
			pieces := newLedger(release, quarter, 0)
			for second := -2; second < 10; second++ {
				if err := feed(pieces, decoder, between(test.matrix, second-3, second)); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(got, pieces.evidence()); diff != "" {
				t.Errorf("in pieces (-whole +pieces):\n%s", diff)
			}
		})
	}
}

// between cuts a matrix down to the samples of (from, to], in seconds after since.
func between(matrix model.Matrix, from, to int) model.Matrix {
	var cut model.Matrix
	for _, stream := range matrix {
		part := &model.SampleStream{Metric: stream.Metric}
		for _, sample := range stream.Values {
			if at := sample.Timestamp.Time().Sub(since); at > time.Duration(from)*time.Second && at <= time.Duration(to)*time.Second {
				part.Values = append(part.Values, sample)
			}
		}
		if len(part.Values) > 0 {
			cut = append(cut, part)
		}
	}
	return cut
}

func TestAnErrorChangesNothing(t *testing.T) {
	l, d := newLedger(release, scale{}, 0), newDecoder()
	if err := feed(l, d, model.Matrix{line("is=started revision=new", 0, 0, 10)}); err != nil {
		t.Fatal(err)
	}
	before := l.evidence()
	if err := feed(l, d, model.Matrix{line("is=started revision=new", 2, 20, 30), line("is=started revision=old", 2, 1, -1)}); err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff(before, l.evidence()); diff != "" {
		t.Error(diff)
	}
}

func TestFreshnessAndInterval(t *testing.T) {
	l := newLedger(release, scale{}, 0)
	if got := l.evidence(); !got.Newest.IsZero() || got.Interval != 0 {
		t.Errorf("an empty ledger has newest %v, interval %v", got.Newest, got.Interval)
	}
	if err := feed(l, newDecoder(), model.Matrix{
		line("is=started revision=new", 0, 0, 1, 2, 3, 4, 5, 6, 7),
		line("is=started revision=new instance=gone", 0, 0, 1),
		line("is=started revision=new instance=slow", 0, 0, 1, 2, 3, 4), // has missed three scrapes, not more
	}); err != nil {
		t.Fatal(err)
	}
	got := l.evidence()
	if !got.Newest.Equal(since.Add(7*time.Second)) || got.Interval != time.Second || got.Sources != 3 {
		t.Errorf("newest %v, interval %v, %d sources", got.Newest, got.Interval, got.Sources)
	}
	if silent := l.silent(); !slices.Equal(silent, []string{"gone"}) {
		t.Errorf("silent: %v, want gone", silent)
	}
	if got := l.from(); !got.Equal(since.Add(4 * time.Second)) {
		t.Errorf("reads on from %v", got.Sub(since))
	}
	l.read = since.Add(time.Hour).UnixMilli() // and nothing has come all the while
	if got := l.from(); !got.Equal(since.Add(58 * time.Minute)) {
		t.Errorf("reads on from %v", got.Sub(since))
	}
}

func TestPick(t *testing.T) {
	there := parseBounds(model.LabelValues{"+Inf", "0.1", "0.25", "0.3", "1", "1.0", "NaN", "many", "-1"})
	for asked, want := range map[time.Duration][]bound{
		250 * time.Millisecond:   {{.25, []string{"0.25"}}},
		251 * time.Millisecond:   {{.3, []string{"0.3"}}},
		250*time.Millisecond + 1: {{.3, []string{"0.3"}}},
		time.Millisecond:         {{.1, []string{"0.1"}}},
		time.Second:              {{1, []string{"1", "1.0"}}},
		1001 * time.Millisecond:  nil,
	} {
		if diff := cmp.Diff(want, pick(there, []time.Duration{asked}), cmp.AllowUnexported(bound{})); diff != "" {
			t.Errorf("%v (-want +got):\n%s", asked, diff)
		}
	}
	several := pick(there, []time.Duration{time.Second, 20 * time.Millisecond, 30 * time.Millisecond, time.Hour, 240 * time.Millisecond})
	if got := (scale{bounds: several}).labels(); !slices.Equal(got, []string{"0.1", "0.25", "1", "1.0"}) {
		t.Errorf("picked %v", got)
	}
}

func TestSelectors(t *testing.T) {
	one := selection{namespaces: []string{"shop"}, services: []string{`a"b\`}, revisions: []string{"n.w|x", "old"}, bounds: []string{"0.25"}}
	want := `{__name__=~"sluice_requests_started_total|sluice_requests_total|sluice_request_duration_seconds_bucket",reporter="source",namespace="shop",service="a\"b\\",weight!~"0?",revision=~"n\\.w\\|x|old",le=~"|0\\.25|\\+Inf",code!~"5xx|none"}`
	if got := one.selector(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	two := selection{namespaces: []string{"a", "b"}, services: []string{"c", "d"}, revisions: []string{"x"}, native: true}
	want = `{__name__=~"sluice_requests_started_total|sluice_requests_total|sluice_request_duration_seconds",reporter="source",namespace=~"a|b",service=~"c|d",weight!~"0?",revision=~"x",le=~"",code!~"5xx|none"}`
	if got := two.selector(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
