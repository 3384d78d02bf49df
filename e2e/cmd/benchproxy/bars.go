package main

import "github.com/sluice-mesh/sluice/e2e/figure"

// bars by the names of the figures.
var bars = figure.Bars{
	// Requests per CPU-second of the proxy with bodies of 34 bytes on 64 connections, ours by theirs.
	"h1_vs_haproxy":      figure.AtLeast(.9),
	"h1_vs_nginx":        figure.AtLeast(.9),
	"h1_vs_reverseproxy": figure.AtLeast(2.5),
	"h1_vs_caddy":        figure.AtLeast(2),
	"h1_vs_traefik":      figure.AtLeast(2),
	// The same of unary gRPC, against the better of Caddy and Traefik.
	"grpc_vs_best_go": figure.AtLeast(1.5),
	// Bytes per CPU-second of the proxy, and bytes a second as they arrived.
	"tcp_vs_haproxy":      figure.AtLeast(.9),
	"tcp_wall_vs_haproxy": figure.AtLeast(.9),
	// One hop against none at 1,000 requests a second of 1 KB, due by the clock.
	"added_p99_us_1000rps": figure.AtMost(300),
	"cpu_per_1000rps":      figure.AtMost(.06),
	// Memory of the process, in 10^6 bytes: all that is resident, and what no file backs.
	"rss_mb_idle":           figure.AtMost(22),
	"anon_mb_idle":          figure.AtMost(8),
	"anon_mb_1000rps":       figure.AtMost(15),
	"anon_mb_1000conn":      figure.AtMost(35),
	"anon_mb_5000_services": figure.AtMost(12),
	// Below one in twenty is none: connections are opened, a collection runs, the metrics are read.
	"allocs_per_request":   figure.AtMost(.05),
	"swap_failed_requests": figure.AtMost(0),
}
