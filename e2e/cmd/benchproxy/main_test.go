package main

import (
	"io"
	"log/slog"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/e2e/benchproxy/contender"
)

func TestParse(t *testing.T) {
	o, err := parse(nil)
	if err != nil || o.rounds != 5 || len(o.proxies) != 6 || o.proxies[0].Name != contender.Ours || !o.only.MatchString("anything") {
		t.Errorf("defaults: %+v, %v", o, err)
	}
	for _, bad := range [][]string{
		{"--only", "("}, {"--only", "nothing"}, {"--proxies", "apache"}, {"--rounds", "0"}, {"--duration", "1500ms"}, {"--duration", "0s"}, {"--swaps", "0"},
	} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%v: no error", bad)
		}
	}
}

func TestLoadsAreNamedOnceAndEveryComparisonHasOne(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range measurable() {
		if seen[name] {
			t.Errorf("%s is there twice", name)
		}
		seen[name] = true
	}
	for _, c := range comparisons {
		if !seen[c.load] || bars.New(c.name, "", 0, "").Bar == "" {
			t.Errorf("%s: no load %s, or no bar", c.name, c.load)
		}
	}
	for _, name := range append([]string{"h1_small"}, profiled...) {
		if !seen[name] {
			t.Errorf("no load %s", name)
		}
	}
}

func TestBars(t *testing.T) {
	cases := map[string]struct {
		value float64
		ok    bool
		bar   string
	}{
		"h1_vs_nginx":          {.9, true, ">= 0.9"},
		"h1_vs_haproxy":        {.899, false, ">= 0.9"},
		"grpc_vs_best_go":      {math.NaN(), false, ">= 1.5"},
		"swap_failed_requests": {1, false, "<= 0"},
		"added_p99_us_1000rps": {-12, true, "<= 300"},
		"h1_small_caddy_rps":   {1, true, ""},
	}
	for name, c := range cases {
		if r := bars.New(name, "x", c.value, ""); r.OK != c.ok || r.Bar != c.bar {
			t.Errorf("%s of %v: ok %v, bar %q; want %v, %q", name, c.value, r.OK, r.Bar, c.ok, c.bar)
		}
	}
}

// measured makes a sample of what was done per CPU-second.
func measured(perCPU float64) sample { return sample{perCPU: perCPU, perSecond: perCPU / 2, busy: .5} }

func TestFigures(t *testing.T) {
	b := &bench{log: slog.New(slog.DiscardHandler), stdout: io.Discard}
	var err error
	if b.options, err = parse([]string{"--proxies", "sluice,haproxy,caddy,traefik", "--only", "^(h1_small|grpc|tcp|paced)$"}); err != nil {
		t.Fatal(err)
	}
	samples := map[key][]sample{
		{"h1_small", "sluice"}:  {measured(40e3), measured(60e3), measured(50e3)},
		{"h1_small", "haproxy"}: {measured(40e3), measured(90e3), measured(30e3)},
		{"grpc", "sluice"}:      {measured(30e3)},
		{"grpc", "caddy"}:       {measured(10e3)},
		{"grpc", "traefik"}:     {measured(15e3)},
		{"tcp", "sluice"}:       {measured(4e9)},
		{"paced", "direct"}:     {{p99: 100 * time.Microsecond}, {p99: 300 * time.Microsecond}, {p99: time.Millisecond}},
		{"paced", "sluice"}: {
			{p99: 200 * time.Microsecond, perCPU: 20e3}, {p99: 500 * time.Microsecond, perCPU: 10e3}, {p99: 900 * time.Microsecond, perCPU: 40e3},
		},
	}
	var wanted []oneLoad
	for _, l := range loads {
		if b.wants(l.name) {
			wanted = append(wanted, l)
		}
	}
	players := []player{{Contender: contender.Contender{Name: direct}}}
	for _, c := range b.proxies {
		players = append(players, player{Contender: c})
	}
	b.giveMatrix(wanted, players, samples)
	for name, want := range map[string]float64{
		"h1_small_sluice_rps_per_core": 50000, "h1_small_haproxy_rps_per_core": 40000, "h1_vs_haproxy": 1.25,
		"grpc_vs_best_go": 2, "tcp_sluice_mb_per_core": 4000, "tcp_sluice_mb_per_s": 2000, "tcp_vs_haproxy": math.NaN(),
		"direct_p99_us_1000rps": 300, "added_p99_us_1000rps": 100, "cpu_per_1000rps": .05,
	} {
		got, found := b.results.Lookup(name)
		if !found || got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
			t.Errorf("%s: %v, found %v; want %v", name, got, found, want)
		}
	}
	for _, absent := range []string{"h1_vs_nginx", "h1_small_caddy_rps_per_core", "h1_16k_sluice_rps_per_core"} {
		if _, found := b.results.Lookup(absent); found {
			t.Errorf("%s was given", absent)
		}
	}
	var out strings.Builder
	b.broken = map[string]error{"tcp of haproxy": io.ErrUnexpectedEOF}
	b.stdout = &out
	if err := b.report(); err == nil || !strings.Contains(err.Error(), "tcp of haproxy") {
		t.Errorf("report: %v, want what went wrong", err)
	}
	if !strings.Contains(out.String(), "MISS  tcp_vs_haproxy") || !strings.Contains(out.String(), "pass  h1_vs_haproxy: 1.25 ratio, asked >= 0.9") {
		t.Errorf("got %s", out.String())
	}
	b.broken, b.strict = nil, true
	if err := b.report(); err == nil || !strings.Contains(err.Error(), "tcp_wall_vs_haproxy") {
		t.Errorf("strict: %v", err)
	}
}

func TestURL(t *testing.T) {
	at := netip.MustParseAddrPort("127.0.0.1:80")
	if got := url(contender.HTTP1, at, "/a"); got != "http://127.0.0.1:80/a" {
		t.Error(got)
	}
	if got := url(contender.GRPCTLS, at, "/a"); got != "https://localhost:80/a" {
		t.Error(got)
	}
}

func TestSumOf(t *testing.T) {
	text := "# HELP go_memstats_mallocs_total x\ngo_memstats_mallocs_total_more 1\ngo_memstats_mallocs_total 1.25e+06\n"
	if got, err := sumOf(strings.NewReader(text), mallocs); err != nil || got != 1.25e6 {
		t.Errorf("got %v, %v", got, err)
	}
	text = "sluice_requests_total{path=\"a b\",code=\"200\"} 3\nsluice_requests_total{code=\"0\"} 4\n"
	if got, err := sumOf(strings.NewReader(text), requests); err != nil || got != 7 {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := sumOf(strings.NewReader("x 1\n"), requests); err != nil || got != 0 {
		t.Errorf("no such metric: %v, %v; want 0", got, err)
	}
	if _, err := sumOf(strings.NewReader("sluice_requests_total x\n"), requests); err == nil {
		t.Error("no number: no error")
	}
}

func TestCounts(t *testing.T) {
	cases := map[string]struct {
		before, after counts
		want          string
	}{
		"both":       {counts{1, 1}, counts{11, 12}, ""},
		"nobody":     {counts{-1, -1}, counts{-1, -1}, ""},
		"cached":     {counts{1, -1}, counts{10, -1}, "only 9 reached the backend"},
		"not routed": {counts{1, 0}, counts{11, 0}, "only 0 are in our metrics"},
	}
	for name, c := range cases {
		if err := c.after.check(c.before, 10); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
