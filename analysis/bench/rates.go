package bench

// rates are what the peers' queries see: how much the counters of each revision rose, over all sources and
// weights, as Prometheus' rate counts it: a counter that fell began anew at zero.
type rates struct {
	every  float64
	before [][]Pair
	rounds []Pair // rises, by round; the last is under way
}

func newRates(cell Cell) *rates {
	r := &rates{every: seconds(cell.Scraped.Every), before: make([][]Pair, cell.Scraped.Sources), rounds: make([]Pair, 1, 512)}
	for i := range r.before {
		r.before[i] = make([]Pair, len(cell.Plan.Weights))
	}
	return r
}

func (r *rates) observe(scrape Scrape) {
	now := &r.rounds[len(r.rounds)-1]
	for w := scrape.First; w < scrape.Known; w++ {
		for revision, count := range scrape.Counters[w] {
			more, _ := count.less(r.before[scrape.Source][w][revision])
			now[revision].add(more)
		}
	}
	copy(r.before[scrape.Source], scrape.Counters)
}

// round ends a round of scrapes.
func (r *rates) round() { r.rounds = append(r.rounds, Pair{}) }

// last is the rise in the last so many seconds.
func (r *rates) last(length float64) Pair {
	whole := r.rounds[:len(r.rounds)-1]
	return sum(whole[max(len(whole)-int(length/r.every), 0):])
}

// points are the rises in pieces of so many seconds, from the beginning on; a last piece that is not
// complete is left out.
func (r *rates) points(length float64) []Pair {
	n := int(length / r.every)
	var points []Pair
	for whole := r.rounds[:len(r.rounds)-1]; len(whole) >= n; whole = whole[n:] {
		points = append(points, sum(whole[:n]))
	}
	return points
}

func sum(rounds []Pair) Pair {
	var total Pair
	for _, round := range rounds {
		total.add(round)
	}
	return total
}
