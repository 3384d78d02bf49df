package bench

import (
	"math"
	"testing"
	"time"
)

// total is all requests that a run's last scrapes and falls show, by weight.
func total(scrapes []Scrape, source, weight int) (requests uint64) {
	for _, s := range scrapes {
		if s.Source == source {
			requests = s.Counters[weight][Canary].All + s.Counters[weight][Stable].All
		}
	}
	return requests
}

func TestScrapes(t *testing.T) {
	base := same(50, .009)
	base.Scraped = Scraped{Every: 5 * time.Second, Sources: 5}
	t.Run("plain", func(t *testing.T) {
		r, _ := record(base, 1, always(Advance))
		if want := 5 * 300; len(r.scrapes) != want {
			t.Fatalf("%d scrapes, want %d", len(r.scrapes), want)
		}
		all := 0.
		for i, s := range r.scrapes {
			if want := 5*float64(i/5+1) - settle; math.Abs(s.At-want) > 1e-9 || s.Source != i%5 {
				t.Fatalf("scrape %d is of source %d at %v", i, s.Source, s.At)
			}
			if want := min(int((s.At-1e-9)/300), 4); s.Known != want+1 || s.First != 0 {
				t.Fatalf("at %v there are series of weights %d to %d", s.At, s.First, s.Known)
			}
		}
		for source := range 5 {
			for weight := range 5 {
				n := float64(total(r.scrapes, source, weight))
				if all += n; math.Abs(n-3000) > 5*math.Sqrt(3000) { // chance 6e-7 each
					t.Errorf("source %d has %v requests at weight %d", source, n, weight)
				}
			}
		}
		if math.Abs(all-75000) > 5*math.Sqrt(75000) {
			t.Errorf("%v requests in all", all)
		}
	})
	t.Run("offsets", func(t *testing.T) {
		cell := base
		cell.Scraped.Offsets = true
		r, _ := record(cell, 1, always(Advance))
		last, first := map[int]float64{}, map[float64]bool{}
		for i, s := range r.scrapes {
			if begin := 5 * float64(i/5); s.At <= begin || s.At > begin+5 {
				t.Fatalf("scrape at %v in the round that begins at %v", s.At, begin)
			}
			if before, there := last[s.Source]; there && math.Abs(s.At-before-5) > 2*jitter+1e-9 {
				t.Fatalf("source %d is scraped at %v and %v", s.Source, before, s.At)
			}
			last[s.Source] = s.At
			first[math.Round(math.Mod(s.At, 5))] = true
		}
		if len(first) < 3 {
			t.Error("all sources are scraped at the same time")
		}
	})
	t.Run("missing", func(t *testing.T) {
		cell := base
		cell.Scraped.Missing = 1. / 3
		r, _ := record(cell, 1, always(Advance))
		// 1,500 scrapes of which each is there with 2/3: the deviation is 18.
		if n := float64(len(r.scrapes)); math.Abs(n-1000) > 5*18.3 {
			t.Errorf("%v scrapes", n)
		}
	})
	t.Run("restarts", func(t *testing.T) {
		cell := base
		cell.Scraped.Restart = 4 * time.Minute
		r, _ := record(cell, 1, always(Advance))
		falls, gone := 0, 0
		before := map[int]Scrape{}
		for _, s := range r.scrapes {
			was, there := before[s.Source]
			before[s.Source] = s
			if !there {
				continue
			}
			fell := false
			for w := range s.Counters {
				for revision, count := range s.Counters[w] {
					_, less := count.less(was.Counters[w][revision])
					fell = fell || less
				}
			}
			if fell {
				falls++
			}
			if s.First > was.First {
				gone++
			}
		}
		// 5 sources for 1,500 s, each restarted every 240 s: 31 on average, deviation 5.6.
		if math.Abs(float64(falls)-31) > 5*5.6 || falls == 0 {
			t.Errorf("counters fell %d times", falls)
		}
		if gone == 0 {
			t.Error("a source that restarted still has the series of weights before")
		}
	})
	t.Run("late", func(t *testing.T) {
		cell := base
		cell.Scraped.Late = 20 * time.Second
		r, _ := record(cell, 1, always(Advance))
		late := 0
		for i, s := range r.scrapes {
			if math.Abs(s.At-305) < .01 && s.Known == 1 {
				late++ // the first weight goes on
				if before := r.scrapes[i-5]; s.Counters[0][Stable].All <= before.Counters[0][Stable].All {
					t.Errorf("source %d stands still while it is late", s.Source)
				}
			}
			if want := int((s.At-20-1e-9)/300) + 1; s.At > 20 && s.Known < min(want, 5) {
				t.Errorf("source %d is later than 20 s: weight %d at %v", s.Source, s.Known-1, s.At)
			}
		}
		if late == 0 {
			t.Error("no source is late")
		}
	})
}

// A trace is the same whatever runs beside it and in whatever order, and another one is another.
func TestTracesAreDeterministic(t *testing.T) {
	cells := []Cell{worse(50, .009, 2), same(10, .009)}
	for i := range cells {
		cells[i].Scraped = Scraped{Every: 5 * time.Second, Sources: 3, Offsets: true, Missing: .2, Restart: time.Minute, Late: 10 * time.Second}
		cells[i].Climate = shocks
	}
	contenders := []Contender{Threshold, MannWhitney, Ratio}
	one := Simulate(cells, contenders, 45, 1, nil)
	for _, workers := range []int{2, 7} {
		for i, r := range Simulate(cells, contenders, 45, workers, nil) {
			if r.RolledBack != one[i].RolledBack || r.Excess != one[i].Excess || infinite(r.Detect) != infinite(one[i].Detect) ||
				infinite(r.Promote) != infinite(one[i].Promote) || r.Cell != one[i].Cell || r.Contender != one[i].Contender {
				t.Errorf("with %d workers %+v, with one %+v", workers, r, one[i])
			}
		}
	}
	first, _ := record(cells[0], 1, always(Advance))
	again, _ := record(cells[0], 1, always(Advance))
	other, _ := record(cells[0], 2, always(Advance))
	sum := func(r *recorder) (sum uint64) {
		for _, s := range r.scrapes {
			sum += s.Counters[0][Stable].All
		}
		return sum
	}
	if sum(first) != sum(again) || sum(first) == sum(other) {
		t.Errorf("%d, again %d, another %d", sum(first), sum(again), sum(other))
	}
}

// All judges meet the same failures in a trace, whatever else they have counted.
func TestJudgesMeetTheSameFailures(t *testing.T) {
	var failed []uint64
	for _, contender := range Contenders() {
		cell, r := same(50, .009), &recorder{decide: always(Advance)}
		Play(cell, Contender{New: func(Cell, uint64) Judge { return r }, Bounds: contender.Bounds}, 3)
		last := r.scrapes[len(r.scrapes)-1].Counters[4]
		failed = append(failed, last[Canary].Failed, last[Stable].Failed)
	}
	for i := 2; i < len(failed); i++ {
		if failed[i] != failed[i-2] || failed[i] == 0 {
			t.Errorf("failures by judge: %v", failed)
		}
	}
}
