package check_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/analysis/check"
)

var start = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// letters are the phases of measurements in the tables below.
var letters = map[rune]check.Phase{'S': check.Successful, 'F': check.Failed, 'I': check.Inconclusive, 'E': check.Error, 'R': check.Running, '?': "odd"}

// walk takes measurements a minute apart.
func walk(metric check.Metric, measurements string) check.MetricStatus {
	var status check.MetricStatus
	for i, letter := range measurements {
		m := check.Measurement{Phase: letters[letter], Message: fmt.Sprintf("message %d", i)}
		status = check.Step(metric, status, m, start.Add(time.Duration(i)*time.Minute))
	}
	return status
}

// The rules are those of Argo Rollouts' assessMetricStatus (analysis/analysis.go), except where a comment
// says so.
func TestStep(t *testing.T) {
	errors := func(n int) *int { return &n }
	for name, c := range map[string]struct {
		metric       check.Metric
		measurements string
		want         check.Phase
		counted      int
		says         string
	}{
		"one without an interval":                   {check.Metric{}, "S", check.Successful, 1, "message 0"},
		"one fails":                                 {check.Metric{}, "F", check.Failed, 1, "message 0"},
		"one says nothing":                          {check.Metric{}, "I", check.Inconclusive, 1, "message 0"},
		"until stopped":                             {check.Metric{Interval: time.Minute}, "SSSSSSSSSSSSSSS", check.Running, 15, "message 14"},
		"a count is reached":                        {check.Metric{Interval: time.Minute, Count: 3}, "SSS", check.Successful, 3, "message 2"},
		"a count is not reached":                    {check.Metric{Interval: time.Minute, Count: 3}, "SS", check.Running, 2, ""},
		"errors do not count":                       {check.Metric{Interval: time.Minute, Count: 3}, "SEES", check.Running, 2, ""},
		"a failure that may be":                     {check.Metric{Interval: time.Minute, Count: 3, FailureLimit: 1}, "SFS", check.Successful, 3, ""},
		"one failure too many":                      {check.Metric{Interval: time.Minute, Count: 5, FailureLimit: 1}, "SFSF", check.Failed, 4, "2 measurements failed, 1 may; the last: message 3"},
		"failures need not follow one another":      {check.Metric{Interval: time.Minute, FailureLimit: 1}, "FSSSSF", check.Failed, 6, ""},
		"an inconclusive one that may be":           {check.Metric{Interval: time.Minute, Count: 3, InconclusiveLimit: 1}, "ISS", check.Successful, 3, ""},
		"one inconclusive too many":                 {check.Metric{Interval: time.Minute, Count: 3, InconclusiveLimit: 1}, "II", check.Inconclusive, 2, "2 measurements were inconclusive, 1 may"},
		"failure before inconclusive":               {check.Metric{Interval: time.Minute}, "F", check.Failed, 1, ""},
		"four errors in a row":                      {check.Metric{}, "EEEE", check.Running, 0, ""},
		"five errors in a row":                      {check.Metric{}, "EEEEE", check.Error, 0, "5 measurements in a row had errors, 4 may; the last: message 4"},
		"errors that are interrupted":               {check.Metric{Interval: time.Minute}, "EEEESEEEE", check.Running, 1, ""},
		"no error may be":                           {check.Metric{ConsecutiveErrorLimit: errors(0)}, "E", check.Error, 0, "message 0"},
		"one error may be":                          {check.Metric{ConsecutiveErrorLimit: errors(1)}, "ES", check.Successful, 1, ""},
		"complete stays complete":                   {check.Metric{}, "SFFFF", check.Successful, 1, "message 0"},
		"failed stays failed":                       {check.Metric{}, "FSSSS", check.Failed, 1, "message 0"},
		"under way":                                 {check.Metric{}, "RRR", check.Running, 0, "message 2"},
		"under way, then done":                      {check.Metric{}, "RRS", check.Successful, 1, ""},
		"a phase that nobody knows":                 {check.Metric{ConsecutiveErrorLimit: errors(0)}, "?", check.Error, 0, "no phase"},
		"no success is none (Argo: Successful)":     {check.Metric{Interval: time.Minute, Count: 2, InconclusiveLimit: 1, FailureLimit: 1}, "IF", check.Inconclusive, 2, "no measurement succeeded"},
		"limits at the count (Argo allows them) do": {check.Metric{Interval: time.Minute, Count: 2, InconclusiveLimit: 5}, "II", check.Inconclusive, 2, "no measurement succeeded"},
	} {
		t.Run(name, func(t *testing.T) {
			c.metric.Name = "m"
			got := walk(c.metric, c.measurements)
			if got.Phase != c.want || got.Count != c.counted || !strings.Contains(got.Message, c.says) {
				t.Errorf("%s of %d: %s\nwant %s of %d: %s", got.Phase, got.Count, got.Message, c.want, c.counted, c.says)
			}
			if got.Name != "m" || got.Count != got.Successful+got.Failed+got.Inconclusive {
				t.Errorf("odd status: %+v", got)
			}
		})
	}
}

