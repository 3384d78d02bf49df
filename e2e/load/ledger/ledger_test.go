package ledger

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// clock is a clock that a test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func newTest() (*Ledger, *clock) {
	c := &clock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	return New(100*time.Millisecond, c.now), c
}

func TestCounts(t *testing.T) {
	l, c := newTest()
	end := func(took time.Duration, e End) time.Time {
		r := l.Begin()
		c.pass(took)
		l.Finish(r, e)
		return c.now()
	}
	end(10*time.Millisecond, End{Version: "v1", Status: 200})
	failed := end(10*time.Millisecond, End{Version: "v2", Status: 500})
	slow := end(200*time.Millisecond, End{Version: "v2", Status: 200})
	lost := end(10*time.Millisecond, End{Lost: "status 503", Detail: "no endpoint"})
	l.Skip()
	l.Begin()

	s := l.Snapshot(time.Time{})
	if s.Sent != 5 || s.InFlight != 1 || s.Skipped != 1 {
		t.Errorf("sent %d, in flight %d, skipped %d; want 5, 1, 1", s.Sent, s.InFlight, s.Skipped)
	}
	total := s.Total
	if total.Done != 4 || total.Lost != 1 || total.Answered() != 3 || total.Bad() != 2 {
		t.Errorf("done %d, lost %d, answered %d, bad %d; want 4, 1, 3, 2", total.Done, total.Lost, total.Answered(), total.Bad())
	}
	v2 := total.Versions["v2"]
	if v2.Errors != 1 || v2.Slow != 1 || !v2.FirstBad.Equal(failed) || !v2.LastBad.Equal(slow) {
		t.Errorf("v2: %+v", v2)
	}
	if diff := cmp.Diff([]Sample{{At: lost, Reason: "status 503", Detail: "no endpoint"}}, total.Samples); diff != "" {
		t.Error(diff)
	}
	if s.Timeline != nil {
		t.Error("a timeline without asking for one")
	}
	var sum uint64
	for _, slice := range l.Snapshot(s.Started.Add(-Resolution)).Timeline {
		sum += slice.Lost
		for _, v := range slice.Versions {
			sum += v.Requests
		}
	}
	if sum != total.Done {
		t.Errorf("timeline has %d requests, want %d", sum, total.Done)
	}
}

func TestCutLeavesOutWhatBeganBefore(t *testing.T) {
	l, c := newTest()
	before := l.Begin()
	if got := l.Cut().Window.ID; got != 1 {
		t.Errorf("first window is %d, want 1", got)
	}
	after := l.Begin()
	c.pass(time.Millisecond)
	l.Finish(before, End{Version: "v1", Status: 200})
	l.Finish(after, End{Version: "v2", Status: 200})
	s := l.Snapshot(time.Time{})
	if diff := cmp.Diff([]string{"v2"}, s.Window.Names()); diff != "" || s.Window.ID != 2 {
		t.Errorf("window %d: %s", s.Window.ID, diff)
	}
	if s.Total.Done != 2 {
		t.Errorf("total %d, want 2", s.Total.Done)
	}
}

func TestBounded(t *testing.T) {
	l, c := newTest()
	for i := range 3 * maxSlices {
		r := l.Begin()
		c.pass(Resolution)
		l.Finish(r, End{Version: fmt.Sprint("v", i), Status: 200})
		l.Finish(r, End{Lost: fmt.Sprint("reason ", i)})
	}
	s := l.Snapshot(time.Unix(0, 1))
	if len(s.Total.Versions) > maxNames+1 || len(s.Total.Reasons) > maxNames+1 || len(s.Total.Samples) > maxSamples || len(s.Timeline) > maxSlices {
		t.Errorf("%d versions, %d reasons, %d samples, %d slices", len(s.Total.Versions), len(s.Total.Reasons), len(s.Total.Samples), len(s.Timeline))
	}
	if s.Total.Versions[Other].Requests == 0 {
		t.Error("nothing counted as other")
	}
}

// Each duration is in the bucket whose bounds hold it, and quantiles are right to a sixteenth.
func TestHistogram(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var h histogram
	var all []time.Duration
	for range 20_000 {
		d := time.Duration(random.ExpFloat64() * float64(20*time.Millisecond))
		i := bucket(d)
		if d >= upper(i) || i > 0 && d < upper(i-1) {
			t.Fatalf("%v is in bucket %d, which ends at %v", d, i, upper(i))
		}
		h.add(d)
		all = append(all, d)
	}
	slices.Sort(all)
	for _, percent := range []uint64{50, 90, 99} {
		want := all[int(percent)*len(all)/100-1]
		if got := h.quantile(percent); got < want || float64(got) > float64(want)*17/16+float64(time.Microsecond) {
			t.Errorf("p%d: %v, want %v or a sixteenth above", percent, got, want)
		}
	}
	h.add(24 * time.Hour) // beyond the last bucket
	if got := h.quantile(100); got != 24*time.Hour {
		t.Errorf("p100: %v, want a day", got)
	}
}

func TestJSONRoundTrip(t *testing.T) {
	l, c := newTest()
	r := l.Begin()
	c.pass(time.Millisecond)
	l.Finish(r, End{Version: "v1", Status: 503})
	want := l.Snapshot(time.Unix(0, 1))
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Snapshot
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if got.Total.Versions["v1"].Statuses[503] != 1 || !got.At.Equal(want.At) || len(got.Timeline) != 1 {
		t.Errorf("got %s", b)
	}
	var text strings.Builder
	got.Total.Write(&text)
	if !strings.Contains(text.String(), "1 requests, 0 lost") {
		t.Errorf("summary: %s", text.String())
	}
}
