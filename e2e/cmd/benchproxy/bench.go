package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/sluice-mesh/sluice/e2e/benchproxy/backend"
	"github.com/sluice-mesh/sluice/e2e/benchproxy/contender"
	"github.com/sluice-mesh/sluice/e2e/benchproxy/control"
	"github.com/sluice-mesh/sluice/e2e/benchproxy/process"
	"github.com/sluice-mesh/sluice/e2e/figure"
)

// The proxies have one core to themselves; the backend, the generators and this process share the other.
const (
	proxyCore = 0
	loadCore  = 1
)

// leastFiles that must be allowed to be open: a thousand connections on both sides of a proxy, and the rest.
const leastFiles = 8192

// bench is one run.
type bench struct {
	options
	log     *slog.Logger
	stdout  io.Writer
	results figure.Results
	// broken are the measurements that went wrong, by name; they are not tried again.
	broken map[string]error

	site   contender.Site
	ports  control.Ports
	nginx  *backend.Nginx
	h2     *backend.H2
	source *backend.Source
	plane  *control.Plane
}

// wants reports whether --only asks for it.
func (b *bench) wants(name string) bool { return b.only.MatchString(name) }

// all reports whether all of these proxies are among those that are measured.
func (b *bench) all(names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool {
		return !slices.ContainsFunc(b.proxies, func(c contender.Contender) bool { return c.Name == name })
	})
}

// ours reports whether our proxy is.
func (b *bench) ours() bool { return b.all([]string{contender.Ours}) }

// wantsOurs reports whether a measurement of our proxy alone is asked for.
func (b *bench) wantsOurs(name string) bool { return b.ours() && b.wants(name) }

// fail notes that a measurement went wrong. The others go on.
func (b *bench) fail(name string, err error) {
	b.log.Error("measurement failed", "what", name, "error", err)
	b.broken[name] = err
}

// give records and prints one figure.
func (b *bench) give(r figure.Result) {
	b.results = append(b.results, r)
	fmt.Fprintln(b.stdout, r)
}

// open starts all that every measurement needs.
func (b *bench) open(ctx context.Context) error {
	files, err := process.RaiseFiles()
	if err != nil {
		return err //nolint:wrapcheck // it says all there is to say
	}
	if files < leastFiles {
		return fmt.Errorf("only %d files may be open: raise the hard limit to %d (ulimit -Hn)", files, leastFiles)
	}
	if err := process.PinSelf(loadCore); err != nil {
		return fmt.Errorf("%w; two cores are needed", err)
	}
	dir, err := os.MkdirTemp("", "benchproxy-")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	b.site = contender.Site{Core: proxyCore, Bin: b.bin, Dir: dir, Profiling: b.profile != ""}
	if err := b.openBackends(ctx); err != nil {
		return err
	}
	if err := writeCertificate(&b.site); err != nil {
		return err
	}
	b.plane, err = control.Start(ctx, control.Mesh(b.ports))
	if err != nil {
		return err //nolint:wrapcheck // it says all there is to say
	}
	b.site.XDS = b.plane.Address()
	return nil
}

func (b *bench) openBackends(ctx context.Context) (err error) {
	var ports [4]uint16
	for i := range ports {
		if ports[i], err = process.FreePort(ctx); err != nil {
			return err //nolint:wrapcheck // it says all there is to say
		}
	}
	host := backend.Hosts()[0]
	b.ports = control.Ports{H1: ports[0], H2: ports[1], Bulk: ports[2]}
	b.site.H1, b.site.H2 = netip.AddrPortFrom(host, ports[0]), netip.AddrPortFrom(host, ports[1])
	b.site.Bulk = netip.AddrPortFrom(host, ports[2])
	if b.nginx, err = backend.StartNginx(ctx, b.site.Dir, loadCore, ports[0], ports[3]); err != nil {
		return err //nolint:wrapcheck // it says all there is to say
	}
	if b.h2, err = backend.NewH2(ctx, ports[1]); err != nil {
		return err //nolint:wrapcheck // it says all there is to say
	}
	b.source, err = backend.NewSource(ctx, ports[2])
	return err //nolint:wrapcheck // it says all there is to say
}

// close ends all that open started.
func (b *bench) close() {
	if b.plane != nil {
		b.plane.Close()
	}
	if b.source != nil {
		b.source.Close()
	}
	if b.h2 != nil {
		b.h2.Close()
	}
	if b.nginx != nil {
		b.nginx.Close()
	}
	if b.site.Dir != "" {
		_ = os.RemoveAll(b.site.Dir)
	}
}

// report tells which bars are held, writes the results, and returns an error when something went wrong.
func (b *bench) report() error {
	fmt.Fprintln(b.stdout)
	b.results.WriteBars(b.stdout)
	if b.out != "" {
		if err := b.results.Save(b.out, "proxy"); err != nil {
			return err //nolint:wrapcheck // it says all there is to say
		}
	}
	var errs []error
	for name, err := range b.broken {
		errs = append(errs, fmt.Errorf("measure %s: %w", name, err))
	}
	if missed := b.results.Missed(); b.strict && len(missed) > 0 {
		errs = append(errs, fmt.Errorf("check bars: missed %s", strings.Join(missed, ", ")))
	}
	return errors.Join(errs...)
}
