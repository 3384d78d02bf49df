package figure

import "math"

// bar bounds a value, both included.
type bar struct{ least, most float64 }

func atLeast(v float64) bar { return bar{v, math.Inf(1)} }
func atMost(v float64) bar  { return bar{math.Inf(-1), v} }

// bars by the names of the figures.
var bars = map[string]bar{
	// Requests per CPU-second of the proxy with bodies of 34 bytes on 64 connections, ours by theirs.
	"h1_vs_haproxy":      atLeast(.9),
	"h1_vs_nginx":        atLeast(.9),
	"h1_vs_reverseproxy": atLeast(2.5),
	"h1_vs_caddy":        atLeast(2),
	"h1_vs_traefik":      atLeast(2),
	// The same of unary gRPC, against the better of Caddy and Traefik.
	"grpc_vs_best_go": atLeast(1.5),
	// Bytes per CPU-second of the proxy, and bytes a second as they arrived.
	"tcp_vs_haproxy":      atLeast(.9),
	"tcp_wall_vs_haproxy": atLeast(.9),
	// One hop against none at 1,000 requests a second of 1 KB, due by the clock.
	"added_p99_us_1000rps": atMost(300),
	"cpu_per_1000rps":      atMost(.06),
	// Memory of the process, in 10^6 bytes: all that is resident, and what no file backs.
	"rss_mb_idle":           atMost(22),
	"anon_mb_idle":          atMost(8),
	"anon_mb_1000rps":       atMost(15),
	"anon_mb_1000conn":      atMost(35),
	"anon_mb_5000_services": atMost(12),
	// Below one in twenty is none: connections are opened, a collection runs, the metrics are read.
	"allocs_per_request":   atMost(.05),
	"swap_failed_requests": atMost(0),
}

func (b bar) holds(value float64) bool { return value >= b.least && value <= b.most }

func (b bar) String() string {
	if math.IsInf(b.most, 1) {
		return ">= " + number(b.least)
	}
	return "<= " + number(b.most)
}
