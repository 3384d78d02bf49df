package table

import (
	"net/http"
	"net/url"
	"testing"
)

// What the standard library reads without error we read alike.
func FuzzParameter(f *testing.F) {
	for _, query := range []string{"a=1", "b=2&a=1", "a", "a=%20+", "%61=1", "&&a=", "a=b=c", "a=%zz"} {
		f.Add(query, "a")
	}
	for _, name := range []string{"+", "%61", "a b"} {
		f.Add("+&%2561=1&a+b=2&%2b=3", name)
	}
	f.Fuzz(func(t *testing.T, query, name string) {
		got, found := parameter(query, name)
		all, err := url.ParseQuery(query)
		if err != nil || name == "" {
			return
		}
		if want := all.Get(name); got != want || found != all.Has(name) {
			t.Errorf("parameter %q of %q is %q, %v; want %q, %v", name, query, got, found, want, all.Has(name))
		}
	})
}

func FuzzCookie(f *testing.F) {
	for _, line := range []string{"a=1", "b=2; a=1", `a="1"`, "a", ";;a=;", "a=b=c"} {
		f.Add(line, "a")
	}
	f.Fuzz(func(t *testing.T, line, name string) {
		got, found := cookie(get("/", "cookie", line), name)
		all, err := http.ParseCookie(line)
		if err != nil {
			return
		}
		for _, c := range all {
			if c.Name == name {
				if !found || got != c.Value {
					t.Errorf("cookie %q of %q is %q, %v; want %q", name, line, got, found, c.Value)
				}
				return
			}
		}
		if found {
			t.Errorf("cookie %q of %q is %q; want none", name, line, got)
		}
	})
}
