package admin

import (
	"encoding/json"
	"errors"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	applied = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	now     = applied.Add(90 * time.Second)
)

// sources of a proxy that has much to show.
func sources() Sources {
	registry := prometheus.NewPedanticRegistry()
	passed := prometheus.NewCounter(prometheus.CounterOpts{Name: "sluice_proxy_passed_connections_total"})
	passed.Add(7)
	open := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "sluice_proxy_open_connections"}, []string{"direction"})
	open.WithLabelValues("inbound").Set(3)
	open.WithLabelValues("outbound").Set(1234567)
	other := prometheus.NewCounter(prometheus.CounterOpts{Name: "go_something_total"})
	slow := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sluice_proxy_something_seconds"})
	registry.MustRegister(passed, open, other, slow)
	ejected := now.Add(12 * time.Second)
	return Sources{
		Version: "1.2.3", Metrics: registry, Now: func() time.Time { return now },
		Startup:  func() (bool, string) { return true, "configured" },
		Draining: func() bool { return false },
		Drain:    func() {},
		Dump: func() table.Dump {
			return table.Dump{Applied: &applied, Version: "abc123", Services: []table.ServiceDump{
				{
					Namespace: "shop", Name: "cart", Addresses: []string{"10.96.0.1", "fd00::1"}, InFlight: 3, Repeating: 1,
					Used:  now.Add(-time.Second),
					Ports: []table.PortDump{{Name: "http", Number: 80, Protocol: "http"}, {Number: 9000, Protocol: "grpc"}},
					Split: table.SplitDump{
						Epoch: 4, Weight: 20, Stable: "v1", Canary: "v2", Baseline: "b1",
						Shares: map[string]uint32{"v1": 60, "v2": 20, "b1": 20}, Since: applied,
					},
					Routes: []table.RouteDump{
						{Name: "HTTPRoute/shop/cart/0", Ports: []uint16{80}, Matches: []string{"path below /v2", "header a = b"}, Actions: []string{"to canary alone"}, Requests: 17},
						{Name: "HTTPRoute/shop/cart/1", Requests: 0},
					},
					Endpoints: map[string]table.EndpointsDump{
						"v1": {Ready: 2, Each: []table.EndpointDump{
							{Address: "10.0.0.1:8080", Zone: "a", InFlight: 2, Requests: 100000, Failures: 3, Connections: 5},
							{Address: "10.0.0.2:8080", Zone: "b", Ejected: &ejected},
						}},
						"v2": {Each: []table.EndpointDump{{Address: "10.0.0.3:8080", Draining: true}}},
						"b1": {},
					},
				},
				{Namespace: "shop", Name: "empty", Used: now.Add(-50 * time.Hour)},
			}}
		},
		Settings: func() ir.Settings {
			return ir.Settings{
				AccessLog: ir.AccessLog{Share: 10_000, Errors: true, Slow: time.Second},
				Tracing:   ir.Tracing{Endpoint: "http://me:secret@collector:4318/v1/traces", Share: 5},
			}
		},
		Control: func() Control {
			return Control{
				Address: "sluice-xds:15010", Connected: true, Rejected: "service shop/cart: no ports", Rejections: 2, Names: 12, Idle: 4,
			}
		},
	}
}

func TestPage(t *testing.T) {
	least := sources()
	least.Settings, least.Control, least.Metrics = nil, nil, prometheus.NewRegistry()
	least.Dump = func() table.Dump { return table.Dump{} }
	least.Startup = func() (bool, string) { return false, "waiting for a configuration" }
	away := sources()
	away.Draining = func() bool { return true }
	away.Control = func() Control { return Control{Address: "sluice-xds:15010"} }
	away.Settings = func() ir.Settings { return ir.Settings{} }
	away.Dump = func() table.Dump { return table.Dump{Applied: &applied} }
	for name, s := range map[string]Sources{"full": sources(), "least": least, "away": away} {
		t.Run(name, func(t *testing.T) {
			response := ask(s, http.MethodGet, "/")
			if response.Code != 200 || response.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
				t.Errorf("%d %v", response.Code, response.Header())
			}
			path := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(path, response.Body.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), response.Body.String()); diff != "" {
				t.Errorf("the page differs from %s (-want +got), -update writes it anew:\n%s", path, diff)
			}
		})
	}
}

