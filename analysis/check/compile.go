package check

import (
	"errors"
	"strings"

	"cel.dev/cel-go/cel"
)

// Program is a metric that is ready to judge answers. It is safe for concurrent use.
type Program struct {
	metric     Metric
	conditions []condition // that of success first; none with MannWhitney
}

// condition is one of a metric's, compiled for each kind of answer that may come.
type condition struct {
	field, text string
	success     bool
	variants    map[Kind]variant
}

// variant is a condition for one kind of answer, or why there is none.
type variant struct {
	program cel.Program
	problem error
	reads   map[string]reading
	calls   map[string]bool
}

// Compile makes a metric ready to judge answers of the given kinds; none given: any kind that a condition
// can take. What is wrong with the metric is told all at once, as joined FieldErrors.
//
// Conditions are CEL expressions that are true or false. Their variables, by the kind of the answer:
//
//	result    a double (scalar), a list of doubles (vector), a string, or whatever the JSON document is
//	series    of a vector, the same with names: series[0].value, series[0].labels.pod
//	stable    the control's result, with Compare: Stable; likewise baseline
//
// The series of a vector are in the order of their labels. Beside CEL's own functions there are
// isNaN(x), isInf(x) and default(x, y), which is y where x is missing, null or NaN.
//
// A condition is compiled for each kind apart, so that comparing a vector with a number is an error that
// says so. It is refused if no kind compiles; where another kind comes than those that do, the measurement
// is an Error. Whole numbers beside a double are doubles. A comparison with NaN has no answer, neither true
// nor false; nor has a vector without series, unless the condition looks at size(result) or uses default.
// Evaluation is bounded.
func Compile(metric Metric, kinds ...Kind) (*Program, error) {
	if len(kinds) == 0 {
		kinds = []Kind{KindScalar, KindVector, KindString, KindJSON}
	}
	program := &Program{metric: metric}
	problems := []error{metric.Validate()}
	if metric.MannWhitney != nil {
		if err := errors.Join(problems...); err != nil {
			return nil, err
		}
		return program, nil
	}
	if strings.TrimSpace(metric.SuccessCondition+metric.FailureCondition) == "" {
		problems = append(problems, wrong("successCondition", "neither it nor failureCondition is set, so that nothing is judged: write one, such as result[0] >= 0.95"))
	}
	add := func(field, text string, success bool) {
		if strings.TrimSpace(text) == "" {
			return
		}
		c := condition{field: field, text: strings.TrimSpace(text), success: success, variants: map[Kind]variant{}}
		if err := c.compile(metric.Compare, kinds); err != nil {
			problems = append(problems, err)
		}
		program.conditions = append(program.conditions, c)
	}
	add("successCondition", metric.SuccessCondition, true)
	add("failureCondition", metric.FailureCondition, false)
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return program, nil
}

// compile fills the variants. The error is that of the kind which the condition seems to mean, and there
// is one only if there is no kind that compiles.
func (c *condition) compile(compare Compare, kinds []Kind) error {
	var problem error
	compiled := false
	for _, kind := range kinds {
		v := build(c.field, c.text, kind, compare)
		c.variants[kind] = v
		compiled = compiled || v.problem == nil
		r := v.reads["result"]
		meant := kind == KindVector && (r.named && r.most >= 0 || v.reads["series"].named)
		if problem == nil || meant {
			problem = v.problem
		}
	}
	if compiled {
		return nil
	}
	return problem
}

// build compiles a condition for one kind of answer.
func build(field, text string, kind Kind, compare Compare) variant {
	env, err := environment(kind, compare)
	if err != nil {
		return variant{problem: wrong(field, "results of kind %s have no conditions", short(string(kind), 20))}
	}
	parsed, issues := env.Parse(text)
	if issues.Err() != nil {
		return variant{problem: explain(field, text, kind, compare, issues)}
	}
	var v variant
	v.reads, v.calls = readings(parsed.NativeRep())
	rewrite(parsed.NativeRep())
	checked, issues := env.Check(parsed)
	if issues.Err() != nil {
		v.problem = explain(field, text, kind, compare, issues)
		return v
	}
	if is := checked.OutputType(); !is.IsExactType(cel.BoolType) && !is.IsExactType(cel.DynType) {
		v.problem = wrong(field, "must be true or false, and %q is %s: compare it with something%s",
			short(text, 80), named(cel.FormatCELType(is)), example(kind))
		return v
	}
	v.program, err = env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(mostCost))
	if err != nil {
		v.problem = wrong(field, "%s", short(err.Error(), 200))
	}
	return v
}
