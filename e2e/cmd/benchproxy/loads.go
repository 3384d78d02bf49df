package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/sluice-mesh/sluice/e2e/benchproxy/backend"
	"github.com/sluice-mesh/sluice/e2e/benchproxy/contender"
	ld "github.com/sluice-mesh/sluice/e2e/benchproxy/load"
)

// oneLoad is one kind of traffic, the same for every proxy.
type oneLoad struct {
	name  string
	entry contender.Entry
	// size of the body of a response.
	size int64
	// probe is looked at closely before the load; nil: the load checks by itself.
	probe func(at netip.AddrPort) ld.Probe
	run   func(ctx context.Context, b *bench, at netip.AddrPort, duration time.Duration) (ld.Outcome, error)
	// served tells how many requests have reached the backend; nil: it does not count.
	served func(*bench, context.Context) (int64, error)
}

// The loads, in the order of the report. Where not said otherwise 64 requests are in flight.
var loads = []oneLoad{
	http1("h1_small", contender.HTTP1, backend.SmallPath, backend.Small, 64, false),
	http1("h1_16k", contender.HTTP1, backend.LargePath, backend.Large, 64, false),
	http1("h1_1000conn", contender.HTTP1, backend.SmallPath, backend.Small, 1000, false),
	http1("h1_newconn", contender.HTTP1, backend.SmallPath, backend.Small, 64, true),
	http1("h1_small_tls", contender.HTTP1TLS, backend.SmallPath, backend.Small, 64, false),
	http1("h1_16k_tls", contender.HTTP1TLS, backend.LargePath, backend.Large, 64, false),
	http1("h1_newconn_tls", contender.HTTP1TLS, backend.SmallPath, backend.Small, 64, true),
	http2("h2", contender.HTTP2, false),
	http2("grpc", contender.GRPC, true),
	http2("grpc_tls", contender.GRPCTLS, true),
	{name: "tcp", entry: contender.TCP, run: runBulk},
	paced,
}

// url of a path at an address. TLS needs a name, because who ends it may choose by name.
func url(entry contender.Entry, at netip.AddrPort, path string) string {
	if entry == contender.HTTP1TLS || entry == contender.GRPCTLS {
		return fmt.Sprintf("https://localhost:%d%s", at.Port(), path)
	}
	return "http://" + at.String() + path
}

func http1(name string, entry contender.Entry, path string, body []byte, connections int, closing bool) oneLoad {
	return oneLoad{
		name: name, entry: entry, size: int64(len(body)),
		probe: func(at netip.AddrPort) ld.Probe { return ld.Probe{URL: url(entry, at, path), Want: body} },
		run: func(ctx context.Context, b *bench, at netip.AddrPort, duration time.Duration) (ld.Outcome, error) {
			return ld.Wrk{
				URL: url(entry, at, path), Connections: connections, Close: closing,
				Duration: duration, Core: loadCore, Dir: b.site.Dir,
			}.Run(ctx)
		},
		served: servedByNginx,
	}
}

// http2 has 64 requests in flight on 8 connections.
func http2(name string, entry contender.Entry, grpc bool) oneLoad {
	path, size := backend.SmallPath, len(backend.Small)
	var message []byte
	if grpc {
		path, size, message = backend.Method, len(backend.Message), backend.Message
	}
	return oneLoad{
		name: name, entry: entry, size: int64(size),
		probe: func(at netip.AddrPort) ld.Probe {
			p := ld.Probe{URL: url(entry, at, path), HTTP2: true, GRPC: grpc, Post: message, Want: backend.Small}
			if grpc {
				p.Want = backend.Message
			}
			return p
		},
		run: func(ctx context.Context, b *bench, at netip.AddrPort, duration time.Duration) (ld.Outcome, error) {
			return ld.H2{
				URL: url(entry, at, path), Connections: 8, Streams: 8, Body: message,
				Duration: duration, Core: loadCore, Dir: b.site.Dir,
			}.Run(ctx)
		},
		served: func(b *bench, _ context.Context) (int64, error) { return b.h2.Served(), nil },
	}
}

func runBulk(ctx context.Context, _ *bench, at netip.AddrPort, duration time.Duration) (ld.Outcome, error) {
	return ld.Bulk{Address: at.String(), Connections: 4, Duration: duration, Begin: backend.Begin()}.Run(ctx)
}

// rate of the paced load, a second.
const rate = 1000

// paced is 1,000 requests of 1 KB a second, whose answers have 1 KB too, on 64 connections.
var paced = oneLoad{
	name: "paced", entry: contender.HTTP1, size: int64(len(backend.Kilobyte)),
	probe: func(at netip.AddrPort) ld.Probe {
		return ld.Probe{URL: url(contender.HTTP1, at, backend.KilobytePath), Post: backend.Kilobyte, Want: backend.Kilobyte}
	},
	run: func(ctx context.Context, b *bench, at netip.AddrPort, duration time.Duration) (ld.Outcome, error) {
		out, err := ld.Paced{Address: at, Request: kilobytePost, Rate: rate, Connections: 64, Duration: duration}.Run(ctx)
		if late := out.LateP99; err == nil && late > 200*time.Microsecond {
			b.log.Warn("this machine is too busy to measure latency", "requests_sent_late_p99", late)
		}
		return out.Outcome, err
	},
	served: servedByNginx,
}

// kilobytePost is the request of the paced load.
var kilobytePost = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s",
	backend.KilobytePath, len(backend.Kilobyte), backend.Kilobyte)

func servedByNginx(b *bench, ctx context.Context) (int64, error) { return b.nginx.Served(ctx) }
