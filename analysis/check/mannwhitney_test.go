package check_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/analysis/check"
)

func span(values ...float64) check.Result {
	return check.Result{Kind: check.KindRange, Range: []check.Points{{Values: values}}}
}

// normal draws so many values around a mean; the seed makes them the same each time.
func normal(seed uint64, n int, mean, deviation float64) []float64 {
	random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a simulation
	values := make([]float64, n)
	for i := range values {
		values[i] = mean + deviation*random.NormFloat64()
	}
	return values
}

// rare is zero, except for a few values.
func rare(n, few int, value float64) []float64 {
	values := make([]float64, n)
	for i := range few {
		values[i*n/few] = value
	}
	return values
}

func ranked(settings check.MannWhitney) check.Metric {
	return check.Metric{Name: "m", Compare: check.CompareStable, MannWhitney: &settings}
}

func TestMannWhitney(t *testing.T) {
	exactly := func(x float64) *float64 { return &x }
	same := func(n int, value float64) check.Result { return span(rare(n, n, value)...) }
	for name, c := range map[string]struct {
		settings        check.MannWhitney
		canary, control check.Result
		want            check.Phase
		says            string
	}{
		"alike":                                   {check.MannWhitney{}, span(normal(1, 60, 100, 10)...), span(normal(2, 60, 100, 10)...), check.Successful, "not worse than stable"},
		"half as much again":                      {check.MannWhitney{}, span(normal(1, 60, 150, 10)...), span(normal(2, 60, 100, 10)...), check.Failed, "higher than stable: shift +4"},
		"higher, and lower is harm":               {check.MannWhitney{Direction: check.Decrease}, span(normal(1, 60, 150, 10)...), span(normal(2, 60, 100, 10)...), check.Successful, ""},
		"lower, and lower is harm":                {check.MannWhitney{Direction: check.Decrease}, span(normal(1, 60, 50, 10)...), span(normal(2, 60, 100, 10)...), check.Failed, "lower than stable"},
		"lower, and either is harm":               {check.MannWhitney{Direction: check.Either}, span(normal(1, 60, 50, 10)...), span(normal(2, 60, 100, 10)...), check.Failed, "lower than stable"},
		"lower, and higher is harm":               {check.MannWhitney{}, span(normal(1, 60, 50, 10)...), span(normal(2, 60, 100, 10)...), check.Successful, ""},
		"surely higher, within tolerance":         {check.MannWhitney{}, span(normal(1, 200, 105, 1)...), span(normal(2, 200, 100, 1)...), check.Successful, ""},
		"the same without tolerance":              {check.MannWhitney{Tolerance: exactly(0)}, span(normal(1, 200, 105, 1)...), span(normal(2, 200, 100, 1)...), check.Failed, ""},
		"the same within a difference":            {check.MannWhitney{Tolerance: exactly(0), Difference: 7}, span(normal(1, 200, 105, 1)...), span(normal(2, 200, 100, 1)...), check.Successful, "bound 7"},
		"trap: two points against two":            {check.MannWhitney{}, span(200, 210), span(100, 101), check.Inconclusive, "too few to compare: 2 points against 2, and each side needs 50"},
		"trap: two, with the least allowed":       {check.MannWhitney{MinPoints: 5}, span(200, 210), span(100, 101), check.Inconclusive, "each side needs 5"},
		"trap: no data at the canary":             {check.MannWhitney{}, check.Result{Kind: check.KindRange}, span(1, 2), check.Error, "canary: the query returned no series"},
		"trap: no data at stable":                 {check.MannWhitney{}, span(1, 2), check.Result{Kind: check.KindRange}, check.Error, "stable: the query returned no series"},
		"trap: nothing but NaN":                   {check.MannWhitney{}, span(nan, nan), span(1, 2), check.Error, "canary: all points are NaN"},
		"trap: a series without points":           {check.MannWhitney{}, span(), span(1, 2), check.Error, "canary: all points are NaN"},
		"trap: a mean of zero at stable":          {check.MannWhitney{}, span(normal(1, 60, 5, 1)...), same(60, 0), check.Failed, "from 0"},
		"trap: sparse errors":                     {check.MannWhitney{}, span(rare(60, 6, 10)...), span(rare(60, 1, 10)...), check.Inconclusive, "% of the points are the same"},
		"sparse errors at stable only":            {check.MannWhitney{}, span(rare(60, 1, 10)...), span(rare(60, 6, 10)...), check.Successful, ""},
		"no errors at all":                        {check.MannWhitney{}, same(60, 0), same(60, 0), check.Successful, ""},
		"trap: more spread":                       {check.MannWhitney{}, span(normal(1, 100, 100, 40)...), span(normal(2, 100, 100, 10)...), check.Inconclusive, "more spread"},
		"less spread":                             {check.MannWhitney{}, span(normal(1, 100, 100, 10)...), span(normal(2, 100, 100, 40)...), check.Successful, ""},
		"an outlier is not removed, nor decisive": {check.MannWhitney{}, span(append(normal(1, 60, 100, 10), 1e6)...), span(normal(2, 60, 100, 10)...), check.Successful, "61 points"},
		"NaN points are left out":                 {check.MannWhitney{}, span(append(normal(1, 60, 100, 10), nan, nan)...), span(normal(2, 60, 100, 10)...), check.Successful, "60 points against 60"},
		"so many NaN that too few are left":       {check.MannWhitney{}, span(append(normal(1, 40, 100, 10), normal(1, 40, nan, 1)...)...), span(normal(2, 60, 100, 10)...), check.Inconclusive, "40 points against 60"},
		"an infinite point":                       {check.MannWhitney{}, span(1, inf), span(1, 2), check.Error, "canary: a point is +Inf"},
		"too large to calculate with":             {check.MannWhitney{}, same(60, math.MaxFloat64), same(60, -math.MaxFloat64), check.Inconclusive, "too large"},
		"two series":                              {check.MannWhitney{}, check.Result{Kind: check.KindRange, Range: make([]check.Points, 2)}, span(1), check.Error, "2 series where mannWhitney takes one"},
		"too many points":                         {check.MannWhitney{}, span(make([]float64, 1001)...), span(1), check.Error, "use a longer step"},
		"a vector":                                {check.MannWhitney{}, vector(1), vector(2), check.Error, "the answer is a vector, and mannWhitney takes a range"},
		"an answer that failed":                   {check.MannWhitney{}, check.FromError(fmt.Errorf("no answer in time")), span(1), check.Error, "no answer in time"},
	} {
		t.Run(name, func(t *testing.T) {
			program, err := check.Compile(ranked(c.settings))
			if err != nil {
				t.Fatal(err)
			}
			if got := program.Judge(c.canary, c.control); got.Phase != c.want || !strings.Contains(got.Message, c.says) {
				t.Errorf("%s: %s\nwant %s: %s", got.Phase, got.Message, c.want, c.says)
			}
		})
	}
}

