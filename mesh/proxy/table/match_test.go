package table

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/ir/irtest"
)

func TestMatch(t *testing.T) {
	path := func(kind ir.MatchKind, value string) ir.Match {
		return ir.Match{Path: ir.PathMatch{Kind: kind, Value: value}}
	}
	header := func(v ir.ValueMatch) ir.Match { return ir.Match{Headers: []ir.ValueMatch{v}} }
	query := func(v ir.ValueMatch) ir.Match { return ir.Match{Query: []ir.ValueMatch{v}} }
	cookie := func(v ir.ValueMatch) ir.Match { return ir.Match{Cookies: []ir.ValueMatch{v}} }
	ask := func(target string) *request {
		r := get(target)
		r.path, r.query, _ = strings.Cut(target, "?")
		return r
	}
	host := func(authority string) *request {
		r := get("/")
		r.authority = authority
		return r
	}
	cases := map[string]struct {
		match ir.Match
		yes   []*request
		no    []*request
	}{
		"any":            {ir.Match{}, []*request{get("/"), get("*"), host("")}, nil},
		"exact path":     {path(ir.Exact, "/a"), []*request{get("/a")}, []*request{get("/a/"), get("/A"), get("/"), get("/a/b")}},
		"prefix":         {path(ir.Prefix, "/a"), []*request{get("/a"), get("/a/"), get("/a/b")}, []*request{get("/ab"), get("/"), get("/b/a")}},
		"prefix, slash":  {path(ir.Prefix, "/a/"), []*request{get("/a"), get("/a/"), get("/a/b")}, []*request{get("/ab")}},
		"longer prefix":  {path(ir.Prefix, "/a/b"), []*request{get("/a/b"), get("/a/b/c")}, []*request{get("/a"), get("/a/bc")}},
		"root prefix":    {path(ir.Prefix, "/"), []*request{get("/"), get("/a"), get("//")}, []*request{get("*")}},
		"regex is whole": {path(ir.Regex, "/a|/b+"), []*request{get("/a"), get("/bb")}, []*request{get("/ab"), get("/a\n"), get("/c/a")}},
		"method":         {ir.Match{Method: "POST"}, []*request{{method: "POST"}}, []*request{get("/"), {method: "post"}}},
		"host":           {ir.Match{Hosts: []string{"a.shop", "b.shop"}}, []*request{host("a.shop"), host("B.Shop:80")}, []*request{host("x.a.shop"), host("shop"), host("")}},
		"host below":     {ir.Match{Hosts: []string{"*.shop"}}, []*request{host("a.shop"), host("b.a.SHOP:8080")}, []*request{host("shop"), host(".shop"), host("ashop")}},
		"header":         {header(ir.ValueMatch{Name: "x", Kind: ir.Exact, Value: "1"}), []*request{get("/", "x", "1")}, []*request{get("/"), get("/", "x", "12")}},
		"header not":     {header(ir.ValueMatch{Name: "x", Kind: ir.Exact, Value: "1", Not: true}), []*request{get("/"), get("/", "x", "12")}, []*request{get("/", "x", "1")}},
		"header prefix":  {header(ir.ValueMatch{Name: "x", Kind: ir.Prefix, Value: "1"}), []*request{get("/", "x", "1"), get("/", "x", "12")}, []*request{get("/"), get("/", "x", "21")}},
		"header regex":   {header(ir.ValueMatch{Name: "x", Kind: ir.Regex, Value: "[0-9]+"}), []*request{get("/", "x", "12")}, []*request{get("/"), get("/", "x", "12a"), get("/", "x", "")}},
		"header there":   {header(ir.ValueMatch{Name: "x", Kind: ir.Present}), []*request{get("/", "x", "")}, []*request{get("/")}},
		"header absent":  {header(ir.ValueMatch{Name: "x", Kind: ir.Present, Not: true}), []*request{get("/")}, []*request{get("/", "x", "")}},
		"query": {query(ir.ValueMatch{Name: "a b", Kind: ir.Exact, Value: "c&d"}),
			[]*request{ask("/?a+b=c%26d"), ask("/?x&a%20b=c%26d&a+b=z")}, []*request{ask("/"), ask("/?ab=c"), ask("/?a+b=c&d"), ask("/?a+b=z&a+b=c%26d")}},
		"query there":   {query(ir.ValueMatch{Name: "a", Kind: ir.Present}), []*request{ask("/?a"), ask("/?b=1&a=")}, []*request{ask("/"), ask("/?b=a")}},
		"query escaped": {query(ir.ValueMatch{Name: "a", Kind: ir.Exact, Value: "%zz"}), []*request{ask("/?a=%zz")}, []*request{ask("/?a=zz")}},
		"cookie": {cookie(ir.ValueMatch{Name: "a", Kind: ir.Exact, Value: "1=2"}),
			[]*request{get("/", "cookie", "a=1=2"), get("/", "cookie", `x=y;  a="1=2" ; z`)},
			[]*request{get("/"), get("/", "cookie", "aa=1=2"), get("/", "cookie", "A=1=2"), get("/", "cookie", "a")}},
		"all must hold": {ir.Match{Path: ir.PathMatch{Kind: ir.Prefix, Value: "/a"}, Method: "GET", Headers: []ir.ValueMatch{{Name: "x", Kind: ir.Present}, {Name: "y", Kind: ir.Present}}},
			[]*request{get("/a", "x", "", "y", "")}, []*request{get("/a", "x", ""), get("/b", "x", "", "y", "")}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := shop(ir.Split{}, pods("v1", web, 1))
			s.Routes = []ir.Route{{Name: "it", Matches: []ir.Match{c.match}}}
			port := door(t, s)
			for i, r := range append(slices.Clone(c.yes), c.no...) {
				var plan Plan
				port.Plan(&plan, r, always(0), time.Unix(1000, 0))
				if got, want := plan.Rule.Name == "it", i < len(c.yes); got != want {
					t.Errorf("%+v: matched %v, want %v", *r, got, want)
				}
			}
		})
	}
}

