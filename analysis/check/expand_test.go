package check_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-mesh/sluice/analysis/check"
)

func TestExpand(t *testing.T) {
	args := map[string]string{"service": "shop", "stable-hash": "abc", "loop": "{{args.service}}", "empty": "", "token": "s3cret"}
	for name, c := range map[string]struct{ text, want, problem string }{
		"nothing":                  {"rate(x[1m])", "rate(x[1m])", ""},
		"one":                      {`x{service="{{args.service}}"}`, `x{service="shop"}`, ""},
		"with spaces":              {"{{ args.service }}{{  args.stable-hash}}", "shopabc", ""},
		"an empty value":           {"[{{args.empty}}]", "[]", ""},
		"values are not expanded":  {"{{args.loop}}", "{{args.service}}", ""},
		"other braces are left":    {`docker inspect -f '{{.State}}' {"a":{"b":{{x}}}}`, `docker inspect -f '{{.State}}' {"a":{"b":{{x}}}}`, ""},
		"braces around":            {`{"a":{"b":"{{args.service}}"}}`, `{"a":{"b":"shop"}}`, ""},
		"an unknown name":          {"{{args.servce}}", "", `unknown argument "servce": there are empty, loop, service, stable-hash, token`},
		"a word for a near miss":   {"{{arg.service}}", "", `"{{arg.service}}" is not a placeholder: write {{args.name}}`},
		"another case":             {"{{Args.service}}", "", "is not a placeholder"},
		"not closed":               {"{{args.service", "", "is not a placeholder"},
		"closed once":              {"{{args.service} x", "", "is not a placeholder"},
		"without a name":           {"{{args.}}", "", "is not a placeholder"},
		"without a dot":            {"{{args}}", "", "is not a placeholder"},
		"two names":                {"{{args.service stable}}", "", "is not a placeholder"},
		"arguments is another one": {"{{arguments.x}}", "{{arguments.x}}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := check.Expand(c.text, args)
			if c.problem != "" {
				if err == nil || !strings.Contains(err.Error(), c.problem) || strings.Contains(err.Error(), "s3cret") {
					t.Errorf("got  %v\nwant %s", err, c.problem)
				}
				return
			}
			if err != nil || got != c.want {
				t.Errorf("got  %q, %v\nwant %q", got, err, c.want)
			}
		})
	}
	if _, err := check.Expand("{{args.x}}", nil); err == nil || !strings.Contains(err.Error(), "there are no arguments") {
		t.Errorf("got %v", err)
	}
	if _, err := check.Expand(strings.Repeat("{{args.x}}", 1000), map[string]string{"x": strings.Repeat("x", 10_000)}); err == nil {
		t.Error("expanded to 10 MB")
	}
}

func TestExpandAll(t *testing.T) {
	value := map[string]any{"a": []any{"{{args.x}}", 1.0, nil, true}, "{{args.x}}": map[string]any{"b": "-{{args.x}}-"}}
	got, err := check.ExpandAll(value, map[string]string{"x": "y"})
	want := map[string]any{"a": []any{"y", 1.0, nil, true}, "{{args.x}}": map[string]any{"b": "-y-"}}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v, %s", err, cmp.Diff(want, got))
	}
	if value["a"].([]any)[0] != "{{args.x}}" {
		t.Error("the input was changed")
	}
	if _, err := check.ExpandAll(map[string]any{"spec": []any{"{{args.z}}"}}, nil); err == nil || !strings.HasPrefix(err.Error(), "spec: [0]: unknown argument") {
		t.Errorf("got %v", err)
	}
}

func TestArguments(t *testing.T) {
	got := check.Arguments("{{args.b}} {{ args.a }} {{args.b}} {{x}} {{args.}}")
	if want := []string{"a", "b"}; !cmp.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, " ": 0, "30s": 30 * time.Second, " 5m ": 5 * time.Minute, "1h30m": 90 * time.Minute, "0": 0, "720h": 720 * time.Hour} {
		if got, err := check.ParseDuration("interval", text); err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"5 min": `interval: "5 min" is not a duration: write a number with its unit, such as 30s, 5m or 1h30m`,
		"5":     "is not a duration",
		"1d":    "is not a duration",
		"-1s":   "interval: -1s is negative",
		"721h":  "longer than 30 days",
	} {
		if _, err := check.ParseDuration("interval", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestRedact(t *testing.T) {
	for _, c := range []struct {
		text    string
		secrets []string
		want    string
	}{
		{"token abc123 refused", []string{"abc123"}, "token *** refused"},
		{"Bearer abc123", []string{"abc", "abc123"}, "Bearer ***"},
		{"a b", []string{"", "a", " "}, "a b"},
		{"abc123 and", []string{"abc123\n"}, "*** and"},
	} {
		if got := check.Redact(c.text, c.secrets...); got != c.want {
			t.Errorf("%q without %q is %q, want %q", c.text, c.secrets, got, c.want)
		}
	}
}
