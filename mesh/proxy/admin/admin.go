// Package admin is what a proxy shows of itself on its admin port: to Prometheus, to the kubelet, to
// benchmarks and, at its root, to people. It reads and decides nothing, but for draining.
//
//	GET  /          for people: what is in force, and what each route and endpoint does
//	GET  /metrics   for Prometheus
//	GET  /healthz   200 while the process answers
//	GET  /startup   200 once a configuration is in force or the startup grace is over
//	GET  /ready     the same, and 503 again while draining
//	GET  /config    the configuration in force as JSON
//	POST /drain     begins draining; the process goes on until it is told to end. Only from its own pod.
//	     /debug/pprof/ with Sources.Profiling
package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
)

// Sources are where a handler reads. All are required but Settings, Control and Now; all are called with
// every request, at the same time by several.
type Sources struct {
	// Version of the proxy.
	Version string
	// Metrics are served, and the proxy's own numbers among them shown to people.
	Metrics prometheus.Gatherer
	// Startup reports whether the application may start, and the state in few words.
	Startup func() (started bool, state string)
	// Draining reports whether the proxy is; Drain begins it, and may be called again.
	Draining func() bool
	Drain    func()
	// Dump describes the services in force.
	Dump func() table.Dump
	// Settings in force; nil: there are none to show.
	Settings func() ir.Settings
	// Control is the connection to the control plane; nil: there is none to show.
	Control func() Control
	// Profiling serves net/http/pprof.
	Profiling bool
	// Now is the clock, for ages; time.Now by default.
	Now func() time.Time
}

// Control is the connection to the control plane.
type Control struct {
	Address   string `json:"address"`
	Connected bool   `json:"connected"`
	// Rejected is why the newest configuration was refused; "" when it was not. Rejections counts all.
	Rejected   string `json:"rejected,omitempty"`
	Rejections uint64 `json:"rejections"`
	// Names are asked for; Idle of them lead nowhere, or are not answered yet.
	Names int `json:"names"`
	Idle  int `json:"idle"`
}

// Config is what /config answers: the fields of table.Dump and what is beside the services.
type Config struct {
	table.Dump
	Settings *ir.Settings `json:"settings,omitempty"`
	Control  *Control     `json:"control,omitempty"`
}

// Handler serves the admin port.
func Handler(s Sources) http.Handler {
	if s.Now == nil {
		s.Now = time.Now
	}
	mux := http.NewServeMux()
	// Uncompressed: a scrape then takes half the time, and no compressor (0.8 MB) is kept in every pod.
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.Metrics, promhttp.HandlerOpts{DisableCompression: true}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok\n") })
	mux.HandleFunc("GET /startup", func(w http.ResponseWriter, _ *http.Request) { s.answerStartup(w) })
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if s.Draining() {
			http.Error(w, "draining", http.StatusServiceUnavailable)
			return
		}
		s.answerStartup(w)
	})
	mux.HandleFunc("GET /config", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(s.config()) // fails only towards a caller who has gone
	})
	mux.HandleFunc("POST /drain", func(w http.ResponseWriter, r *http.Request) {
		if !fromHere(r) {
			http.Error(w, "only from the pod itself: kubectl port-forward to this port, or call localhost in one of its containers", http.StatusForbidden)
			return
		}
		s.Drain()
		fmt.Fprint(w, "draining\n")
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(s.page()) // likewise
	})
	if s.Profiling {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// fromHere reports whether a request comes from within the pod, by loopback. What comes from the pod's own address
// may have been carried by its proxy for somebody else.
func fromHere(r *http.Request) bool {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && from.Addr().Unmap().IsLoopback()
}

func (s *Sources) answerStartup(w http.ResponseWriter) {
	started, state := s.Startup()
	if !started {
		http.Error(w, state, http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, state)
}

func (s *Sources) config() Config {
	c := Config{Dump: s.Dump()}
	if s.Settings != nil {
		settings := s.Settings()
		settings.Tracing.Endpoint = ir.Redacted(settings.Tracing.Endpoint)
		c.Settings = &settings
	}
	if s.Control != nil {
		control := s.Control()
		c.Control = &control
	}
	return c
}
