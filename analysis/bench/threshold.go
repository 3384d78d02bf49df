package bench

// The threshold judge decides as Flagger 1.44 does (pkg/controller/scheduler.go and scheduler_metrics.go):
// at every tick of its interval, which is also the range of its queries, it checks that the canary's
// success rate in the last minute is at least 99 % and, where durations are judged, that its 99th
// percentile is at most 500 ms. A failed check is counted and halts the weight; the count is never
// taken back. No requests at all are a failed check. A tick that finds five failed checks rolls back,
// before it checks anything: so one interval after the fifth. A check that holds raises the weight, so
// a step of five minutes is the same weight five times in its list of weights.
const (
	checkEvery   = 60. // seconds
	failedChecks = 5
	leastSuccess = .99
	longestP99   = 13 // index in Bounds of 500 ms
)

// Threshold is the judge with Flagger's semantics.
var Threshold = Contender{
	Name: "threshold", Label: "threshold (Flagger)",
	New: func(cell Cell, _ uint64) Judge {
		return &threshold{latency: cell.Latency, perStep: int(seconds(cell.Plan.Step) / checkEvery), seen: newRates(cell)}
	},
	Bounds: func(cell Cell) []int {
		if cell.Latency {
			return []int{longestP99}
		}
		return nil
	},
}

type threshold struct {
	latency bool
	perStep int
	seen    *rates

	next           float64
	failed, passed int
}

func (t *threshold) Begin(Moment) {}

func (t *threshold) Observe(scrape Scrape) { t.seen.observe(scrape) }

func (t *threshold) Look(moment Moment) Decision {
	t.seen.round()
	if t.next == 0 {
		t.next = checkEvery
	}
	if moment.Now < t.next {
		return Wait
	}
	t.next += checkEvery
	if t.failed >= failedChecks {
		return RollBack
	}
	if !t.holds(t.seen.last(checkEvery)[Canary]) {
		t.failed++
		return Wait
	}
	if t.passed++; t.passed < t.perStep {
		return Wait
	}
	t.passed = 0
	return Advance
}

// holds says whether a check holds. The 99th percentile, interpolated in its bucket as histogram_quantile
// does, is above a bound exactly when fewer than 99 % are up to it.
func (t *threshold) holds(c Count) bool {
	all := float64(c.All)
	if c.All == 0 || float64(c.All-c.Failed) < leastSuccess*all {
		return false
	}
	return !t.latency || float64(c.All-c.Slow[0]) >= .99*all
}
