package replay

import (
	"strings"
	"testing"

	"github.com/prometheus/common/model"
)

func TestParseSelector(t *testing.T) {
	for text, want := range map[string]string{
		``:                           `{}`,
		`up`:                         `up{}`,
		`{a="b"}`:                    `{a="b"}`,
		`a="b"`:                      `{a="b"}`,
		` up { a = "b" , c!~'d.*',}`: `up{a="b",c!~"d.*"}`,
		"a=`\\d\"`":                  `{a="\\d\""}`,
		`a='it\'s "x" \\'`:           `{a="it's \"x\" \\"}`,
		`a!="",b=~"x|y"`:             `{a!="",b=~"x|y"}`,
		`job:errors:sum{a="}"}`:      `job:errors:sum{a="}"}`,
	} {
		s, err := ParseSelector(text)
		if err != nil || s.String() != want {
			t.Errorf("%s: got %s, %v, want %s", text, s, err, want)
		}
	}
	for text, part := range map[string]string{
		`up{a="b"`:                "does not end with }",
		`up a="b"`:                "none of =",
		`{a}`:                     "none of =",
		`{="b"}`:                  "no label's name",
		`{a=b}`:                   "not in quotes",
		`{a="b}`:                  "not in quotes",
		`{a="b" c="d"}`:           "a comma is expected",
		`{a=~"("}`:                "not a regular expression",
		`{a="\q"}`:                "cannot be read",
		`rate(up[5m])`:            "none of =",
		strings.Repeat("a", 5000): "more than 4096",
	} {
		if s, err := ParseSelector(text); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: got %s, %v, want an error with %q", text, s, err, part)
		}
	}
}

func TestSelectorMatches(t *testing.T) {
	metric := model.Metric{"__name__": "up", "code": "503", "flags": "UF\nDC"}
	for text, want := range map[string]bool{
		`up`: true, `down`: false, `{}`: true,
		`code="503"`: true, `code="50"`: false, `code!="503"`: false, `code!="200"`: true,
		`code=~"5.."`: true, `code=~"5"`: false, `code=~"4..|5.."`: true, `code!~"5.."`: false, `code!~"5"`: true,
		`absent=""`: true, `absent!=""`: false, `absent=~".*"`: true, `absent=~".+"`: false,
		`flags=~"UF.*"`: true, `up{code="503",absent!="x"}`: true, `up{code="503",absent="x"}`: false,
	} {
		s, err := ParseSelector(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Matches(metric); got != want {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
	}
}

func TestSelectorAnd(t *testing.T) {
	parse := func(text string) Selector {
		s, err := ParseSelector(text)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	both, err := parse(`up{a="b"}`).And(parse(`c="d"`))
	if err != nil || both.String() != `up{a="b",c="d"}` {
		t.Errorf("got %s, %v", both, err)
	}
	if _, err := parse("up").And(parse("down")); err == nil {
		t.Error("two names were put together")
	}
}

// What is read is written so that it is read as the same again.
func FuzzParseSelector(f *testing.F) {
	for _, text := range []string{``, `up`, `up{a="b",c!~'d.*',}`, "a=`b`", `a='\''`, `{a="\x00é"}`, `{a=~"(?i)x"}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSelector(text)
		if err != nil {
			return
		}
		if s.Matches(nil); len(s.String()) > most {
			return
		}
		again, err := ParseSelector(s.String())
		if err != nil || again.String() != s.String() {
			t.Errorf("%q was read as %s, and that as %s, %v", text, s, again, err)
		}
	})
}
