package proxy

import (
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/admin"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
)

// sources are where the admin port reads.
func (p *Proxy) sources() admin.Sources {
	return admin.Sources{
		Version:   p.Version,
		Metrics:   p.Registry,
		Startup:   p.startup,
		Draining:  p.draining.Load,
		Drain:     p.BeginDrain,
		Dump:      func() table.Dump { return p.table.Load().Dump() },
		Settings:  func() ir.Settings { return *p.settings.Load() },
		Control:   p.Control,
		Profiling: p.Profiling,
		Now:       p.Now,
	}
}

// startup reports whether the application may start.
func (p *Proxy) startup() (started bool, state string) {
	select {
	case <-p.configured:
		return true, "configured"
	default:
	}
	select {
	case <-p.grace:
		return true, "no configuration: passing through"
	default:
		return false, "waiting for a configuration"
	}
}

func (p *Proxy) serveAdmin(running *sync.WaitGroup) *http.Server {
	server := &http.Server{
		Handler:           admin.Handler(p.sources()),
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