// Whatever the lists by which candidates are found: the route that counts is the first, in the order given,
// of those that a plain reading says match.
func TestFirstRouteCounts(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	matched := 0
	for range 400 {
		mesh := irtest.Random(random)
		compiled := compile(t, newCompiler(pools{}), nil, mesh.Services...)
		for _, s := range compiled.services {
			for range 20 {
				r := randomRequest(random)
				for _, p := range s.allPorts() {
					if p.Protocol == ir.TCP || p.Protocol == ir.TLS || p.Protocol == ir.Undeclared {
						continue
					}
					want := ""
					for _, route := range s.Routes {
						if (len(route.Ports) == 0 || slices.Contains(route.Ports, p.number)) &&
							(len(route.Matches) == 0 || slices.ContainsFunc(route.Matches, func(m ir.Match) bool { return plainly(m, r) })) {
							want = route.Name
							matched++
							break
						}
					}
					var plan Plan
					p.Plan(&plan, r, always(0), time.Unix(1000, 0))
					if plan.Rule.Name != want {
						t.Fatalf("%+v: route %q, want %q of %+v", *r, plan.Rule.Name, want, s.Routes)
					}
				}
			}
		}
	}
	if matched < 1000 {
		t.Errorf("only %d requests matched: the test shows little", matched)
	}
}

func randomRequest(random *rand.Rand) *request {
	pick := func(from []string) string { return from[random.IntN(len(from))] }
	r := get(pick(irtest.Paths) + []string{"", "/x"}[random.IntN(2)])
	r.method = pick(irtest.Methods)
	r.authority = strings.Replace(pick(irtest.Hosts), "*", "x", 1)
	query := url.Values{}
	for _, name := range irtest.Names {
		if random.IntN(2) == 0 {
			r.headers[name] = pick(irtest.Values)
		}
		if random.IntN(2) == 0 {
			query.Set(name, pick(irtest.Values))
		}
		if random.IntN(2) == 0 {
			r.headers["cookie"] += name + "=" + pick(irtest.Values) + "; "
		}
	}
	r.query = query.Encode()
	return r
}

