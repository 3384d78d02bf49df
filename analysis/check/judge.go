package check

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// Judge makes a measurement of what the provider answered: one Result, or with Metric.Compare two, the
// control's last. Times are left to the caller.
//
// What cannot be evaluated is an Error: no answer, no series, NaN, several series for a condition that takes
// one, a kind that it does not take. It is no measurement, so it does not count, and is tried again. A failure
// condition that is true makes it Failed all the same.
func (p *Program) Judge(results ...Result) Measurement {
	want := 1
	if p.metric.Compare != CompareNone {
		want = 2
	}
	if len(results) != want {
		return Measurement{Phase: Error, Message: fmt.Sprintf("%s where the metric takes %d", count(len(results), "answer", "answers"), want)}
	}
	control := p.metric.Compare.variable()
	for i, result := range results {
		if result.Kind == KindError {
			return Measurement{Phase: Error, Message: []string{"", control + ": "}[i] + short(result.Text, 300)}
		}
	}
	var m Measurement
	switch {
	case want == 2 && results[0].Kind != results[1].Kind:
		m.Phase = Error
		m.Message = fmt.Sprintf("the canary's answer is %s, that of %s %s", kindName(results[0].Kind), control, kindName(results[1].Kind))
	case p.metric.MannWhitney != nil:
		m.Phase, m.Value, m.Message = p.rank(results[0], results[1])
	default:
		m.Value = show(results[0])
		if want == 2 {
			m.Value += " against " + show(results[1])
		}
		m.Phase, m.Message = p.decide(m.Value, results)
	}
	return m
}

// answer is what one condition says: yes, no, or nothing because of a problem.
type answer struct {
	set     bool
	yes     bool
	problem string
	text    string
}

// decide combines the conditions.
func (p *Program) decide(value string, results []Result) (Phase, string) {
	var success, failure answer
	infinite := infinite(results)
	for _, c := range p.conditions {
		yes, err := c.ask(p.metric.Compare, results)
		a := answer{set: true, yes: yes, text: c.field + " " + short(c.text, 120)}
		if err != nil {
			a.problem = c.field + ": " + err.Error()
		}
		if c.success {
			success = a
		} else {
			failure = a
		}
		infinite = infinite && !c.variants[results[0].Kind].calls["isInf"]
	}
	value = short(value, 120)
	problem := cmp.Or(success.problem, failure.problem)
	switch {
	case failure.yes:
		return Failed, value + " meets " + failure.text
	case problem != "":
		return Error, problem
	case success.set && !success.yes && failure.set:
		return Inconclusive, fmt.Sprintf("%s meets neither %s nor %s", value, success.text, failure.text)
	case success.set && !success.yes:
		return Failed, value + " does not meet " + success.text
	case infinite:
		return Inconclusive, value + " is infinite, which succeeds only where the condition says so with isInf()"
	case success.set:
		return Successful, value + " meets " + success.text
	case failure.set:
		return Successful, value + " does not meet " + failure.text
	}
	return Error, "the metric has no condition"
}

// ask evaluates a condition. An error says for people why there is no answer.
func (c condition) ask(compare Compare, results []Result) (bool, error) {
	kind := results[0].Kind
	v, ok := c.variants[kind]
	if !ok {
		return false, fmt.Errorf("the answer is %s, which the metric does not take", kindName(kind))
	}
	if v.problem != nil {
		var problem *FieldError
		if errors.As(v.problem, &problem) {
			return false, fmt.Errorf("the answer is %s: %s", counted(results[0]), problem.Message)
		}
		return false, v.problem
	}
	variables := map[string]any{}
	for i, name := range []string{"result", compare.variable()}[:len(results)] {
		if err := v.evidence(name, results[i]); err != nil {
			return false, err
		}
		bind(variables, name, results[i])
	}
	value, _, err := v.program.Eval(variables)
	switch {
	case errors.Is(err, errNaN):
		return false, errors.New("NaN says nothing (often 0/0: there was no traffic); where that is right, say so with isNaN() or default()")
	case err != nil:
		return false, fmt.Errorf("%s: %s", short(c.text, 80), trouble(err))
	}
	if yes, ok := value.(types.Bool); ok {
		return bool(yes), nil
	}
	return false, fmt.Errorf("must be true or false, and is %s (%s): compare it with something%s",
		named(value.Type().TypeName()), short(fmt.Sprint(value.Value()), 60), example(kind))
}

// evidence says whether a vector has as many series as the condition reads.
func (v variant) evidence(name string, result Result) error {
	if result.Kind != KindVector {
		return nil
	}
	r := v.reads[name]
	switch n := len(result.Series); {
	case n == 0 && len(v.reads) > 0 && !v.calls["size"] && !v.calls["default"]:
		who := ""
		if name != "result" {
			who = name + ": "
		}
		return errors.New(who + "the query returned no series (no traffic yet, or labels that match nothing); where that is right, say so with size(" + name + ") or default()")
	case r.named && !r.elements && n > r.most+1:
		return fmt.Errorf("%s where the condition takes %d: aggregate them in the query, as with sum() or max(), or judge all: %s.all(v, v >= 0.95)",
			count(n, "series", "series"), r.most+1, name)
	}
	return nil
}

// bind makes a result's variables.
func bind(variables map[string]any, name string, result Result) {
	switch result.Kind {
	case KindScalar:
		variables[name] = result.Number
	case KindVector:
		sorted := ordered(result.Series)
		values, series := make([]float64, len(sorted)), make([]ref.Val, len(sorted))
		for i, s := range sorted {
			values[i], series[i] = s.Value, seriesValue{s}
		}
		variables[name] = values
		if name == "result" {
			variables["series"] = series
		}
	case KindString:
		variables[name] = result.Text
	case KindJSON:
		variables[name] = result.JSON
	}
}

// trouble says for people why an evaluation ended.
func trouble(err error) string {
	text := err.Error()
	switch {
	case strings.Contains(text, "cost limit"):
		return "takes too long to evaluate; write it more simply"
	case strings.Contains(text, "no such key"):
		return short(text, 160) + "; where it may be missing, write default(x, y)"
	case strings.Contains(text, "no such overload"):
		return "does not fit the types of the values (" + short(text, 160) + ")"
	}
	return short(text, 200)
}

// counted names a result's kind, and of a vector how many series it has.
func counted(result Result) string {
	if result.Kind == KindVector {
		return "a vector of " + count(len(result.Series), "series", "series")
	}
	return kindName(result.Kind)
}

// infinite reports whether there is an infinite number among the results.
func infinite(results []Result) bool {
	return slices.ContainsFunc(results, func(result Result) bool {
		return result.Kind == KindScalar && math.IsInf(result.Number, 0) ||
			result.Kind == KindVector && slices.ContainsFunc(result.Series, func(s Series) bool { return math.IsInf(s.Value, 0) })
	})
}

// show writes a result for people, shortened.
func show(result Result) string {
	const most = 160
	switch result.Kind {
	case KindScalar:
		return number(result.Number)
	case KindVector:
		parts := make([]string, 0, 8)
		for i, s := range ordered(result.Series) {
			if i == 8 {
				parts = append(parts, fmt.Sprintf("… %d more", len(result.Series)-i))
				break
			}
			parts = append(parts, number(s.Value))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case KindString:
		return short(result.Text, most)
	case KindJSON:
		text, err := json.Marshal(result.JSON)
		if err != nil {
			return ""
		}
		return short(string(text), most)
	}
	return ""
}
