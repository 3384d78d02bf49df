package meshsync

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

func TestBothPaths(t *testing.T) {
	exact := func(v string) ir.PathMatch { return ir.PathMatch{Kind: ir.Exact, Value: v} }
	prefix := func(v string) ir.PathMatch { return ir.PathMatch{Kind: ir.Prefix, Value: v} }
	regex := func(v string) ir.PathMatch { return ir.PathMatch{Kind: ir.Regex, Value: v} }
	cases := map[string]struct {
		a, b, want    ir.PathMatch
		none, unknown bool
	}{
		"every path twice":                  {want: ir.PathMatch{}},
		"every path and one":                {a: prefix("/"), b: exact("/a"), want: exact("/a")},
		"equal":                             {a: regex("/a+"), b: regex("/a+"), want: regex("/a+")},
		"two paths":                         {a: exact("/a"), b: exact("/b"), none: true},
		"a path below a prefix":             {a: exact("/a/b"), b: prefix("/a"), want: exact("/a/b")},
		"a path beside a prefix":            {a: exact("/ab"), b: prefix("/a"), none: true},
		"a path that an expression matches": {a: exact("/a1"), b: regex("/a[0-9]"), want: exact("/a1")},
		"a path of which it matches a part": {a: exact("/a12"), b: regex("/a[0-9]"), none: true},
		"a prefix below a prefix":           {a: prefix("/a/b"), b: prefix("/a"), want: prefix("/a/b")},
		"two prefixes":                      {a: prefix("/a"), b: prefix("/b"), none: true},
		"an expression and a prefix":        {a: regex("/a+"), b: prefix("/a"), unknown: true},
		"two expressions":                   {a: regex("/a+"), b: regex("/[a]+"), unknown: true},
		"an expression and every path":      {a: regex("/a+"), b: prefix("/"), want: regex("/a+")},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			for _, order := range [][2]ir.PathMatch{{test.a, test.b}, {test.b, test.a}} {
				got, none, unknown := bothPaths(order[0], order[1])
				if none != test.none || unknown != test.unknown {
					t.Errorf("%v: none %v, unknown %v", order, none, unknown)
				}
				if !none && !unknown && got != test.want {
					t.Errorf("%v: got %v, want %v", order, got, test.want)
				}
			}
		})
	}
}

func TestCombined(t *testing.T) {
	match := func(hosts []string, method, path string) ir.Match {
		m := ir.Match{Hosts: hosts, Method: method}
		if path != "" {
			m.Path = ir.PathMatch{Kind: ir.Prefix, Value: path}
		}
		return m
	}
	header := ir.ValueMatch{Name: "a", Kind: ir.Present}
	rule := ir.Route{Name: "rule", Matches: []ir.Match{
		{Hosts: []string{"*.example.com", "cart"}, Headers: []ir.ValueMatch{header}}, match(nil, "POST", ""),
	}}
	route := ir.Route{Name: "route", Matches: []ir.Match{match([]string{"a.example.com", "b.example.org"}, "GET", "/x")}, Fault: failing(500, "why")}
	got, unknown := combined(rule, route)
	want := []ir.Route{{Name: "rule", Fault: failing(500, "why"), Matches: []ir.Match{{
		Hosts: []string{"a.example.com"}, Method: "GET", Path: ir.PathMatch{Kind: ir.Prefix, Value: "/x"}, Headers: []ir.ValueMatch{header},
	}}}}
	if diff := cmp.Diff(want, got); diff != "" || unknown {
		t.Errorf("combined (-want +got), unknown %v:\n%s", unknown, diff)
	}
	rule.Fault = &ir.Fault{Delay: 1, DelayShare: 2}
	got, _ = combined(rule, route)
	if f := got[0].Fault; f.AbortShare != 500 || f.Reason != "why" || f.DelayShare != 2 {
		t.Errorf("a rule's delay and a route's missing backends make %+v", f)
	}
	rule.Fault = &ir.Fault{AbortStatus: 418, AbortShare: 1}
	got, _ = combined(rule, route)
	if f := got[0].Fault; f.AbortStatus != 418 {
		t.Errorf("a rule's abort and a route's missing backends make %+v", f)
	}
}

// The part of a path that is replaced stays the one that the route means.
func TestCombinedKeepsWhatIsReplaced(t *testing.T) {
	path := func(kind ir.MatchKind, value string) []ir.Match {
		return []ir.Match{{Path: ir.PathMatch{Kind: kind, Value: value}}}
	}
	cases := map[string]struct {
		from   string
		to     string
		rule   []ir.Match
		want   ir.Path
		refuse bool
	}{
		"a longer prefix":        {from: "/a", to: "/x", rule: path(ir.Prefix, "/a/b"), want: ir.Path{Prefix: "/x/b", ReplacePrefix: true}},
		"one path":               {from: "/a", to: "/x", rule: path(ir.Exact, "/a/b"), want: ir.Path{Full: "/x/b"}},
		"the prefix itself":      {from: "/a", to: "/", rule: path(ir.Exact, "/a"), want: ir.Path{Full: "/"}},
		"a prefix to the root":   {from: "/a", to: "/", rule: path(ir.Prefix, "/a/b"), want: ir.Path{Prefix: "/b", ReplacePrefix: true}},
		"from the root":          {from: "/", to: "/x", rule: path(ir.Prefix, "/a"), want: ir.Path{Prefix: "/x/a", ReplacePrefix: true}},
		"the same prefix":        {from: "/a", to: "/x", rule: path(ir.Prefix, "/a"), want: ir.Path{Prefix: "/x", ReplacePrefix: true}},
		"every path":             {from: "/a", to: "/x", rule: []ir.Match{{Method: "GET"}}, want: ir.Path{Prefix: "/x", ReplacePrefix: true}},
		"an expression and root": {from: "/", to: "/x", rule: path(ir.Regex, "/a+"), refuse: true},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			change := ir.Path{Prefix: test.to, ReplacePrefix: true}
			got, unknown := combined(ir.Route{Matches: test.rule}, ir.Route{
				Matches: path(ir.Prefix, test.from), Rewrite: &ir.Rewrite{Path: change}, Redirect: &ir.Redirect{Path: change},
			})
			if unknown != test.refuse {
				t.Fatalf("unknown is %v", unknown)
			}
			if unknown {
				return
			}
			if got[0].Rewrite.Path != test.want || got[0].Redirect.Path != test.want {
				t.Errorf("got %+v and %+v, want %+v", got[0].Rewrite.Path, got[0].Redirect.Path, test.want)
			}
		})
	}
}
