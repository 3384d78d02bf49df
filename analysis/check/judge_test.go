package check_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/sluice-mesh/sluice/analysis/check"
)

var nan, inf = math.NaN(), math.Inf(1)

func scalar(x float64) check.Result { return check.Result{Kind: check.KindScalar, Number: x} }

func text(s string) check.Result { return check.Result{Kind: check.KindString, Text: s} }

// vector has a series for each value, with the labels pod=0, pod=1 and so on.
func vector(values ...float64) check.Result {
	result := check.Result{Kind: check.KindVector}
	for i, value := range values {
		result.Series = append(result.Series, check.Series{Labels: map[string]string{"pod": fmt.Sprint(i)}, Value: value})
	}
	return result
}

func document(t *testing.T, text string) check.Result {
	t.Helper()
	result, err := check.FromJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestJudge(t *testing.T) {
	answer := document(t, `{"ok":"true","rate":0.97,"n":3,"big":9007199254740993,"list":[1,2],"nothing":null,"nan":"NaN"}`)
	for name, c := range map[string]struct {
		success, failure string
		compare          check.Compare
		results          []check.Result
		want             check.Phase
		says             string // part of the message
	}{
		"a scalar":                            {success: "result >= 0.95", results: []check.Result{scalar(.97)}, want: check.Successful, says: "0.97 meets successCondition result >= 0.95"},
		"a scalar below":                      {success: "result >= 0.95", results: []check.Result{scalar(.9)}, want: check.Failed, says: "0.9 does not meet successCondition"},
		"Argo's index":                        {success: "result[0] >= 0.95", results: []check.Result{vector(.97)}, want: check.Successful, says: "[0.97] meets"},
		"both true: failure wins":             {success: "result > 0", failure: "result > 0.5", results: []check.Result{scalar(.9)}, want: check.Failed, says: "meets failureCondition"},
		"both false":                          {success: "result > 1", failure: "result < 0", results: []check.Result{scalar(.5)}, want: check.Inconclusive, says: "0.5 meets neither successCondition result > 1 nor failureCondition result < 0"},
		"both set, success only":              {success: "result > 1", failure: "result < 0", results: []check.Result{scalar(2)}, want: check.Successful},
		"failure only, not met":               {failure: "result > 1", results: []check.Result{scalar(.5)}, want: check.Successful, says: "does not meet failureCondition"},
		"failure only, met":                   {failure: "result > 1", results: []check.Result{scalar(1.5)}, want: check.Failed},
		"NaN":                                 {success: "result >= 0.95", results: []check.Result{scalar(nan)}, want: check.Error, says: "NaN says nothing"},
		"NaN never meets a negation":          {success: "!(result > 0.05)", results: []check.Result{scalar(nan)}, want: check.Error, says: "NaN"},
		"NaN never escapes a failure":         {failure: "result > 0.05", results: []check.Result{scalar(nan)}, want: check.Error, says: "NaN"},
		"NaN is not unequal either":           {success: "result != 5", results: []check.Result{scalar(nan)}, want: check.Error, says: "NaN"},
		"NaN handled":                         {success: "isNaN(result) || result >= 0.95", results: []check.Result{scalar(nan)}, want: check.Successful},
		"NaN handled, as a failure":           {success: "!isNaN(result) && result >= 0.95", results: []check.Result{scalar(nan)}, want: check.Failed},
		"NaN by default":                      {success: "default(result, 1) >= 0.95", results: []check.Result{scalar(nan)}, want: check.Successful},
		"NaN from arithmetic":                 {failure: "result / 0 > 1", results: []check.Result{scalar(0)}, want: check.Error, says: "NaN"},
		"NaN in one of many":                  {success: "result.all(v, v >= 0.5)", results: []check.Result{vector(1, nan)}, want: check.Error, says: "NaN"},
		"one of many fails beside NaN":        {success: "result.all(v, v >= 0.5)", results: []check.Result{vector(nan, .1)}, want: check.Failed},
		"infinite":                            {success: "result >= 0.95", results: []check.Result{scalar(inf)}, want: check.Inconclusive, says: "+Inf is infinite"},
		"infinite, not failed":                {failure: "result < 0.5", results: []check.Result{scalar(inf)}, want: check.Inconclusive, says: "+Inf"},
		"infinite latency fails":              {success: "result < 0.5", results: []check.Result{vector(inf)}, want: check.Error, says: "vector"},
		"infinite latency fails, indexed":     {success: "result[0] < 0.5", results: []check.Result{vector(inf)}, want: check.Failed, says: "[+Inf]"},
		"infinite handled":                    {success: "isInf(result) || result > 1", results: []check.Result{scalar(-inf)}, want: check.Successful},
		"no series":                           {success: "result[0] >= 0.95", results: []check.Result{vector()}, want: check.Error, says: "the query returned no series"},
		"no series is not all":                {success: "result.all(v, v >= 0.95)", results: []check.Result{vector()}, want: check.Error, says: "no series"},
		"no series is not none":               {failure: "series.exists(s, s.value > 5.0)", results: []check.Result{vector()}, want: check.Error, says: "no series"},
		"no series handled":                   {success: "size(result) == 0 || result[0] > 5", results: []check.Result{vector()}, want: check.Successful},
		"no series handled, as a member":      {success: "result.size() == 0 || result[0] > 5", results: []check.Result{vector()}, want: check.Successful},
		"no series compared with []":          {success: "result == [] || result[0] > 5", results: []check.Result{vector()}, want: check.Successful},
		"no series by default":                {success: "default(result[0], 0) < 1", results: []check.Result{vector()}, want: check.Successful},
		"several series":                      {success: "result[0] >= 0.95", results: []check.Result{vector(1, 2, 3)}, want: check.Error, says: "3 series where the condition takes 1"},
		"several series, guarded size":        {success: "size(result) > 0 && result[0] >= 0.95", results: []check.Result{vector(1, 2, 3)}, want: check.Error, says: "3 series where the condition takes 1"},
		"two of two series":                   {success: "result[0] >= 0.95 && result[1] >= 0.95", results: []check.Result{vector(1, 2)}, want: check.Successful},
		"two of one series":                   {success: "result[0] >= 0.95 && result[1] >= 0.95", results: []check.Result{vector(1)}, want: check.Error, says: "index out of bounds"},
		"all series":                          {success: "result.all(v, v >= 0.5)", results: []check.Result{vector(1, 2, 3)}, want: check.Successful},
		"not all series":                      {success: "result.all(v, v >= 0.5)", results: []check.Result{vector(1, .2, 3)}, want: check.Failed},
		"only the number of series":           {success: "size(result) == 3", results: []check.Result{vector(1, 2, 3)}, want: check.Successful},
		"labels":                              {success: `series.exists_one(s, s.labels.pod == "1" && s.value == 2)`, results: []check.Result{vector(1, 2)}, want: check.Successful},
		"a label that is not there":           {success: `series.exists(s, s.labels.zone == "1")`, results: []check.Result{vector(1, 2)}, want: check.Error, says: "no such key: zone"},
		"a label tested":                      {success: `series.all(s, !("zone" in s.labels))`, results: []check.Result{vector(1, 2)}, want: check.Successful},
		"a scalar condition on a vector":      {success: "result >= 0.95", results: []check.Result{vector(.97)}, want: check.Error, says: "the answer is a vector of 1 series: a vector cannot be compared with a number by >=; result is a vector here: write result[0] >= 0.95"},
		"a vector condition on a scalar":      {success: "result[0] >= 0.95", results: []check.Result{scalar(.97)}, want: check.Error, says: "a number has no [ ]"},
		"against stable":                      {success: "result[0] <= stable[0] * 1.1", compare: check.CompareStable, results: []check.Result{vector(.02), vector(.01)}, want: check.Failed, says: "[0.02] against [0.01] does not meet"},
		"against baseline":                    {success: "result <= baseline * 1.1 + 0.01", compare: check.CompareBaseline, results: []check.Result{scalar(.02), scalar(.01)}, want: check.Successful},
		"against stable without series":       {success: "result[0] <= stable[0]", compare: check.CompareStable, results: []check.Result{vector(.02), vector()}, want: check.Error, says: "stable: the query returned no series"},
		"against several stable series":       {success: "result[0] <= stable[0]", compare: check.CompareStable, results: []check.Result{vector(.02), vector(1, 2)}, want: check.Error, says: "2 series"},
		"0/0 against stable":                  {failure: "result / stable > 1.1", compare: check.CompareStable, results: []check.Result{scalar(0), scalar(0)}, want: check.Error, says: "NaN"},
		"stable did not answer":               {success: "result < stable", compare: check.CompareStable, results: []check.Result{scalar(1), check.FromError(errors.New("no answer in time"))}, want: check.Error, says: "stable: no answer in time"},
		"answers of two kinds":                {success: "result < stable", compare: check.CompareStable, results: []check.Result{scalar(1), vector(1)}, want: check.Error, says: "the canary's answer is a scalar, that of stable a vector"},
		"one answer of two":                   {success: "result < stable", compare: check.CompareStable, results: []check.Result{scalar(1)}, want: check.Error, says: "1 answer where the metric takes 2"},
		"no answer":                           {success: "result < 1", results: []check.Result{check.FromError(errors.New("connection refused"))}, want: check.Error, says: "connection refused"},
		"no result at all":                    {success: "result < 1", results: nil, want: check.Error, says: "0 answers"},
		"an empty result":                     {success: "result < 1", results: []check.Result{{}}, want: check.Error, says: "which the metric does not take"},
		"a range for a condition":             {success: "result < 1", results: []check.Result{{Kind: check.KindRange}}, want: check.Error, says: "a range"},
		"an error beside a failure":           {success: "result[1] > 0", failure: "result[0] > 0.5", results: []check.Result{vector(1)}, want: check.Failed},
		"an error beside no failure":          {success: "result[1] > 0", failure: "result[0] > 5", results: []check.Result{vector(1)}, want: check.Error},
		"a text":                              {success: `result == "ok"`, results: []check.Result{text("ok")}, want: check.Successful},
		"a text converted":                    {success: "double(result) > 1", results: []check.Result{text("2")}, want: check.Successful},
		"a text that is no number":            {success: "double(result) > 1", results: []check.Result{text("x")}, want: check.Error, says: "type conversion"},
		"a text that is NaN":                  {failure: "double(result) > 1", results: []check.Result{text("NaN")}, want: check.Error, says: "NaN"},
		"JSON":                                {success: `result.ok == "true" && result.rate > 0.9 && result.n + 1 == 4`, results: []check.Result{answer}, want: check.Successful},
		"JSON without the field":              {success: "result.x > 5", results: []check.Result{answer}, want: check.Error, says: "no such key: x; where it may be missing, write default(x, y)"},
		"JSON with a default":                 {success: "default(result.x, 6) > 5", results: []check.Result{answer}, want: check.Successful},
		"JSON null with a default":            {success: "default(result.nothing, 6) > 5", results: []check.Result{answer}, want: check.Successful},
		"JSON null":                           {success: "result.nothing > 5", results: []check.Result{answer}, want: check.Error, says: "no such overload"},
		"default does not hide wrong types":   {success: "default(result.ok * 2, 6) > 5", results: []check.Result{answer}, want: check.Error, says: "no such overload"},
		"JSON that is not a boolean":          {success: "result.ok", results: []check.Result{answer}, want: check.Error, says: "must be true or false, and is a text (true)"},
		"JSON NaN as text":                    {failure: "double(result.nan) > 5", results: []check.Result{answer}, want: check.Error, says: "NaN"},
		"JSON beyond float64":                 {success: "result.big == 9007199254740993", results: []check.Result{answer}, want: check.Successful},
		"JSON beyond float64 is not rounded":  {success: "result.big == 9007199254740992", results: []check.Result{answer}, want: check.Failed},
		"whole numbers beside doubles":        {success: "result * 100 >= 95", results: []check.Result{scalar(.97)}, want: check.Successful},
		"fractions of whole numbers":          {success: "result > 1/2", results: []check.Result{scalar(.4)}, want: check.Failed},
		"equal to a whole number":             {success: "result == 1", results: []check.Result{scalar(1)}, want: check.Successful},
		"whole numbers on the left":           {success: "1/2 < result && 100 == result * 100 && 2 - result == 1", results: []check.Result{scalar(1)}, want: check.Successful},
		"a negative whole number":             {success: "result > -(1)", results: []check.Result{scalar(0)}, want: check.Successful},
		"a whole number in a branch":          {success: "(result > 0.5 ? result : 0) == 0", results: []check.Result{scalar(.4)}, want: check.Successful},
		"sizes stay whole":                    {success: "size(result) * 2 == 4 && size(result) % 2 == 0", results: []check.Result{vector(1, 2)}, want: check.Successful},
		"a constant":                          {success: "true", results: []check.Result{vector()}, want: check.Successful},
		"evaluation is bounded":               {success: loops(7), results: []check.Result{scalar(1)}, want: check.Error, says: "takes too long"},
		"default does not lift the bound":     {success: "default(" + loops(7) + ", true)", results: []check.Result{scalar(1)}, want: check.Error, says: "takes too long"},
		"the order of series means nothing":   {success: "result[0] == 1 && result[1] == 2", results: []check.Result{reversed(vector(1, 2))}, want: check.Successful},
		"white space around a condition":      {success: "\n  result > 1\n", failure: "  ", results: []check.Result{scalar(2)}, want: check.Successful},
		"a field that is a word of CEL":       {success: `result["ok"] == "true"`, results: []check.Result{answer}, want: check.Successful},
		"series beyond what is read is fatal": {success: "result[0] < 1 || series.all(s, s.value < 5.0)", results: []check.Result{vector(.1, 2)}, want: check.Successful},
	} {
		t.Run(name, func(t *testing.T) {
			program, err := check.Compile(check.Metric{Name: "m", SuccessCondition: c.success, FailureCondition: c.failure, Compare: c.compare})
			if err != nil {
				t.Fatal(err)
			}
			got := program.Judge(c.results...)
			if got.Phase != c.want || !strings.Contains(got.Message, c.says) {
				t.Errorf("%s: %s\nwant %s: %s", got.Phase, got.Message, c.want, c.says)
			}
			if got.Message == "" {
				t.Error("without a message")
			}
		})
	}
}

// loops is a condition that takes 10^depth steps.
func loops(depth int) string {
	list, condition := "[1,2,3,4,5,6,7,8,9,10]", "true"
	for i := range depth {
		condition = fmt.Sprintf("%s.all(x%d, %s)", list, i, condition)
	}
	return condition
}

func reversed(result check.Result) check.Result {
	for i, j := 0, len(result.Series)-1; i < j; i, j = i+1, j-1 {
		result.Series[i], result.Series[j] = result.Series[j], result.Series[i]
	}
	return result
}

func TestJudgeLeavesItsInput(t *testing.T) {
	program, err := check.Compile(check.Metric{Name: "m", SuccessCondition: "result[0] < result[1]"})
	if err != nil {
		t.Fatal(err)
	}
	result := reversed(vector(1, 2))
	program.Judge(result)
	if result.Series[0].Value != 2 {
		t.Error("the series were sorted in place")
	}
}

func TestValue(t *testing.T) {
	for want, result := range map[string]check.Result{
		"0.97":                               scalar(.97),
		"NaN":                                scalar(nan),
		"-Inf":                               scalar(-inf),
		"1.5e+09":                            scalar(1.5e9),
		"[]":                                 vector(),
		"[1, +Inf]":                          vector(1, inf),
		"[0, 1, 2, 3, 4, 5, 6, 7, … 2 more]": vector(0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
		"two lines":                          text("two\nlines"),
		`{"a":[1,null]}`:                     document(t, ` {"a": [1, null]} `),
		"":                                   check.FromError(errors.New("secret")),
		strings.Repeat("x", 160) + "…":       text(strings.Repeat("x", 1000)),
	} {
		program, err := check.Compile(check.Metric{Name: "m", SuccessCondition: "true"})
		if err != nil {
			t.Fatal(err)
		}
		if got := program.Judge(result).Value; got != want {
			t.Errorf("%+v is shown as %q, want %q", result, got, want)
		}
	}
}