// plainly reads a match as its documentation is written.
func plainly(m ir.Match, r *request) bool {
	full := func(expression, text string) bool {
		loc := regexp.MustCompile("^(?:" + expression + ")$").FindStringIndex(text)
		return loc != nil
	}
	values := func(matches []ir.ValueMatch, get func(string) (string, bool)) bool {
		for _, v := range matches {
			value, found := get(v.Name)
			switch v.Kind {
			case ir.Exact:
				found = found && value == v.Value
			case ir.Prefix:
				found = found && strings.HasPrefix(value, v.Value)
			case ir.Regex:
				found = found && full(v.Value, value)
			}
			if found == v.Not {
				return false
			}
		}
		return true
	}
	prefix := strings.TrimSuffix(m.Path.Value, "/") + "/"
	switch {
	case m.Path.Kind == ir.Exact && r.path != m.Path.Value,
		m.Path.Kind == ir.Prefix && !strings.HasPrefix(r.path+"/", prefix),
		m.Path.Kind == ir.Regex && !full(m.Path.Value, r.path),
		m.Method != "" && m.Method != r.method:
		return false
	}
	if len(m.Hosts) > 0 && !slices.ContainsFunc(m.Hosts, func(host string) bool {
		return host == r.authority || host[0] == '*' && strings.HasSuffix(r.authority, host[1:])
	}) {
		return false
	}
	query, _ := url.ParseQuery(r.query)
	cookies := map[string]string{}
	for pair := range strings.SplitSeq(r.headers["cookie"], "; ") {
		name, value, _ := strings.Cut(pair, "=")
		cookies[name] = value
	}
	return values(m.Headers, r.Header) &&
		values(m.Query, func(name string) (string, bool) { return query.Get(name), query.Has(name) }) &&
		values(m.Cookies, func(name string) (string, bool) { value, found := cookies[name]; return value, found })
}

func TestMatchingAllocatesNothing(t *testing.T) {
	s := shop(ir.Split{}, pods("v1", web, 1))
	for i := range 300 {
		s.Routes = append(s.Routes, ir.Route{Name: fmt.Sprint(i), Matches: []ir.Match{
			{Path: ir.PathMatch{Kind: ir.Exact, Value: fmt.Sprintf("/exact/%d", i)}},
			{Path: ir.PathMatch{Kind: ir.Prefix, Value: fmt.Sprintf("/prefix%d", i)}},
		}})
	}
	s.Routes = append(s.Routes, ir.Route{Name: "last", Matches: []ir.Match{{
		Hosts: []string{"*.example.com"}, Method: "GET", Path: ir.PathMatch{Kind: ir.Regex, Value: "/v[0-9]+/.*"},
		Headers: []ir.ValueMatch{{Name: "x", Kind: ir.Regex, Value: "a+"}},
		Query:   []ir.ValueMatch{{Name: "q", Kind: ir.Exact, Value: "1"}},
		Cookies: []ir.ValueMatch{{Name: "c", Kind: ir.Exact, Value: "2"}},
	}}})
	port := door(t, s)
	r := get("/v1/things", "x", "aaa", "cookie", "b=1; c=2")
	r.authority, r.query = "www.example.com:80", "p=0&q=1"
	var plan Plan
	random, now := always(0), time.Unix(1000, 0)
	port.Plan(&plan, r, random, now)
	if plan.Rule.Name != "last" {
		t.Fatalf("route %q", plan.Rule.Name)
	}
	if n := testing.AllocsPerRun(100, func() { port.Plan(&plan, r, random, now) }); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

func TestRoutesThatCannotBe(t *testing.T) {
	bad := map[string]ir.Match{
		"path":            {Path: ir.PathMatch{Kind: ir.Regex, Value: "("}},
		"path kind":       {Path: ir.PathMatch{Kind: "glob", Value: "/a"}},
		"header":          {Headers: []ir.ValueMatch{{Name: "x", Kind: ir.Regex, Value: "a)(b"}}},
		"cookie kind":     {Cookies: []ir.ValueMatch{{Name: "x", Kind: "glob"}}},
		"query parameter": {Query: []ir.ValueMatch{{Name: "x", Kind: ir.Regex, Value: "["}}},
	}
	for name, match := range bad {
		s := shop(ir.Split{}, pods("v1", web, 1))
		s.Routes = []ir.Route{{Name: "HTTPRoute/demo/it/0", Matches: []ir.Match{match}}}
		if _, err := newRoutes(&s); err == nil || !strings.Contains(err.Error(), "demo/shop") || !strings.Contains(err.Error(), "HTTPRoute/demo/it/0") {
			t.Errorf("%s: error %v, want one that names service and route", name, err)
		}
		if _, err := newCompiler(pools{}).Compile(ir.Mesh{Services: []ir.Service{s}}, nil); err == nil {
			t.Errorf("%s: compiled", name)
		}
	}
}
