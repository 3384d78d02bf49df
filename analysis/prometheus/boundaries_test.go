package prometheus

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/common/model"
)

func TestBoundaries(t *testing.T) {
	const ms = time.Millisecond
	d := func(pairs ...float64) (d distribution) {
		for i := 0; i < len(pairs); i += 2 {
			d = append(d, struct{ bound, upTo float64 }{pairs[i], pairs[i+1]})
		}
		return d
	}
	inf := math.Inf(1)
	for name, test := range map[string]struct {
		of   distribution
		want []time.Duration
	}{
		"nothing":    {nil, usual},
		"too little": {d(.1, 50, inf, 99), usual},
		"one for each share": {
			d(.01, 8999, .02, 9000, .03, 9499, .04, 9500, .05, 9899, .06, 9900, .07, 9989, .08, 9990, 1, 9999, inf, 10_000),
			[]time.Duration{20 * ms, 40 * ms, 60 * ms, 80 * ms},
		},
		"two shares at one bound":      {d(.01, 96, .02, 99, .03, 100, inf, 100), []time.Duration{10 * ms, 20 * ms, 30 * ms}},
		"all of them at once":          {d(.001, 100, .002, 100, inf, 100), []time.Duration{ms, 50 * ms, 250 * ms}},
		"some longer than the highest": {d(.01, 960, 1, 995, inf, 1000), []time.Duration{10 * ms, time.Second, 5 * time.Second}},
		"most longer than the highest": {d(.01, 10, inf, 1000), []time.Duration{50 * ms, 250 * ms, time.Second}},
		"no numbers":                   {d(.01, math.NaN(), inf, math.NaN()), usual},
		"no end":                       {d(.01, inf, inf, inf), usual},
	} {
		if got := test.of.boundaries(); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestDistributions(t *testing.T) {
	classic := ofClassic(model.Vector{
		{Metric: model.Metric{"le": "+Inf"}, Value: 9}, {Metric: model.Metric{"le": "0.5"}, Value: 7}, {Metric: model.Metric{"le": "0.25"}, Value: 5},
	})
	native := ofNative(&model.SampleHistogram{Count: 9, Buckets: model.HistogramBuckets{{Lower: .1, Upper: .25, Count: 5}, {Lower: .25, Upper: .5, Count: 2}, {Lower: .5, Upper: math.MaxFloat64, Count: 2}}})
	if len(classic) != 3 || classic[0].bound != .25 || classic[1].upTo != 7 || classic[2].upTo != 9 {
		t.Errorf("classic: %v", classic)
	}
	if len(native) != 4 || native[0].bound != .25 || native[1].upTo != 7 || native[3].upTo != 9 {
		t.Errorf("native: %v", native)
	}
	if ofClassic(model.Vector{{Metric: model.Metric{"le": "x"}}}) != nil || ofNative(&model.SampleHistogram{Buckets: model.HistogramBuckets{nil}}) != nil {
		t.Error("makes something of what is none")
	}
}
