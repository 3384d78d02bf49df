package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/sluice-mesh/sluice/analysis"
	"github.com/sluice-mesh/sluice/analysis/replay"
)

// printReplays prints what came of the recordings.
func (env *environment) printReplays(recordings []named, results []replay.Result, output string) error {
	if output != "" {
		if len(results) == 1 {
			return write(env.Out, results[0], output)
		}
		return write(env.Out, results, output)
	}
	for i, result := range results {
		if i > 0 {
			fmt.Fprintln(env.Out)
		}
		if name := recordings[i].name; name != "" && len(results) > 1 {
			fmt.Fprintln(env.Out, env.style.paint(bold, name))
		}
		p := replayPrinter{out: env.Out, style: env.style, zone: env.now().Location()}
		if err := p.print(result); err != nil {
			return err
		}
	}
	return nil
}

// replayPrinter prints one result for people.
type replayPrinter struct {
	out   io.Writer
	style style
	zone  *time.Location
	// dated: the release lasted for more than a day
	dated bool
}

func (p replayPrinter) print(r replay.Result) error {
	release := r.Release
	p.dated = release.Until.Sub(release.Weights[0].At) > 20*time.Hour
	where := strings.Trim(r.Namespace+"/"+r.Service, "/")
	if where != "" {
		where += ": "
	}
	fmt.Fprintf(p.out, "%scanary %s, stable %s, from %s to %s\n", where, release.Canary, release.Stable,
		release.Weights[0].At.In(p.zone).Format("2006-01-02 15:04:05 MST"), p.clock(release.Until))
	weights := make([]string, len(release.Weights))
	for i, w := range release.Weights {
		weights[i] = fmt.Sprintf("%d %% from %s", w.Percent, p.clock(w.At))
	}
	fmt.Fprintf(p.out, "weights: %s\n\n", strings.Join(weights, ", "))
	if err := p.timeline(r.Timeline); err != nil {
		return err
	}
	fmt.Fprintln(p.out)
	for i, d := range r.Decisions {
		p.decision(d, i > 0, r)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(p.out, "Note: %s\n", plain(note))
	}
	return nil
}

// clock is a time of the release; the day is in the first line.
func (p replayPrinter) clock(at time.Time) string {
	if p.dated {
		return at.In(p.zone).Format("01-02 15:04:05")
	}
	return at.In(p.zone).Format("15:04:05")
}

func (p replayPrinter) timeline(lines []replay.Line) error {
	tabs := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tabs, "TIME\tWEIGHT\tREQUESTS\tFAILED\tMETRIC\tRATIO\tINTERVAL\tP\tSCORE\tVERDICT")
	for _, l := range lines {
		row := []string{
			p.clock(l.Time), fmt.Sprintf("%d %%", l.Weight),
			fmt.Sprintf("%d / %d", l.Requests.Canary, l.Requests.Control),
			fmt.Sprintf("%d / %d", l.Requests.CanaryFailed, l.Requests.ControlFailed),
		}
		row = append(row, metricColumns(l.Metrics)...)
		row = append(row, optional(l.Score, 0), verdictOf(l))
		fmt.Fprintln(tabs, strings.Join(row, "\t"))
	}
	if err := tabs.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// verdictOf is an outcome, where it is one, and its reason.
func verdictOf(l replay.Line) string {
	reason := plain(l.Reason)
	switch l.Outcome {
	case analysis.Pass:
		return "pass: " + reason
	case analysis.Fail:
		return "fail: " + reason
	default:
		return reason
	}
}

// metricColumns are the metric that speaks most against the canary: name, ratio, interval, p.
func metricColumns(metrics []replay.Metric) []string {
	if len(metrics) == 0 {
		return []string{"-", "-", "-", "-"}
	}
	worst := metrics[0]
	for _, m := range metrics {
		if m.P != nil && (worst.P == nil || *m.P < *worst.P) {
			worst = m
		}
	}
	interval := "-"
	if worst.Low != nil {
		high := "∞"
		if worst.High != nil {
			high = optional(worst.High, 2)
		}
		interval = optional(worst.Low, 2) + " to " + high
	}
	ratio := optional(worst.Ratio, 2)
	if worst.Ratio == nil && worst.CanaryBad > 0 {
		ratio = "∞"
	}
	return []string{worst.Name, ratio, interval, chanceOf(worst.P)}
}

// optional is a number with so many decimals, or a dash.
func optional(value *float64, decimals int) string {
	if value == nil {
		return "-"
	}
	return strconv.FormatFloat(*value, 'f', decimals, 64)
}

// chanceOf is a p-value; small ones as a bound.
func chanceOf(p *float64) string {
	switch {
	case p == nil:
		return "-"
	case *p < .0001:
		return "<0.0001"
	case *p < .01:
		return strconv.FormatFloat(*p, 'f', 4, 64)
	}
	return strconv.FormatFloat(*p, 'f', 2, 64)
}

// decision says what one judge would have done.
func (p replayPrinter) decision(d replay.Decision, part bool, r replay.Result) {
	title := "Decision"
	switch {
	case part && d.Judge == replay.JudgeComparison:
		title = "The comparison alone"
	case part && d.Judge == replay.JudgeThresholds:
		title = "The thresholds alone"
	}
	var what string
	var c colour
	switch d.Outcome {
	case replay.RollBack:
		what, c = fmt.Sprintf("roll back at %s, %s after the first weight, at %d %%", p.clock(*d.At), p.after(d), d.Weight), red
	case replay.Promote:
		what, c = fmt.Sprintf("promote: the last weight that was seen, %d %%, had passed at %s, %s after the first one", d.Weight, p.clock(*d.At), p.after(d)), green
	case replay.Hold:
		what, c = fmt.Sprintf("hold at %d %%: it could not be decided while that weight was on", d.Weight), yellow
	}
	fmt.Fprintf(p.out, "%s: %s\n  %s\n", title, p.style.paint(c, what), plain(d.Reason))
	if part {
		return
	}
	switch {
	case d.Outcome == replay.RollBack:
		fmt.Fprintf(p.out, "  By then %d of %d answered canary requests had failed; %d of %d more failed until the canary's weight was taken away at %s.\n",
			d.Bad, d.Requests, d.AfterBad, d.AfterRequests, p.clock(r.Release.Until))
	case d.Outcome == replay.Hold && d.Weight != r.Release.Weights[len(r.Release.Weights)-1].Percent:
		fmt.Fprintf(p.out, "  The release went on to the next weight before. To judge it by its own pace, give a shorter --duration or --warm-up.\n")
	}
}

func (p replayPrinter) after(d replay.Decision) string {
	return duration.HumanDuration(time.Duration(d.AfterSeconds * float64(time.Second)))
}
