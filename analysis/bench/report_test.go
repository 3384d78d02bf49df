package bench

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func pointer(value float64) *float64 { return &value }

// rows are what a judge that meets all bars could have done.
func rows() []Row {
	result := func(contender string, rolledBack float64, detect *float64) Result {
		return Result{Contender: contender, Traces: 1000, RolledBack: rolledBack, Detect: detect, Low: rolledBack / 2, High: rolledBack}
	}
	return []Row{
		{Name: "null", Results: []Result{
			result("ours", .03, nil), result("threshold", .5, nil), result("mann-whitney", .06, nil), result("ratio", .04, nil),
		}},
		{Name: "large", Null: "null", D: 20, Beyond: 12, Ratio: 2, Scrape: 5, Results: []Result{
			result("ours", .95, pointer(175)), result("threshold", 1, pointer(60)),
			result("mann-whitney", 1, pointer(175)), result("ratio", 1, pointer(100)),
		}},
		{Name: "small", Null: "null", D: 11.9, Beyond: 5, Ratio: 2, Scrape: 5, Results: []Result{
			result("ours", .1, nil), result("threshold", 1, pointer(60)),
			result("mann-whitney", 1, pointer(60)), result("ratio", 1, pointer(60)),
		}},
		{Name: "slight", Null: "null", D: 40, Beyond: 30, Ratio: 1.5, Scrape: 5, Results: []Result{
			result("ours", .99, pointer(170)), result("threshold", 1, pointer(60)),
			result("mann-whitney", .1, nil), result("ratio", 1, pointer(100)),
		}},
		{Name: quietCell, Null: "null", D: 20, Beyond: 20, Ratio: 10, Scrape: 5, Results: []Result{
			result("ours", .97, pointer(100)), result("ratio", 1, pointer(100)),
		}},
	}
}

func TestBars(t *testing.T) {
	const (
		null = iota
		power
		beyond
		rivals
		bound
		low
		fast
	)
	for name, test := range map[string]struct {
		change   func([]Row)
		verdicts float64
		missed   []int
	}{
		"all are met, at the edge of each":             {func([]Row) {}, 1000, nil},
		"a false rollback too many":                    {func(r []Row) { r[0].Results[0].RolledBack = .065 }, 1000, []int{null}},
		"power just below":                             {func(r []Row) { r[1].Results[0].RolledBack = .949 }, 1000, []int{power, beyond}},
		"power is asked of slight regressions too":     {func(r []Row) { r[3].Results[0].RolledBack = .5 }, 1000, []int{power, beyond}},
		"power beyond what is tolerated is told apart": {func(r []Row) { r[1].Results[0].RolledBack, r[1].Beyond = .9, 11.9 }, 1000, []int{power}},
		"later than a rival that is right":             {func(r []Row) { r[1].Results[2].Detect = pointer(170) }, 1000, []int{rivals}},
		"and than one that is right by a hair":         {func(r []Row) { r[0].Results[1].RolledBack = .064 }, 1000, []int{rivals, rivals}},
		"but not than one that is often wrong":         {func(r []Row) { r[0].Results[2].RolledBack = .065; r[1].Results[2].Detect = pointer(5) }, 1000, nil},
		"a miss is later than all":                     {func(r []Row) { r[1].Results[0].Detect = nil }, 1000, []int{rivals, bound}},
		"1.7 times the ratio test and a scrape":        {func(r []Row) { r[3].Results[0].Detect = pointer(175.1) }, 1000, []int{bound}},
		"little traffic has a bar of its own":          {func(r []Row) { r[4].Results[0].RolledBack, r[4].D = .949, 3 }, 1000, []int{low}},
		"too slow":                                     {func([]Row) {}, 999, []int{fast}},
		"a cell that was not played":                   {func(r []Row) { r[4].Name, r[4].D = "other", 3 }, 1000, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := rows()
			test.change(r)
			_, bars := Judged(r, Speed{Release: test.verdicts})
			var missed []int
			for i, bar := range bars {
				for range bar.Missed {
					missed = append(missed, i)
				}
				if bar.OK != (len(bar.Missed) == 0) {
					t.Errorf("%v", bar)
				}
			}
			if diff := cmp.Diff(test.missed, missed); diff != "" {
				t.Errorf("%s\n%v", diff, bars)
			}
		})
	}
}

