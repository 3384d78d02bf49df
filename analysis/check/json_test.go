package check_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-mesh/sluice/analysis/check"
)

func TestFromJSON(t *testing.T) {
	for text, want := range map[string]any{
		`1`:                        1.0,
		`-0.5e3`:                   -500.0,
		`"x"`:                      "x",
		`null`:                     nil,
		"\t[1, \"a\", true, {}]\n": []any{1.0, "a", true, map[string]any{}},
		`{"a":{"b":null}}`:         map[string]any{"a": map[string]any{"b": nil}},
		`9007199254740992`:         9007199254740992.0, // 2^53, and what follows is not a float64
		`9007199254740993`:         int64(9007199254740993),
		`-9007199254740993`:        int64(-9007199254740993),
		`18446744073709551615`:     uint64(18446744073709551615),
		`18446744073709551616`:     18446744073709551616.0, // 2^64 is a float64
		`0.1`:                      0.1,
		`1e308`:                    1e308,
		`"\ud800"`:                 "\ufffd",
		"\t{\"a\":1,\"a\":2}\n":    map[string]any{"a": 2.0},
	} {
		got, err := check.FromJSON([]byte(text))
		if err != nil || got.Kind != check.KindJSON || !cmp.Equal(got.JSON, want) || len(got.Warnings) > 0 {
			t.Errorf("%s: %v %#v %v, want %#v", text, err, got.JSON, got.Warnings, want)
		}
	}
}

func TestFromJSONKeepsNumbersThatDoNotFit(t *testing.T) {
	got, err := check.FromJSON([]byte(`[1e400, 18446744073709551617, 1]`))
	if want := []any{"1e400", "18446744073709551617", 1.0}; err != nil || !cmp.Equal(got.JSON, want) {
		t.Errorf("%v %#v, want %#v", err, got.JSON, want)
	}
	if len(got.Warnings) != 1 || !strings.HasPrefix(got.Warnings[0], "2 numbers are too large") {
		t.Errorf("warnings: %q", got.Warnings)
	}
}

func TestFromJSONRefuses(t *testing.T) {
	for text, want := range map[string]string{
		``:                           "empty",
		"  \n":                       "empty",
		`{"a":`:                      "it ends too soon",
		`<html>`:                     "not JSON",
		`{} {}`:                      "more follows",
		`NaN`:                        "not JSON",
		`{"a":1}x`:                   "more follows",
		strings.Repeat("[", 70):      "ends too soon",
		strings.Repeat("[", 100_000): "not JSON",
		strings.Repeat("[", 70) + strings.Repeat("]", 70): "more than 64 levels deep",
	} {
		if _, err := check.FromJSON([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20s: %v, want %s", text, err, want)
		}
	}
}
