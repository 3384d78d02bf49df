package check_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sluice-mesh/sluice/analysis/check"
)

// FuzzCondition looks for conditions that panic, and for NaN or no series that succeed without the condition
// naming one of the functions that may say so.
func FuzzCondition(f *testing.F) {
	for _, condition := range []string{
		"result >= 0.95", "result[0] >= 0.95", "result.all(v, v > 0.5)", "series.exists(s, s.labels.pod == '0')", "result.a.b > 5",
		"isNaN(result) || result > 1/2", "default(result[0], 0) > 5", "size(result) == 0", "result / stable <= 1.1", "!(result > 1)",
		"result == [] ? true : result[0] != 5", "result in [1, 2]", "type(result) == double", "result.map(v, v * 2)[0] > 1",
		"has(result.x)", "@known(1)", "Series{}", "-result < 0", "result > 1u", "b'x' == b''", "result.filter(v, v > 1) == []",
		"{1: 2}[result]", "double('NaN') != 1.0", "string(result) != ''", "[result] == [result]", "result.exists_one(v, v == 1)",
	} {
		f.Add(condition, 0.5, 0.25)
		f.Add(condition, math.NaN(), math.Inf(1))
	}
	f.Fuzz(func(t *testing.T, condition string, x, y float64) {
		if len(condition) > 300 {
			return // the parser's time grows with it, and panics do not need it
		}
		document, err := check.FromJSON([]byte(`{"a":{"b":6},"list":[1,"x",null]}`))
		if err != nil {
			t.Fatal(err)
		}
		for _, metric := range []check.Metric{
			{Name: "m", SuccessCondition: condition, Compare: check.CompareStable},
			{Name: "m", FailureCondition: condition, Compare: check.CompareStable},
		} {
			program, err := check.Compile(metric)
			if err != nil {
				if !utf8.ValidString(err.Error()) && utf8.ValidString(condition) {
					t.Errorf("not a text: %q", err)
				}
				continue
			}
			for _, result := range []check.Result{scalar(x), vector(), vector(x), vector(x, y), text(condition), document} {
				control := result
				if result.Kind == check.KindScalar {
					control = scalar(y)
				}
				got := program.Judge(result, control)
				if !got.Phase.Completed() || got.Message == "" {
					t.Errorf("%q of %+v: %+v", condition, result, got)
				}
			}
			plain := strings.HasPrefix(condition, "result ") && len(condition) > 8 && strings.ContainsAny(condition[7:8], "<>=!") &&
				!strings.ContainsAny(condition, "(?|&[i")
			if got := program.Judge(scalar(math.NaN()), scalar(1)); plain && got.Phase != check.Error {
				t.Errorf("%q of NaN: %+v", condition, got)
			}
		}
	})
}

// FuzzFromJSON looks for panics, and for documents that mean something else than encoding/json says.
func FuzzFromJSON(f *testing.F) {
	for _, document := range []string{`{"a":[1,2.5,null,true,"x"]}`, `1e400`, `9007199254740993`, `[[[[]]]]`, `{} {}`, `"\ud800"`, `-0`, `1E-400`} {
		f.Add([]byte(document))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		result, err := check.FromJSON(document)
		if err != nil {
			return
		}
		if !json.Valid(document) {
			t.Fatalf("%q is no JSON", document)
		}
		if _, err := json.Marshal(result.JSON); err != nil {
			t.Fatalf("%q cannot be written again: %v", document, err)
		}
		program, err := check.Compile(check.Metric{Name: "m", SuccessCondition: "result == result"}, check.KindJSON)
		if err != nil {
			t.Fatal(err)
		}
		if got := program.Judge(result); got.Phase != check.Successful {
			t.Errorf("%q is not equal to itself: %+v", document, got)
		}
	})
}

// FuzzExpand looks for panics, and for placeholders that are left.
func FuzzExpand(f *testing.F) {
	for _, text := range []string{"{{args.x}}", "{{ args.y }}{{args.x}}", "{{arg.x}}", "{{args.x", "{{{args.x}}}", "{{ARGS.x}}", "{{.x}}", "{{args.x}}}}"} {
		f.Add(text, "value")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		got, err := check.Expand(text, map[string]string{"x": "\x00"})
		if err != nil {
			return
		}
		if strings.Contains(got, "{{args.") {
			t.Errorf("%q is left in %q", got, text)
		}
		if !strings.Contains(text, "\x00") {
			with, err := check.Expand(text, map[string]string{"x": value})
			if err == nil && with != strings.ReplaceAll(got, "\x00", value) {
				t.Errorf("%q with %q is %q", text, value, with)
			}
		}
	})
}

// FuzzStep takes any measurements of any metric, and holds the counts and limits against a plain count.
func FuzzStep(f *testing.F) {
	f.Add(uint8(3), uint8(1), uint8(0), uint8(4), []byte("SSFIERRS"))
	f.Add(uint8(0), uint8(0), uint8(0), uint8(0), []byte("E"))
	f.Fuzz(func(t *testing.T, times, failures, inconclusive, errors uint8, measurements []byte) {
		limit := int(errors)
		metric := check.Metric{
			Name: "m", Interval: time.Minute, Count: int(times), SuccessCondition: "true",
			FailureLimit: int(failures), InconclusiveLimit: int(inconclusive), ConsecutiveErrorLimit: &limit,
		}
		var status check.MetricStatus
		counts := map[check.Phase]int{}
		for i, letter := range measurements {
			phase, known := letters[rune(letter)]
			if !known || phase == "odd" {
				continue
			}
			if !status.Phase.Completed() {
				counts[phase]++
			}
			status = check.Step(metric, status, check.Measurement{Phase: phase}, start.Add(time.Duration(i)*time.Minute))
		}
		if status.Successful != counts[check.Successful] || status.Failed != counts[check.Failed] ||
			status.Inconclusive != counts[check.Inconclusive] || status.Error != counts[check.Error] {
			t.Errorf("%+v, want %v", status, counts)
		}
		if len(status.Measurements) > 10 {
			t.Errorf("%d measurements are kept", len(status.Measurements))
		}
		if status.Phase == check.Successful && (status.Successful == 0 || status.Failed > metric.FailureLimit || status.Count < metric.Count) {
			t.Errorf("a success that is none: %+v", status)
		}
		if (status.Failed > metric.FailureLimit) != (status.Phase == check.Failed) {
			t.Errorf("%d failed of %d that may: %s", status.Failed, metric.FailureLimit, status.Phase)
		}
		if _, due := check.Next(metric, status, start); due && status.Phase.Completed() {
			t.Error("complete, and due")
		}
		if stopped := check.Stop(metric, status, start); !stopped.Phase.Completed() || stopped.Phase == check.Successful && stopped.Successful == 0 {
			t.Errorf("stopped: %+v", stopped)
		}
	})
}
