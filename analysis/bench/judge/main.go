// Command judge runs the benchmark of the judge: simulated releases whose truth is known, judged by ours
// and by its rivals. It prints the tables, the bars and one line a figure, and writes them as JSON and as
// a page with plots. A bar that is missed is marked MISS and changes nothing else.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/sluice-mesh/sluice/analysis/bench"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "judge:", err)
		os.Exit(1)
	}
}

// run measures and reports.
func run(args []string) error {
	flags := flag.NewFlagSet("judge", flag.ContinueOnError)
	traces := flags.Int("traces", 1000, "releases to simulate of each cell with each judge")
	only := flags.String("only", "", "regular expression of the cells to play; empty: all")
	workers := flags.Int("workers", 0, "releases to simulate at once; 0: one for each processor")
	out := flags.String("out", "", "folder for judge.json and judge.html; empty: nothing is written")
	if err := flags.Parse(args); err != nil {
		return err //nolint:wrapcheck // it says all there is to say
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("parse only: %w", err)
	}
	var cells []bench.Cell
	for _, cell := range bench.Cells() {
		if wanted.MatchString(cell.Name) {
			cells = append(cells, cell)
		}
	}
	began := time.Now()
	results := bench.Simulate(cells, bench.Contenders(), *traces, *workers, func(r bench.Result) {
		fmt.Fprintf(os.Stderr, "%5.0f s  %s, %s: %.1f %% rolled back\n", time.Since(began).Seconds(), r.Cell, r.Contender, 100*r.RolledBack)
	})
	report := bench.NewReport(cells, results, *traces, bench.MeasureSpeed())
	if err := report.Write(os.Stdout); err != nil {
		return err //nolint:wrapcheck // it says all there is to say
	}
	if *out != "" {
		if err := report.Save(filepath.Join(*out, "judge.json")); err != nil {
			return err //nolint:wrapcheck // it says all there is to say
		}
		if err := report.SaveHTML(filepath.Join(*out, "judge.html")); err != nil {
			return err //nolint:wrapcheck // it says all there is to say
		}
	}
	return nil
}
