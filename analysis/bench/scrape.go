package bench

import "math/rand/v2"

// sources are the proxies that draw the revision, and the scrapes of them.
type sources struct {
	traffic *traffic
	plan    Plan
	scraped Scraped
	random  *rand.Rand
	all     []source
}

// source is one proxy.
type source struct {
	counters []Pair
	// It has series for the weights that it has used since it started, first up to and without known.
	first, known int
	// until is up to when its requests are drawn; offset, when within a round it is scraped; delay, by how
	// much it is late to take on a weight; restart, when it next restarts.
	until, offset, restart float64
	delay                  []float64
	weight                 int // index of the one in force
}

const (
	jitter = .1   // of a scrape's time, in seconds to either side
	settle = .001 // by how much a scrape is before the look that sees it
	never  = 1e18
)

func newSources(t *traffic, trace uint64) *sources {
	s := &sources{
		traffic: t, plan: t.cell.Plan, scraped: t.cell.Scraped,
		random: stream(t.cell.Name, trace, streamScrapes), all: make([]source, t.cell.Scraped.Sources),
	}
	every := seconds(s.scraped.Every)
	for i := range s.all {
		one := &s.all[i]
		one.counters, one.known = make([]Pair, len(s.plan.Weights)), 1
		one.offset, one.restart = every-settle, s.next(0)
		if s.scraped.Offsets {
			one.offset = jitter + (every-settle-2*jitter)*s.random.Float64()
		}
		for range s.plan.Weights {
			one.delay = append(one.delay, seconds(s.scraped.Late)*s.random.Float64())
		}
		one.delay[0] = 0 // before the first weight there is no other that is counted
	}
	return s
}

// next is when a source restarts after a time.
func (s *sources) next(after float64) float64 {
	if s.scraped.Restart <= 0 {
		return never
	}
	return after + seconds(s.scraped.Restart)*s.random.ExpFloat64()
}

// round draws the requests up to the end of a round and hands on its scrapes.
func (s *sources) round(begin float64, decided []float64, observe func(Scrape)) {
	for i := range s.all {
		one := &s.all[i]
		at := begin + one.offset
		if s.scraped.Offsets {
			at += jitter * (2*s.random.Float64() - 1)
		}
		s.run(one, at, decided)
		if s.scraped.Missing > 0 && s.random.Float64() < s.scraped.Missing {
			continue
		}
		observe(Scrape{Source: i, At: at, Counters: one.counters, First: one.first, Known: one.known})
	}
}

// run draws a source's requests up to a time, piece by piece between changes of its weight and restarts.
func (s *sources) run(one *source, at float64, decided []float64) {
	for one.until < at {
		end, change := at, false
		if next := one.weight + 1; next < len(decided) && decided[next]+one.delay[next] < end {
			end, change = max(decided[next]+one.delay[next], one.until), true
		}
		restarts := one.restart < end
		if restarts {
			end, change = one.restart, false
		}
		if length := end - one.until; length > 0 {
			middle := one.until + length/2
			s.traffic.draw(&one.counters[one.weight], middle, length, middle-s.plan.youngest(one.weight, decided),
				1/float64(len(s.all)), s.plan.Weights[one.weight])
		}
		one.until = end
		if change {
			one.weight++
			one.known = max(one.known, one.weight+1)
		}
		if restarts {
			clear(one.counters)
			one.first, one.known = one.weight, one.weight+1
			one.restart = s.next(end)
		}
	}
}
