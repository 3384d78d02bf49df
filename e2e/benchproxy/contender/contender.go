// Package contender knows the proxies that are measured: how each is configured, fairly and with what its
// manual recommends for speed, and started with one worker on one core. All of them keep connections to the
// backend, log nothing and compress nothing; ours has its default telemetry on.
package contender

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"github.com/sluice-mesh/sluice/e2e/benchproxy/process"
)

// Entry is a way into a proxy: what is spoken there, and whether the proxy ends TLS. The same is spoken to the
// backend, in cleartext.
type Entry string

// The entries.
const (
	HTTP1    Entry = "h1"
	HTTP1TLS Entry = "h1tls"
	HTTP2    Entry = "h2"
	GRPC     Entry = "grpc"
	GRPCTLS  Entry = "grpctls"
	TCP      Entry = "tcp"
)

// Entries lists them.
var Entries = []Entry{HTTP1, HTTP1TLS, HTTP2, GRPC, GRPCTLS, TCP}

// Site is where contenders run and what stands behind them.
type Site struct {
	// Core for the proxies.
	Core int
	// Bin has the programs that are built, Dir takes files and logs.
	Bin, Dir string
	// H1, H2 and Bulk are the backends.
	H1, H2, Bulk netip.AddrPort
	// Certificate and Key are PEM files; Both has the two in one.
	Certificate, Key, Both string
	// XDS is the address of the control plane, for ours.
	XDS string
	// Profiling has ours serve profiles.
	Profiling bool
}

// Contender is one proxy.
type Contender struct {
	Name string
	// Lacks says of each entry that it has not why it has none.
	Lacks map[Entry]string
	// files are templates of conf, by the name of the file that is made of each.
	files map[string]string
	// command returns the program and its arguments; file tells where a file was made.
	command func(site Site, file func(name string) string) (path string, args []string)
	// start, where one program is not all there is to it.
	start func(context.Context, Site) (*Running, error)
}

// Point is an open entry.
type Point struct {
	Address netip.AddrPort
	// Process is who serves it; nil where there is no proxy.
	Process *process.Group
	// Admin is the address of ours for metrics and profiles; empty for the others.
	Admin string
}

// Running is a contender that serves.
type Running struct{ Points map[Entry]Point }

// Stop ends all its processes.
func (r *Running) Stop() {
	for _, point := range r.Points {
		if point.Process != nil {
			point.Process.Stop()
		}
	}
}

// Alive is nil while all its processes run.
func (r *Running) Alive() error {
	var errs []error
	for _, point := range r.Points {
		if point.Process != nil {
			errs = append(errs, point.Process.Running())
		}
	}
	return errors.Join(errs...)
}

// all are the contenders, ours first.
var all = []Contender{sluice, haproxy, nginx, caddy, traefik, traefikFast, reverseProxy}

// Ours is the name of our proxy.
const Ours = "sluice"

// Default are the names of those that are measured when nothing is said.
var Default = []string{Ours, haproxy.Name, nginx.Name, caddy.Name, traefik.Name, reverseProxy.Name}

// Find returns the contenders of these names, in the order of all.
func Find(names []string) ([]Contender, error) {
	var found []Contender
	known := map[string]bool{}
	for _, c := range all {
		known[c.Name] = true
		if slices.Contains(names, c.Name) {
			found = append(found, c)
		}
	}
	for _, name := range names {
		if !known[name] {
			return nil, fmt.Errorf("no proxy %q: there are %s", name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
	}
	return found, nil
}

// Start starts a contender and returns when all its entries take connections.
func (c Contender) Start(ctx context.Context, site Site) (*Running, error) {
	if c.start != nil {
		return c.start(ctx, site)
	}
	points, err := c.points(ctx)
	if err != nil {
		return nil, err
	}
	file, err := c.configure(site, points)
	if err != nil {
		return nil, fmt.Errorf("configure %s: %w", c.Name, err)
	}
	path, args := c.command(site, file)
	group, err := process.Start(ctx, process.Spec{Name: c.Name, Core: site.Core, Path: path, Args: args, Dir: site.Dir})
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the program
	}
	return serve(ctx, group, points)
}

// configure writes the configuration, and returns where its files are.
func (c Contender) configure(site Site, points map[Entry]Point) (file func(name string) string, err error) {
	file = func(name string) string { return filepath.Join(site.Dir, c.Name+"-"+name) }
	data := map[string]any{"Site": site, "File": file}
	for entry, point := range points {
		data[string(entry)] = point.Address
	}
	for name, from := range c.files {
		if err := render(file(name), from, data); err != nil {
			return nil, err
		}
	}
	return file, nil
}

// points takes a free port for each entry that the contender has.
func (c Contender) points(ctx context.Context) (map[Entry]Point, error) {
	points := map[Entry]Point{}
	for _, entry := range Entries {
		if c.Lacks[entry] != "" {
			continue
		}
		address, err := freeAddress(ctx)
		if err != nil {
			return nil, err
		}
		points[entry] = Point{Address: address}
	}
	return points, nil
}

// serve waits until a program listens on all its points.
func serve(ctx context.Context, group *process.Group, points map[Entry]Point) (*Running, error) {
	r := &Running{Points: map[Entry]Point{}}
	var addresses []string
	for entry, point := range points {
		point.Process = group
		r.Points[entry] = point
		addresses = append(addresses, point.Address.String())
	}
	if err := group.Listening(ctx, addresses...); err != nil {
		group.Stop()
		return nil, err //nolint:wrapcheck // it names the program
	}
	return r, nil
}

func freeAddress(ctx context.Context) (netip.AddrPort, error) {
	port, err := process.FreePort(ctx)
	if err != nil {
		return netip.AddrPort{}, err //nolint:wrapcheck // it says all there is to say
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port), nil
}

//go:embed conf
var conf embed.FS

var templates = template.Must(template.ParseFS(conf, "conf/*"))

// render makes a file of a template.
func render(path, from string, data any) error {
	var text bytes.Buffer
	if err := templates.ExecuteTemplate(&text, from, data); err != nil {
		return err //nolint:wrapcheck // it names the template
	}
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		return err //nolint:wrapcheck // it names the file
	}
	return nil
}
