package load

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-mesh/sluice/e2e/benchproxy/process"
)

//go:embed report.lua
var reportLua []byte

// Wrk is as many HTTP/1.1 requests as go through.
type Wrk struct {
	// URL, and how many connections ask for it.
	URL         string
	Connections int
	// Close asks for each response to be the last of its connection.
	Close    bool
	Duration time.Duration
	// Core to run on, and the folder for its files.
	Core int
	Dir  string
}

// Run runs wrk. What it counted as errors is in the outcome.
func (w Wrk) Run(ctx context.Context) (Outcome, error) {
	script := filepath.Join(w.Dir, "report.lua")
	if err := os.WriteFile(script, reportLua, 0o644); err != nil {
		return Outcome{}, fmt.Errorf("write script of wrk: %w", err)
	}
	args := []string{
		"-t1", "-c", strconv.Itoa(w.Connections), "-d", strconv.Itoa(int(max(w.Duration, time.Second).Seconds())) + "s",
		"--timeout", "20s", "-s", script,
	}
	if w.Close {
		args = append(args, "-H", "Connection: close")
	}
	text, err := output(ctx, process.Spec{Name: "wrk", Core: w.Core, Path: "wrk", Args: append(args, w.URL), Dir: w.Dir})
	if err != nil {
		return Outcome{}, err
	}
	return parseWrk(text)
}

// parseWrk reads the line of report.lua.
func parseWrk(text string) (Outcome, error) {
	var line struct {
		Requests, Bytes, Microseconds         int64
		Connect, Read, Write, Status, Timeout int64
		P50, P99                              int64
	}
	at := strings.LastIndex(text, `{"requests"`)
	if at < 0 {
		return Outcome{}, fmt.Errorf("parse output of wrk: no report in %q", text)
	}
	if err := json.Unmarshal([]byte(text[at:]), &line); err != nil {
		return Outcome{}, fmt.Errorf("parse output of wrk: %w", err)
	}
	o := Outcome{
		Done: line.Requests, Bytes: line.Bytes, Took: time.Duration(line.Microseconds) * time.Microsecond,
		P50: time.Duration(line.P50) * time.Microsecond, P99: time.Duration(line.P99) * time.Microsecond,
		Failed: line.Connect + line.Read + line.Write + line.Status + line.Timeout,
	}
	if o.Failed > 0 {
		o.Failures = fmt.Sprintf("%d could not connect, %d broke off reading, %d writing, %d had a bad status, %d took too long",
			line.Connect, line.Read, line.Write, line.Status, line.Timeout)
	}
	return o, nil
}

// output runs a program to its end and returns what it said.
func output(ctx context.Context, spec process.Spec) (string, error) {
	g, err := process.Start(ctx, spec)
	if err != nil {
		return "", err //nolint:wrapcheck // it names the program
	}
	defer g.Stop()
	if err := g.Wait(ctx); err != nil {
		return "", err //nolint:wrapcheck // it names the program
	}
	return g.Output() //nolint:wrapcheck // it names the program
}
