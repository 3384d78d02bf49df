package check_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/analysis/check"
)

// stand is a metric and what was measured of it; "" is a metric that was never started.
type stand struct {
	metric       check.Metric
	measurements string
}

func standing(stands []stand) (metrics []check.Metric, statuses []check.MetricStatus) {
	for i, s := range stands {
		s.metric.Name = string(rune('a' + i))
		metrics = append(metrics, s.metric)
		if s.measurements != "" {
			statuses = append(statuses, walk(s.metric, s.measurements))
		}
	}
	return metrics, statuses
}

func TestOverall(t *testing.T) {
	once, three := check.Metric{}, check.Metric{Interval: time.Minute, Count: 3}
	forever, dry := check.Metric{Interval: time.Minute}, check.Metric{DryRun: true}
	dryForever := check.Metric{Interval: time.Minute, DryRun: true}
	for name, c := range map[string]struct {
		stands  []stand
		want    check.Phase
		settled bool
		says    string
	}{
		"nothing":                               {nil, check.Error, true, "no metrics"},
		"not begun":                             {[]stand{{once, ""}, {three, ""}}, check.Pending, false, ""},
		"begun":                                 {[]stand{{once, ""}, {three, "S"}}, check.Running, false, ""},
		"one succeeds":                          {[]stand{{once, "S"}}, check.Successful, true, "the metric succeeded"},
		"both succeed":                          {[]stand{{once, "S"}, {three, "SSS"}}, check.Successful, true, "all 2 metrics succeeded"},
		"one failed, one under way":             {[]stand{{once, "F"}, {three, "S"}}, check.Running, true, ""},
		"one inconclusive, one under way":       {[]stand{{once, "I"}, {three, "S"}}, check.Running, true, ""},
		"one error, one not begun":              {[]stand{{once, "EEEEE"}, {three, ""}}, check.Running, true, ""},
		"failed is worst":                       {[]stand{{once, "EEEEE"}, {once, "F"}, {once, "I"}}, check.Failed, true, "metric b failed: message 0"},
		"an error before inconclusive":          {[]stand{{once, "I"}, {once, "EEEEE"}, {once, "S"}}, check.Error, true, "metric b could not be measured: 5 measurements in a row"},
		"inconclusive before successful":        {[]stand{{once, "S"}, {once, "I"}}, check.Inconclusive, true, "metric b is inconclusive"},
		"a dry-run failure":                     {[]stand{{once, "S"}, {dry, "F"}}, check.Successful, true, "the metric succeeded"},
		"a dry-run metric is no reason to wait": {[]stand{{once, "S"}, {dryForever, "SS"}}, check.Running, true, ""},
		"nor is one that was not begun":         {[]stand{{once, "S"}, {dry, ""}}, check.Running, true, ""},
		"dry runs only":                         {[]stand{{dry, "F"}, {dry, "S"}}, check.Successful, true, "all metrics are dry-run: a would be Failed, b would be Successful"},
		"dry runs only, under way":              {[]stand{{dry, "F"}, {dryForever, "S"}}, check.Running, false, ""},
		"without an end":                        {[]stand{{forever, "SSSS"}}, check.Running, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			metrics, statuses := standing(c.stands)
			phase, message := check.Overall(metrics, statuses)
			if phase != c.want || !strings.Contains(message, c.says) {
				t.Errorf("%s: %s\nwant %s: %s", phase, message, c.want, c.says)
			}
			if settled := check.Settled(metrics, statuses); settled != c.settled {
				t.Errorf("settled: %v, want %v", settled, c.settled)
			}
			if phase.Completed() && !check.Settled(metrics, statuses) {
				t.Error("complete, but not settled")
			}
		})
	}
}

func TestScore(t *testing.T) {
	ten := check.Metric{Interval: time.Minute, Count: 10, FailureLimit: 5, InconclusiveLimit: 5}
	heavy, critical, light := ten, ten, ten
	heavy.Weight, light.Weight, critical.Critical = 3, .5, true
	infinite := ten
	infinite.Weight = math.Inf(1)
	none := math.NaN()
	for name, c := range map[string]struct {
		stands []stand
		want   float64 // NaN: no score
	}{
		"nothing":                               {nil, none},
		"nothing measured is not 100":           {[]stand{{ten, ""}, {ten, "EEE"}}, none},
		"all good":                              {[]stand{{ten, "SSSS"}}, 100},
		"one of four failed":                    {[]stand{{ten, "SSSF"}}, 75},
		"inconclusive is not good":              {[]stand{{ten, "SI"}}, 50},
		"errors are left out":                   {[]stand{{ten, "SEES"}, {ten, "E"}}, 100},
		"a failed metric is 0":                  {[]stand{{check.Metric{Interval: time.Minute}, "SSSSSSSSSF"}}, 0},
		"the mean":                              {[]stand{{ten, "S"}, {ten, "SF"}}, 75},
		"weights":                               {[]stand{{heavy, "SF"}, {ten, "S"}}, 62.5},
		"light weights":                         {[]stand{{light, "SF"}, {light, "S"}}, 75},
		"a critical one fails":                  {[]stand{{heavy, "S"}, {check.Metric{Critical: true}, "F"}}, 0},
		"a critical one does not succeed fully": {[]stand{{critical, "SF"}, {ten, "S"}}, 75},
		"a dry run says nothing":                {[]stand{{check.Metric{DryRun: true, Critical: true}, "F"}, {ten, "S"}}, 100},
		"only a dry run":                        {[]stand{{check.Metric{DryRun: true}, "S"}}, none},
		"a weight that is none":                 {[]stand{{infinite, "S"}, {ten, "SF"}}, 75},
	} {
		t.Run(name, func(t *testing.T) {
			got := check.Score(standing(c.stands))
			if (got == nil) != math.IsNaN(c.want) || got != nil && math.Abs(*got-c.want) > 1e-9 {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}
