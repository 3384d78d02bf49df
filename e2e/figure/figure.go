// Package figure is what a benchmark came to: named values, the bars they are held to, and how they are printed
// and written. It measures nothing.
package figure

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// Result is one figure.
type Result struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Bar is what is asked for, in words; empty: nothing is.
	Bar string `json:"bar,omitempty"`
	// OK: nothing is asked for, or the value is what is asked for or better.
	OK bool `json:"ok"`
	// Note says how it came about.
	Note string `json:"note,omitempty"`
	// Samples are the values of the single rounds, where Value is their median.
	Samples []float64 `json:"samples,omitempty"`
}

// String is "name: value unit".
func (r Result) String() string {
	return fmt.Sprintf("%s: %s %s", r.Name, number(r.Value), r.Unit)
}

// Results of one run, in the order they came.
type Results []Result

// Lookup returns the value of a figure.
func (all Results) Lookup(name string) (value float64, found bool) {
	i := slices.IndexFunc(all, func(r Result) bool { return r.Name == name })
	if i < 0 {
		return 0, false
	}
	return all[i].Value, true
}

// Missed are the figures below their bars.
func (all Results) Missed() []string {
	var names []string
	for _, r := range all {
		if !r.OK {
			names = append(names, r.Name)
		}
	}
	return names
}

// WriteBars tells of each figure that is held to a bar whether it passes.
func (all Results) WriteBars(w io.Writer) {
	for _, r := range all {
		if r.Bar == "" {
			continue
		}
		verdict := "pass"
		if !r.OK {
			verdict = "MISS"
		}
		fmt.Fprintf(w, "%s  %s, asked %s\n", verdict, r, r.Bar)
	}
}

// Save writes the results as JSON under the name of the benchmark. Values that are not numbers (nothing was
// measured) are written as 0 and are not OK where a bar is set.
func (all Results) Save(path, benchmark string) error {
	written := slices.Clone(all)
	for i := range written {
		if math.IsNaN(written[i].Value) || math.IsInf(written[i].Value, 0) {
			written[i].Value = 0
		}
	}
	body, err := json.MarshalIndent(map[string]any{"benchmark": benchmark, "results": written}, "", "  ")
	if err != nil {
		return fmt.Errorf("marshal results: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if err := os.WriteFile(path, append(body, '\n'), 0o644); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

// Percentile returns the smallest value that at least percent of 100 values do not exceed; NaN when there are
// none.
func Percentile(values []float64, percent int) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max((len(sorted)*percent+99)/100, 1)-1]
}

// Median of the values; NaN when there are none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

func round(value float64) float64 { return math.Round(value*1000) / 1000 }

func number(value float64) string { return strconv.FormatFloat(value, 'f', -1, 64) }