func TestFigures(t *testing.T) {
	figures, _ := Judged(rows(), Speed{Release: 1234})
	var lines []string
	for _, figure := range figures {
		lines = append(lines, figure.String())
	}
	want := []string{"null_false_rollback_max: 3 %", "power_min_r2_beyond_tolerance: 95 %", "power_min_r2: 95 %", "power_1rps: 97 %", "verdicts_per_core_s: 1234 1/s"}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
	if figures, _ := Judged(rows()[:1], Speed{Release: 1234}); len(figures) != 2 {
		t.Errorf("figures of cells that were not played: %v", figures)
	}
}

func TestReport(t *testing.T) {
	cells := []Cell{same(50, .009), worse(50, .009, 50), durations("latency-null", "the same <b>"), quiet10()}
	report := NewReport(cells, Simulate(cells, []Contender{Threshold, MannWhitney, Ratio}, 4, 1, nil), 4, Speed{Release: 2000})
	var text strings.Builder
	if err := report.Write(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"null-0.9%-50rps", "r50-0.9%-50rps", "mann-whitney", "ratio"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report says nothing of %s:\n%s", want, text.String())
		}
	}
	lines := strings.Split(strings.TrimSpace(text.String()), "\n")
	if last := lines[len(lines)-1]; last != "verdicts_per_core_s: 2000 1/s" {
		t.Errorf("the last line is %q", last)
	}

	dir := t.TempDir()
	if err := report.Save(filepath.Join(dir, "new", "judge.json")); err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(filepath.Join(dir, "new", "judge.json"))
	if err != nil {
		t.Fatal(err)
	}
	var again Report
	if err := json.Unmarshal(body, &again); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(report, again); diff != "" {
		t.Error(diff)
	}

	page, err := report.HTML()
	if err != nil {
		t.Fatal(err)
	}
	if foreign := regexp.MustCompile(`(?i)<script|src=|href=|https?://|@import|url\(`).Find(page); foreign != nil {
		t.Errorf("the page needs something else: %q", foreign)
	}
	for want, n := range map[string]int{"<svg": 3, "r50-0.9%-50rps": 3, "<circle": 3 * (2*1 + 2*2), "the same &lt;b&gt;": 1} {
		if got := strings.Count(string(page), want); got < n {
			t.Errorf("%q is there %d times, want at least %d", want, got, n)
		}
	}
	if strings.Contains(string(page), "NaN") || strings.Contains(string(page), "ZgotmplZ") {
		t.Error("the page has a value that cannot be drawn")
	}
}

func TestSummarise(t *testing.T) {
	cell := worse(50, .009, 2)
	runs := []Run{
		{Ending: RolledBack, At: 100, Excess: 10}, {Ending: RolledBack, At: 300, Excess: 30},
		{Ending: Promoted, At: 1500, Excess: 60}, {Ending: Inconclusive, At: 900, Excess: 20},
	}
	got := summarise(cell, "ours", runs)
	if got.RolledBack != .5 || got.Inconclusive != .25 || got.Detect != nil || *got.Promote != 1500 || got.Excess != 30 {
		t.Errorf("%+v", got)
	}
	if got := summarise(cell, "ours", runs[:3]); got.Detect == nil || *got.Detect != 300 {
		t.Errorf("two of three found: %+v", got)
	}
	cell.Onset = 200 * time.Second
	if got := summarise(cell, "ours", runs[:2]); got.RolledBack != .5 || got.Detect != nil {
		t.Errorf("one before the onset: %+v", got)
	}
}
