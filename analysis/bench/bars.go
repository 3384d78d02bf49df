package bench

import (
	"fmt"
	"math"
	"strings"
)

// The bars that the judge is held to.
const (
	// mostFalse is alpha and two standard errors of a thousand traces.
	mostFalse = .064
	// leastPower is asked for in every cell with a D of enough, which is what it can show. Part of that our
	// judge tolerates by its settings: what is left beyond is told beside each cell that misses a bar.
	leastPower = .95
	enough     = 12
	// slowest is how many times the ratio test's time ours may need, plus one scrape.
	slowest = 1.7
	// leastVerdicts a second on one core.
	leastVerdicts = 1000
)

// Bar is one demand.
type Bar struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Missed are the cells that miss it, and by how much.
	Missed []string `json:"missed,omitempty"`
	// Of is how many cells it was asked of.
	Of int `json:"of"`
}

func (b Bar) String() string {
	if b.OK {
		return fmt.Sprintf("pass  %s (%d cells)", b.Name, b.Of)
	}
	return fmt.Sprintf("MISS  %s (%d cells): %s", b.Name, b.Of, strings.Join(b.Missed, "; "))
}

// ask holds a bar to one cell more.
func (b *Bar) ask(ok bool, format string, args ...any) {
	if b.Of++; !ok {
		b.Missed = append(b.Missed, fmt.Sprintf(format, args...))
	}
	b.OK = len(b.Missed) == 0
}

// quietCell is the one with little traffic that has a bar of its own.
const quietCell = "quiet-r10"

// Judged works out the figures and bars of rows.
func Judged(rows []Row, speed Speed) (figures []Figure, bars []Bar) {
	byName := map[string]Row{}
	for _, row := range rows {
		byName[row.Name] = row
	}
	beyond := Bar{Name: "the same where D beyond what is tolerated is at least 12", OK: true}
	null := Bar{Name: "false rollbacks in every null at most 6.4 %", OK: true}
	power := Bar{Name: "power at least 95 % where D is at least 12", OK: true}
	rivals := Bar{Name: "median time to detect there no worse than any rival's that is right in the null", OK: true}
	bound := Bar{Name: "and at most 1.7 times the ratio test's, plus one scrape", OK: true}
	worstNull, leastR2, leastR2Beyond, quiet := math.NaN(), math.NaN(), math.NaN(), math.NaN()
	for _, row := range rows {
		ours := row.of(Ours.Name)
		switch {
		case row.Null == "":
			worstNull = larger(worstNull, ours.RolledBack)
			null.ask(ours.RolledBack <= mostFalse, "%s %s", row.Name, tenth(ours.RolledBack))
			continue
		case row.Name == quietCell:
			quiet = ours.RolledBack
		}
		if row.D < enough {
			continue
		}
		name := fmt.Sprintf("%s (D %s, beyond what is tolerated %s)", row.Name, number(row.D), number(row.Beyond))
		power.ask(ours.RolledBack >= leastPower, "%s %s", name, tenth(ours.RolledBack))
		if row.Beyond >= enough {
			beyond.ask(ours.RolledBack >= leastPower, "%s %s", name, tenth(ours.RolledBack))
		}
		if row.Ratio >= 2 {
			leastR2 = smaller(leastR2, ours.RolledBack)
			if row.Beyond >= enough {
				leastR2Beyond = smaller(leastR2Beyond, ours.RolledBack)
			}
		}
		mine := infinite(ours.Detect)
		for _, rival := range []string{Threshold.Name, MannWhitney.Name} {
			if base, there := byName[row.Null]; !there || base.of(rival).RolledBack > mostFalse {
				continue
			}
			theirs := infinite(row.of(rival).Detect)
			rivals.ask(mine <= theirs, "%s %s, %s %s", name, took(ours.Detect), rival, took(row.of(rival).Detect))
		}
		best := infinite(row.of(Ratio.Name).Detect)
		bound.ask(mine <= slowest*best+row.Scrape, "%s %s, ratio test %s", name, took(ours.Detect), took(row.of(Ratio.Name).Detect))
	}
	low := Bar{Name: "power at least 95 % at 1 rps, 0.5 -> 5 %", OK: true}
	if !math.IsNaN(quiet) {
		low.ask(quiet >= leastPower, "%s", tenth(quiet))
	}
	fast := Bar{Name: "at least 1,000 verdicts a second on one core", OK: true}
	fast.ask(speed.Release >= leastVerdicts, "%.0f", speed.Release)
	for _, figure := range []Figure{
		{"null_false_rollback_max", 100 * worstNull, "%", null.OK, "the worst of the nulls, at alpha 5 %"},
		{"power_min_r2_beyond_tolerance", 100 * leastR2Beyond, "%", leastR2Beyond >= leastPower, "the least of the cells with D beyond what is tolerated >= 12 and r >= 2"},
		{"power_min_r2", 100 * leastR2, "%", leastR2 >= leastPower, "the least of the cells with D >= 12 and r >= 2"},
		{"power_1rps", 100 * quiet, "%", low.OK, "0.5 -> 5 % with r0 = 1, delta = 0, warm-up at the first step only"},
		{
			"verdicts_per_core_s", math.Round(speed.Release), "1/s", fast.OK,
			fmt.Sprintf("50 sources, 5 E-processes each, from the server's answer on, over a release of five weights (%.0f at the first, %.0f at the last)",
				speed.First, speed.Last),
		},
	} {
		if !math.IsNaN(figure.Value) { // not asked for, where only some cells were played
			figures = append(figures, figure)
		}
	}
	return figures, []Bar{null, power, beyond, rivals, bound, low, fast}
}

// larger of two numbers, of which the first may not be there yet.
func larger(a, b float64) float64 {
	if math.IsNaN(a) {
		return b
	}
	return max(a, b)
}

// smaller of two numbers, of which the first may not be there yet.
func smaller(a, b float64) float64 { return -larger(-a, -b) }

func infinite(time *float64) float64 {
	if time == nil {
		return math.Inf(1)
	}
	return *time
}
