package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"
)

// screen shows the demonstration: in colours and with a line that is overwritten on a terminal, one
// line an event elsewhere, one JSON object a line if asked for. It is for one goroutine.
type screen struct {
	out      io.Writer
	json     bool
	terminal bool
	// width of the terminal; a live line that is longer would not be overwritten.
	width   int
	live    bool
	spoken  time.Time
	encoder *json.Encoder
}

// betweenTraffic is how often traffic is told where lines are not overwritten.
const betweenTraffic = 3 * time.Second

func newScreen(out *os.File, output string) (*screen, error) {
	if output != "text" && output != "json" {
		return nil, fmt.Errorf("check output: %q is neither text nor json", output)
	}
	s := &screen{out: out, json: output == "json", encoder: json.NewEncoder(out), width: 80}
	if s.terminal = !s.json && term.IsTerminal(int(out.Fd())) && os.Getenv("TERM") != "dumb"; s.terminal {
		if width, _, err := term.GetSize(int(out.Fd())); err == nil {
			s.width = width
		}
	}
	return s, nil
}

var colours = map[tone]string{good: "\x1b[32m", bad: "\x1b[31m"}

func (s *screen) colour(tone tone, text string) string {
	code := colours[tone]
	if !s.terminal || code == "" || os.Getenv("NO_COLOR") != "" {
		return text
	}
	return code + text + "\x1b[0m"
}

// line prints a line that stays.
func (s *screen) line(text string) {
	if s.live {
		fmt.Fprint(s.out, "\r\x1b[2K")
		s.live = false
	}
	fmt.Fprintln(s.out, text)
}

func (s *screen) event(e event) {
	if s.json {
		_ = s.encoder.Encode(e)
		return
	}
	s.line(fmt.Sprintf("%s  %-8s %s", e.At.Format("15:04:05.0"), e.Kind, s.colour(e.tone, e.Text)))
}

// say tells something about the demonstration itself.
func (s *screen) say(kind, format string, args ...any) {
	s.event(event{At: time.Now(), Kind: kind, Text: fmt.Sprintf(format, args...)})
}

// title begins an act.
func (s *screen) title(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if s.json {
		s.say("release", "%s", text)
		return
	}
	s.line("")
	if s.terminal {
		text = "\x1b[1m" + text + "\x1b[0m"
	}
	s.line(text)
}

// traffic shows who answers how many requests a second, and where the release is.
func (s *screen) traffic(rates map[string]float64, where string) {
	if len(rates) == 0 {
		return
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(rates)) {
		parts = append(parts, fmt.Sprintf("%s %.0f/s", name, rates[name]))
	}
	text := strings.Join(parts, "  ")
	if s.terminal {
		text = fmt.Sprintf("%s  traffic  %s  |  %s", time.Now().Format("15:04:05.0"), text, where)
		if len(text) >= s.width {
			text = text[:max(s.width-1, 0)]
		}
		fmt.Fprint(s.out, "\r\x1b[2K"+text)
		s.live = true
		return
	}
	if time.Since(s.spoken) >= betweenTraffic {
		s.spoken = time.Now()
		s.say("traffic", "%s", text)
	}
}

// finish shows the table, what went wrong, and what to do next.
func (s *screen) finish(results []result, problems, directions []string) {
	if s.json {
		_ = s.encoder.Encode(map[string]any{"kind": "result", "releases": results, "problems": problems})
		return
	}
	s.line("")
	table(s.out, results)
	s.line("")
	for _, problem := range problems {
		s.line(s.colour(bad, "NOT AS IT SHOULD BE: "+problem))
	}
	if len(problems) == 0 {
		s.line(s.colour(good, "All as it should be: promoted, rolled back, rolled back, and no request failed because of the mesh."))
	}
	s.line("")
	for _, direction := range directions {
		s.line(direction)
	}
}

func table(out io.Writer, results []result) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "RELEASE\tOUTCOME\tDURATION\tSERVED\tFAILED\tBAD BY CANARY\tFIRST BAD TO WEIGHT 0")
	for _, r := range results {
		toZero := "-"
		if r.ToZero >= 0 {
			toZero = fmt.Sprintf("%.2f s", r.ToZero)
		}
		fmt.Fprintf(w, "%s (%s)\t%s\t%.0f s\t%d\t%d\t%d\t%s\n", r.Version, r.What, r.Outcome, r.Duration, r.Served, r.Failed, r.Bad, toZero)
	}
	_ = w.Flush()
}
