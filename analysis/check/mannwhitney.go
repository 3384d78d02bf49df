package check

import (
	"fmt"
	"math"
	"slices"

	"github.com/sluice-mesh/sluice/analysis/stats"
)

// Kayenta compares the points of two time series by their ranks. Its traps, and what is done here instead:
//
//   - Two points against two are already High. Here nothing is decided below MinPoints, and the test is exact
//     where it can be.
//   - The bound is a share of the estimated shift itself, and the effect size a ratio of means that is
//     switched off when the control's mean is zero. Here the hypothesis is a shift of at most Tolerance times
//     the control's median or of Difference, whichever is more, so that zero is a number like others.
//   - A group without data scores 100. Here no data is an error, and too few are inconclusive.
//   - Outliers are removed, and ranks do not see what is rare or spread: sparse errors and changes of variance
//     pass. Here no point is removed, and a canary whose mean or spread is beyond the bound while its ranks are
//     not is inconclusive, not good.
//   - Every look has its own chance of being wrong. Here Alpha is divided by the number of measurements, so
//     there must be one.
//
// One trap remains with its users: points must not overlap, so the window of a rate() must not be longer
// than the step between points.
const (
	defaultTolerance = 0.1
	defaultAlpha     = 0.01
	defaultMinPoints = 50
	// fewestPoints that can reach an alpha of .01 at all: 5 against 5.
	fewestPoints = 5
	// mostPoints bounds what one test may take: its memory goes with the square.
	mostPoints = 1000
	// sparse is the share of points with one and the same value above which ranks see too little.
	sparse = 0.5
)

func (m *MannWhitney) validate(metric Metric) []error {
	var problems []error
	refuse := func(broken bool, field, format string, a ...any) {
		if broken {
			problems = append(problems, wrong(field, format, a...))
		}
	}
	negative := func(x float64) bool { return !(x >= 0) || math.IsInf(x, 0) }
	refuse(metric.Compare == CompareNone, "compare", "must be Stable or Baseline with mannWhitney")
	refuse(metric.SuccessCondition != "", "successCondition", "must not be set beside mannWhitney, which decides")
	refuse(metric.FailureCondition != "", "failureCondition", "must not be set beside mannWhitney, which decides")
	refuse(metric.Endless(), "count", "must be set with mannWhitney: looked at without end, every canary would fail one day")
	refuse(m.Direction != "" && m.Direction != Increase && m.Direction != Decrease && m.Direction != Either,
		"mannWhitney.direction", "%q is not Increase, Decrease or Either", short(string(m.Direction), 40))
	refuse(m.Tolerance != nil && negative(*m.Tolerance), "mannWhitney.tolerance", "must be a number from 0")
	refuse(negative(m.Difference), "mannWhitney.difference", "must be a number from 0")
	refuse(m.Alpha != 0 && !(m.Alpha > 0 && m.Alpha <= .2), "mannWhitney.alpha", "must be above 0 and at most 0.2")
	refuse(m.MinPoints != 0 && (m.MinPoints < fewestPoints || m.MinPoints > mostPoints),
		"mannWhitney.minPoints", "must be from %d to %d", fewestPoints, mostPoints)
	return problems
}

