package proxy

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// The admin port:
//
//	GET  /metrics   for Prometheus
//	GET  /healthz   200 while the process answers
//	GET  /startup   200 once a configuration is in force or the startup grace is over
//	GET  /ready     the same, and 503 again while draining
//	GET  /config    the configuration in force as JSON (table.Dump)
//	POST /drain     begins draining; the process goes on until it is told to end
//	     /debug/pprof/ with Options.Profiling
func (p *Proxy) admin() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.Registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok\n") })
	mux.HandleFunc("GET /startup", func(w http.ResponseWriter, _ *http.Request) { p.answerStarted(w) })
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if p.draining.Load() {
			http.Error(w, "draining", http.StatusServiceUnavailable)
			return
		}
		p.answerStarted(w)
	})
	mux.HandleFunc("GET /config", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(p.table.Load().Dump()) // fails only towards a caller who has gone
	})
	mux.HandleFunc("POST /drain", func(w http.ResponseWriter, _ *http.Request) {
		p.BeginDrain()
		fmt.Fprint(w, "draining\n")
	})
	if p.Profiling {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

func (p *Proxy) answerStarted(w http.ResponseWriter) {
	select {
	case <-p.configured:
		fmt.Fprint(w, "configured\n")
		return
	default:
	}
	select {
	case <-p.grace:
		fmt.Fprint(w, "no configuration: passing through\n")
	default:
		http.Error(w, "waiting for a configuration", http.StatusServiceUnavailable)
	}
}

func (p *Proxy) serveAdmin(running *sync.WaitGroup) *http.Server {
	server := &http.Server{
		Handler:           p.admin(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(p.Logger.Handler(), slog.LevelDebug),
	}
	for _, l := range p.Admin {
		running.Go(func() { _ = server.Serve(l) }) // ends with Close
	}
	return server
}
