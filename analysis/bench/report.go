package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"text/tabwriter"
)

// Report is all that came of the benchmark.
type Report struct {
	Benchmark string  `json:"benchmark"`
	Traces    int     `json:"traces"`
	Alpha     float64 `json:"alpha"`
	Cells     []Row   `json:"cells"`
	// Figures are the single numbers that the benchmark is known by.
	Figures []Figure `json:"results"`
	Bars    []Bar    `json:"bars"`
	// Notes say how the numbers came about.
	Notes []string `json:"notes"`
}

// Row is a cell with what all judges did in it.
type Row struct {
	Name  string `json:"name"`
	About string `json:"about"`
	Null  string `json:"null,omitempty"`
	// D is what the cell can show; Beyond is the same against what our judge tolerates.
	// Both are 0 in a null.
	D       float64  `json:"d"`
	Beyond  float64  `json:"dBeyondTolerance"`
	Ratio   float64  `json:"ratio"`
	Scrape  float64  `json:"scrapeSeconds"`
	Results []Result `json:"judges"`
}

// Figure is one number.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	OK    bool    `json:"ok"`
	Note  string  `json:"note,omitempty"`
}

func (f Figure) String() string { return fmt.Sprintf("%s: %s %s", f.Name, number(f.Value), f.Unit) }

// of finds what a contender did in a row.
func (r Row) of(contender string) Result {
	for _, result := range r.Results {
		if result.Contender == contender {
			return result
		}
	}
	return Result{Cell: r.Name, Contender: contender}
}

// Rows sorts results under their cells.
func Rows(cells []Cell, results []Result) []Row {
	var rows []Row
	for _, cell := range cells {
		row := Row{Name: cell.Name, About: cell.About, Null: cell.Null, Ratio: cell.Ratio, Scrape: seconds(cell.Scraped.Every)}
		if !cell.IsNull() {
			row.D, row.Beyond = cell.D()
			row.D, row.Beyond = math.Round(10*row.D)/10, math.Round(10*row.Beyond)/10
			if cell.Latency {
				_, t := tell(cell)
				row.Ratio = math.Round(100*t.ratio) / 100
			}
		}
		for _, result := range results {
			if result.Cell == cell.Name {
				row.Results = append(row.Results, result)
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// Write writes the report for people: a table of the nulls, one of the regressions, the bars, and at the end
// one line a figure.
func (r Report) Write(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "nulls: %d traces each\tjudge\tfalse rollbacks\t95 %% interval\tinconclusive\tto promote\t\n", r.Traces)
	for _, row := range r.Cells {
		if row.Null != "" {
			continue
		}
		for i, result := range row.Results {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s-%s\t%s\t%s\t\n", only(i == 0, row.Name), result.Contender,
				tenth(result.RolledBack), tenth(result.Low), tenth(result.High), tenth(result.Inconclusive), took(result.Promote))
		}
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	fmt.Fprintln(w)
	fmt.Fprintf(table, "regressions: %d traces each\tD\tbeyond\tjudge\tpower\t95 %% interval\tto detect\texcess bad\tinconclusive\tto promote\t\n", r.Traces)
	for _, row := range r.Cells {
		if row.Null == "" {
			continue
		}
		for i, result := range row.Results {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s-%s\t%s\t%.0f\t%s\t%s\t\n", only(i == 0, row.Name),
				only(i == 0, number(row.D)), only(i == 0, number(row.Beyond)), result.Contender,
				tenth(result.RolledBack), tenth(result.Low), tenth(result.High), took(result.Detect), result.Excess,
				tenth(result.Inconclusive), took(result.Promote))
		}
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	fmt.Fprintln(w)
	for _, note := range r.Notes {
		fmt.Fprintln(w, note)
	}
	fmt.Fprintln(w)
	for _, bar := range r.Bars {
		fmt.Fprintln(w, bar)
	}
	for _, figure := range r.Figures {
		fmt.Fprintln(w, figure)
	}
	return nil
}

// Save writes the report as JSON.
func (r Report) Save(path string) error {
	body, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("marshal report: %w", err)
	}
	return save(path, append(body, '\n'))
}

func save(path string, body []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if err := os.WriteFile(path, body, 0o644); err != nil { //nolint:gosec // for everybody
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func only(when bool, text string) string {
	if when {
		return text
	}
	return ""
}

// tenth is a share in percent with one digit.
func tenth(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }

// took is a time in seconds, which there may not be.
func took(time *float64) string {
	if time == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f s", *time)
}

// NewReport makes the report of what was played.
func NewReport(cells []Cell, results []Result, traces int, speed Speed) Report {
	report := Report{Benchmark: "judge", Traces: traces, Alpha: Alpha, Cells: Rows(cells, results), Notes: notes}
	report.Figures, report.Bars = Judged(report.Cells, speed)
	return report
}

// notes say what was simulated.
var notes = []string{
	"Plan, the same for all judges: 5, 10, 20, 30 and 50 % for 5 minutes each, of which the first is warm-up for our judge where canary pods are added (at all but 10 %, with nine pods), a scrape every 5 s " +
		"(15 s where sources misbehave), a look after each. The quiet cells: 10 to 50 % for 10 minutes each, warm-up once. " +
		"A step that is not passed is held up to three times its length; then the release is inconclusive.",
	"Our judge: alpha 5 %, else its defaults (r0 = 1.05, delta = 0.0001; 1 and 0 in the quiet cells and everything-r0), success rate and latency in every cell, " +
		"slow at 150, 250, 400 and 750 ms. In resets, missing, offsets, late-proxies and everything its evidence comes from the real Sampler, decoder and ledger, " +
		"else from the same rules without them; a test compares the two.",
	"D = sum of e KL(q || pi) over what is tested: what can be told from no difference at all. Beyond: the same from what our judge tolerates, " +
		"r0 p + delta in the place of p. The bars are asked where D is at least 12, also where beyond is less: there see what the ratio test, which has the same null, can do.",
	"The ratio test knows r, the onset and the boundary that tells most, and sees what our judge sees. Times count from the onset, warm-up included; " +
		"excess bad answers until the release ended. A rollback in a null or before the onset is false.",
}