// rank judges the canary's points by the control's.
func (p *Program) rank(canary, control Result) (phase Phase, value, message string) {
	settings := *p.metric.MannWhitney
	x, err := points(canary)
	if err != nil {
		return Error, "", "canary: " + err.Error()
	}
	y, err := points(control)
	if err != nil {
		return Error, "", fmt.Sprintf("%s: %v", p.metric.Compare.variable(), err)
	}
	least := settings.MinPoints
	if least == 0 {
		least = defaultMinPoints
	}
	sizes := fmt.Sprintf("%d points against %d", len(x), len(y))
	if min(len(x), len(y)) < least {
		return Inconclusive, sizes, fmt.Sprintf("too few to compare: %s, and each side needs %d", sizes, least)
	}

	tolerance := defaultTolerance
	if settings.Tolerance != nil {
		tolerance = *settings.Tolerance
	}
	alpha := settings.Alpha
	if alpha == 0 {
		alpha = defaultAlpha
	}
	alpha /= float64(max(p.metric.Times(), 1))
	if settings.Direction == Either {
		alpha /= 2
	}
	bound := max(tolerance*math.Abs(median(y)), settings.Difference)
	shift := stats.MannWhitney(x, y).Shift
	value = fmt.Sprintf("shift %s (%s), bound %s, %s", signed(shift), share(shift, median(y)), number(bound), sizes)

	high, low := settings.Direction != Decrease, settings.Direction == Decrease || settings.Direction == Either
	above, below := stats.MannWhitney(moved(x, -bound), y).Greater, stats.MannWhitney(moved(x, bound), y).Less
	switch {
	case math.IsNaN(above + below):
		return Inconclusive, value, "the points are too large to be compared"
	case high && above <= alpha:
		return Failed, value, fmt.Sprintf("higher than %s: %s, p = %.2g", p.metric.Compare.variable(), value, above)
	case low && below <= alpha:
		return Failed, value, fmt.Sprintf("lower than %s: %s, p = %.2g", p.metric.Compare.variable(), value, below)
	}
	if why := blind(x, y, bound, alpha, high, low); why != "" {
		return Inconclusive, value, why
	}
	return Successful, value, fmt.Sprintf("not worse than %s: %s", p.metric.Compare.variable(), value)
}

// blind says why ranks that look alike are not enough for the canary to be good; empty: they are.
func blind(x, y []float64, bound, alpha float64, high, low bool) string {
	off := mean(x) - mean(y)
	beyond := high && off > bound || low && off < -bound
	if often := commonest(slices.Concat(x, y)); often > sparse && beyond {
		return fmt.Sprintf("%.0f %% of the points are the same, so that ranks see little, and the canary's mean is %s off: judge the sum by a condition, or requests by the release's own comparison",
			100*often, signed(off))
	}
	if stats.MannWhitney(distances(x), distances(y)).Greater <= alpha {
		return fmt.Sprintf("the canary's values are more spread (its mean is %s off), which ranks do not judge", signed(off))
	}
	return ""
}

// points gives the finite values of the only series of a range.
func points(result Result) ([]float64, error) {
	switch n := len(result.Range); {
	case result.Kind != KindRange:
		return nil, fmt.Errorf("the answer is %s, and mannWhitney takes a range", kindName(result.Kind))
	case n == 0:
		return nil, fmt.Errorf("the query returned no series (no traffic yet, or labels that match nothing)")
	case n > 1:
		return nil, fmt.Errorf("%d series where mannWhitney takes one: aggregate them in the query, as with sum() or max()", n)
	case len(result.Range[0].Values) > mostPoints:
		return nil, fmt.Errorf("%d points are more than %d: use a longer step", len(result.Range[0].Values), mostPoints)
	}
	values := make([]float64, 0, len(result.Range[0].Values))
	for _, v := range result.Range[0].Values {
		if math.IsInf(v, 0) {
			return nil, fmt.Errorf("a point is %s", number(v))
		}
		if !math.IsNaN(v) { // no traffic at that time, most likely
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return nil, fmt.Errorf("all points are NaN (often 0/0: there was no traffic)")
	}
	return values, nil
}

func moved(values []float64, by float64) []float64 {
	shifted := make([]float64, len(values))
	for i, v := range values {
		shifted[i] = v + by
	}
	return shifted
}

func distances(values []float64) []float64 {
	middle := median(values)
	far := make([]float64, len(values))
	for i, v := range values {
		far[i] = math.Abs(v - middle)
	}
	return far
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return math.NaN()
	}
	if n%2 == 1 {
		return sorted[n/2]
	}
	return sorted[n/2-1]/2 + sorted[n/2]/2
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v / float64(len(values))
	}
	return sum
}

// commonest is the share of values that equal the most frequent one.
func commonest(values []float64) float64 {
	most, times := 0, map[float64]int{}
	for _, v := range values {
		times[v]++
		most = max(most, times[v])
	}
	return float64(most) / float64(max(len(values), 1))
}

// signed writes a difference with its sign.
func signed(x float64) string { return fmt.Sprintf("%+.4g", x) }

// share writes a difference as a share of what it is a difference to.
func share(x, of float64) string {
	if of == 0 {
		return "from 0"
	}
	return fmt.Sprintf("%+.1f %%", 100*x/math.Abs(of))
}
