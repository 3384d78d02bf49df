package check

import (
	"errors"
	"math"
	"time"
)

// Validate says what is wrong with a metric apart from its conditions, all at once. Errors are FieldErrors,
// joined.
func (m Metric) Validate() error {
	var problems []error
	refuse := func(broken bool, field, format string, a ...any) {
		if broken {
			problems = append(problems, wrong(field, format, a...))
		}
	}
	refuse(m.Name == "", "name", "must not be empty")
	period := func(field string, duration time.Duration) {
		refuse(duration < 0 || duration > longest, field, "%s is not between 0 and 30 days", duration)
	}
	period("interval", m.Interval)
	period("initialDelay", m.InitialDelay)
	refuse(m.Count < 0, "count", "%d is negative", m.Count)
	refuse(m.Count > 1 && m.Interval == 0, "interval", "must be set when count is above 1")
	bound := func(field string, limit int) {
		refuse(limit < 0, field, "%d is negative", limit)
		refuse(m.Times() > 0 && limit >= m.Times(), field,
			"%d is not below the count of %d: no measurement would have to succeed", limit, m.Times())
	}
	bound("failureLimit", m.FailureLimit)
	bound("inconclusiveLimit", m.InconclusiveLimit)
	if limit := m.ConsecutiveErrorLimit; limit != nil {
		refuse(*limit < 0, "consecutiveErrorLimit", "%d is negative", *limit)
	}
	refuse(!(m.Weight >= 0) || math.IsInf(m.Weight, 0), "weight", "%v is not a number from 0", m.Weight)
	switch m.Compare {
	case CompareNone, CompareStable, CompareBaseline:
	default:
		refuse(true, "compare", "%q is neither Stable nor Baseline", short(string(m.Compare), 40))
	}
	if m.MannWhitney != nil {
		problems = append(problems, m.MannWhitney.validate(m)...)
	}
	return errors.Join(problems...)
}
