package telemetry

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/testing/protocmp"
)

// vectors count as telemetry does, by client_golang's own means.
type vectors struct {
	started, total *prometheus.CounterVec
	duration       *prometheus.HistogramVec
}

var vectorLabels = []string{
	"reporter", "source", "source_namespace", "service", "namespace", "revision", "weight", "protocol",
}

func newVectors(registerer prometheus.Registerer) *vectors {
	v := &vectors{
		started: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_requests_started_total",
			Help: "Requests begun, by the revision that was drawn and the weight in force at the draw.",
		}, vectorLabels),
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_requests_total",
			Help: "Requests ended; code 0: no endpoint answered, 499: the caller went away.",
		}, append(append([]string(nil), vectorLabels...), "code", "grpc_status")),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:                         "sluice_request_duration_seconds",
			Help:                         "Time from the draw to the end of the response; code is a class.",
			Buckets:                      Buckets,
			NativeHistogramBucketFactor:  1.1,
			NativeHistogramZeroThreshold: math.Exp2(-14),
		}, append(append([]string(nil), vectorLabels...), "code")),
	}
	registerer.MustRegister(v.started, v.total, v.duration)
	return v
}

func (v *vectors) values(k Key, more ...string) []string {
	return append([]string{k.Reporter, k.Source, k.SourceNamespace, k.Service, k.Namespace, k.Revision, k.Weight, k.Protocol}, more...)
}

func (v *vectors) create(k Key) {
	v.started.WithLabelValues(v.values(k)...)
	v.total.WithLabelValues(v.values(k, "200", "")...)
	if k.Protocol == "grpc" {
		v.total.WithLabelValues(v.values(k, "200", "0")...)
	}
	v.duration.WithLabelValues(v.values(k, "2xx")...)
}

func (v *vectors) count(k Key, code int, status, class string, d time.Duration) {
	v.started.WithLabelValues(v.values(k)...).Inc()
	v.total.WithLabelValues(v.values(k, strconv.Itoa(code), status)...).Inc()
	v.duration.WithLabelValues(v.values(k, class)...).Observe(d.Seconds())
}

