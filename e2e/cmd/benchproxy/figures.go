package main

import (
	"fmt"
	"math"
	"time"

	"github.com/sluice-mesh/sluice/e2e/benchproxy/contender"
	"github.com/sluice-mesh/sluice/e2e/figure"
)

// column is one value of all samples.
func column(samples []sample, value func(sample) float64) []float64 {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = value(s)
	}
	return values
}

func perCPU(s sample) float64    { return s.perCPU }
func perSecond(s sample) float64 { return s.perSecond }
func busy(s sample) float64      { return s.busy }
func p99(s sample) float64       { return micros(s.p99) }

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// medianOf is the median of one value; NaN without samples.
func medianOf(samples []sample, value func(sample) float64) float64 {
	return figure.Median(column(samples, value))
}

// giveMatrix gives the figures of the matrix: each proxy's own under each load, then ours beside theirs.
func (b *bench) giveMatrix(wanted []oneLoad, players []player, samples map[key][]sample) {
	for _, l := range wanted {
		for _, p := range players {
			taken := samples[key{l.name, p.Name}]
			switch {
			case len(taken) == 0:
			case l.name == paced.name:
				b.givePaced(p.Name, taken, samples[key{l.name, direct}])
			case l.entry == contender.TCP:
				b.giveMedian("tcp_"+p.Name+"_mb_per_core", "MB/CPU-s", 1e-6, taken, perCPU)
				b.giveMedian("tcp_"+p.Name+"_mb_per_s", "MB/s", 1e-6, taken, perSecond)
			default:
				b.giveMedian(l.name+"_"+p.Name+"_rps_per_core", "requests/CPU-s", 1, taken, perCPU)
			}
		}
	}
	if !b.ours() {
		return
	}
	for _, c := range comparisons {
		if b.wants(c.load) && b.all(c.peers) {
			b.give(c.figure(samples))
		}
	}
}

// giveMedian gives the median of one value, with the values of the rounds.
func (b *bench) giveMedian(name, unit string, scale float64, taken []sample, value func(sample) float64) {
	r := bars.New(name, unit, math.Round(medianOf(taken, value)*scale), note(taken, scale))
	for _, v := range column(taken, value) {
		r.Samples = append(r.Samples, math.Round(v*scale))
	}
	b.give(r)
}

// note says under which conditions samples were taken: below a full core a proxy wakes up more often for less,
// and so needs more time for each request.
func note(taken []sample, scale float64) string {
	text := fmt.Sprintf("%.0f a second with %.0f %% of the core", scale*medianOf(taken, perSecond), 100*medianOf(taken, busy))
	if latency := medianOf(taken, p99); latency > 0 {
		text += fmt.Sprintf(", p99 %.2f ms", latency/1000)
	}
	return text
}

// givePaced gives what one hop adds at 1,000 requests a second. Rounds are compared with the same round of no
// proxy.
func (b *bench) givePaced(proxy string, taken, without []sample) {
	if proxy == direct {
		b.give(bars.New("direct_p99_us_1000rps", "us", medianOf(taken, p99), "without a proxy"))
		return
	}
	suffix := "_" + proxy
	if proxy == contender.Ours {
		suffix = ""
	}
	var added []float64
	for i := range min(len(taken), len(without)) {
		added = append(added, p99(taken[i])-p99(without[i]))
	}
	r := bars.New("added_p99_us_1000rps"+suffix, "us", figure.Median(added),
		fmt.Sprintf("p99 %.0f us with the hop", medianOf(taken, p99)))
	r.Samples = added
	b.give(r)
	cores := func(s sample) float64 { return rate / s.perCPU }
	r = bars.New("cpu_per_1000rps"+suffix, "cores", medianOf(taken, cores), "")
	r.Samples = column(taken, cores)
	b.give(r)
}

// comparison is ours by theirs, the best of theirs where there are several.
type comparison struct {
	name, load string
	value      func(sample) float64
	peers      []string
}

var comparisons = []comparison{
	{"h1_vs_haproxy", "h1_small", perCPU, []string{"haproxy"}},
	{"h1_vs_nginx", "h1_small", perCPU, []string{"nginx"}},
	{"h1_vs_reverseproxy", "h1_small", perCPU, []string{"reverseproxy"}},
	{"h1_vs_caddy", "h1_small", perCPU, []string{"caddy"}},
	{"h1_vs_traefik", "h1_small", perCPU, []string{"traefik"}},
	{"grpc_vs_best_go", "grpc", perCPU, []string{"caddy", "traefik"}},
	{"tcp_vs_haproxy", "tcp", perCPU, []string{"haproxy"}},
	{"tcp_wall_vs_haproxy", "tcp", perSecond, []string{"haproxy"}},
}

// figure compares medians. It is not a number, and so misses its bar, when one side was not measured.
func (c comparison) figure(samples map[key][]sample) figure.Result {
	best, who := math.NaN(), ""
	for _, peer := range c.peers {
		if theirs := medianOf(samples[key{c.load, peer}], c.value); !(theirs <= best) && !math.IsNaN(theirs) {
			best, who = theirs, peer
		}
	}
	ours := medianOf(samples[key{c.load, contender.Ours}], c.value)
	if math.IsNaN(ours) || math.IsNaN(best) {
		return bars.New(c.name, "ratio", math.NaN(), "not measured on both sides")
	}
	return bars.New(c.name, "ratio", ours/best, fmt.Sprintf("%.0f by %s's %.0f", ours, who, best))
}
