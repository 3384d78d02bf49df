package ledger

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// Snapshot is what clients have seen up to a moment.
type Snapshot struct {
	// At is when it was taken, Started when the ledger was opened.
	At      time.Time `json:"at"`
	Started time.Time `json:"started"`
	// Rate is how many requests a second are asked for at this moment.
	Rate float64 `json:"rate"`
	// Sent counts requests begun, InFlight those without an end yet. Skipped counts requests that
	// were due but not sent, because too many were in flight: the generator could not keep its rate.
	Sent     uint64 `json:"sent"`
	InFlight uint64 `json:"inFlight"`
	Skipped  uint64 `json:"skipped"`
	// Total is about all requests, Window about those begun since the last Cut.
	Total  Tally `json:"total"`
	Window Tally `json:"window"`
	// Timeline has one slice for every Resolution in which a request ended, oldest first.
	Timeline []Slice `json:"timeline,omitempty"`
}

// Tally counts how requests ended.
type Tally struct {
	// ID counts windows from 1; 0 is the total.
	ID int64 `json:"id"`
	// Began is when counting began.
	Began time.Time `json:"began"`
	// Done counts requests that ended: Lost ones and those of Versions.
	Done uint64 `json:"done"`
	// Lost counts requests that some application on the way never answered: the mesh's failures.
	Lost      uint64     `json:"lost"`
	FirstLost *time.Time `json:"firstLost,omitempty"`
	LastLost  *time.Time `json:"lastLost,omitempty"`
	// Reasons counts lost requests by what happened; Samples has the first of them.
	Reasons map[string]uint64 `json:"reasons,omitempty"`
	Samples []Sample          `json:"samples,omitempty"`
	// Versions counts the applications' answers.
	Versions map[string]Version `json:"versions"`
	// Returned counts answers of versions that their client had left for another one before. Only clients
	// with cookies know which version they had.
	Returned uint64 `json:"returned,omitempty"`
}

// Sample is one lost request.
type Sample struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
	Detail string    `json:"detail,omitempty"`
}

// Version counts the answers of one version.
type Version struct {
	Requests uint64 `json:"requests"`
	// Errors have a status of 500 or above; Slow ones took longer than the ledger's limit. Bad ones
	// are either or both.
	Errors   uint64         `json:"errors"`
	Slow     uint64         `json:"slow"`
	Bad      uint64         `json:"bad"`
	Statuses map[int]uint64 `json:"statuses"`
	First    time.Time      `json:"first"`
	Last     time.Time      `json:"last"`
	FirstBad *time.Time     `json:"firstBad,omitempty"`
	LastBad  *time.Time     `json:"lastBad,omitempty"`
	Latency  Latency        `json:"latency"`
}

// Latency in milliseconds; the quantiles are right to within a sixteenth.
type Latency struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Slice counts requests that ended within one Resolution.
type Slice struct {
	At       time.Time              `json:"at"`
	Lost     uint64                 `json:"lost,omitempty"`
	Versions map[string]SliceCounts `json:"versions,omitempty"`
}

// SliceCounts are one version's in a slice.
type SliceCounts struct {
	Requests uint64 `json:"requests"`
	Bad      uint64 `json:"bad,omitempty"`
}

// Answered counts the answers of all versions.
func (t Tally) Answered() uint64 { return t.Done - t.Lost }

// Bad counts the bad answers of all versions.
func (t Tally) Bad() uint64 {
	var bad uint64
	for _, v := range t.Versions {
		bad += v.Bad
	}
	return bad
}

// Names of the versions that answered, sorted.
func (t Tally) Names() []string { return slices.Sorted(maps.Keys(t.Versions)) }

// Write prints the tally for people.
func (t Tally) Write(w io.Writer) {
	fmt.Fprintf(w, "%d requests, %d lost\n", t.Done, t.Lost)
	for _, name := range t.Names() {
		v := t.Versions[name]
		fmt.Fprintf(w, "  %-12s %8d requests, %d errors, %d slow; p50 %.1f ms, p90 %.1f ms, p99 %.1f ms, max %.1f ms\n",
			name, v.Requests, v.Errors, v.Slow, v.Latency.P50, v.Latency.P90, v.Latency.P99, v.Latency.Max)
	}
	for _, reason := range slices.Sorted(maps.Keys(t.Reasons)) {
		fmt.Fprintf(w, "  lost: %6d %s\n", t.Reasons[reason], reason)
	}
}
