package contender

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-mesh/sluice/e2e/benchproxy/control"
	"github.com/sluice-mesh/sluice/e2e/benchproxy/process"
)

// sluice is two processes: one that does no TLS, and one that ends it.
var sluice = Contender{Name: Ours, start: func(ctx context.Context, site Site) (*Running, error) {
	plain, err := StartOurs(ctx, site, map[Entry]netip.AddrPort{
		HTTP1: control.H1, HTTP2: control.H2, GRPC: control.GRPC, TCP: control.TCP,
	})
	if err != nil {
		return nil, err
	}
	secure, err := startOurs(ctx, site, Ours+"-tls", map[Entry]netip.AddrPort{HTTP1TLS: control.H1, GRPCTLS: control.GRPC},
		"--tls-certificate", site.Certificate, "--tls-key", site.Key)
	if err != nil {
		plain.Stop()
		return nil, err
	}
	maps.Copy(plain.Points, secure.Points)
	return plain, nil
}}

// StartOurs starts our proxy alone, without TLS, with an address for each destination. It returns when the
// configuration is in force.
func StartOurs(ctx context.Context, site Site, destinations map[Entry]netip.AddrPort) (*Running, error) {
	return startOurs(ctx, site, Ours, destinations)
}

func startOurs(ctx context.Context, site Site, name string, destinations map[Entry]netip.AddrPort, more ...string) (*Running, error) {
	var ports [3]string
	for i := range ports {
		port, err := process.FreePort(ctx)
		if err != nil {
			return nil, err //nolint:wrapcheck // it says all there is to say
		}
		ports[i] = strconv.Itoa(int(port))
	}
	admin := "127.0.0.1:" + ports[2]
	points := map[Entry]Point{}
	var listen []string
	for _, entry := range slices.Sorted(maps.Keys(destinations)) {
		at, err := freeAddress(ctx)
		if err != nil {
			return nil, err
		}
		points[entry] = Point{Address: at, Admin: admin}
		listen = append(listen, at.String()+"="+destinations[entry].String())
	}
	args := append([]string{
		"run", "--xds", site.XDS, "--pod", name, "--namespace", "bench", "--source", "bench", "--pod-ip", "192.0.2.1", "--state=",
		"--outbound-port", ports[0], "--inbound-port", ports[1], "--admin-port", ports[2], "--listen", strings.Join(listen, ","),
	}, more...)
	if site.Profiling {
		args = append(args, "--profiling", "true")
	}
	group, err := process.Start(ctx, process.Spec{Name: name, Core: site.Core, Path: filepath.Join(site.Bin, "proxy"), Args: args, Dir: site.Dir})
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the program
	}
	running, err := serve(ctx, group, points)
	if err != nil {
		return nil, err
	}
	if err := configured(ctx, running, admin); err != nil {
		running.Stop()
		return nil, err
	}
	return running, nil
}

// configured waits until the proxy says that it is ready.
func configured(ctx context.Context, r *Running, admin string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		if err := r.Alive(); err != nil {
			return err
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/ready", http.NoBody)
		if err != nil {
			return fmt.Errorf("ask our proxy whether it is ready: %w", err)
		}
		request.Close = true // nothing may be left open that costs the proxy memory
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("wait for our proxy's configuration: %w", ctx.Err())
		}
		time.Sleep(20 * time.Millisecond)
	}
}