func ask(s Sources, method, path string) *httptest.ResponseRecorder {
	request, response := httptest.NewRequest(method, path, nil), httptest.NewRecorder()
	request.Header.Set("Accept-Encoding", "gzip, zstd")
	Handler(s).ServeHTTP(response, request)
	return response
}

func TestAnswers(t *testing.T) {
	waiting := func(s *Sources) { s.Startup = func() (bool, string) { return false, "waiting for a configuration" } }
	draining := func(s *Sources) { s.Draining = func() bool { return true } }
	for name, c := range map[string]struct {
		method, path string
		change       func(*Sources)
		code         int
		says         string
	}{
		"alive":                     {"GET", "/healthz", waiting, 200, "ok"},
		"started":                   {"GET", "/startup", nil, 200, "configured"},
		"not started":               {"GET", "/startup", waiting, 503, "waiting for a configuration"},
		"ready":                     {"GET", "/ready", nil, 200, "configured"},
		"not ready":                 {"GET", "/ready", waiting, 503, "waiting"},
		"draining":                  {"GET", "/ready", draining, 503, "draining"},
		"draining, but started":     {"GET", "/startup", draining, 200, "configured"},
		"metrics":                   {"GET", "/metrics", nil, 200, "sluice_proxy_passed_connections_total 7\n"},
		"configuration":             {"GET", "/config", nil, 200, `"name": "cart"`},
		"drained by a GET":          {"GET", "/drain", nil, 405, ""},
		"a page that is not there":  {"GET", "/nothing", nil, 404, ""},
		"profiles, not asked for":   {"GET", "/debug/pprof/", nil, 404, ""},
		"profiles":                  {"GET", "/debug/pprof/", func(s *Sources) { s.Profiling = true }, 200, "goroutine"},
		"a page that is not for us": {"POST", "/", nil, 405, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := sources()
			if c.change != nil {
				c.change(&s)
			}
			response := ask(s, c.method, c.path)
			if response.Code != c.code || !strings.Contains(response.Body.String(), c.says) {
				t.Errorf("%d: %s", response.Code, response.Body)
			}
			if encoding := response.Header().Get("Content-Encoding"); encoding != "" {
				t.Errorf("encoded as %s", encoding)
			}
		})
	}
}

func TestDrain(t *testing.T) {
	for name, c := range map[string]struct {
		remote string
		code   int
	}{
		"from a container of the pod":           {"127.0.0.1:1234", 200},
		"over IPv6":                             {"[::1]:1234", 200},
		"on a socket of both":                   {"[::ffff:127.0.0.1]:1234", 200},
		"from another pod":                      {"10.1.2.4:1234", 403},
		"from nobody knows where":               {"", 403},
		"from another pod that calls itself so": {"localhost:1234", 403},
	} {
		t.Run(name, func(t *testing.T) {
			s, begun := sources(), 0
			s.Drain = func() { begun++ }
			request, response := httptest.NewRequest(http.MethodPost, "/drain", nil), httptest.NewRecorder()
			request.RemoteAddr = c.remote
			Handler(s).ServeHTTP(response, request)
			if want := c.code == 200; response.Code != c.code || (begun == 1) != want {
				t.Errorf("%d %s, begun %d times; want %d", response.Code, response.Body, begun, c.code)
			}
		})
	}
}

func TestConfig(t *testing.T) {
	var got Config
	response := ask(sources(), http.MethodGet, "/config")
	if err := json.Unmarshal(response.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	s := sources()
	want := s.config()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if strings.Contains(response.Body.String(), "secret") || !strings.Contains(response.Body.String(), "collector") {
		t.Errorf("a password is shown, or the collector is not: %s", response.Body)
	}
	// What reads only the services reads it as before.
	var dump table.Dump
	if err := json.Unmarshal(response.Body.Bytes(), &dump); err != nil || len(dump.Services) != 2 {
		t.Errorf("%v, %v", dump, err)
	}
}

type broken struct{ prometheus.Collector }

func (broken) Describe(chan<- *prometheus.Desc) {}

func (broken) Collect(into chan<- prometheus.Metric) {
	into <- prometheus.NewInvalidMetric(prometheus.NewDesc("a", "b", nil, nil), errors.New("no number"))
}

func TestBrokenMetricsAreTold(t *testing.T) {
	s := sources()
	registry := prometheus.NewRegistry()
	registry.MustRegister(broken{})
	s.Metrics = registry
	if text := ask(s, http.MethodGet, "/").Body.String(); !strings.Contains(text, "no number") {
		t.Errorf("not told:\n%s", text)
	}
}