func TestStepKeepsTheNewest(t *testing.T) {
	status := walk(check.Metric{Name: "m", Interval: time.Minute, DryRun: true}, "SSSSSSSSSSRRS")
	if got := len(status.Measurements); got != 10 {
		t.Fatalf("%d measurements are kept, want 10", got)
	}
	first, last := status.Measurements[0], status.Measurements[9]
	if first.Message != "message 1" || last.Message != "message 12" || !status.DryRun || status.Successful != 11 {
		t.Errorf("kept from %q to %q, %d successful", first.Message, last.Message, status.Successful)
	}
	if want := start.Add(12 * time.Minute); !last.FinishedAt.Equal(want) || last.StartedAt.IsZero() {
		t.Errorf("the last one finished at %v, want %v", last.FinishedAt, want)
	}
}

func TestStepLeavesItsInput(t *testing.T) {
	metric := check.Metric{Name: "m", Interval: time.Minute}
	before := walk(metric, "SR")
	one, other := check.Step(metric, before, check.Measurement{Phase: check.Failed}, start), check.Step(metric, before, check.Measurement{Phase: check.Successful}, start)
	if before.Measurements[1].Phase != check.Running || one.Measurements[1].Phase != check.Failed || other.Measurements[1].Phase != check.Successful {
		t.Error("statuses share their measurements")
	}
	stopped := check.Stop(metric, before, start)
	if before.Measurements[1].Phase != check.Running || stopped.Measurements[1].Phase != check.Inconclusive {
		t.Error("Stop changed its input, or not its output")
	}
}

func TestNext(t *testing.T) {
	resume := start.Add(time.Hour)
	for name, c := range map[string]struct {
		metric check.Metric
		status check.MetricStatus
		want   time.Time // zero: never
	}{
		"the first":                        {check.Metric{}, check.MetricStatus{}, start},
		"the first, delayed":               {check.Metric{InitialDelay: 5 * time.Minute}, check.MetricStatus{}, start.Add(5 * time.Minute)},
		"the second":                       {check.Metric{Interval: 3 * time.Minute, InitialDelay: time.Hour}, walk(check.Metric{Interval: 3 * time.Minute}, "S"), start.Add(3 * time.Minute)},
		"from the end of the last":         {check.Metric{Interval: time.Minute}, walk(check.Metric{Interval: time.Minute}, "SSS"), start.Add(3 * time.Minute)},
		"an error, without an interval":    {check.Metric{}, walk(check.Metric{}, "E"), start.Add(10 * time.Second)},
		"an error, with one":               {check.Metric{Interval: time.Minute}, walk(check.Metric{Interval: time.Minute}, "E"), start.Add(time.Minute)},
		"complete":                         {check.Metric{}, walk(check.Metric{}, "S"), time.Time{}},
		"under way, its provider will say": {check.Metric{}, walk(check.Metric{}, "R"), time.Time{}},
		"under way, to be looked at": {check.Metric{}, check.Step(check.Metric{}, check.MetricStatus{},
			check.Measurement{Phase: check.Running, ResumeAt: resume}, start), resume},
	} {
		t.Run(name, func(t *testing.T) {
			if due, ok := check.Next(c.metric, c.status, start); !due.Equal(c.want) || ok == c.want.IsZero() {
				t.Errorf("due %v (%v), want %v", due, ok, c.want)
			}
		})
	}
}

// A run that is stopped early is no success because of it (Argo Rollouts issue 1329).
func TestStop(t *testing.T) {
	for name, c := range map[string]struct {
		metric       check.Metric
		measurements string
		want         check.Phase
		says         string
	}{
		"before the first":               {check.Metric{Interval: time.Minute}, "", check.Inconclusive, "before the first measurement"},
		"before the first that counted":  {check.Metric{Interval: time.Minute}, "EE", check.Inconclusive, "before the first measurement"},
		"without an end, successful":     {check.Metric{Interval: time.Minute}, "SS", check.Successful, "after 2 measurements, 2 of them successful"},
		"without an end, never succeeds": {check.Metric{Interval: time.Minute, FailureLimit: 3}, "FF", check.Inconclusive, "none of them successful"},
		"in the middle":                  {check.Metric{Interval: time.Minute, Count: 5}, "SS", check.Inconclusive, "stopped after 2 of 5 measurements"},
		"under way":                      {check.Metric{}, "R", check.Inconclusive, "before the first measurement"},
		"complete":                       {check.Metric{}, "F", check.Failed, "message 0"},
	} {
		t.Run(name, func(t *testing.T) {
			got := check.Stop(c.metric, walk(c.metric, c.measurements), start)
			if got.Phase != c.want || !strings.Contains(got.Message, c.says) {
				t.Errorf("%s: %s\nwant %s: %s", got.Phase, got.Message, c.want, c.says)
			}
			for _, m := range got.Measurements {
				if !m.Phase.Completed() || m.FinishedAt.IsZero() {
					t.Errorf("left under way: %+v", m)
				}
			}
		})
	}
}