// Of canaries that are the same as stable, at most alpha fail: 0.01 over ten measurements is 0.001 each, so
// of 500 measurements half a one is expected without tolerance; 6 or more would be seen in fewer than 1 of
// 50,000 seeds. With the tolerance of 10 % it is far rarer.
func TestMannWhitneyIsRarelyWrong(t *testing.T) {
	zero := 0.0
	metric := ranked(check.MannWhitney{Tolerance: &zero, Alpha: .01})
	metric.Interval, metric.Count = time.Minute, 10
	program, err := check.Compile(metric)
	if err != nil {
		t.Fatal(err)
	}
	count := map[check.Phase]int{}
	for seed := range uint64(500) {
		count[program.Judge(span(normal(2*seed, 50, 100, 10)...), span(normal(2*seed+1, 50, 100, 10)...)).Phase]++
	}
	t.Log(count)
	if count[check.Failed] >= 6 || count[check.Successful] < 470 {
		t.Errorf("of 500 canaries like stable: %v", count)
	}
}

func TestMannWhitneyRefuses(t *testing.T) {
	negative := -1.0
	for name, c := range map[string]struct {
		change func(*check.Metric)
		want   string
	}{
		"without compare":          {func(m *check.Metric) { m.Compare = "" }, "compare: must be Stable or Baseline with mannWhitney"},
		"with a condition":         {func(m *check.Metric) { m.SuccessCondition = "true" }, "successCondition: must not be set beside mannWhitney"},
		"with a failure condition": {func(m *check.Metric) { m.FailureCondition = "true" }, "failureCondition: must not be set"},
		"without an end":           {func(m *check.Metric) { m.Interval = time.Minute }, "count: must be set with mannWhitney"},
		"a wrong direction":        {func(m *check.Metric) { m.MannWhitney.Direction = "Up" }, `mannWhitney.direction: "Up" is not Increase, Decrease or Either`},
		"a negative tolerance":     {func(m *check.Metric) { m.MannWhitney.Tolerance = &negative }, "mannWhitney.tolerance"},
		"a difference of NaN":      {func(m *check.Metric) { m.MannWhitney.Difference = nan }, "mannWhitney.difference"},
		"an alpha of one":          {func(m *check.Metric) { m.MannWhitney.Alpha = 1 }, "mannWhitney.alpha"},
		"two points":               {func(m *check.Metric) { m.MannWhitney.MinPoints = 2 }, "mannWhitney.minPoints: must be from 5 to 1000"},
	} {
		t.Run(name, func(t *testing.T) {
			metric := ranked(check.MannWhitney{})
			c.change(&metric)
			if _, err := check.Compile(metric); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}
