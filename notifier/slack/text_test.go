package slack

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestEscape(t *testing.T) {
	for name, test := range map[string]struct {
		text  string
		limit int
		want  string
	}{
		"plain":                    {"ok", 10, "ok"},
		"fits exactly":             {"abc", 3, "abc"},
		"one too long":             {"abcd", 3, "ab…"},
		"entities":                 {"a & <b>", 100, "a &amp; &lt;b&gt;"},
		"no mention":               {"<!channel> <@U1>", 100, "&lt;!channel&gt; &lt;@U1&gt;"},
		"entity fits exactly":      {"a&", 6, "a&amp;"},
		"entity is not cut":        {"a&b", 6, "a…"},
		"lines become one":         {"a\nb\tc", 100, "a b c"},
		"characters, not bytes":    {"ééé", 3, "ééé"},
		"control characters go":    {"a\x00\x1b[31mb", 100, "a[31mb"},
		"invalid encoding is gone": {"a\xffb", 100, "ab"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := escape(test.text, test.limit); got != test.want {
				t.Errorf("escape(%q, %d) = %q, want %q", test.text, test.limit, got, test.want)
			}
		})
	}
}

var entity = regexp.MustCompile(`&(amp|lt|gt);`)

func FuzzEscape(f *testing.F) {
	f.Add("a & <b> …", uint16(5))
	f.Add(strings.Repeat("&", 100), uint16(100))
	f.Fuzz(func(t *testing.T, text string, limit uint16) {
		limit = limit%4000 + 1
		got := escape(text, int(limit))
		if count := utf8.RuneCountInString(got); count > int(limit) {
			t.Errorf("%d characters, limit %d: %q", count, limit, got)
		}
		if rest := entity.ReplaceAllString(got, ""); strings.ContainsAny(rest, "&<>\n") {
			t.Errorf("unsafe: %q", got)
		}
	})
}

func TestBar(t *testing.T) {
	for percent, full := range map[int32]int{-1: 0, 0: 0, 1: 1, 4: 1, 5: 1, 25: 5, 50: 10, 99: 19, 100: 20, 200: 20} {
		got := bar(percent)
		if count := strings.Count(got, "█"); count != full || utf8.RuneCountInString(got) != barCells {
			t.Errorf("bar(%d) = %q, want %d cells full", percent, got, full)
		}
	}
}

func TestPeople(t *testing.T) {
	for want, ids := range map[string][]string{
		"":                             nil,
		"<@U0AA>":                      {"U0AA"},
		"<@U0AA>, <@W0BB> and <@U0CC>": {"U0AA", "W0BB", "U0CC"},
		"`&lt;!channel&gt;`":           {"<!channel>"},
	} {
		if got := people(ids); got != want {
			t.Errorf("people(%q) = %q, want %q", ids, got, want)
		}
	}
	if got := people(make([]string, 100)); !strings.HasSuffix(got, " and 80 more") {
		t.Errorf("people of 100 = %q", got)
	}
}

func FuzzDecision(f *testing.F) {
	f.Add(`{"namespace":"shop","rollout":"cart","release":"r1","stepIndex":2}`, "U0AA", "jane")
	f.Fuzz(func(t *testing.T, value, user, name string) {
		decision, err := press{value: value, userID: user, userName: name}.decision()
		if err == nil && (decision.Namespace == "" || decision.Rollout == "" || decision.Release == "" || decision.By == "") {
			t.Errorf("accepted %q as %+v", value, decision)
		}
	})
}
