package check_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sluice-mesh/sluice/analysis/check"
)

func TestCompileRefuses(t *testing.T) {
	negative := -1
	prometheus := []check.Kind{check.KindScalar, check.KindVector}
	for name, c := range map[string]struct {
		metric check.Metric
		kinds  []check.Kind
		want   string
	}{
		"a vector compared with a number": {check.Metric{SuccessCondition: "result >= 0.95"}, []check.Kind{check.KindVector},
			"successCondition: a vector cannot be compared with a number by >=; result is a vector here: write result[0] >= 0.95 for its one series, or result.all(v, v >= 0.95) for all of them"},
		"a scalar indexed": {check.Metric{FailureCondition: "result[0] > 1"}, []check.Kind{check.KindScalar},
			"failureCondition: a number has no [ ]; result is one number here: write, for instance, result >= 0.95"},
		"neither kind": {check.Metric{SuccessCondition: "result[0] >= 'a'"}, prometheus,
			"successCondition: a number cannot be compared with a text by >=; result is a vector here"},
		"a text and a number": {check.Metric{SuccessCondition: "'a' > 1"}, nil, "successCondition: a text cannot be compared with a number by >"},
		"a number that is no boolean": {check.Metric{SuccessCondition: "result"}, []check.Kind{check.KindScalar},
			`successCondition: must be true or false, and "result" is a number: compare it with something; result is one number here`},
		"arithmetic that is no boolean": {check.Metric{SuccessCondition: "size(result) + 1"}, []check.Kind{check.KindVector}, "is a whole number: compare it"},
		"a misspelt field":              {check.Metric{SuccessCondition: "series.all(s, s.valu > 0.5)"}, prometheus, `a series has no field "valu": it has labels and value`},
		"a misspelt name":               {check.Metric{SuccessCondition: "resul > 1"}, prometheus, `unknown name "resul": there are result and the functions`},
		"stable without compare":        {check.Metric{SuccessCondition: "result > stable"}, prometheus, `unknown name "stable": set compare: Stable to have it`},
		"baseline beside stable":        {check.Metric{SuccessCondition: "result > baseline", Compare: check.CompareStable}, prometheus, "the metric compares with Stable"},
		"Argo's len":                    {check.Metric{SuccessCondition: "len(result) > 1"}, prometheus, "write size(result)"},
		"Argo's asFloat":                {check.Metric{SuccessCondition: "asFloat(result) > 1"}, []check.Kind{check.KindJSON}, "write double(result)"},
		"Argo's isNil":                  {check.Metric{SuccessCondition: "isNil(result)"}, []check.Kind{check.KindJSON}, "write result == null"},
		"series of a scalar":            {check.Metric{SuccessCondition: "series.all(s, true)"}, []check.Kind{check.KindScalar}, "only a vector has series; result is one number here"},
		"an argument that was not given": {check.Metric{SuccessCondition: "result > {{args.limit}}"}, prometheus,
			`"result > {{args.limit}}" is not a CEL expression: write the condition without {{ }}`},
		"one equals sign":     {check.Metric{SuccessCondition: "result = 1"}, prometheus, "write == to compare"},
		"and":                 {check.Metric{SuccessCondition: "result > 1 and result < 2"}, prometheus, "write && instead of and"},
		"a percentage":        {check.Metric{SuccessCondition: "result > 95%"}, prometheus, "write a share such as 0.95"},
		"a decimal comma":     {check.Metric{SuccessCondition: "result > 0,95"}, prometheus, "write a point in numbers"},
		"cut off":             {check.Metric{SuccessCondition: "result >"}, prometheus, `"result >" is not a CEL expression, from column 9 on: it ends too soon`},
		"garbage":             {check.Metric{SuccessCondition: "result > #"}, prometheus, "is not a CEL expression"},
		"a branch of two":     {check.Metric{SuccessCondition: "result > 5 ? true : 1"}, []check.Kind{check.KindScalar}, "a ? b : c gives true or false or a number"},
		"a bad pattern":       {check.Metric{SuccessCondition: "result.matches('(')"}, []check.Kind{check.KindString}, "missing closing )"},
		"too long":            {check.Metric{SuccessCondition: "result > 1" + strings.Repeat(" ", 2000) + "|| true"}, nil, "exceeds limit"},
		"too deep":            {check.Metric{SuccessCondition: strings.Repeat("(", 500) + "true" + strings.Repeat(")", 500)}, nil, "successCondition"},
		"no condition":        {check.Metric{}, nil, "neither it nor failureCondition is set"},
		"white space":         {check.Metric{SuccessCondition: " "}, nil, "neither it nor failureCondition is set"},
		"a kind without":      {check.Metric{SuccessCondition: "true"}, []check.Kind{check.KindRange}, "results of kind range have no conditions"},
		"the inner function":  {check.Metric{SuccessCondition: "@known(result) > 1"}, prometheus, "successCondition"},
		"a series made":       {check.Metric{SuccessCondition: "Series{value: 1.0}.value > 1.0 && false == nope"}, []check.Kind{check.KindVector}, "nope"},
		"a whole int on ==":   {check.Metric{SuccessCondition: "size(result) == 1.5"}, []check.Kind{check.KindVector}, "a whole number cannot be compared with a number by =="},
		"the field is told":   {check.Metric{SuccessCondition: "true", FailureCondition: "nope"}, nil, "failureCondition: unknown name"},
		"a negative count":    {check.Metric{SuccessCondition: "true", Count: -1}, nil, "count: -1 is negative"},
		"a count alone":       {check.Metric{SuccessCondition: "true", Count: 2}, nil, "interval: must be set when count is above 1"},
		"a limit too high":    {check.Metric{SuccessCondition: "true", Count: 1, FailureLimit: 1}, nil, "failureLimit: 1 is not below the count of 1"},
		"a limit of one":      {check.Metric{SuccessCondition: "true", InconclusiveLimit: 1}, nil, "inconclusiveLimit: 1 is not below the count of 1"},
		"a negative limit":    {check.Metric{SuccessCondition: "true", InconclusiveLimit: -2}, nil, "inconclusiveLimit: -2 is negative"},
		"negative errors":     {check.Metric{SuccessCondition: "true", ConsecutiveErrorLimit: &negative}, nil, "consecutiveErrorLimit: -1 is negative"},
		"no errors at all":    {check.Metric{SuccessCondition: "true", ConsecutiveErrorLimit: new(int)}, nil, ""},
		"a negative interval": {check.Metric{SuccessCondition: "true", Interval: -1}, nil, "interval: -1ns is not between"},
		"a negative delay":    {check.Metric{SuccessCondition: "true", InitialDelay: -1}, nil, "initialDelay: -1ns is not between"},
		"a weight of NaN":     {check.Metric{SuccessCondition: "true", Weight: nan}, nil, "weight: NaN is not a number from 0"},
		"a wrong compare":     {check.Metric{SuccessCondition: "true", Compare: "Canary"}, nil, `compare: "Canary" is neither Stable nor Baseline`},
	} {
		t.Run(name, func(t *testing.T) {
			c.metric.Name = "m"
			_, err := check.Compile(c.metric, c.kinds...)
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got  %v\nwant %s", err, c.want)
			}
			var field *check.FieldError
			if !errors.As(err, &field) || field.Field == "" {
				t.Errorf("the error names no field: %v", err)
			}
		})
	}
}

func TestCompileTellsAllAtOnce(t *testing.T) {
	_, err := check.Compile(check.Metric{SuccessCondition: "nope", FailureCondition: "neither", Count: -1})
	for _, want := range []string{"name: must not be empty", "count: ", "successCondition: ", "failureCondition: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not tell %s", err, want)
		}
	}
}

func TestConditionsForSomeKindsOnly(t *testing.T) {
	program, err := check.Compile(check.Metric{Name: "m", SuccessCondition: "result >= 0.95"}, check.KindScalar, check.KindVector)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		result check.Result
		want   check.Phase
	}{{scalar(1), check.Successful}, {vector(1), check.Error}, {text("1"), check.Error}} {
		if got := program.Judge(c.result); got.Phase != c.want {
			t.Errorf("%s: %s, want %s", got.Phase, got.Message, c.want)
		}
	}
}
