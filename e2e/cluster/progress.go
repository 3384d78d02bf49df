package cluster

import (
	"fmt"
	"io"
	"os"
	"time"
)

// Progress tells a person what is happening, one line a step with the seconds since the start.
type Progress struct {
	out    io.Writer
	colour bool
	start  time.Time
}

// NewProgress writes to the file, in colour where it is a terminal.
func NewProgress(out *os.File) *Progress {
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == ""
	return &Progress{out: out, colour: terminal, start: time.Now()}
}

// Quiet says nothing.
func Quiet() *Progress { return &Progress{out: io.Discard, start: time.Now()} }

// Step writes a line.
func (p *Progress) Step(format string, values ...any) {
	elapsed := fmt.Sprintf("%5.1fs", time.Since(p.start).Seconds())
	if p.colour {
		elapsed = "\x1b[2m" + elapsed + "\x1b[0m"
	}
	fmt.Fprintf(p.out, "%s  %s\n", elapsed, fmt.Sprintf(format, values...))
}