func gather(t *testing.T, g prometheus.Gatherer) []*dto.MetricFamily {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// sameFamilies compares but for when a series was made, and for how sums were rounded.
var sameFamilies = cmp.Options{
	protocmp.Transform(),
	protocmp.IgnoreFields(&dto.Counter{}, "created_timestamp"),
	protocmp.IgnoreFields(&dto.Histogram{}, "created_timestamp"),
	cmpopts.EquateApprox(1e-9, 0),
}

// TestSameAsClientGolang counts the same events by both and compares all that is exposed.
func TestSameAsClientGolang(t *testing.T) {
	stable, inbound := canary, canary
	stable.Revision = "v1"
	inbound.Reporter, inbound.Protocol = Destination, "grpc"
	keys := []Key{canary, stable, inbound, {Reporter: Source}}
	ends := []struct {
		code, status int
		counted      int
		label, class string
	}{
		{200, noStatus, 200, "", "2xx"}, {101, noStatus, 101, "", "1xx"}, {308, noStatus, 308, "", "3xx"},
		{0, noStatus, 0, "", "none"}, {499, noStatus, 499, "", "4xx"}, {503, noStatus, 503, "", "5xx"},
		{742, noStatus, 599, "", "5xx"}, {-3, noStatus, 599, "", "5xx"}, {99, noStatus, 599, "", "5xx"},
	}
	random := rand.New(rand.NewPCG(1, 2))
	ours, theirs := prometheus.NewPedanticRegistry(), prometheus.NewPedanticRegistry()
	recorder, vectors := New(ours), newVectors(theirs)
	for _, k := range keys {
		recorder.Series(k)
		vectors.create(k)
	}
	if diff := cmp.Diff(gather(t, theirs), gather(t, ours), sameFamilies); diff != "" {
		t.Fatalf("at zero (-client_golang +ours):\n%s", diff)
	}
	for range 20_000 {
		k, e := keys[random.IntN(len(keys))], ends[random.IntN(len(ends))]
		d := someDuration(random)
		series := recorder.Series(k)
		series.Begin()
		series.End(e.code, d)
		vectors.count(k, e.counted, e.label, e.class, d)
	}
	if diff := cmp.Diff(gather(t, theirs), gather(t, ours), sameFamilies); diff != "" {
		t.Errorf("after counting (-client_golang +ours):\n%s", diff)
	}
}

// someDuration is one of all orders of magnitude, often at or beside a bound; but not of hours, where seconds
// as a float do not tell neighbouring nanoseconds from the bound.
func someDuration(random *rand.Rand) time.Duration {
	beside := time.Duration(random.IntN(3) - 1)
	switch random.IntN(4) {
	case 0:
		return time.Duration(math.Round(Buckets[random.IntN(len(Buckets))]*1e9)) + beside
	case 1:
		return min(time.Duration(cells[random.IntN(len(cells)-1)].upTo), time.Hour) + beside
	case 2:
		return 0
	default:
		return time.Duration(math.Exp(random.Float64() * math.Log(1e15)))
	}
}

// TestCells holds the tables to a search of all bounds, bound by bound.
func TestCells(t *testing.T) {
	if most := maxPages * pageSize; len(cells) > most || len(cells) <= most-pageSize {
		t.Fatalf("%d cells, room for %d", len(cells), most)
	}
	check := func(d time.Duration) {
		t.Helper()
		at := cellOf(d)
		if uint64(d) > cells[at].upTo || at > 0 && uint64(d) <= cells[at-1].upTo {
			t.Errorf("%d ns is in cell %d", d, at)
		}
	}
	for i := range cells[:len(cells)-1] {
		for beside := range time.Duration(3) {
			check(time.Duration(cells[i].upTo) + beside - 1)
		}
	}
	for _, d := range []time.Duration{0, 1, 2, time.Hour, math.MaxInt64} {
		check(d)
	}
	if at := cellOf(-time.Second); at != 0 {
		t.Errorf("a negative duration is in cell %d", at)
	}
}

func TestLongestDurationsCountInTheLastBucket(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	series := New(registry).Series(canary)
	series.End(200, 30*24*time.Hour)
	series.End(200, -time.Second)
	for _, family := range gather(t, registry) {
		if family.GetName() != "sluice_request_duration_seconds" {
			continue
		}
		h := family.GetMetric()[0].GetHistogram()
		if offset := h.GetPositiveSpan()[0].GetOffset(); offset != lastNative {
			t.Errorf("the last bucket is %d, want %d", offset, lastNative)
		}
		if h.GetSampleCount() != 2 || h.GetZeroCount() != 1 || h.GetBucket()[len(Buckets)-1].GetCumulativeCount() != 1 {
			t.Errorf("got %v", h)
		}
		if got, want := h.GetSampleSum(), (30 * 24 * time.Hour).Seconds(); got != want {
			t.Errorf("sum %v, want %v: a negative duration counts as none", got, want)
		}
	}
}

func TestGRPC(t *testing.T) {
	key := canary
	key.Protocol = "grpc"
	for name, c := range map[string]struct {
		code, status int
		label, class string
	}{
		"ok":                          {200, 0, "0", "2xx"},
		"the caller's fault":          {200, 5, "5", "2xx"},
		"cancelled":                   {200, 1, "1", "4xx"},
		"gone away":                   {499, 1, "1", "4xx"},
		"gone away without a status":  {499, -1, "1", "4xx"},
		"unknown":                     {200, 2, "2", "5xx"},
		"deadline":                    {200, 4, "4", "5xx"},
		"unimplemented":               {200, 12, "12", "5xx"},
		"internal":                    {200, 13, "13", "5xx"},
		"unavailable":                 {200, 14, "14", "5xx"},
		"data loss":                   {200, 15, "15", "5xx"},
		"unauthenticated":             {200, 16, "16", "2xx"},
		"a status that nobody knows":  {200, 17, "2", "5xx"},
		"no status":                   {200, -1, "2", "5xx"},
		"unreached":                   {0, 14, "14", "none"},
		"unreached without a status":  {0, -1, "14", "none"},
		"a page for people, 400":      {400, -1, "13", "4xx"},
		"a page for people, 401":      {401, -1, "16", "4xx"},
		"a page for people, 403":      {403, -1, "7", "4xx"},
		"a page for people, 404":      {404, -1, "12", "4xx"},
		"overloaded without a status": {429, -1, "14", "4xx"},
		"broken off":                  {502, -1, "14", "5xx"},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := prometheus.NewPedanticRegistry(), prometheus.NewPedanticRegistry()
			series, vectors := New(ours).Series(key), newVectors(theirs)
			vectors.create(key)
			series.Begin()
			series.EndGRPC(c.code, c.status, 7*time.Millisecond)
			vectors.count(key, c.code, c.label, c.class, 7*time.Millisecond)
			if diff := cmp.Diff(gather(t, theirs), gather(t, ours), sameFamilies); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
