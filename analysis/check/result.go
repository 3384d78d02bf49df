// Package check judges single metrics by rules that people write: a condition over the answer of a
// provider (Prometheus, HTTP, a Job), or a rank test of two ranges. It owns what an answer can be, how a
// condition is compiled and evaluated, how often a metric is measured, and when measurements add up to a
// success or a failure. It is pure: no clients, no clock, no Kubernetes. Who asks the providers, and when,
// is the caller's business.
//
// Evidence that is missing never counts as success: no series, a NaN that the condition does not handle,
// too few points, a run that was stopped early.
package check

import "fmt"

// Kind says what an answer consists of, and with it which field of a Result is set.
type Kind string

// Kinds of answers.
const (
	// KindScalar is one number: Result.Number.
	KindScalar Kind = "scalar"
	// KindVector is any number of series with one value each: Result.Series.
	KindVector Kind = "vector"
	// KindRange is any number of series with several values each, for a rank test: Result.Range.
	KindRange Kind = "range"
	// KindString is a text: Result.Text.
	KindString Kind = "string"
	// KindJSON is a JSON document: Result.JSON.
	KindJSON Kind = "json"
	// KindError is no answer: Result.Text says why, for people, without secrets.
	KindError Kind = "error"
)

// Result is what a provider answered to one question.
type Result struct {
	Kind   Kind
	Number float64
	Text   string
	Series []Series
	Range  []Points
	// JSON is as FromJSON makes it: nil, bool, float64, int64, uint64, string, []any, map[string]any.
	JSON any
	// Warnings are the provider's, for people. They change nothing about the measurement.
	Warnings []string
}

// Series is one value of a vector.
type Series struct {
	Labels map[string]string
	Value  float64
}

// Points are the values of one series over a range, oldest first. Steps without a sample are left out
// or NaN.
type Points struct {
	Labels map[string]string
	Values []float64
}

// FromError makes the Result of a question that was not answered. The error's text is shown to people.
func FromError(err error) Result {
	if err == nil {
		return Result{Kind: KindError, Text: "no answer"}
	}
	return Result{Kind: KindError, Text: err.Error()}
}

// FieldError says what is wrong with one field of a metric, and what to write instead.
type FieldError struct {
	// Field is the name as users write it, such as successCondition, below the metric.
	Field string
	// Message says what is wrong, and the remedy.
	Message string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Message }

func wrong(field, format string, a ...any) error {
	return &FieldError{Field: field, Message: fmt.Sprintf(format, a...)}
}
