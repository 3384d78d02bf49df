package bench

import (
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/sluice-mesh/sluice/analysis/stats"
)

// Contenders are all judges, ours first.
func Contenders() []Contender { return []Contender{Ours, Threshold, MannWhitney, Ratio} }

// Result is what a contender did in a cell.
type Result struct {
	Cell      string `json:"cell"`
	Contender string `json:"judge"`
	Traces    int    `json:"traces"`

	// RolledBack is the share of releases that were rolled back: false rollbacks in a null, else the power.
	// Low and High are its 95 % confidence interval (Clopper and Pearson).
	RolledBack float64 `json:"rolledBack"`
	Low        float64 `json:"low"`
	High       float64 `json:"high"`
	// Inconclusive is the share that was neither rolled back nor promoted.
	Inconclusive float64 `json:"inconclusive"`
	// Detect is the median time from the onset to the rollback, in seconds; a miss counts as infinite, and
	// an infinite median is nil.
	Detect *float64 `json:"detectSeconds"`
	// Promote is the median time to promote of those that were promoted, in seconds; nil where none was.
	Promote *float64 `json:"promoteSeconds"`
	// Excess is the mean of the bad answers that were to be expected, until the release ended, beyond those
	// of stable's version.
	Excess float64 `json:"excessBad"`
}

// Simulate plays so many traces of every cell with every contender, on so many workers (0: one for each
// processor). The results are by cell, then by contender, and do not depend on the number of workers. Done,
// when not nil, is called whenever a cell is through with a contender, one call at a time.
func Simulate(cells []Cell, contenders []Contender, traces, workers int, done func(Result)) []Result {
	const chunk = 20
	type job struct{ pair, from int }
	type pair struct {
		cell      Cell
		contender Contender
		runs      []Run
		left      int
	}
	var pairs []*pair
	for _, cell := range cells {
		for _, contender := range contenders {
			pairs = append(pairs, &pair{cell, contender, make([]Run, traces), traces})
		}
	}
	results := make([]Result, len(pairs))
	jobs := make(chan job)
	var mu sync.Mutex
	var group sync.WaitGroup
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	for range workers {
		group.Go(func() {
			for j := range jobs {
				p := pairs[j.pair]
				to := min(j.from+chunk, traces)
				for trace := j.from; trace < to; trace++ {
					p.runs[trace] = Play(p.cell, p.contender, uint64(trace)) //nolint:gosec // not negative
				}
				mu.Lock()
				if p.left -= to - j.from; p.left == 0 {
					results[j.pair] = summarise(p.cell, p.contender.Name, p.runs)
					if p.runs = nil; done != nil {
						done(results[j.pair])
					}
				}
				mu.Unlock()
			}
		})
	}
	for i := range pairs {
		for from := 0; from < traces; from += chunk {
			jobs <- job{i, from}
		}
	}
	close(jobs)
	group.Wait()
	return results
}

// summarise counts what came of the runs.
func summarise(cell Cell, contender string, runs []Run) Result {
	result := Result{Cell: cell.Name, Contender: contender, Traces: len(runs)}
	var rolledBack, inconclusive uint64
	var detected, promoted []float64
	for _, run := range runs {
		took := run.Detected(cell)
		detected = append(detected, took)
		switch {
		case run.Ending == Promoted:
			promoted = append(promoted, run.At)
		case run.Ending == Inconclusive:
			inconclusive++
		case !math.IsInf(took, 1):
			rolledBack++
		}
		result.Excess += run.Excess / float64(len(runs))
	}
	n := uint64(len(runs))
	result.RolledBack, result.Inconclusive = share(rolledBack, n), share(inconclusive, n)
	result.Low, result.High = stats.BinomialInterval(rolledBack, n, .95)
	result.Detect, result.Promote = median(detected), median(promoted)
	return result
}

func share(x, n uint64) float64 {
	if n == 0 {
		return 0
	}
	return float64(x) / float64(n)
}

// median is the upper one; nil if it is infinite or there are no values.
func median(values []float64) *float64 {
	if len(values) == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(values))
	if m := sorted[len(sorted)/2]; !math.IsInf(m, 1) {
		return &m
	}
	return nil
}
